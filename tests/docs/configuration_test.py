#!/usr/bin/env python3
"""docs/configuration.md is complete and up to date: configuration_test.py ROOT OPTION-REFERENCE [--fix],
or --self-test.

What stands between <!-- begin NAME --> and <!-- end NAME --> is what option-reference prints for NAME;
--fix writes it there. Besides, each field of an options struct of the public API and each key of a
driver has a row, `name` in the first column, in the section of its struct or driver."""

import os
import re
import subprocess
import sys

DOCUMENT = "docs/configuration.md"
STRUCTS = ("tr_node_options", "tr_group_options", "tr_session_options", "tr_client_options")


def renewed(text, reference):
    """The text with its generated parts as they should be. reference: NAME to what is printed for it."""
    for name in re.findall(r"<!-- begin (\w+) -->", text):
        text = re.sub(
            rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)",
            lambda match: match[1] + reference(name) + match[2],
            text,
            flags=re.DOTALL,
        )
    return text


def fields_of(header, struct):
    """Names of the fields of a struct, of a header without comments."""
    body = re.search(rf"struct {struct} \{{(.*?)\n\}};", header, re.DOTALL)[1]
    body = re.sub(r"/\*.*?\*/", " ", body, flags=re.DOTALL)
    for statement in body.split(";"):
        function = re.search(r"\(\*(\w+)\)", statement)
        names = [function[1]] if function else re.findall(r"(\w+)\s*(?:,|$)", statement.strip())
        yield from (name for name in names if name != "struct_bytes")


def keys_of(source):
    """Keys of a driver's own options, of its source."""
    return re.findall(r'\{"([a-z_.]+)", TR_EXTRA_\w+', source)


def rows_of(text, heading):
    """What stands in the first columns of the tables under a heading that contains `heading`."""
    for section in re.split(r"^(?=#)", text, flags=re.MULTILINE):
        if f"`{heading}`" in section.split("\n", 1)[0]:
            yield from re.findall(r"`([^`]+)`", "\n".join(re.findall(r"^\|([^|]*)\|", section, re.MULTILINE)))


def missing(text, wanted):
    """Names without a row. wanted: (heading, names) each."""
    for heading, names in wanted:
        rows = set(rows_of(text, heading))
        yield from (f"`{name}` has no row under `{heading}`" for name in names if name not in rows)
        yield from (f"there is no `{name}` in {heading}" for name in sorted(rows - set(names)))


def wanted_of(root):
    """All headings with what belongs under them."""

    def read(path):
        with open(os.path.join(root, path), encoding="utf-8") as file:
            return file.read()

    header = read("include/trireme/trireme.h") + read("include/trireme/client.h")
    for struct in STRUCTS:
        yield struct, list(fields_of(header, struct))
    for driver in sorted(os.listdir(os.path.join(root, "drivers"))):
        folder = os.path.join(root, "drivers", driver)
        if not os.path.isdir(folder) or driver == "sim":
            continue
        sources = [f"drivers/{driver}/{name}" for name in sorted(os.listdir(folder)) if name.endswith(".c")]
        keys = [key for path in sources for key in keys_of(read(path))]
        if keys:
            yield driver, keys


def self_test():
    header = "struct tr_x {\n    size_t struct_bytes;\n    uint32_t a, b; /* c; */\n    void (*f)(int q);\n    int *d;\n};"
    assert list(fields_of(header, "tr_x")) == ["a", "b", "f", "d"]
    assert keys_of('{"gso", TR_EXTRA_FLAG, 0},\n{"below.", TR_EXTRA_WORD, 0}') == ["gso", "below."]
    text = "## `tr_x`\n| `a`, `b` | x |\n| `f` | `no` |\n## `other`\n| `d` | |\n"
    assert list(missing(text, [("tr_x", ["a", "b", "f"]), ("other", ["d"])])) == []
    assert len(list(missing(text, [("tr_x", ["a", "b", "f", "d"])]))) == 1
    assert len(list(missing(text, [("tr_x", ["a", "b"])]))) == 1
    assert len(list(missing(text, [("tr_y", ["a"])]))) == 1
    old = "a\n<!-- begin kv -->\nold\n<!-- end kv -->\nb\n"
    assert renewed(old, lambda name: f"new {name}\n") == old.replace("old", "new kv")
    print("the samples are found")
    return 0


def main(root, program, fix):
    path = os.path.join(root, DOCUMENT)
    with open(path, encoding="utf-8") as file:
        text = file.read()

    def reference(name):
        return subprocess.run([program, name, "markdown"], capture_output=True, text=True, check=True).stdout

    new = renewed(text, reference)
    found = list(missing(new, wanted_of(root)))
    if "<!-- begin kv -->" not in text:
        found.append("no part is generated")
    if new != text and fix:
        with open(path, "w", encoding="utf-8") as file:
            file.write(new)
    elif new != text:
        found.append("the generated parts are not what option-reference prints: run this with --fix")
    for sentence in found:
        print(f"{DOCUMENT}: {sentence}")
    print(f"{len(found)} findings")
    return 1 if found else 0


if __name__ == "__main__":
    if sys.argv[1] == "--self-test":
        sys.exit(self_test())
    sys.exit(main(os.path.abspath(sys.argv[1]), sys.argv[2], "--fix" in sys.argv[3:]))
