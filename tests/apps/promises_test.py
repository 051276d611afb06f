#!/usr/bin/env python3
"""What the kv server promises of memory and of the kernel: it says at the start how much memory is
fixed, and keeps to it; a polling thread that spins makes no system call, over shm, but to wake who
sleeps. Arguments: trireme, driver."""

import os
import re
import shutil
import subprocess
import sys
import threading
import time

from kv_cluster import Cluster

SECONDS = 1.0
TRIES = 10
# What a polling thread may ask of the kernel: to wake a thread that sleeps, to tell the thread of the
# clients of a reply.
ALLOWED = {"futex", "write"}


def pollers(process):
    """The polling threads of a process, by their names."""
    found = []
    folder = f"/proc/{process}/task"
    for thread in os.listdir(folder):
        with open(f"{folder}/{thread}/comm") as comm:
            if re.fullmatch(r"tr-\d+\.\d+", comm.read().strip()):
                found.append(thread)
    return found


def calls_of(threads, seconds):
    """Names of the system calls that threads make in a time, with their number."""
    command = ["strace", "-c", "-U", "calls,name"]
    for thread in threads:
        command += ["-p", thread]
    tracer = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    attached = ""
    while attached.count("attached") < len(threads):
        line = tracer.stderr.readline()
        assert line, f"strace ended: {attached}"
        attached += line
    time.sleep(seconds)
    tracer.send_signal(2)
    rows = re.findall(r"^\s*(\d+)\s+(\w+)$", tracer.communicate(timeout=60)[1], re.MULTILINE)
    return {name: int(count) for count, name in rows if name != "total"}


def resident_bytes(process):
    with open(f"/proc/{process}/status") as status:
        rows = dict(line.split(":", 1) for line in status)
    return (int(rows["VmRSS"].split()[0]) + int(rows["HugetlbPages"].split()[0])) * 1024


def load(node, count):
    """Overwrites the same keys over and over."""
    client = node.client()
    for begin in range(0, count, 100):
        for at in range(begin, begin + 100):
            client.send("SET", f"key{at % 100}", "x" * 100)
        for _ in range(100):
            client.receive()
    client.close()


def check_memory(cluster):
    fixed = []
    for node in cluster.nodes.values():
        said = re.search(r"([\d.]+) MiB fixed at open", node.text())
        assert said, f"no word of memory:\n{node.text()}"
        fixed.append(float(said[1]))
        assert re.search(r"memory: [\d.]+ MiB: .* huge pages", node.text()), node.text()
    assert min(fixed) > 1, fixed
    leader = cluster.nodes[cluster.leader()]
    load(leader, 5000)
    before = resident_bytes(leader.process.pid)
    load(leader, 20000)
    grown = resident_bytes(leader.process.pid) - before
    assert grown < 2 << 20, f"{grown} bytes more after 20000 overwrites"
    print(f"memory: {fixed} MiB fixed; {grown} bytes more after the load")


def all_pollers(cluster):
    threads = [t for node in cluster.nodes.values() for t in pollers(node.process.pid)]
    assert len(threads) == 3, threads
    return threads


def check_calls(cluster):
    threads = all_pollers(cluster)
    # A busy machine may keep a thread away for so long that another leads, which the server is told.
    for _ in range(TRIES):
        idle = calls_of(threads, SECONDS)
        if not idle:
            break
    assert not idle, f"system calls of idle pollers: {idle}"
    stop = threading.Event()

    def work():
        while not stop.is_set():
            load(cluster.nodes[1], 100)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        busy = calls_of(threads, SECONDS)
    finally:
        stop.set()
        worker.join()
    assert set(busy) <= ALLOWED, f"system calls of busy pollers: {busy}"
    print(f"system calls of three pollers in {SECONDS} s: idle {idle}, busy {busy}")


def check_canary(cluster):
    """Pollers that sleep do ask the kernel: the check would notice."""
    assert "futex" in calls_of(all_pollers(cluster), SECONDS)


def main():
    trireme, driver = sys.argv[1:]
    memory = ["--log-bytes", str(8 << 20)]
    with Cluster(trireme, driver, memory) as cluster:
        check_memory(cluster)
        cluster.stop()
    if driver == "shm":
        assert shutil.which("strace"), "strace is not installed"
        options = ["--threads", "two", "--idle", "spin", "--log-level", "error"]
        with Cluster(trireme, driver, options) as cluster:
            cluster.agree()
            check_calls(cluster)
            cluster.stop()
        options[options.index("spin")] = "sleep"
        with Cluster(trireme, driver, options) as cluster:
            check_canary(cluster)


main()
