#!/usr/bin/env python3
"""Seeds that nobody has run yet: they follow from the day and the commit, and are printed.

fresh_test.py PROGRAM ROOT COUNT
"""
import datetime
import os
import subprocess
import sys

program, root, count = sys.argv[1:]
day = datetime.date.today().strftime("%Y%m%d")
head = subprocess.run(["git", "-C", root, "rev-parse", "--short=6", "HEAD"], stdout=subprocess.PIPE, text=True)
commit = int(head.stdout.strip() or "0", 16) if head.returncode == 0 else 0
seed = int(day) * 100000000 + commit % 100000000
command = [program, "--seed", str(seed), "--seeds", count, "--jobs", str(os.cpu_count() or 1), "--quiet"]
print(" ".join(command), flush=True)
sys.exit(subprocess.run(command).returncode)
