#!/usr/bin/env python3
"""The house style, as far as a program can tell: lint.py ROOT, or lint.py --self-test.

Each rule is a function from (path, text) to findings (line, sentence); paths are relative to the root
and written with slashes. The self-test holds a bad and a good sample against every rule."""

import os
import re
import subprocess
import sys

LINES_MAX = 800

# What a layer may include of the others; "" stands for the layer itself.
LAYERS = {
    "base": ("base/", "trireme/error.h"),
    "consensus": ("base/", "consensus/", "trireme/error.h"),
    "controlplane": ("base/", "controlplane/", "consensus/", "drivers/", "trireme/"),
    "client": ("base/", "client/", "trireme/error.h"),
    "drivers": ("base/", "drivers/", "trireme/"),
    "dataplane": ("base/", "client/", "consensus/", "controlplane/", "drivers/", "dataplane/", "trireme/"),
    "apps": ("apps/", "trireme/"),
    "examples": ("trireme/",),
    "include": ("trireme/",),
}

# System headers of a pure layer: those of freestanding C, and string.h for mem*.
PURE_HEADERS = {"stdbool.h", "stddef.h", "stdint.h", "stdalign.h", "limits.h", "string.h"}

# Headers that only these folders may include.
VENDORS = (
    (re.compile(r"rte_.*"), ("drivers/dpdk/",)),
    (re.compile(r"(infiniband|rdma)/.*"), ("drivers/verbs/",)),
    (re.compile(r"liburing.*|linux/io_uring\.h"), ("drivers/storage/",)),
    (re.compile(r"sodium.*"), ("controlplane/agent/", "drivers/verbs/", "apps/")),
    (re.compile(r"microhttpd.*|openssl/.*"), ("controlplane/agent/", "apps/")),
)

C_FILES = (".c", ".h")
CODE_FILES = (".c", ".h", ".cc", ".py", ".sh")


def in_core(path):
    """Pure code: the consensus core, the client's machine, and the control plane without its agent."""
    return path.startswith(("consensus/", "client/")) or (
        path.startswith("controlplane/") and not path.startswith("controlplane/agent/")
    )


def in_tests(path):
    return path.startswith("tests/")


def without_comments(text):
    """The text with comments and the insides of strings blanked, lines kept."""

    def blank(match):
        token = match[0]
        if token.startswith(("/*", "//")):
            return re.sub(r"[^\n]", " ", token)
        return token[0] + re.sub(r"[^\n]", " ", token[1:-1]) + token[-1]

    pattern = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    return re.sub(pattern, blank, text, flags=re.DOTALL)


def line_of(text, at):
    return text.count("\n", 0, at) + 1


# ---- the rules ---------------------------------------------------------------------------------


def rule_length(path, text):
    """No file has more than 800 lines (aim at 600)."""
    count = text.count("\n")
    if path.endswith(CODE_FILES) and count > LINES_MAX:
        yield count, f"{count} lines, more than {LINES_MAX}: divide the file"


def rule_unfinished(path, text):
    """Nothing is left to do in the code: what is left is an issue."""
    if path == "tests/style/lint.py":
        return
    for match in re.finditer(r"\b(TODO|FIXME|XXX|HACK)\b", text):
        yield line_of(text, match.start()), f"{match[1]}: finish it, or file an issue"


def rule_names(path, text):
    """Nothing is named util, common, misc or helpers."""
    for part in re.split(r"[/._-]", path):
        if part in ("util", "utils", "common", "misc", "helper", "helpers"):
            yield 1, f"'{part}' says nothing: name what is in it"


def rule_typedef(path, text):
    """Structs, unions and enums are not typedef'd (handles of libraries aside)."""
    if not path.endswith(C_FILES):
        return
    for match in re.finditer(r"\btypedef\s+(struct|union|enum)\b", without_comments(text)):
        yield line_of(text, match.start()), f"typedef {match[1]}: write the keyword where it is used"


def switches(text):
    """The bodies of switch statements, (offset, text), inner ones too."""
    for match in re.finditer(r"\bswitch\s*\(", text):
        depth, at = 0, match.end() - 1
        while at < len(text):
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            at += 1
            if depth == 0:
                break
        begin = text.find("{", at)
        depth, at = 0, begin
        while 0 <= at < len(text):
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
            if depth == 0:
                break
        yield begin, text[begin:at]


