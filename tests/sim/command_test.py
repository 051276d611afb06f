#!/usr/bin/env python3
"""trireme-sim from the command line: traces are the same twice, what is shrunk fails the same when it is
replayed, processes beside each other come to the same totals, and schedules are as long as is said.

command_test.py PROGRAM
"""
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = sys.argv[1]
SEEDS = ["--seed", "1", "--seeds", "13", "--quiet"]


def run(*arguments, status):
    """What the program prints; it has to end with the status."""
    done = subprocess.run([PROGRAM, *map(str, arguments)], stdout=subprocess.PIPE, text=True, timeout=200)
    if done.returncode != status:
        sys.exit(f"{' '.join(map(str, arguments))}: ended with {done.returncode}, not {status}:\n{done.stdout}")
    return done.stdout


def check(holds, what):
    if not holds:
        sys.exit(f"failed: {what}")
    print(f"ok: {what}")


def failure(text):
    """Which checker found what, and the options that a run is made again with."""
    found = re.search(r"^FAILED (.*?): ([a-z ]+): ", text, re.M)
    return (found.group(2), found.group(1)) if found else (None, None)


def trace_twice(folder):
    options = ["--seed", 7, "--profile", "mixed", "--faults-us", 10000]
    paths = [folder / "first", folder / "second", folder / "other"]
    for path in paths[:2]:
        run(*options, "--trace", path, status=0)
    run(*options, "--seed", 8, "--trace", paths[2], status=0)
    first, second, other = (path.read_bytes() for path in paths)
    check(first.count(b"\n") > 1000 and first == second, "a seed gives the same trace twice, byte by byte")
    check(first != other, "another seed gives another one")


def shrink_and_replay(folder, canary, profile):
    options = ["--seed", 1, "--profile", profile, "--canary", canary, "--quiet"]
    text = run(*options, "--shrink", status=1)
    checker, _ = failure(text)
    shortest = re.search(r"^shortest: trireme-sim (.*)$", text, re.M)
    check(checker is not None and shortest is not None, f"{canary} fails ({checker}), and is shrunk")
    schedule = folder / f"{canary}.schedule"
    schedule.write_text(shortest.group(1) + "\n")
    again = [run("--replay", schedule, status=1) for _ in range(2)]
    check(failure(again[0])[0] == checker, f"the shortest schedule fails the same: {shortest.group(1)}")
    check(re.findall(r"hash \w+", again[0]) == re.findall(r"hash \w+", again[1]), "and step by step the same")
    check("--without" in shortest.group(1) and "--faults-us" in shortest.group(1), "with fewer faults, for less time")
    healthy = schedule.read_text().replace(f"--canary {canary}", "")
    schedule.write_text(healthy)
    run("--replay", schedule, status=0)
    check(True, "and without the bug it passes")


def totals():
    one, two = (run(*SEEDS, "--jobs", jobs, status=0) for jobs in (1, 2))
    numbers = [re.sub(r"\(\d+ a second of a core\)|in \d+ s of a core", "", text) for text in (one, two)]
    check(numbers[0] == numbers[1], "two processes come to the same totals as one")
    least = re.search(r"the least of a schedule: (\d+) events, (\d+) commands", one)
    check(int(least.group(1)) >= 20000 and int(least.group(2)) >= 1000, f"{least.group(0)}, as is said")


with tempfile.TemporaryDirectory() as name:
    trace_twice(Path(name))
    shrink_and_replay(Path(name), "QUORUM_OFF_BY_ONE", "partitions")
    shrink_and_replay(Path(name), "FENCE_NOT_AWAITED", "one_sided")
totals()
