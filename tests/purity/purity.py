#!/usr/bin/env python3
"""Looks into object files for what a pure layer must not have: purity.py OBJECT_OR_ARCHIVE...

Of a pure layer: undefined symbols other than mem*, tr_panic, libgcc's arithmetic and the layer's own;
writable data; instructions that read a clock or a random source, enter the kernel or are atomic.
With --data-only (for the shell): writable data, since the library keeps no global state.
With --but=OBJECT:NAME (again for more): that object of an archive may have writable data of that name, and no
other; what it is must be one a process by its nature."""

import re
import subprocess
import sys

ALLOWED_SYMBOLS = re.compile(
    r"^(mem(cpy|move|set|cmp)|tr_panic|_GLOBAL_OFFSET_TABLE_"
    r"|__(u?div|u?mod|u?divmod|mul|ashl|ashr|lshr|clz|ctz|popcount|bswap|u?cmp)[sdt]i[234]?)$"
)

# A mnemonic (or a prefix) at the place where objdump writes it.
FORBIDDEN_INSTRUCTIONS = re.compile(
    r"\t(?:(?:rep|repz|repnz|bnd|notrack) )*("
    # x86-64: clocks, random sources, the kernel, locked operations, fences
    r"rdtscp?|rdpmc|rdrand|rdseed|syscall|sysenter|int\s|lock\b|xchg\s.*\(|[mls]fence|pause|cpuid"
    # aarch64: the same
    r"|svc\s|mrs\s.*(?:cntvct|cntpct|rndr)|ldxr|ldaxr|stxr|stlxr|ldar|stlr|cas[abhl]*\s|swp[abhl]*\s"
    r"|ldadd|ldset|ldclr|dmb|isb|yield"
    r")"
)


def output_of(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def undefined_symbols(objects):
    """The symbols that the objects need and none of them defines."""
    needed, defined = set(), set()
    for line in output_of("nm", "-P", *objects).splitlines():
        fields = line.split()
        if len(fields) < 2 or line.endswith(":"):
            continue
        (needed if fields[1] in "Uwv" else defined).add(fields[0])
    return needed - defined


def writable_sections(objects):
    """Sections of data that a program can write, and their sizes. (.data.rel.ro, constants with
    addresses in them, is read-only once it is loaded.)"""
    found = []
    where = ""
    for line in output_of("readelf", "--sections", "--wide", *objects).splitlines():
        if line.startswith("File: "):
            where = line[6:].strip()
        row = re.match(r"\s*\[ *\d+\] (\S+)\s+(PROGBITS|NOBITS)\s+\S+ \S+ (\S+) \S+\s+(\S*)", line)
        if row is None or "W" not in row[4] or int(row[3], 16) == 0:
            continue
        if not re.match(r"\.(data\.rel\.ro|tm_clone|init_array|fini_array)", row[1]):
            found.append(f"{where}: {row[1]}, {int(row[3], 16)} bytes")
    return found


def names_of_writable(objects):
    """What stands in those sections, for the report."""
    names = []
    for line in output_of("nm", "-P", *objects).splitlines():
        fields = line.split()
        if len(fields) >= 2 and fields[1] in "dDbBCgGsS" and not line.endswith(":"):
            names.append(fields[0])
    return names


def excused(objects, exceptions):
    """Of the exceptions (object, name), the objects that are archives' members and have just those names
    in their writable data."""
    names = {}
    for line in output_of("nm", "-P", "-A", *objects).splitlines():
        where, _, symbol = line.partition(": ")
        fields = symbol.split()
        if len(fields) >= 2 and fields[1] in "dDbBCgGsS":
            names.setdefault(where.rpartition("[")[2].rstrip("]"), set()).add(fields[0])
    allowed = {}
    for member, name in exceptions:
        allowed.setdefault(member, set()).add(name)
    return {member for member, those in allowed.items() if names.get(member) == those}


def forbidden_instructions(objects):
    """The first forbidden instructions, with the function that they are in."""
    found, function = [], ""
    for line in output_of("objdump", "--disassemble", "--no-show-raw-insn", *objects).splitlines():
        header = re.match(r"^[0-9a-f]+ <(.*)>:$", line)
        if header:
            function = header[1]
        elif FORBIDDEN_INSTRUCTIONS.search(line):
            found.append(f"{function}: {line.strip()}")
    return found


def findings(objects, data_only=False, exceptions=()):
    found = []
    but = tuple(f"({member})" for member in excused(objects, exceptions))
    sections = [section for section in writable_sections(objects)
                if not section.partition(": ")[0].endswith(but or ("(none)",))]
    if sections:
        found += [f"writable data: {section}" for section in sections]
        found += [f"writable data may be: {name}" for name in names_of_writable(objects)]
    if not data_only:
        found += [
            f"undefined symbol: {symbol}"
            for symbol in sorted(undefined_symbols(objects))
            if not ALLOWED_SYMBOLS.match(symbol)
        ]
        found += [f"instruction: {line}" for line in forbidden_instructions(objects)]
    return found


def main(arguments):
    data_only = "--data-only" in arguments
    exceptions = [tuple(argument[6:].split(":")) for argument in arguments if argument.startswith("--but=")]
    objects = [argument for argument in arguments if not argument.startswith("--")]
    if not objects:
        sys.exit(__doc__)
    found = findings(objects, data_only, exceptions)
    for finding in found:
        print(finding)
    print(f"{len(found)} findings in {' '.join(objects)}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