def rule_default(path, text):
    """No default over an enum of ours: the compiler is to tell which value is missing."""
    if not path.endswith((".c", ".h", ".cc")):
        return
    code = without_comments(text)
    for begin, body in switches(code):
        inner = body[1:]
        for nested_begin, nested in switches(inner):
            inner = inner[:nested_begin] + re.sub(r"[^\n]", " ", nested) + inner[nested_begin + len(nested) :]
        default = re.search(r"\bdefault\s*:", inner)
        if default and re.search(r"\bcase\s+TR_[A-Z]", inner):
            yield line_of(code, begin + 1 + default.start()), "default: over an enum of ours"


def rule_docstrings(path, text):
    """Every function that a header declares or defines has a comment right above it, or above the group
    of declarations without a blank line that it is in."""
    if not path.endswith(".h") or in_tests(path):
        return
    code = without_comments(text)
    lines = code.split("\n")
    raw = text.split("\n")
    depth = 0
    begin = None
    covered = -1  # the last line of the last declaration that has a comment
    for number, line in enumerate(lines):
        if depth == 0 and begin is None and re.match(r"[A-Za-z_]", line) and not re.fullmatch(r"\w+", line):
            begin = number
        opened = line.count("{") - line.count("}")
        if begin is not None and depth == 0 and (";" in line or "{" in line):
            statement = " ".join(lines[begin : number + 1])
            first, begin = begin, None
            if 'extern "' in raw[first]:
                continue  # a linkage block: what is in it stands at the outer level
            function = re.match(
                r"(?!typedef\b|struct\s+\w+\s*\{|enum\b|union\b|return\b)"
                r"[\w\s*]*?\b(?!tr_static_assert\b|static_assert\b)([a-z]\w+)\s*\([^;{]*\)[^;{=]*[;{]",
                statement,
            )
            above = first - 1
            if function and above >= 0 and (raw[above].rstrip().endswith("*/") or above == covered):
                covered = number if ";" in line else -1
            elif function:
                yield first + 1, f"{function[1]} has no comment"
        depth = max(0, depth + opened)


def rule_layers(path, text):
    """A layer includes what is below it only; vendors' headers stay in their driver."""
    layer = path.split("/")[0]
    if not path.endswith((".c", ".h", ".cc")):
        return
    for match in re.finditer(r'^\s*#\s*include\s+(["<])([^">]+)[">]', text, re.MULTILINE):
        line, header = line_of(text, match.start()), match[2]
        ours = match[1] == '"' or header.startswith("trireme/")
        if ours and layer in LAYERS and "/" in header and not header.startswith(LAYERS[layer]):
            yield line, f"{layer}/ may not include {header}"
        if not ours and in_core(path) and header not in PURE_HEADERS:
            yield line, f"the core is pure: it may not include <{header}>"
        for vendor, folders in VENDORS:
            if vendor.fullmatch(header) and not path.startswith(folders) and not in_tests(path):
                yield line, f"<{header}> belongs into {' or '.join(folders)}"


def rule_conditions(path, text):
    """No #if outside base/ and drivers/ (guards and __cplusplus aside)."""
    if not path.endswith(C_FILES) or not path.startswith(("client/", "consensus/", "controlplane/", "dataplane/", "apps/")):
        return
    for match in re.finditer(r"^\s*#\s*(if|ifdef|ifndef)\b([^\n]*)", text, re.MULTILINE):
        condition = match[2].strip()
        if condition not in ("__cplusplus", "defined(__cplusplus)") and not re.fullmatch(r"TR_\w+_H", condition):
            yield line_of(text, match.start()), f"#{match[1]} {condition}: belongs into base/ or drivers/"


def rule_guards(path, text):
    """Every header has a guard, and begins by saying what it is."""
    if path.endswith(".h") and not re.search(r"^#ifndef (TR|TRIREME)_\w+_H$", text, re.MULTILINE):
        yield 1, "no include guard TR_..._H"
    if path.endswith(".h") and not text.startswith(("/*", "//")):
        yield 1, "no comment at the top that says what this file is"


def rule_places(path, text):
    """No path of somebody's machine."""
    if path == "tests/style/lint.py":
        return
    for match in re.finditer(r"(?<![\w.])/(home|work|Users|root)/", text):
        yield line_of(text, match.start()), f"{match[0]}: a path of one machine"


RULES = [value for name, value in sorted(globals().items()) if name.startswith("rule_")]


# ---- running them ------------------------------------------------------------------------------


