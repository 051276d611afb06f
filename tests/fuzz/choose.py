#!/usr/bin/env python3
"""Chooses the corpus of a fuzz target: choose.py FUZZER CORPUS FOUND...

Of the inputs in the folders FOUND and in CORPUS it keeps at most 30 of at most 4096 bytes, those that
reach most, one after the other; they replace what was chosen before. Files of CORPUS that a person has
named (found bugs, cases thought of) always stay."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile

FILES_MAX = 30
BYTES_MAX = 4096
CHOSEN = re.compile(r"^[0-9a-f]{12}$")


def features(fuzzer, folders):
    """What each input reaches: path -> set of features, by libFuzzer's own account of a merge."""
    with tempfile.TemporaryDirectory() as scratch:
        control = os.path.join(scratch, "control")
        out = os.path.join(scratch, "out")
        os.mkdir(out)
        subprocess.run(
            [fuzzer, "-merge=1", "-merge_control_file=" + control, out, *folders],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with open(control, encoding="utf-8") as lines:
            count = int(next(lines))
            next(lines)
            paths = [next(lines).strip() for _ in range(count)]
            reached = {path: set() for path in paths}
            for line in lines:
                words = line.split()
                if words[0] == "FT":
                    reached[paths[int(words[1])]] = set(map(int, words[2:]))
    return reached


def choose(reached, corpus):
    """The inputs that reach most beyond the named ones, greedily; of equals the shorter."""
    left = {p: f for p, f in reached.items() if 0 < os.path.getsize(p) <= BYTES_MAX}
    named = [p for p in left if os.path.dirname(p) == corpus and not CHOSEN.match(name_of(p))]
    done, chosen = set(), []
    for path in named:
        done |= left.pop(path)
    while left and len(chosen) + len(named) < FILES_MAX:
        best = max(left, key=lambda p: (len(left[p] - done), -os.path.getsize(p), p))
        if not left[best] - done:
            break
        done |= left.pop(best)
        chosen.append(best)
    return chosen


def name_of(path):
    return os.path.basename(path)


def main(fuzzer, corpus, found):
    corpus = corpus.rstrip("/")
    os.makedirs(corpus, exist_ok=True)
    chosen = choose(features(fuzzer, [corpus, *found]), corpus)
    with tempfile.TemporaryDirectory() as scratch:
        for path in chosen:
            with open(path, "rb") as file:
                name = hashlib.sha256(file.read()).hexdigest()[:12]
            shutil.copyfile(path, os.path.join(scratch, name))
        for name in filter(CHOSEN.match, os.listdir(corpus)):
            os.remove(os.path.join(corpus, name))
        for name in os.listdir(scratch):
            shutil.copyfile(os.path.join(scratch, name), os.path.join(corpus, name))
    print(f"{corpus}: {len(os.listdir(corpus))} files, {len(chosen)} of them chosen")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
