#!/usr/bin/env python3
"""The CPU that kv processes are given is where their polling thread runs, be it the thread that serves the
clients, too, or one of the library's; with none, and with near where nothing is nearer, it may run on
all. Arguments: trireme, driver."""

import os
import sys

from kv_cluster import Cluster


def polling_cpus(node, threads):
    """The CPUs that the polling thread of a node may run on."""
    thread = node.process.pid
    if threads == "two":
        for one in os.listdir(f"/proc/{node.process.pid}/task"):
            with open(f"/proc/{node.process.pid}/task/{one}/comm") as name:
                if name.read().startswith("tr-"):
                    thread = int(one)
        assert thread != node.process.pid, "no polling thread"
    return os.sched_getaffinity(thread)


def check(trireme, driver, threads, cpu, expected):
    options = ["--threads", threads, "--cpu", cpu, "--election-timeout-us", "50ms"]
    with Cluster(trireme, driver, options) as cluster:
        for node in cluster.nodes.values():
            found = polling_cpus(node, threads)
            print(f"--threads {threads} --cpu {cpu}: {sorted(found)}")
            assert found == expected, sorted(expected)
            assert "placement: " in node.text()
        cluster.stop()


def main(trireme, driver):
    usable = os.sched_getaffinity(0)
    last = max(usable)
    for threads in ("one", "two"):
        check(trireme, driver, threads, str(last), {last})
        check(trireme, driver, threads, "none", usable)
    check(trireme, driver, "one", "near", usable)  # the loopback network and shared memory are near all


if __name__ == "__main__":
    main(*sys.argv[1:])