def files_of(root):
    """The files of the tree: those that git knows or would take; without git, all but builds."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0:
        names = listed.stdout.decode().split("\0")
        return sorted(name for name in names if name and os.path.isfile(os.path.join(root, name)))
    found = []
    for directory, folders, names in os.walk(root):
        folders[:] = [f for f in folders if not f.startswith((".git", "build"))]
        found += [os.path.relpath(os.path.join(directory, name), root) for name in names]
    return sorted(found)


def lint(root):
    findings = files = 0
    for path in files_of(root):
        try:
            with open(os.path.join(root, path), encoding="utf-8") as file:
                text = file.read()
        except UnicodeDecodeError:
            continue  # a picture
        files += 1
        for rule in RULES:
            for line, sentence in rule(path, text):
                print(f"{path}:{line}: {sentence} [{rule.__name__[5:]}]")
                findings += 1
    print(f"{files} files, {findings} findings")
    return 1 if findings or files == 0 else 0


# (rule, path, bad text, good text)
SAMPLES = [
    (rule_length, "base/x.h", "\n" * 801, "\n" * 800),
    (rule_unfinished, "base/x.h", "/* TODO: later */", "/* method */"),
    (rule_names, "base/util.h", "", None),
    (rule_typedef, "base/x.h", "typedef struct x { int a; } x;", "struct x { int a; }; typedef int y;"),
    (
        rule_default,
        "base/x.c",
        "switch (e) { case TR_ONE: break; default: break; }",
        "switch (e) { case TR_ONE: switch (c) { case 'a': default: break; } } /* default: */",
    ),
    (
        rule_default,
        "base/x.c",
        "switch (f(c)) { case 1: switch (e) { case TR_ONE: break; default: break; } }",
        "switch (c) { case 1: break; default: f(TR_ONE); }",
    ),
    (rule_docstrings, "base/x.h", "int tr_f(void);", "/* Does f. */\nint tr_f(void);"),
    (
        rule_docstrings,
        "base/x.h",
        "TR_BEGIN_C\n\n/* Does f. */\nint tr_f(void);\n\nint tr_g(int a,\n         int b);",
        "TR_BEGIN_C\n/* A struct. */\nstruct tr_x {\n    int (*call)(int a);\n};\n#define TR_X 1\nstruct tr_y;\n"
        "TR_BEGIN_C\n/* Does f. */\nstatic inline int tr_f(void)\n{\n    return tr_g(1);\n}\n"
        "\n/* Do g and h. */\nint tr_g(int a,\n         int b);\nint tr_h(void);",
    ),
    (
        rule_docstrings,
        "include/trireme/x.h",
        'extern "C" {\nint tr_f(void);\n}',
        'extern "C" {\n/** Does f. */\nint tr_f(void);\n}',
    ),
    (rule_layers, "consensus/x.c", '#include "drivers/driver.h"', '#include "base/types.h"'),
    (rule_layers, "consensus/x.c", "#include <stdlib.h>", "#include <string.h>"),
    (rule_layers, "drivers/udp/x.c", "#include <rte_mbuf.h>", "#include <sys/socket.h>"),
    (rule_layers, "apps/kv/x.c", '#include "base/types.h"', "#include <trireme/trireme.h>"),
    (rule_layers, "dataplane/x.c", "#include <infiniband/verbs.h>", '#include "consensus/replica.h"'),
    (rule_conditions, "dataplane/x.c", "#ifdef __x86_64__\n#endif", "#ifdef __cplusplus\n#endif"),
    (rule_guards, "base/x.h", "/* X. */\nint a;", "/* X. */\n#ifndef TR_BASE_X_H\n#endif"),
    (
        rule_guards,
        "base/x.h",
        "#ifndef TR_BASE_X_H\n#endif",
        "// X.\n#ifndef TR_BASE_X_H\n#endif",
    ),
    (rule_places, "docs/x.md", "see /home/me/x", "see /dev/shm and network/x"),
]


def self_test():
    failed = 0
    for rule, path, bad, good in SAMPLES:
        if not list(rule(path, bad)):
            print(f"{rule.__name__} finds nothing in: {bad!r}")
            failed += 1
        if good is not None and list(rule(path, good)):
            print(f"{rule.__name__} finds {list(rule(path, good))} in: {good!r}")
            failed += 1
    untried = set(RULES) - {sample[0] for sample in SAMPLES}
    for rule in untried:
        print(f"{rule.__name__} has no sample")
    print(f"{len(SAMPLES)} samples, {failed + len(untried)} failed")
    return 1 if failed or untried else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(self_test() if sys.argv[1] == "--self-test" else lint(sys.argv[1]))
