#!/usr/bin/env python3
"""Every C and C++ file is as clang-format writes it: format.py ROOT [--fix]. Skipped (exit 77) where
clang-format is of another version than the one that the tree is formatted with."""

import os
import re
import shutil
import subprocess
import sys

import lint

VERSION = "14"


def main(root, fix):
    program = shutil.which("clang-format-" + VERSION) or shutil.which("clang-format")
    told = program and subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    version = told and re.search(r"version (\d+)", told.stdout)
    if not version or version[1] != VERSION:
        print(f"clang-format {VERSION} is not here (found: {version and version[1]})")
        return 77
    paths = [path for path in lint.files_of(root) if path.endswith((".c", ".h", ".cc"))]
    how = ["-i"] if fix else ["--dry-run", "-Werror"]
    result = subprocess.run([program, "--style=file", *how, *paths], cwd=root, check=False)
    print(f"{len(paths)} files")
    return 1 if result.returncode or not paths else 0


if __name__ == "__main__":
    sys.exit(main(os.path.abspath(sys.argv[1]), "--fix" in sys.argv[2:]))
