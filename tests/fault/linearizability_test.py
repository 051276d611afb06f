#!/usr/bin/env python3
"""Three kv processes that are killed, stopped and continued under concurrent clients; whatever the clients were
answered must be linearizable, which trireme-lin judges, and the replicas must end equal."""

import argparse
import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "apps"))
from kv_cluster import Cluster  # noqa: E402
from lin_clients import SORTS, Recorder, Tickets, Worker  # noqa: E402

WORKERS = 6
GENERATION = 400  # operations; then other keys are used, which keeps each one's history short
PHASE_S = 200  # a phase that lasts longer hangs


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trireme")
    parser.add_argument("lin", help="trireme-lin")
    parser.add_argument("driver", choices=["udp", "shm"])
    parser.add_argument("--rounds", type=int, default=6, help="faults before the history is judged (6)")
    parser.add_argument("--operations", type=int, default=1500, help="operations a round (1500)")
    parser.add_argument("--seed", type=int, default=1, help="of the choices of keys, kinds and faults (1)")
    parser.add_argument("--hours", type=float, default=0, help="go on with new keys for so long (once)")
    parser.add_argument("--keep", help="leave the histories and the drawing in this folder")
    return parser.parse_args()


class Faults:
    """Breaks the cluster in turn, and repairs it. One node at a time is killed: the two others remember."""

    def __init__(self, cluster, seed):
        self.cluster = cluster
        self.random = random.Random(seed)
        self.round = 0

    def victim(self, is_leader):
        leader = self.cluster.leader()
        others = [number for number in self.cluster.nodes if number != leader]
        return self.cluster.nodes[leader if is_leader else self.random.choice(others)]

    def next(self):
        """Breaks something. Returns its name and the function that repairs it."""
        kinds = (self.stop, self.kill)
        kind, is_leader = kinds[self.round % 2], self.round // 2 % 3 != 1
        self.round += 1
        node = self.victim(is_leader)
        name = f"{kind.__name__} {'the leader' if is_leader else 'a follower'}, node {node.number}"
        return name, kind(node)

    def kill(self, node):
        node.kill()

        def repair():
            node.start()
            node.wait_ready()

        return repair

    def stop(self, node):
        node.process.send_signal(signal.SIGSTOP)
        return lambda: node.process.send_signal(signal.SIGCONT)


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

    def phase(self, count, change):
        """Lets so many operations begin, and changes something amid them."""
        begin = self.tickets.allowed
        self.tickets.allow(count)
        self.wait(begin + count // 3)
        result = change()
        self.wait(begin + count)
        return result

    def run(self, faults):
        for worker in self.workers:
            worker.start()
        half = self.options.operations // 2
        for _ in range(self.options.rounds):
            name, repair = self.phase(half, faults.next)
            print(name, flush=True)
            self.phase(half, repair)
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


def main(options):
    end = time.monotonic() + options.hours * 3600
    folder = options.keep or tempfile.mkdtemp(prefix="trireme-lin-")
    os.makedirs(folder, exist_ok=True)
    with Cluster(options.trireme, options.driver, ["--deadline-us", "1s"]) as cluster:
        faults = Faults(cluster, options.seed)
        for number in itertools.count():
            run_batch(options, folder, cluster, faults, number)
            if time.monotonic() >= end:
                break
        cluster.stop()
    if not options.keep:
        for name in os.listdir(folder):
            os.remove(os.path.join(folder, name))
        os.rmdir(folder)


if __name__ == "__main__":
    main(arguments())
