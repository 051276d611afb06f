#!/usr/bin/env python3
"""docs/glossary.md is in order, each word once, and the files that it names are there: glossary_test.py ROOT."""

import os
import re
import sys


def main(root):
    with open(os.path.join(root, "docs/glossary.md"), encoding="utf-8") as file:
        rows = re.findall(r"^\| (?!word|-)(.+?) \| (.+?) \| ?(?:`(\S+)` )?\|$", file.read(), re.MULTILINE)
    words = [row[0] for row in rows]
    wrong = [f"'{b}' comes before '{a}'" for a, b in zip(words, words[1:]) if a.lower() >= b.lower()]
    wrong += [f"{word}: there is no {path}" for word, _, path in rows if path and not os.path.isfile(os.path.join(root, path))]
    for sentence in wrong:
        print(sentence)
    print(f"{len(rows)} words, {len(wrong)} findings")
    return 1 if wrong or len(rows) < 50 else 0


if __name__ == "__main__":
    sys.exit(main(os.path.abspath(sys.argv[1])))
