"""A cluster over RDMA: faults that a leader's writes in flight outlive, and what the ports must have counted."""

import signal
import subprocess
import time

from faults import Fault, ProcessFaults

MORE_ROUNDS_MAX = 30  # until a device has refused the write of a leader that is one no more
WAIT_S = 60
RUNS_MAX = 10
WRAPS = 4  # requests more, where a ring began anew amid the commands


class DeviceFaults(ProcessFaults):
    """Leaders are stopped amid their writes. One that wakes goes on with what it was at, and the followers have
    promised another leader meanwhile: their devices must refuse it. But a leader that was about to look at its
    messages writes nothing more; so leaders are stopped until one was caught at a write.

    Besides, what a leader sends to one follower by RDMA is cut off until its connections break."""

    def __init__(self, cluster, seed):
        super().__init__(cluster, seed)
        self.refused = 0  # writes of leaders that woke

    def kinds(self):
        return (
            (self.stop_leader,),
            (self.kill, True),
            (self.break_connections,),
            (self.stop_leader,),
            (self.kill, False),
        )

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

    def break_connections(self):
        """Packets go to a neighbour that is not there; the exchange over TCP goes on."""
        leader, follower, _ = self.roles()

        def neighbour(last):
            words = ["ip", "neigh", "replace", f"10.77.0.{follower}", "lladdr", f"02:00:00:77:00:{last}"]
            subprocess.run(words + ["dev", f"rn{leader - 1}", "nud", "permanent"], check=True)

        def join():
            end = time.monotonic() + WAIT_S
            while self.cluster.counters(leader, "port")["writes_broken"] == before:
                assert time.monotonic() < end, "no write broke"
                time.sleep(0.02)
            neighbour(f"0{follower}")
            after = wait_one_sided(self.cluster)
            group = self.cluster.counters(leader, "group")
            is_same = after == leader and group["ballot_round"] == round_before
            print(f"node {after} leads, {'still' if is_same else 'now'}, and writes to both others", flush=True)
            # Only an emulated machine that is starved needs an election for it.
            assert not is_same or group["grants_asked"] > 0, "the ring was not asked for again"

        before = self.cluster.counters(leader, "port")["writes_broken"]
        round_before = self.cluster.counters(leader, "group")["ballot_round"]
        return Fault(f"cut node {follower} off from node {leader}, the leader", lambda: neighbour("63"), join)

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


def wait_one_sided(cluster):
    """Waits until the leader writes into the rings of both others: who came back, or whose ring broke, has granted
    another."""
    end = time.monotonic() + WAIT_S
    while True:
        leader = cluster.leader()
        count = cluster.counters(leader, "group")
        if count["peers_one_sided"] == 2:
            return leader
        assert time.monotonic() < end, f"node {leader} writes to {count['peers_one_sided']} others"
        time.sleep(0.02)


def load(cluster, leader, batches, commands):
    """So many commands at once, so many times, at the leader. Returns the growth of its counters: port's, group's."""
    client = cluster.nodes[leader].client()
    client("SET", "device", "warm")
    before = [cluster.counters(leader, scope) for scope in ("port", "group")]
    for batch in range(batches):
        for number in range(commands):
            client.send("SET", f"device:{number}", f"{batch}")
        for _ in range(commands):
            assert client.receive() == "OK"
    client.close()
    time.sleep(0.3)  # counters are published a few times a second
    after = [cluster.counters(leader, scope) for scope in ("port", "group")]
    return [{name: new[name] - old[name] for name in new} for new, old in zip(after, before)]


def check_requests(cluster):
    """While nothing is wrong: a follower and batch cost the leader one work request and one doorbell at most, and no
    copy."""
    for batches, commands in ((40, 1), (10, 40)):
        for _ in range(RUNS_MAX):
            leader = wait_one_sided(cluster)
            port, group = load(cluster, leader, batches, commands)
            if group["retransmits"] + port["writes_broken"] + port["writes_refused"] + group["elections_won"] == 0:
                break  # else nothing was wrong but the time that an emulated machine had
        seen = {name: port[name] for name in ("writes", "write_requests", "write_doorbells", "write_copied_bytes")}
        print(f"{batches} x {commands} commands, {group['proposals']} slots: {seen}", flush=True)
        most = 2 * group["proposals"] + WRAPS
        assert 0 < port["write_requests"] <= most, "more than a work request a follower and batch"
        assert port["write_doorbells"] <= most
        assert port["write_copied_bytes"] == 0


def check_device(cluster):
    """What can be left to a device was: writes are one-sided, joined, and gathered without a copy."""
    check_requests(cluster)
    total = {}
    for number in cluster.nodes:
        for name, count in cluster.counters(number, "port").items():
            total[name] = total.get(name, 0) + count
    print({name: count for name, count in total.items() if name.startswith("write")}, flush=True)
    assert total["writes"] > 0, "nothing was replicated one-sided"
    assert total["write_doorbells"] <= total["write_requests"] <= total["writes"]
    assert total["write_copied_bytes"] == 0, "a leader copied what it should only show"
