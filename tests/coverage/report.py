#!/usr/bin/env python3
"""Which lines and branches of a folder of C sources the tests reached: report.py OBJECTS FOLDER EXPLAINED.

The folder OBJECTS was compiled with --coverage, and what it is linked to has run. Branches that only a failed assertion takes are
not counted. Every other branch that was not taken must be explained in the file EXPLAINED, in blocks

    FILE FUNCTION
    the text of the line
    COUNT: why so many branches of that line cannot be, or need not be taken,
        or, in one more line

Ends with 1 when less than 95 % of the lines were reached, when a branch is not explained, or when an
explanation is of a line that is no more."""

import argparse
import collections
import glob
import gzip
import json
import os
import re
import subprocess
import sys
import tempfile

LINES_PERCENT_LEAST = 95
ASSERTION = re.compile(r"\b(?:tr_assert|tr_assert_hot|tr_unreachable)\(")
COUNTED = re.compile(r"^(\d+): (.+)$")


class Line:
    """How often a line of a function ran, and each of its branches."""

    def __init__(self):
        self.count = 0
        self.branches = []

    def add(self, count, branches):
        """The same line in one more object file: an inline function of a header is in many."""
        self.count += count
        common = min(len(branches), len(self.branches))
        for at in range(common):
            self.branches[at] += branches[at]
        self.branches += branches[common:]

    def unreached(self):
        return sum(count == 0 for count in self.branches)


