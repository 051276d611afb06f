"""What befalls a kv cluster, one fault after another. Each is begun and ended amid the clients' operations."""

import random
import signal

CLOCK_S_MAX = 10**7


class Fault:
    """Something that is broken by begin and repaired by end."""

    def __init__(self, name, begin, end, operations_max=10**9):
        self.name = name
        self.begin = begin
        self.end = end
        self.operations_max = operations_max  # that clients begin in the time: with no quorum each waits


class ProcessFaults:
    """Processes are stopped and killed, one at a time: who is killed forgets, and the two others remember."""

    def __init__(self, cluster, seed):
        self.cluster = cluster
        self.random = random.Random(seed)
        self.round = 0

    def kinds(self):
        return (
            (self.stop, True),
            (self.kill, True),
            (self.stop, False),
            (self.kill, False),
            (self.stop, True),
            (self.kill, True),
        )

    def next(self):
        kinds = self.kinds()
        kind, *arguments = kinds[self.round % len(kinds)]
        self.round += 1
        return kind(*arguments)

    def wants_more(self):
        """Whether the rounds that were asked for are not enough."""
        return False

    def roles(self):
        """The leader and the followers, in any order."""
        leader = self.cluster.leader()
        followers = [number for number in self.cluster.nodes if number != leader]
        self.random.shuffle(followers)
        return leader, *followers

    def victim(self, is_leader):
        leader, follower, _ = self.roles()
        role = "leader" if is_leader else "follower"
        return self.cluster.nodes[leader if is_leader else follower], role

    def stop(self, is_leader):
        node, role = self.victim(is_leader)
        return Fault(
            f"stop node {node.number}, the {role}",
            lambda: node.process.send_signal(signal.SIGSTOP),
            lambda: node.process.send_signal(signal.SIGCONT),
        )

    def kill(self, is_leader):
        return self.kill_node(*self.victim(is_leader))

    def kill_node(self, node, role):
        def restart():
            node.start()
            node.wait_ready()

        return Fault(f"kill node {node.number}, the {role}", node.kill, restart)


class NetworkFaults(ProcessFaults):
    """Besides, nodes are cut off: wholly, one way, and so that each still reaches some other; and who comes back
    has another clock."""

    def __init__(self, cluster, seed):
        super().__init__(cluster, seed)
        self.network = cluster.network
        self.dropped = 0  # packets, by the cuts that have ended

    def kinds(self):
        return (
            (self.isolate, True),
            (self.kill_for_another_clock, False),
            (self.mute,),
            (self.part_followers,),
            (self.kill_for_another_clock, True),
            (self.deafen,),
            (self.chain,),
            (self.stop, True),
            (self.isolate, False),
            (self.scatter,),
        )

    def cut(self, name, pairs, operations_max=10**9):
        """The second of each pair hears nothing of the first."""

        def begin():
            for sender, receiver in pairs:
                self.network.cut(sender, receiver)

        def end():
            before = self.network.dropped()
            self.network.heal()
            assert before > self.dropped, f"{name}: nothing was dropped"
            self.dropped = before

        return Fault(name, begin, end, operations_max)

    def isolate(self, is_leader):
        node, role = self.victim(is_leader)
        others = [number for number in self.cluster.nodes if number != node.number]
        pairs = [(node.number, other) for other in others] + [(other, node.number) for other in others]
        return self.cut(f"isolate node {node.number}, the {role}", pairs)

    def mute(self):
        """The leader hears everybody and is heard by nobody."""
        leader, *followers = self.roles()
        return self.cut(f"mute node {leader}, the leader", [(leader, other) for other in followers])

    def deafen(self):
        """The leader is heard by everybody and hears nobody: it must not be kept (rule 18)."""
        leader, *followers = self.roles()
        return self.cut(f"deafen node {leader}, the leader", [(other, leader) for other in followers])

    def part_followers(self):
        """Both followers reach the leader alone."""
        _, one, other = self.roles()
        return self.cut(f"part nodes {one} and {other}, the followers", [(one, other), (other, one)])

    def chain(self):
        """The leader reaches one follower alone, which reaches everybody: no endless duel (rule 18)."""
        leader, _, other = self.roles()
        return self.cut(f"part nodes {leader} and {other}, the leader and a follower", [(leader, other), (other, leader)])

    def scatter(self):
        """Nobody reaches anybody."""
        numbers = list(self.cluster.nodes)
        pairs = [(one, other) for one in numbers for other in numbers if one != other]
        return self.cut("part all nodes", pairs, operations_max=24)

    def kill_for_another_clock(self, is_leader):
        """The monotonic clock of the process that comes back is somewhere else."""
        node, role = self.victim(is_leader)
        ahead_s = self.cluster.clock_s[node.number] = self.random.randrange(CLOCK_S_MAX)
        return self.kill_node(node, f"{role} for one whose clock is {ahead_s} s ahead")
