"""Three real kv processes and a small Redis client, for the tests of this folder."""

import json
import os
import secrets
import select
import signal
import socket
import subprocess
import tempfile
import time

START_S = 60  # a loaded machine may take long


class Unanswered(Exception):
    """The connection ended, or nothing came in time: the outcome of what was asked is unknown."""


class ReplyError(Exception):
    """The server answered with an error."""


def free_ports(count, kind=socket.SOCK_DGRAM):
    """Ports of the loopback that are free now. All are held until the last one is found."""
    held = [socket.socket(socket.AF_INET, kind) for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


class Client:
    """One connection: requests as lists of words, replies as Python values."""

    def __init__(self, port, timeout_s=30):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def close(self):
        self.socket.close()

    def send_raw(self, data):
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Unanswered(str(error)) from error

    def send(self, *words):
        parts = [b"*%d\r\n" % len(words)]
        for word in words:
            word = word if isinstance(word, bytes) else str(word).encode()
            parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
        self.send_raw(b"".join(parts))

    def _more(self):
        try:
            data = self.socket.recv(1 << 16)
        except OSError as error:
            raise Unanswered(str(error)) from error
        if not data:
            raise Unanswered("the connection ended")
        self.buffer += data

    def _line(self):
        while b"\r\n" not in self.buffer:
            self._more()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def receive(self):
        """One reply; an error is returned, not raised."""
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return ReplyError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            count = int(rest)
            if count < 0:
                return None
            while len(self.buffer) < count + 2:
                self._more()
            data, self.buffer = self.buffer[:count], self.buffer[count + 2 :]
            return data
        if kind == b"*":
            return None if int(rest) < 0 else [self.receive() for _ in range(int(rest))]
        raise AssertionError(f"not a reply: {line!r}")

    def __call__(self, *words):
        self.send(*words)
        reply = self.receive()
        if isinstance(reply, ReplyError):
            raise reply
        return reply


class Node:
    """One kv process, which may be killed and started again."""

    def __init__(self, cluster, number):
        self.cluster = cluster
        self.number = number
        self.port = cluster.listen[number]
        self.process = None
        self.starts = 0

    def start(self):
        self.starts += 1
        self.out = os.path.join(self.cluster.folder, f"node{self.number}.{self.starts}.out")
        self.err = self.out[:-3] + "err"
        command = self.cluster.prefix(self.number) + [self.cluster.trireme, "kv", "--node", str(self.number)]
        command += ["--peers", self.cluster.peers, "--driver", self.cluster.driver]
        if self.cluster.driver == "dpdk":
            command += ["--driver-options", self.cluster.dpdk_options(self.number)]
        command += ["--cluster", self.cluster.name, "--listen", f"127.0.0.1:{self.port}"]
        with open(self.out, "w") as out, open(self.err, "w") as err:
            self.process = subprocess.Popen(
                command + self.cluster.options_of(self.number), stdout=out, stderr=err, stdin=subprocess.DEVNULL
            )

    def text(self):
        with open(self.out) as out, open(self.err) as err:
            return out.read() + err.read()

    def wait_ready(self):
        end = time.monotonic() + START_S
        while "\nready: " not in self.text():
            assert self.process.poll() is None, f"node {self.number} ended:\n{self.text()}"
            assert time.monotonic() < end, f"node {self.number} is not ready:\n{self.text()}"
            time.sleep(0.02)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def client(self, timeout_s=30):
        return self.cluster.client(self, timeout_s)

    def info(self):
        client = self.client()
        text = client("INFO").decode()
        client.close()
        return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)


