#!/usr/bin/env python3
"""Measures the fuzzers: figures.py BUILD-FUZZ BUILD-COVERAGE [--seconds N] [TARGET...]

From the root of the sources. Runs each fuzzer of BUILD-FUZZ for a while on its corpus, replays corpus and findings by
the program of BUILD-COVERAGE (compiled with --coverage, see scripts/coverage), and prints a row a target: executions
a second of CPU time, edges that libFuzzer saw, and lines of the decoder's own sources that gcov saw."""

import argparse
import glob
import os
import re
import resource
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "coverage"))
import report  # noqa: E402

# Target -> its decoder's sources.
TARGETS = {
    "wire": ["consensus/message.c", "consensus/message.h"],
    "record": ["consensus/record.c", "consensus/record.h", "consensus/ring.c"],
    "step": sorted(glob.glob("consensus/*.c")),
    "sessions": [f"consensus/session{part}.c" for part in ("", "_replies", "_save")],
    "snapshot": ["apps/kv/snapshot.c", "dataplane/snapshot.c"],
    "config": ["apps/kv/config.c", "apps/cli/option.c", "apps/cli/config_file.c"],
    "frames": ["drivers/fragment.c"],
    "kv_resp": ["apps/kv/resp.c", "apps/kv/command.c"],
    "kv_entry": ["apps/kv/machine.c", "apps/kv/store.c"],
}
OBJECTS = {
    "consensus": "consensus/libtrireme-consensus.a.p",
    "dataplane": "dataplane/libtrireme-dataplane.a.p",
    "drivers": "drivers/libtrireme-drivers.a.p",
    "apps/kv": "apps/libtrireme-kv-state.a.p",
    "apps/cli": "apps/libtrireme-cli.a.p",
}


def fuzz(build, target, seconds, folders):
    """Executions a second of CPU time, edges seen, edges that there are."""
    command = [os.path.join(build, "tests/fuzz/fuzz-" + target), f"-max_total_time={seconds}", "-seed=1"]
    command += ["-max_len=512", "-print_final_stats=1", *folders]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        sys.exit(f"{target} found something:\n{done.stderr[-2000:]}")
    units = int(re.search(r"number_of_executed_units:\s+(\d+)", done.stderr).group(1))
    edges = int(re.findall(r"cov: (\d+)", done.stderr)[-1])
    edges_all = int(re.search(r"\((\d+) inline 8-bit counters\)", done.stderr).group(1))
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return round(units / seconds), edges, edges_all


def lines(build, target, folders):
    """Lines of the decoder that the replay of these inputs reached, and those that there are."""
    for path in glob.glob(os.path.join(build, "**/*.gcda"), recursive=True):
        os.remove(path)
    command = [os.path.join(build, "tests/fuzz/replay-" + target), *folders]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    reached = whole = 0
    for folder in {os.path.dirname(name) for name in TARGETS[target]}:
        sources = report.read_sources(os.path.join(build, OBJECTS[folder]), folder)
        for name, source in sources.items():
            if os.path.join(folder, os.path.basename(name)) in TARGETS[target]:
                counts = source.counts()
                reached, whole = reached + counts[0], whole + counts[1]
    return reached, whole


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("fuzzers")
    parser.add_argument("replays")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("target", nargs="*")
    options = parser.parse_args()
    print("| target | executions a second of CPU time | edges | lines of its decoder |\n|---|---|---|---|")
    for target in options.target or TARGETS:
        with tempfile.TemporaryDirectory() as found:
            folders = [found, "tests/fuzz/corpus/" + target]
            rate, edges, edges_all = fuzz(options.fuzzers, target, options.seconds, folders)
            reached, whole = lines(options.replays, target, folders)
        share = f"{reached} of {whole} ({100 * reached / whole:.0f} %)"
        print(f"| `{target}` | {rate} | {edges} of {edges_all} | {share} |", flush=True)


if __name__ == "__main__":
    main()
