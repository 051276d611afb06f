"""A network for the nodes of a test, in network namespaces that are its own: one a node, joined by a bridge in one
more. Nothing of the machine's own network is touched. Packets are dropped by nft where they arrive, so that each
direction between two nodes can be cut by itself."""

import contextlib
import ctypes
import json
import os
import shutil
import subprocess

PREFIX = "trireme-"
CLONE_NEWNET = 0x40000000
RULES = """
table ip trireme {
    set cut { type ipv4_addr; }
    counter dropped { }
    chain arriving {
        type filter hook input priority 0;
        ip saddr @cut counter name dropped drop
    }
}
"""

libc = ctypes.CDLL(None, use_errno=True)


def run(*words, text=None):
    """Runs a command that must succeed. Returns its output."""
    done = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
    return done.stdout


def why_not():
    """Why a network cannot be made here, or None."""
    for program in ("ip", "nft", "nsenter", "unshare"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"{PREFIX}{os.getpid()}-try"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        return f"no network namespaces: {made.stderr.strip()}"
    try:
        tried = subprocess.run(
            ["ip", "netns", "exec", name, "nft", "-f", "-"], input=RULES, capture_output=True, text=True, check=False
        )
    finally:
        run("ip", "netns", "delete", name)
    return None if tried.returncode == 0 else f"no nft: {tried.stderr.strip()}"


def set_namespace(fd):
    if libc.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def delete_stale():
    """Deletes what a test left behind that was killed."""
    for line in run("ip", "netns", "list").splitlines():
        name = line.split()[0]
        owner = name[len(PREFIX) :].split("-")[0]
        if name.startswith(PREFIX) and owner.isdigit() and not os.path.exists(f"/proc/{owner}"):
            run("ip", "netns", "delete", name)


class Network:
    """Use it in a with statement: no namespace outlives it."""

    def __init__(self, numbers):
        self.numbers = list(numbers)
        self.bridge = f"{PREFIX}{os.getpid()}-bridge"

    def namespace(self, number):
        return f"{PREFIX}{os.getpid()}-{number}"

    @staticmethod
    def address(number):
        return f"10.99.0.{number}"

    def __enter__(self):
        delete_stale()
        try:
            self._make_bridge()
            for number in self.numbers:
                self._make_node(number)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind, value, trace):
        for name in [self.namespace(number) for number in self.numbers] + [self.bridge]:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)

    def _make_bridge(self):
        run("ip", "netns", "add", self.bridge)
        run("ip", "-n", self.bridge, "link", "add", "bridge", "type", "bridge")
        run("ip", "-n", self.bridge, "link", "set", "bridge", "up")

    def _make_node(self, number):
        name, port = self.namespace(number), f"port{number}"
        run("ip", "netns", "add", name)
        run("ip", "-n", self.bridge, "link", "add", port, "type", "veth", "peer", "name", "eth", "netns", name)
        run("ip", "-n", self.bridge, "link", "set", port, "master", "bridge", "up")
        run("ip", "-n", name, "address", "add", self.address(number) + "/24", "dev", "eth")
        run("ip", "-n", name, "link", "set", "eth", "up")
        run("ip", "-n", name, "link", "set", "lo", "up")
        self._nft(number, "-f", "-", text=RULES)

    def _nft(self, number, *words, text=None):
        return run("ip", "netns", "exec", self.namespace(number), "nft", *words, text=text)

    def prefix(self, number):
        """What a command begins with that is to run as a node."""
        return ["nsenter", f"--net=/run/netns/{self.namespace(number)}"]

    @contextlib.contextmanager
    def inside(self, number):
        """This thread is in the namespace of a node: a socket that is made there stays there."""
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        other = os.open(f"/run/netns/{self.namespace(number)}", os.O_RDONLY)
        try:
            set_namespace(other)
            try:
                yield
            finally:
                set_namespace(own)
        finally:
            os.close(own)
            os.close(other)

    def cut(self, sender, receiver):
        """From here on the receiver hears nothing of the sender."""
        self._nft(receiver, "add", "element", "ip", "trireme", "cut", "{", self.address(sender), "}")

    def heal(self):
        """Everybody hears everybody again."""
        for number in self.numbers:
            self._nft(number, "flush", "set", "ip", "trireme", "cut")

    def dropped(self):
        """Packets that were dropped so far, by all cuts."""
        packets = 0
        for number in self.numbers:
            listed = json.loads(self._nft(number, "-j", "list", "counter", "ip", "trireme", "dropped"))
            packets += sum(row["counter"]["packets"] for row in listed["nftables"] if "counter" in row)
        return packets