class Cluster:
    """Three nodes on this machine. Use it in a with statement: no process outlives it."""

    def __init__(self, trireme, driver, options=()):
        self.trireme = trireme
        self.driver = driver
        self.options = list(options)
        self.name = f"test{os.getpid()}{driver}"
        self.listen = dict(zip((1, 2, 3), free_ports(3, socket.SOCK_STREAM)))
        if driver == "dpdk":  # nobody else is on its wires
            addresses = [f"10.77.0.{number}:7410" for number in (1, 2, 3)]
        elif driver == "verbs":  # the devices of tests/vm
            addresses = [f"10.77.0.{number}:7440" for number in (1, 2, 3)]
        elif driver == "shm":
            addresses = [f"shm:{self.name}-{number}" for number in (1, 2, 3)]
        else:
            addresses = [f"127.0.0.1:{port}" for port in free_ports(3)]
        self.peers = ",".join(f"{number}={at}" for number, at in zip((1, 2, 3), addresses))

    def __enter__(self):
        self.temporary = tempfile.TemporaryDirectory(prefix="trireme-kv-")
        self.folder = self.temporary.name
        if self.driver == "verbs":
            self.options += ["--driver-options", "key=" + self.make_key()]
        self.nodes = {number: Node(self, number) for number in (1, 2, 3)}
        try:
            for node in self.nodes.values():
                node.start()
            for node in self.nodes.values():
                node.wait_ready()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def dpdk_options(self, number):
        """Of a node: its NIC, where tests/vm gives one a node; else memif."""
        nics = os.environ.get("TRIREME_NICS", "").split()
        if not nics:
            return f"memif={self.folder}"
        address, _ = nics[number - 1].split("/")
        return f"device={address},memory=64M,{os.environ['TRIREME_NIC_OPTIONS']}"

    def make_key(self):
        """The key of the cluster, in a file that only its owner may read."""
        path = os.path.join(self.folder, "key")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
        return path

    def counters(self, number, scope=""):
        """What a node has counted, by name, in the scopes that begin so; those of the same name together."""
        words = [self.trireme, "stat", "--node", f"{self.name}.{number}", "--once", "--json"]
        report = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
        total = {}
        for row in report["rows"]:
            if row["scope"].startswith(scope):
                total[row["name"]] = total.get(row["name"], 0) + row["value"]
        return total

    def __exit__(self, kind, value, trace):
        if value is not None:
            for node in self.nodes.values():
                print(f"--- node {node.number}:\n{node.text()[-3000:]}")
        for node in self.nodes.values():
            if node.process is not None and node.process.poll() is None:
                node.kill()
        self.temporary.cleanup()

    def prefix(self, number):
        """What the command of a node begins with."""
        return []

    def options_of(self, number):
        """What the command of a node ends with; asked at every start."""
        return self.options

    def client(self, node, timeout_s):
        """A connection to a node."""
        return Client(node.port, timeout_s)

    def leader(self):
        """The number of the node that leads; asks until they agree."""
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            leaders = {node.info()["leader"] for node in self.nodes.values()}
            if len(leaders) == 1 and leaders != {"0"}:
                return int(leaders.pop())
            time.sleep(0.02)
        raise AssertionError("the nodes agree on no leader")

    def agree(self):
        """Waits until all nodes have applied the same commands; returns their digest."""
        end = time.monotonic() + START_S
        while True:
            clients = [node.client() for node in self.nodes.values()]
            digests = {client("TRIREME.DIGEST") for client in clients}
            for client in clients:
                client.close()
            slots = {node.info()["slot_apply"] for node in self.nodes.values()}
            if len(digests) == 1 and len(slots) == 1:
                return digests.pop()
            assert time.monotonic() < end, f"the nodes differ: {digests}, slots {slots}"
            time.sleep(0.05)

    def stop(self):
        """Ends all nodes by SIGTERM; each must end well."""
        for node in self.nodes.values():
            node.process.send_signal(signal.SIGTERM)
        for node in self.nodes.values():
            status = node.process.wait(timeout=START_S)
            assert status == 0, f"node {node.number} ended with {status}:\n{node.text()}"
            assert f"stopped: node {node.number}" in node.text()


def readable(sock, timeout_s):
    """Whether something can be read from a socket within a time."""
    return bool(select.select([sock], [], [], timeout_s)[0])
