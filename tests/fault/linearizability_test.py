#!/usr/bin/env python3
"""Three kv processes that are killed, stopped, cut off from each other and continued under concurrent clients;
whatever the clients were answered must be linearizable, which trireme-lin judges, and the replicas must end equal.

verbs needs the RDMA devices of tests/vm; dpdk takes the NICs of tests/vm where they are, else memif. With --network each
node is in a network namespace that the test makes, where nft cuts them off from each other and clocks differ (udp; needs
root). With --weather the fault driver loses, delays, copies and damages what they send."""

import argparse
import contextlib
import itertools
import os
import signal
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "apps"))
import network  # noqa: E402
from device import DeviceFaults, check_device  # noqa: E402
from faults import NetworkFaults, ProcessFaults  # noqa: E402
from lin_batch import run_batch  # noqa: E402
from lin_cluster import FaultyCluster, NetworkCluster  # noqa: E402

NODES = (1, 2, 3)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("trireme")
    parser.add_argument("lin", help="trireme-lin")
    parser.add_argument("driver", choices=["udp", "shm", "dpdk", "verbs"])
    parser.add_argument("--network", action="store_true", help="in network namespaces, which are cut")
    parser.add_argument("--weather", action="store_true", help="through the fault driver")
    parser.add_argument("--rounds", type=int, help="faults before the history is judged (one of each kind)")
    parser.add_argument("--operations", type=int, default=1500, help="operations a round (1500)")
    parser.add_argument("--seed", type=int, default=1, help="of the choices of keys, kinds and faults (1)")
    parser.add_argument("--hours", type=float, default=0, help="go on with new keys for so long (once)")
    parser.add_argument("--deadline", default="1s", help="of a command (1s)")
    parser.add_argument("--option", action="append", default=[], help="another word for each node's command line")
    parser.add_argument("--keep", help="leave the histories and the drawing in this folder")
    options = parser.parse_args()
    if options.network and options.driver != "udp":
        parser.error("--network is for udp: shared memory crosses no network")
    if options.driver in ("dpdk", "verbs") and options.weather:
        parser.error("--weather is for udp and shm: what a device does is seen without")
    return options


@contextlib.contextmanager
def cluster_of(options):
    """The cluster, and what befalls it."""
    kv_options = ["--deadline-us", options.deadline] + options.option
    if not options.network:
        kind = DeviceFaults if options.driver == "verbs" else ProcessFaults
        with FaultyCluster(options.trireme, options.driver, kv_options, options.weather) as cluster:
            yield cluster, kind(cluster, options.seed)
        return
    with network.Network(NODES) as net:
        with NetworkCluster(options.trireme, options.driver, kv_options, options.weather, net) as cluster:
            yield cluster, NetworkFaults(cluster, options.seed)


def run(options, folder):
    end = time.monotonic() + options.hours * 3600
    with cluster_of(options) as (cluster, faults):
        options.rounds = options.rounds or len(faults.kinds())
        for number in itertools.count():
            run_batch(options, folder, cluster, faults, number)
            if time.monotonic() >= end:
                break
        cluster.check_weathers()
        if options.driver == "verbs":
            check_device(cluster)
        cluster.stop()


def main(options):
    why_not = network.why_not() if options.network else None
    if why_not is not None:
        print(f"cannot run: {why_not}")
        return 77
    # Whoever ends this test by a signal ends its processes and namespaces as well.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    if options.keep:
        os.makedirs(options.keep, exist_ok=True)
        run(options, options.keep)
    else:
        with tempfile.TemporaryDirectory(prefix="trireme-lin-") as folder:
            run(options, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(arguments()))
