#!/usr/bin/env python3
"""The example counter_processes as three real processes: processes_test.py PROGRAM udp|shm.

Whatever is added through one node is seen on the others; a node that was killed comes back knowing
what it had forgotten."""

import os
import select
import socket
import subprocess
import sys

ANSWER_S = 60  # a loaded machine may take long


def addresses(driver):
    """Three addresses that nobody uses."""
    if driver == "shm":
        return [f"shm:example-{os.getpid()}-{node}" for node in (1, 2, 3)]
    held = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    found = [f"127.0.0.1:{one.getsockname()[1]}" for one in held]
    for one in held:
        one.close()
    return found


class Node:
    """One process."""

    def __init__(self, program, node, peers, driver):
        self.process = subprocess.Popen(
            [program, "--node", str(node), "--peers", peers, "--driver", driver],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    def ask(self, line):
        """What a line is answered with: the total, or None where the outcome is not known."""
        self.process.stdin.write(line.encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            ready, _, _ = select.select([self.process.stdout], [], [], ANSWER_S)
            assert ready, f"no answer to '{line}'"
            piece = os.read(self.process.stdout.fileno(), 4096)
            assert piece, f"the node ended at '{line}'"
            answer += piece
        words = answer.decode().split()
        return int(words[0]) if words[1] == "slot" else None

    def total(self):
        """The total, asked until a quorum answers."""
        for _ in range(10):
            answer = self.ask("")
            if answer is not None:
                return answer
        raise AssertionError("no quorum answers")

    def end(self):
        self.process.stdin.close()
        assert self.process.wait(ANSWER_S) == 0, "it ended badly"


def converse(nodes, start):
    assert nodes[0].ask("5") == 5
    assert nodes[1].ask("20") == 25
    assert nodes[2].ask("100") == 125
    assert [node.total() for node in nodes] == [125] * 3
    nodes[1].process.kill()
    nodes[1].process.wait()
    assert nodes[0].ask("1000") == 1125, "two of three are a quorum"
    nodes[1] = start(2)
    assert [node.total() for node in nodes] == [1125] * 3, "the restarted one has recovered"
    for node in nodes:
        node.end()


def main(program, driver):
    peers = ",".join(f"{at}={address}" for at, address in enumerate(addresses(driver), 1))

    def start(node):
        return Node(program, node, peers, driver)

    wrong = subprocess.run([program, "--node"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2 and "usage:" in wrong.stderr, wrong
    nodes = []
    try:
        for node in (1, 2, 3):
            nodes.append(start(node))
        converse(nodes, start)
    finally:
        for node in nodes:
            node.process.kill()
            node.process.wait()
    print("right")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
