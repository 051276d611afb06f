#!/usr/bin/env python3
"""Proves that a release has no trace of the canaries: compiles each source of a layer as it is and with
every TR_CANARY(...) written as 0; the objects must be the same bytes. Where a source has canaries, it
also compiles it with them, which must make a difference.

Arguments: the source root, the layer's folder, "--", the C compiler and its arguments."""

import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile

CANARY = re.compile(r"\bTR_CANARY\s*\([^()]*\)")


def sources_of(folder):
    for directory, _, names in os.walk(folder):
        for name in sorted(names):
            if name.endswith((".c", ".h")):
                yield os.path.relpath(os.path.join(directory, name), os.path.dirname(folder))


def compile_tree(root, tree, name, compiler, extra=()):
    """The object of one source of a copied tree: its bytes, told nothing of where the copy lies."""
    command = [*compiler, *extra, "-O2", "-g0", "-I" + tree, "-I" + root, "-I" + root + "/include"]
    made = os.path.join(tree, name + ("".join(extra) or "") + ".o")
    command += [f"-fmacro-prefix-map={tree}=.", "-c", "-o", made, os.path.join(tree, name)]
    subprocess.run(command, check=True)
    with open(made, "rb") as file:
        return file.read()


def check(root, plain, removed, name, compiler):
    """How many canaries a source has, and what is wrong with them (None: nothing)."""
    with open(os.path.join(plain, name), encoding="utf-8") as file:
        count = len(CANARY.findall(file.read()))
    released = compile_tree(root, plain, name, compiler)
    if released != compile_tree(root, removed, name, compiler):
        return count, f"{name}: the release differs from one without canaries"
    if count and released == compile_tree(root, plain, name, compiler, ["-DTR_CANARIES"]):
        return count, f"{name}: has {count} canaries, and they change nothing"
    return count, None


def main(root, layer, compiler):
    root = os.path.abspath(root)
    names = list(sources_of(os.path.join(root, layer)))
    with tempfile.TemporaryDirectory() as directory:
        plain, removed = os.path.join(directory, "plain"), os.path.join(directory, "removed")
        for name in names:
            with open(os.path.join(root, name), encoding="utf-8") as file:
                text = file.read()
            for tree, content in ((plain, text), (removed, CANARY.sub("0", text))):
                path = os.path.join(tree, name)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "w", encoding="utf-8") as file:
                    file.write(content)
        sources = [name for name in names if name.endswith(".c")]
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            results = list(pool.map(lambda name: check(root, plain, removed, name, compiler), sources))
    findings = [finding for _, finding in results if finding]
    for finding in findings:
        print(finding)
    print(f"{len(sources)} sources, {sum(count for count, _ in results)} canaries, {len(findings)} findings")
    return 1 if findings or not sources else 0


if __name__ == "__main__":
    at = sys.argv.index("--")
    sys.exit(main(*sys.argv[1:at], sys.argv[at + 1 :]))
