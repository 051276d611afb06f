#!/usr/bin/env python3
"""Verifies one configuration of the model of a group: exhaustively, then that it is not idle, then
that each rule broken on purpose is noticed.

Arguments: group.pml, the name of a configuration. Exits 77 where spin or a compiler is missing."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

MEMORY_MB = 3000
SEARCH_SECONDS = 280
DEPTH_MAX = 10000

# Three replicas from the first election on; five under a leader, one of which may crash, one stand.
THREE = {"REPLICAS": 3, "PROMISES_AT_ONCE": 0}
FIVE = {"REPLICAS": 5, "PROMISES_AT_ONCE": 1, "ESTABLISHED": 1, "LAST_PROPOSES": 1, "CRASHER": 1}

# RINGS is the set of replicas that have one. The last column: what must be noticed when broken.
CONFIGURATIONS = {
    "leaders": (
        {**THREE, "BALLOTS": 3, "SLOTS": 1, "CRASHES": 0, "RINGS": 7, "MESSAGES": 1},
        """PROMISE_BEFORE_FENCED GRANT_BEFORE_DRAIN OLD_GENERATION OWN_VALUE ADOPT_LOWER
        ACCEPT_BELOW_PROMISE ACK_ANY_BALLOT QUORUM_P1 QUORUM_P2""",
    ),
    "slots": (
        {**THREE, "BALLOTS": 2, "SLOTS": 2, "CRASHES": 0, "RINGS": 7, "MESSAGES": 1},
        "PROMISE_BEFORE_FENCED GRANT_BEFORE_DRAIN",
    ),
    "forgetting": (
        {**THREE, "BALLOTS": 3, "SLOTS": 1, "CRASHES": 1, "RINGS": 0, "MESSAGES": 1},
        "FORGET_PROMISE PAGE_PROMISE RECOVER_WITHOUT_VALUES RECOVERY_QUORUM",
    ),
    "forgetting-twice": (
        {**THREE, "BALLOTS": 2, "SLOTS": 1, "CRASHES": 2, "RINGS": 0, "MESSAGES": 1},
        "",
    ),
    "forgetting-rings": (
        {**THREE, "BALLOTS": 2, "SLOTS": 1, "CRASHES": 1, "RINGS": 7, "MESSAGES": 1},
        "PROMISE_BEFORE_FENCED GRANT_BEFORE_DRAIN OLD_GENERATION",
    ),
    "five": (
        {**FIVE, "BALLOTS": 2, "SLOTS": 1, "CRASHES": 1, "RINGS": 0, "MESSAGES": 1},
        "NO_INCARNATION VECTOR_IGNORED",
    ),
    "five-rings": (
        {**FIVE, "BALLOTS": 2, "SLOTS": 1, "CRASHES": 1, "RINGS": 6},
        "JOIN_BEFORE_FENCED",
    ),
}


def build(model, folder, sizes, optimisation, extra=()):
    """Compiles the verifier of the model at these sizes; returns its path."""
    definitions = [f"-D{name}={number}" for name, number in sizes.items()]
    definitions += [f"-D{name}" for name in extra]
    command = ["spin", *definitions, "-a", model]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE)
    flags = ["-DSAFETY", "-DCOLLAPSE", "-DNOFAIR", f"-DMEMLIM={MEMORY_MB}", "-w", optimisation]
    subprocess.run([compiler(), *flags, "-o", "pan", "pan.c"], cwd=folder, check=True)
    return os.path.join(folder, "pan")


def compiler():
    return shutil.which("gcc") or shutil.which("cc")


def search(model, sizes, optimisation, extra=()):
    """Runs one search. Returns (complete, errors, states, what was violated)."""
    with tempfile.TemporaryDirectory() as folder:
        pan = build(model, folder, sizes, optimisation, extra)
        command = [pan, f"-m{DEPTH_MAX}", "-E", "-w22"]
        report = subprocess.run(
            command, cwd=folder, stdout=subprocess.PIPE, text=True, timeout=SEARCH_SECONDS
        ).stdout
    errors = re.search(r"errors: (\d+)", report)
    states = re.search(r"(\d+) states, stored", report)
    violated = re.search(r"pan:\d+: (.*) \(at depth", report)
    cut = "max search depth too small" in report or "Search not completed" in report
    if errors is None or states is None:
        return False, 0, 0, report
    return not cut, int(errors[1]), int(states[1]), violated[1] if violated else ""


def verify(model, name):
    """All searches of one configuration. Returns the findings, none if all is well."""
    sizes, broken = CONFIGURATIONS[name]
    findings = []
    started = time.monotonic()
    complete, errors, states, violated = search(model, sizes, "-O2")
    seconds = time.monotonic() - started
    holds = complete and errors == 0
    verdict = "it holds" if holds else violated
    print(f"{name}: {states} states in {seconds:.0f} s: {verdict}", flush=True)
    if not holds:
        findings.append("the model does not hold, or was not searched to the end")
    expected = [("the last ballot proposes what was chosen, after every crash", "WITNESS")]
    expected += [(f"{rule} is noticed", "BREAK_" + rule) for rule in broken.split()]
    for what, definition in expected:
        _, errors, states, violated = search(model, sizes, "-O0", [definition])
        print(f"  {what}: {states} states,", violated if errors else "NOTHING", flush=True)
        if not errors:
            findings.append(f"{definition}: no violation")
    return findings


def main():
    if shutil.which("spin") is None or compiler() is None:
        print("skipped: spin (Debian package spin) and a C compiler are needed")
        return 77
    findings = verify(os.path.abspath(sys.argv[1]), sys.argv[2])
    for finding in findings:
        print("FAILED:", finding)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
