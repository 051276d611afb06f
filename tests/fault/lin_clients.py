"""Clients of a kv cluster that record what they asked and were answered, for the linearizability checker."""

import random
import threading
import time

from kv_cluster import ReplyError, Unanswered

ANSWER_S = 3  # the server gives up earlier

# Sorts of keys, and what is done to them.
SORTS = {
    "register": ("GET", "GET", "SET", "DEL"),
    "counter": ("GET", "INCR", "INCR"),
    "text": ("GET", "APPEND", "APPEND"),
    "mixed": ("GET", "GET", "SET", "INCR", "APPEND"),
}


class Tickets:
    """So many operations may be begun; who takes one when there is none waits, or is told that it is over."""

    def __init__(self):
        self.changed = threading.Condition()
        self.allowed = 0
        self.taken = 0
        self.is_over = False

    def allow(self, count):
        with self.changed:
            self.allowed += count
            self.changed.notify_all()

    def end(self):
        with self.changed:
            self.is_over = True
            self.changed.notify_all()

    def take(self):
        """The number of an operation, or None when it is over."""
        with self.changed:
            self.changed.wait_for(lambda: self.taken < self.allowed or self.is_over)
            if self.taken == self.allowed:
                return None
            self.taken += 1
            self.changed.notify_all()
            return self.taken - 1

    def wait_taken(self, count, timeout_s):
        with self.changed:
            assert self.changed.wait_for(lambda: self.taken >= count, timeout_s), "no progress"


def quoted(value):
    """A value in the words of the history."""
    if value is None:
        return "nil"
    plain = (chr(byte) if 0x20 <= byte < 0x7F and byte not in b'"\\' else f"\\x{byte:02x}" for byte in value)
    return '"' + "".join(plain) + '"'


def result_of(kind, reply):
    """What a reply says, in the words of the history."""
    if isinstance(reply, ReplyError):
        text = str(reply)
        if "outcome unknown" in text:
            return "-"
        if text.startswith("TRYAGAIN") or "not an integer" in text:
            return "fail"
        raise AssertionError(f"unexpected reply {reply!r}")
    if kind == "GET":
        return quoted(reply)
    if kind == "DEL":
        return "true" if reply else "false"
    return "ok" if kind == "SET" else str(reply)


class Recorder:
    """The lines of one client, which goes on under another number after an unknown outcome."""

    def __init__(self, numbers):
        self.numbers = numbers  # shared: the next number of a client
        self.number = next(numbers)
        self.lines = []
        self.answered = 0
        self.unknown = 0

    def record(self, client, kind, key, argument):
        """Sends a command and records it. Returns whether it was done: else another node may do better."""
        words = [kind, key] + ([] if argument is None else [argument])
        reply, result = None, "-"
        begin = time.monotonic_ns()
        try:
            client.send(*words)
            reply = client.receive()
            end = time.monotonic_ns()
            result = result_of(kind, reply)
        except Unanswered:
            pass
        if kind == "INCR":
            argument = "1"
        line = [str(self.number), kind.lower(), key] + ([] if argument is None else [argument])
        self.lines.append(" ".join(line + [result, str(begin), "-" if result == "-" else str(end)]))
        if result == "-":
            self.unknown += 1
            self.number = next(self.numbers)
        else:
            self.answered += 1
        return result != "-" and not self.is_refusal(reply)

    @staticmethod
    def is_refusal(reply):
        return isinstance(reply, ReplyError) and str(reply).startswith("TRYAGAIN")


class Worker(threading.Thread):
    """A client that works on the keys of the time through one node after another."""

    def __init__(self, nodes, seed, tickets, recorder, key_of):
        super().__init__(daemon=True)
        self.nodes = nodes
        self.random = random.Random(seed)
        self.name = f"w{seed}"
        self.tickets = tickets
        self.recorder = recorder
        self.key_of = key_of  # from the number of an operation and a sort to a key
        self.failure = None

    def connect(self):
        """A connection to some node: one that is dead refuses, one that stands still accepts."""
        for attempt in range(2000):
            try:
                return self.random.choice(self.nodes).client(timeout_s=ANSWER_S)
            except OSError:
                time.sleep(0.01)
        raise AssertionError("no node accepts")

    def command(self, number):
        sort = self.random.choice(list(SORTS))
        kind = self.random.choice(SORTS[sort])
        argument = None
        if kind == "SET" and sort == "mixed":
            argument = str(number)
        elif kind == "SET":
            argument = f"{self.name}.{number}"
        elif kind == "APPEND":
            argument = str(self.random.randrange(10)) if sort == "mixed" else f"<{number}>"
        return kind, self.key_of(number, sort), argument

    def work(self):
        client = None
        while (number := self.tickets.take()) is not None:
            if client is None or self.random.randrange(200) == 0:
                client = self.connect()
            if not self.recorder.record(client, *self.command(number)):
                client.close()
                client = None
        if client is not None:
            client.close()

    def run(self):
        try:
            self.work()
        except BaseException as failure:
            self.failure = failure
            self.tickets.end()
