"""One history of a kv cluster under faults: made by clients, judged by trireme-lin, and again with an answer
falsified, which the judgement must refuse."""

import itertools
import os
import subprocess

from lin_clients import SORTS, Recorder, Tickets, Worker

WORKERS = 6
GENERATION = 400  # operations; then other keys are used, which keeps each one's history short
PHASE_S = 200  # a phase that lasts longer hangs


class Batch:
    """One history: clients on keys that nobody used before."""

    def __init__(self, cluster, options, number):
        self.options = options
        self.number = number
        self.cluster = cluster
        self.tickets = Tickets()
        self.numbers = itertools.count()
        self.recorders = [Recorder(self.numbers) for _ in range(WORKERS + 1)]
        nodes = list(cluster.nodes.values())
        seeds = [options.seed * 1000003 + number * 1009 + at for at in range(WORKERS)]
        self.workers = [
            Worker(nodes, seed, self.tickets, recorder, self.key_of)
            for seed, recorder in zip(seeds, self.recorders)
        ]

    def key_of(self, operation, sort):
        return f"{sort}:{self.number}:{operation // GENERATION}"

    def wait(self, count):
        self.tickets.wait_taken(count, PHASE_S)
        for worker in self.workers:
            if worker.failure is not None:
                raise worker.failure

    def phase(self, count, before, change):
        """Lets so many operations begin, and changes something when some of them have."""
        begin = self.tickets.allowed
        self.tickets.allow(count)
        self.wait(begin + before)
        change()
        self.wait(begin + count)

    def run(self, faults):
        for worker in self.workers:
            worker.start()
        half = self.options.operations // 2
        rounds = 0
        while rounds < self.options.rounds or faults.wants_more():
            rounds += 1
            fault = faults.next()
            during = min(2 * half // 3, fault.operations_max)
            self.phase(half, half - during, fault.begin)
            print(fault.name, flush=True)
            self.phase(half, min(half // 3, during), fault.end)
        self.tickets.end()
        for worker in self.workers:
            worker.join(timeout=PHASE_S)
            assert not worker.is_alive()
            if worker.failure is not None:
                raise worker.failure
        self.read_all()

    def read_all(self):
        """The last word: each key is read through each node."""
        for node in self.cluster.nodes.values():
            client = node.client()
            for generation in range((self.tickets.taken - 1) // GENERATION + 1):
                for sort in SORTS:
                    key = self.key_of(generation * GENERATION, sort)
                    assert self.recorders[-1].record(client, "GET", key, None)
            client.close()

    def lines(self):
        return [line for recorder in self.recorders for line in recorder.lines]

    def counts(self):
        answered = sum(recorder.answered for recorder in self.recorders)
        return answered, sum(recorder.unknown for recorder in self.recorders)


def judge(options, folder, name, lines):
    """Writes a history and judges it. Returns the verdict's status and what was said."""
    path = os.path.join(folder, name + ".txt")
    with open(path, "w") as file:
        file.write("model kv\n" + "\n".join(lines) + "\n")
    svg = ["--svg", os.path.join(folder, name + ".svg")]
    run = subprocess.run(
        [options.lin] + svg + [path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return run.returncode, run.stdout


def with_last_read_changed(lines, sort, change):
    """The history with another result of the last read of a key of a sort, which was made when all was quiet."""
    for at in range(len(lines) - 1, -1, -1):
        words = lines[at].split(" ")
        if words[1] == "get" and words[2].startswith(sort) and words[3] not in ("-", "fail", "nil"):
            words[3] = change(words[3].strip('"'))
            return lines[:at] + [" ".join(words)] + lines[at + 1 :]
    raise AssertionError(f"no read of a {sort}")


def check_canaries(options, folder, lines):
    """The same history with one answer falsified is refused: the judgement says something."""
    changes = {
        "counter": lambda text: str(int(text) - 1),
        "text": lambda text: text[: text.rindex("<")] or "nil",
        "register": lambda text: '"never"',
        "mixed": lambda text: '"never"',
    }
    for sort, change in changes.items():
        status, said = judge(options, folder, "canary-" + sort, with_last_read_changed(lines, sort, change))
        assert status == 1, f"a falsified {sort} was not refused:\n{said}"
        assert "No order explains" in said


def run_batch(options, folder, cluster, faults, number):
    """Makes a history under faults and judges it; the replicas must end equal."""
    batch = Batch(cluster, options, number)
    batch.run(faults)
    answered, unknown = batch.counts()
    print(f"{answered} answered, {unknown} unknown", flush=True)
    assert answered > unknown, "hardly anything was answered"
    status, said = judge(options, folder, f"history-{number}", batch.lines())
    print(said, flush=True)
    assert status == 0, f"see {folder}"
    if number == 0:
        check_canaries(options, folder, batch.lines())
    elif not options.keep:
        os.remove(os.path.join(folder, f"history-{number}.txt"))
    print("digest of all replicas:", cluster.agree().decode(), flush=True)
