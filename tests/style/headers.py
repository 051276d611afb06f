#!/usr/bin/env python3
"""Compiles every header on its own: as C11 and as C++17, the public ones as C99 too; with the first pair of
compilers, and those that others compile against (public ones and base/) with the further pairs too. Arguments: the source root, then the compilers of C and of C++ in turn, then "--" and arguments."""

import concurrent.futures
import os
import re
import subprocess
import sys

import lint

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wundef", "-Werror", "-Wno-unused-function"]
WARNINGS += ["-Wno-unused-const-variable"]

# Headers of a vendor's library compile only where the library is; their driver's build sees to them.
SKIPPED = re.compile(r"^(drivers/(dpdk|verbs)/|tests/memory/)")


def check(root, arguments, compiler, standard, header):
    language = "c++" if standard.startswith("c++") else "c"
    # One declaration beside it: a translation unit must not be empty.
    source = f'#include "{header}"\nextern int on_its_own;\n'
    command = [compiler, "-x", language, "-std=" + standard, "-fsyntax-only", *WARNINGS, *arguments]
    if language == "c":
        command += ["-Wshadow", "-Wconversion", "-Wno-sign-conversion", "-Wstrict-prototypes"]
    command += ["-I" + root, "-I" + root + "/include", "-"]
    result = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    if result.returncode == 0:
        return None
    return f"{header} as {standard} by {compiler}:\n{result.stderr}"


def main(root, compilers, arguments):
    headers = [path for path in lint.files_of(root) if path.endswith(".h")]
    headers = [path for path in headers if not SKIPPED.match(path)]
    jobs = []
    for header in headers:
        public = header.startswith("include/")
        pairs = list(zip(compilers[::2], compilers[1::2]))
        for cc, cxx in pairs if header.startswith(("include/", "base/")) else pairs[:1]:
            if not header.startswith("tests/"):
                jobs += [(cc, standard) + (header,) for standard in ["c11"] + ["c99"] * public]
            jobs.append((cxx, "c++17", header))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda job: check(root, arguments, *job), jobs)
        failures = [failure for failure in results if failure]
    print("\n".join(failures))
    print(f"{len(headers)} headers, {len(jobs)} compilations, {len(failures)} failed")
    return 1 if failures or not headers else 0


if __name__ == "__main__":
    at = sys.argv.index("--")
    sys.exit(main(os.path.abspath(sys.argv[1]), sys.argv[2:at], sys.argv[at + 1 :]))
