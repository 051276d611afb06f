"""Clusters of kv processes that faults befall: in network namespaces, and with the fault driver around theirs."""

import itertools

from kv_cluster import Client, Cluster

# What the fault driver does to a process; each that is started gets the next.
WEATHERS = (
    "drop=2%,reorder=2%,reorder_delay=10us-2ms",
    "corrupt=1%,delay=20us-200us",
    "duplicate=5%,drop=0.5%,corrupt=1000ppm,delay=0us-1ms",
    "duplicate=1%,reorder=10%,write_refuse=1000ppm,write_delay=0us-100us",
)


class FaultyCluster(Cluster):
    """A cluster whose driver may be wrapped in the fault driver: then each process gets a weather of its own."""

    def __init__(self, trireme, driver, options, weathers):
        super().__init__(trireme, driver, options)
        self.below = driver
        self.weathers = itertools.cycle(WEATHERS) if weathers else None
        if weathers:
            self.driver = "fault"

    def options_of(self, number):
        if self.weathers is None:
            return self.options
        weather = next(self.weathers)
        print(f"node {number}: {weather}", flush=True)
        return self.options + ["--driver-options", f"driver={self.below},{weather}"]

    def check_weathers(self):
        """What befell the messages left its mark in the counters."""
        if self.weathers is None:
            return
        marks = dict.fromkeys(("dropped_malformed", "retransmits"), 0)
        for number in self.nodes:
            count = self.counters(number)
            for name in marks:
                marks[name] += count.get(name, 0)
        print("marks of the weather:", marks, flush=True)
        assert sum(marks.values()) > 0, "the fault driver did nothing"


class NetworkCluster(FaultyCluster):
    """Each node in a network namespace of its own, with a clock of its own."""

    def __init__(self, trireme, driver, options, weathers, network):
        super().__init__(trireme, driver, options, weathers)
        self.network = network
        self.clock_s = dict.fromkeys(network.numbers, 0)
        self.peers = ",".join(f"{number}={network.address(number)}:7000" for number in network.numbers)

    def prefix(self, number):
        clock = ["unshare", "--time", "--monotonic", str(self.clock_s[number])] if self.clock_s[number] else []
        return self.network.prefix(number) + clock

    def client(self, node, timeout_s):
        with self.network.inside(node.number):
            return Client(node.port, timeout_s)