def gcov_files(objects):
    """What gcov says of every object file that has run."""
    data = [os.path.abspath(path) for path in sorted(glob.glob(os.path.join(objects, "*.gcda")))]
    if not data:
        sys.exit(f"{objects}: nothing has run")
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(
            ["gcov", "--json-format", "--branch-probabilities", "--branch-counts", *data],
            cwd=scratch,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        for path in glob.glob(os.path.join(scratch, "*.gcov.json.gz")):
            with gzip.open(path, "rt", encoding="utf-8") as file:
                report = json.load(file)
            for one in report["files"]:
                yield os.path.normpath(os.path.join(report["current_working_directory"], one["file"])), one


def assertion_lines(text):
    """The numbers of the lines on which an assertion stands, from its name to the last parenthesis."""
    numbers = set()
    for match in ASSERTION.finditer(text):
        depth, at = 1, match.end()
        while depth > 0 and at < len(text):
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            at += 1
        numbers.update(range(text.count("\n", 0, match.start()) + 1, text.count("\n", 0, at) + 2))
    return numbers


class Source:
    """A source file with its lines that ran: (number, function) -> Line."""

    def __init__(self, path, name):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        self.name = name
        self.texts = text.split("\n")
        self.assertions = assertion_lines(text)
        self.lines = collections.defaultdict(Line)

    def add(self, lines):
        for line in lines:
            number = line["line_number"]
            branches = [] if number in self.assertions else [b["count"] for b in line["branches"]]
            self.lines[number, line.get("function_name", "")].add(line["count"], branches)

    def counts(self):
        """Lines reached, lines, branches reached, branches."""
        reached = {number for (number, _), line in self.lines.items() if line.count}
        # What only an assertion that fails runs is not to be reached: tr_unreachable().
        numbers = {n for n, _ in self.lines if n in reached or n not in self.assertions}
        branches = [count for line in self.lines.values() for count in line.branches]
        return len(reached), len(numbers), sum(count > 0 for count in branches), len(branches)

    def unreached(self):
        """(function, text of the line) -> branches that were not taken, and the first line's number."""
        found = {}
        for (number, function), line in sorted(self.lines.items()):
            if line.unreached():
                key = self.name, function, self.texts[number - 1].strip()
                count, first = found.get(key, (0, number))
                found[key] = count + line.unreached(), first
        return found


def read_sources(objects, folder):
    """The sources of the folder, by name."""
    folder = os.path.abspath(folder)
    sources = {}
    for path, report in gcov_files(objects):
        if os.path.dirname(path) == folder:
            name = os.path.join(os.path.basename(folder), os.path.basename(path))
            sources.setdefault(name, Source(path, name)).add(report["lines"])
    return sources


def read_explained(path):
    """(file, function, text) -> how many branches are explained."""
    explained = {}
    with open(path, encoding="utf-8") as file:
        blocks = re.split(r"\n\s*\n", "".join(line for line in file if not line.startswith("#")))
    for block in filter(None, map(str.strip, blocks)):
        head, text, reason = (block.split("\n", 2) + ["", ""])[:3]
        counted, words = COUNTED.match(reason.split("\n")[0]), head.split()
        if counted is None or len(words) != 2:
            sys.exit(f"{path}: not a block of file and function, line, and COUNT: reason:\n{block}")
        explained[words[0], words[1], text.strip()] = int(counted.group(1))
    return explained


def print_table(sources):
    """A row a file. Returns the percentage of lines reached."""
    total = [0, 0, 0, 0]
    row = "{:32} {:>6} {:>6} {:>7} {:>8} {:>8} {:>7}"
    print(row.format("", "lines", "ran", "%", "branches", "taken", "%"))
    for name in sorted(sources) + ["all"]:
        counts = total if name == "all" else sources[name].counts()
        percents = [100 * part / max(whole, 1) for part, whole in (counts[:2], counts[2:])]
        cells = [counts[1], counts[0], f"{percents[0]:.1f}", counts[3], counts[2], f"{percents[1]:.1f}"]
        print(row.format(name, *cells))
        if name != "all":
            total = [sum(pair) for pair in zip(total, counts)]
    return 100 * total[0] / max(total[1], 1)


def judge(sources, explained):
    """Says what is wrong between what was not reached and what is explained. Returns how many faults."""
    unreached = {}
    for name in sorted(sources):
        unreached.update(sources[name].unreached())
    faults = 0
    for (name, function, text), (count, number) in unreached.items():
        excuse = explained.get((name, function, text), 0)
        if count > excuse:
            faults += 1
            print(f"{name}:{number}: {function}: {count} branches not taken, {excuse} explained: {text}")
    for name, function, text in explained:
        lines = sources[name].texts if name in sources else []
        if text not in map(str.strip, lines):
            faults += 1
            print(f"{name}: {function}: explained, but there is no such line: {text}")
        elif (name, function, text) not in unreached:
            print(f"note: {name}: {function}: explained, but every branch was taken: {text}")
    return faults


def self_test():
    text = "a;\ntr_assert(f(1) &&\n  g);\nif (x) tr_unreachable();\nb;\n"
    assert assertion_lines(text) == {2, 3, 4}, assertion_lines(text)
    line = Line()
    line.add(1, [1, 0])
    line.add(0, [0, 0, 3])
    assert line.count == 1 and line.branches == [1, 0, 3] and line.unreached() == 1
    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, "a.c")
        with open(path, "w", encoding="utf-8") as file:
            file.write("if (x) {\n    y;\n}\n")
        source = Source(path, "consensus/a.c")
        branches = [{"count": 1}, {"count": 0}]
        source.add([{"line_number": 1, "count": 1, "branches": branches, "function_name": "f"}])
        source.add([{"line_number": 2, "count": 0, "branches": [], "function_name": "f"}])
        assert source.counts() == (1, 2, 1, 2), source.counts()
        with open(path, "w", encoding="utf-8") as file:
            file.write("# words\nconsensus/a.c f\nif (x) {\n1: because\n    it is so\n")
        key = "consensus/a.c", "f", "if (x) {"
        assert read_explained(path) == {key: 1}
        sources = {"consensus/a.c": source}
        assert judge(sources, {key: 1}) == 0
        assert judge(sources, {key: 0}) == 1, "a branch that is not explained must be a fault"
        assert judge(sources, {key: 1, ("consensus/a.c", "f", "gone"): 1}) == 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("objects", nargs="?", help="folder of the object files")
    parser.add_argument("folder", nargs="?", help="folder of the sources")
    parser.add_argument("explained", nargs="?", help="what need not be reached, and why")
    parser.add_argument("--self-test", action="store_true", help="check this program")
    options = parser.parse_args()
    if options.self_test:
        return self_test()
    if options.explained is None:
        parser.error("OBJECTS, FOLDER and EXPLAINED are needed")
    sources = read_sources(options.objects, options.folder)
    percent = print_table(sources)
    faults = judge(sources, read_explained(options.explained))
    if percent < LINES_PERCENT_LEAST:
        faults += 1
        print(f"{percent:.1f} % of the lines were reached, not {LINES_PERCENT_LEAST} %")
    print(f"{faults} faults")
    return faults != 0


if __name__ == "__main__":
    sys.exit(main())
