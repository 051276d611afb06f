#!/usr/bin/env python3
"""What the documents quote of the examples is what they are: quotes_test.py ROOT, or --self-test.

A quotation is a fenced block of C or C++ after a comment that names its file:

    <!-- from examples/counter.c -->
    ```c
    ...
    ```

Its lines occur in that file, one after the other, without regard to how far the block is indented.
A block of C without such a comment in front is a finding, too: it could not be held to anything."""

import os
import re
import sys
import textwrap

DOCUMENTS = ("docs/embedding.md",)
BLOCK = re.compile(r"(?:<!-- from (\S+) -->\n)?```(c|cpp)\n(.*?)```", re.DOTALL)


def is_in(quoted, text):
    """Whether a quotation is in a text: the same lines, all indented by the same more or less."""
    wanted = textwrap.dedent(quoted).rstrip("\n").split("\n")
    lines = text.split("\n")
    return any(
        textwrap.dedent("\n".join(lines[at : at + len(wanted)])).split("\n") == wanted for at in range(len(lines))
    )


def findings(document, read):
    """What is wrong with the quotations of a document. read: the text of a file, None if there is none."""
    for block in BLOCK.finditer(document):
        line = document.count("\n", 0, block.start()) + 1
        if block[1] is None:
            yield f"{line}: a block of C that does not say where it is from"
            continue
        text = read(block[1])
        if text is None:
            yield f"{line}: there is no {block[1]}"
        elif not is_in(block[3], text):
            yield f"{line}: not in {block[1]} as it is now"


def self_test():
    text = "int a;\nvoid f(void)\n{\n    g();\n    h();\n}\n"
    files = {"e.c": text}.get
    good = "<!-- from e.c -->\n```c\ng();\nh();\n```\n"
    assert not list(findings(good, files))
    assert not list(findings(good.replace("g();\nh();\n", "void f(void)\n{\n    g();\n"), files))
    for bad in (
        good.replace("h();\n", "i();\n"),
        good.replace("g();\nh();\n", "g();\n    h();\n"),
        good.replace("g();\n", "g();\n\n"),
        good.replace("e.c", "d.c"),
        good.replace("<!-- from e.c -->\n", ""),
    ):
        assert len(list(findings(bad, files))) == 1, bad
    print("the samples are found")
    return 0


def main(root):
    def read(path):
        full = os.path.join(root, path)
        if not os.path.isfile(full):
            return None
        with open(full, encoding="utf-8") as file:
            return file.read()

    count = 0
    for path in DOCUMENTS:
        document = read(path)
        if document is None or not BLOCK.search(document):
            print(f"{path}: nothing is quoted")
            count += 1
            continue
        for sentence in findings(document, read):
            print(f"{path}:{sentence}")
            count += 1
        print(f"{path}: {len(BLOCK.findall(document))} quotations")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(self_test() if sys.argv[1] == "--self-test" else main(os.path.abspath(sys.argv[1])))
