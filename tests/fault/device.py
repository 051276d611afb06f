"""A cluster over RDMA: faults that a leader's writes in flight outlive, and what the ports must have counted."""

import signal
import time

from faults import Fault, ProcessFaults

MORE_ROUNDS_MAX = 30  # until a device has refused the write of a leader that is one no more
WAIT_S = 60


class DeviceFaults(ProcessFaults):
    """Leaders are stopped amid their writes. One that wakes goes on with what it was at, and the followers have
    promised another leader meanwhile: their devices must refuse it. But a leader that was about to look at its
    messages writes nothing more; so leaders are stopped until one was caught at a write."""

    def __init__(self, cluster, seed):
        super().__init__(cluster, seed)
        self.refused = 0  # writes of leaders that woke

    def kinds(self):
        return ((self.stop_leader,), (self.kill, True), (self.stop_leader,), (self.kill, False))

    def next(self):
        if self.round < len(self.kinds()):
            return super().next()
        self.round += 1
        return self.stop_leader()

    def wants_more(self):
        """Whether what is looked for has not been seen yet."""
        assert self.round < len(self.kinds()) + MORE_ROUNDS_MAX, "no write of an old leader was refused"
        return self.refused == 0

    def stop_leader(self):
        leader, *others = self.roles()
        node = self.cluster.nodes[leader]

        def refused():
            return self.cluster.counters(leader, "port")["writes_refused"]

        before = refused()

        def wake():
            self.wait_successor(leader, others)
            node.process.send_signal(signal.SIGCONT)
            self.cluster.leader()  # it follows, too
            count = refused() - before
            self.refused += count
            print(f"node {leader} woke: {count} of its writes refused", flush=True)

        return Fault(
            f"stop node {leader}, the leader",
            lambda: node.process.send_signal(signal.SIGSTOP),
            wake,
        )

    def wait_successor(self, old, numbers):
        """Waits until one of the others leads, and has committed since."""
        end = time.monotonic() + WAIT_S
        first = None
        while time.monotonic() < end:
            infos = [self.cluster.nodes[number].info() for number in numbers]
            slot = min(int(info["slot_apply"]) for info in infos)
            if {info["leader"] for info in infos} <= {str(number) for number in numbers}:
                first = slot if first is None else first
                if slot > first:
                    return
            time.sleep(0.02)
        raise AssertionError(f"nobody took over from node {old}")


def check_device(cluster):
    """What can be left to a device was: writes are one-sided, joined, and gathered without a copy."""
    total = {}
    for number in cluster.nodes:
        for name, count in cluster.counters(number, "port").items():
            total[name] = total.get(name, 0) + count
    print({name: count for name, count in total.items() if name.startswith("write")}, flush=True)
    assert total["writes"] > 0, "nothing was replicated one-sided"
    assert total["write_doorbells"] <= total["write_requests"] <= total["writes"]
    assert total["write_copied_bytes"] == 0, "a leader copied what it should only show"
