#!/usr/bin/env python3
"""Fills in a manual page: page.py TEMPLATE VERSION [PROGRAM ARGUMENT...].

@VERSION@ is the version. The line @OPTIONS@ becomes what the program prints; where it is trireme-perf,
which has no argument, its options, each with the commands that it is for."""

import re
import subprocess
import sys


def output_of(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def escaped(text):
    return re.sub(r"([_*\\#<>\[\]`~])", r"\\\1", text)


def perf_commands(program):
    """Name and summary of each command, from its usage."""
    return re.findall(r"^  (\w+) +(.*)$", output_of(program, "--help"), re.MULTILINE)


def perf_options(program):
    """What the commands have: name, value, text, and for which commands, in the order of the table."""
    rows = {}
    for command, _ in perf_commands(program):
        for name, value, text in re.findall(
            r"^  --([\w-]+) ?([A-Z]*) +(\S.*)$", output_of(program, command, "--help"), re.MULTILINE
        ):
            rows.setdefault((name, value, text), []).append(command)
    for (name, value, text), commands in sorted(rows.items()):
        yield f"*--{name}*{f' _{value}_' if value else ''}\n\t{escaped(text)} ({', '.join(commands)})\n"


def page(template, version, program):
    text = template.replace("@VERSION@", version)
    if "@OPTIONS@" in text:
        options = output_of(*program) if len(program) > 1 else "\n".join(perf_options(program[0]))
        assert options.strip(), f"{program} printed no options"
        text = text.replace("@OPTIONS@\n", options.rstrip("\n") + "\n")
    if "@COMMANDS@" in text:
        commands = [f"*{name}*\n\t{escaped(summary)}\n" for name, summary in perf_commands(program[0])]
        text = text.replace("@COMMANDS@\n", "\n".join(commands))
    return text


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        sys.stdout.write(page(file.read(), sys.argv[2], sys.argv[3:]))
