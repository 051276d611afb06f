#!/usr/bin/env python3
"""Three kv processes under load; a follower is killed and restarted, then the leader. Every counted
increment is there exactly once, and the replicas end equal. Arguments: trireme, driver."""

import subprocess
import sys
import threading
import time

from kv_cluster import Cluster, ReplyError, Unanswered

PIPELINE = 8
COUNTS_BETWEEN = 400  # increments that must be acknowledged between two events


class Counter(threading.Thread):
    """A client that increments one counter through one node, and comes back when the node does."""

    def __init__(self, node, stop):
        super().__init__(daemon=True)
        self.node = node
        self.stop = stop
        self.acked = []  # the values that were answered
        self.unknown = 0  # increments whose outcome nobody told us
        self.refused = 0  # answered: not executed
        self.failure = None

    def burst(self, client):
        sent = 0
        try:
            for _ in range(PIPELINE):
                client.send("INCR", "counter")
                sent += 1
            while sent > 0:
                reply = client.receive()
                sent -= 1
                if isinstance(reply, int):
                    self.acked.append(reply)
                elif isinstance(reply, ReplyError) and str(reply).startswith("TRYAGAIN"):
                    self.refused += 1
                elif isinstance(reply, ReplyError) and "outcome unknown" in str(reply):
                    self.unknown += 1
                else:
                    raise AssertionError(f"unexpected reply {reply!r}")
        except Unanswered:
            self.unknown += sent + 1  # one may have been cut while it was sent
            raise

    def run(self):
        try:
            client = None
            while not self.stop.is_set():
                try:
                    client = client or self.node.client(timeout_s=90)
                    self.burst(client)
                except (Unanswered, OSError):
                    client = None
                    time.sleep(0.05)
        except BaseException as failure:
            self.failure = failure


def start_load(cluster, number):
    """redis-benchmark as company, at a node that is never killed."""
    port = str(cluster.nodes[number].port)
    command = ["redis-benchmark", "-h", "127.0.0.1", "-p", port, "-t", "set,get,mset", "-r", "1000"]
    return subprocess.Popen(
        command + ["-c", "10", "-P", "8", "-d", "64", "-l", "-q"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_counts(counters, more):
    """Waits until so many more increments were acknowledged, by all together."""
    goal = sum(len(counter.acked) for counter in counters) + more
    end = time.monotonic() + 90
    while sum(len(counter.acked) for counter in counters) < goal:
        for counter in counters:
            if counter.failure is not None:
                raise counter.failure
        assert time.monotonic() < end, "no progress"
        time.sleep(0.01)


def kill_and_restart(cluster, number, counters):
    node = cluster.nodes[number]
    node.kill()
    wait_counts(counters, COUNTS_BETWEEN)  # the two others go on
    node.start()
    node.wait_ready()
    wait_counts(counters, COUNTS_BETWEEN)
    info = node.info()
    assert info["ready"] == "1", info


def check_counts(cluster, counters):
    final = int(cluster.nodes[1].client()("GET", "counter"))
    acked = [value for counter in counters for value in counter.acked]
    unknown = sum(counter.unknown for counter in counters)
    print(f"{len(acked)} acknowledged, {unknown} unknown, counter at {final}")
    assert len(set(acked)) == len(acked), "a value was given out twice"
    assert max(acked) <= final
    assert len(acked) <= final <= len(acked) + unknown, "increments were lost or counted twice"


def main(trireme, driver):
    stop = threading.Event()
    with Cluster(trireme, driver, ["--deadline-us", "60s"]) as cluster:
        leader = cluster.leader()
        follower = 1 + leader % 3
        other = 6 - leader - follower
        load = start_load(cluster, other)
        counters = [Counter(node, stop) for node in cluster.nodes.values() for _ in range(2)]
        try:
            for counter in counters:
                counter.start()
            wait_counts(counters, COUNTS_BETWEEN)
            kill_and_restart(cluster, follower, counters)
            leader = cluster.leader()
            if leader == other:  # it is under load: the other one of those that may die
                leader = follower
            kill_and_restart(cluster, leader, counters)
        finally:
            stop.set()
            load.kill()
            load.wait()
        for counter in counters:
            counter.join(timeout=90)
            assert not counter.is_alive()
            assert counter.failure is None, counter.failure
        check_counts(cluster, counters)
        print("digest of all replicas:", cluster.agree().decode())
        cluster.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
