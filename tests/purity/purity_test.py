#!/usr/bin/env python3
"""The purity check itself: finds each impurity in a small object made to have it, and none in one that
is pure. Arguments: the C compiler and its arguments."""

import os
import subprocess
import sys
import tempfile
import unittest

import purity

compiler = ["cc"]

PURE = """
#include <stdint.h>
#include <string.h>
struct pair { uint64_t a, b; };
const char *const names[] = {"one", "two"};
void tr_panic(const char *file, int line, const char *expression);
unsigned __int128 quotient(unsigned __int128 a, unsigned __int128 b) { return a / b; }
void copy(struct pair *to, const struct pair *from, unsigned long n)
{
    if (n == 0)
        tr_panic("f", 1, "n");
    memmove(to, from, n);
}
"""


class Purity(unittest.TestCase):
    def findings(self, *sources, data_only=False):
        with tempfile.TemporaryDirectory() as directory:
            objects = []
            for i, source in enumerate(sources):
                path = os.path.join(directory, f"object{i}.c")
                with open(path, "w", encoding="utf-8") as file:
                    file.write(source)
                objects.append(path[:-2] + ".o")
                subprocess.run(
                    [*compiler, "-O2", "-fPIC", "-w", "-c", "-o", objects[-1], path], check=True
                )
            return "\n".join(purity.findings(objects, data_only))

    def test_a_pure_object_has_no_findings(self):
        self.assertEqual("", self.findings(PURE))

    def test_a_symbol_of_another_object_of_the_layer_is_its_own(self):
        self.assertEqual(
            "", self.findings("int a(void); int b(void) { return a(); }", "int a(void) { return 1; }")
        )

    def test_calls_out_of_the_layer_are_found(self):
        for call in ("malloc(1)", "printf(\"x\")", "time(0)", "rand()", "pthread_self()"):
            with self.subTest(call):
                function = call[: call.index("(")]
                source = f"void *{function}(); void *f(void) {{ return {call}; }}"
                self.assertIn(f"undefined symbol: {function}", self.findings(source))

    def test_errno_is_found(self):
        source = "#include <errno.h>\nint f(void) { return errno; }"
        self.assertIn("undefined symbol: __errno_location", self.findings(source))

    def test_writable_data_is_found(self):
        for source in ("int counter = 1;", "int counter;", "static int counter; int *f(void) { return &counter; }"):
            with self.subTest(source):
                self.assertIn("counter", self.findings(source))
                self.assertIn("counter", self.findings(source, data_only=True))

    def test_thread_local_data_is_found(self):
        self.assertIn("writable data", self.findings("_Thread_local int counter = 1;"))

    def test_atomic_operations_are_found(self):
        source = "long f(long *p) { return __atomic_fetch_add(p, 1, __ATOMIC_RELAXED); }"
        self.assertIn("instruction: f:", self.findings(source))
        source = "long f(long *p, long v) { return __atomic_exchange_n(p, v, __ATOMIC_RELAXED); }"
        self.assertIn("instruction: f:", self.findings(source))

    @unittest.skipUnless(os.uname().machine == "x86_64", "instructions of x86-64")
    def test_clocks_random_sources_and_the_kernel_are_found(self):
        for instruction in ("rdtsc", "rdtscp", "rdrand %rax", "rdseed %rax", "syscall", "int $0x80",
                            "lock incl (%rdi)", "mfence"):
            with self.subTest(instruction):
                source = f'void f(void) {{ __asm__ volatile("{instruction}"); }}'
                self.assertIn("instruction: f:", self.findings(source))

    def test_the_shell_may_call_out_but_keep_no_data(self):
        self.assertEqual("", self.findings("int puts(); int f(void) { return puts(\"x\"); }", data_only=True))

    def test_an_exception_is_for_one_name_in_one_object_of_an_archive(self):
        source = "static int lock; int *f(void) { return &lock; }\n"
        for name, text, expected in (
            ("start.o", source, False),
            ("other.o", source, True),
            ("start.o", source + "static int more; int *g(void) { return &more; }", True),
            ("start.o", "static int same; int *f(void) { return &same; }", True),
        ):
            with self.subTest(name=name, text=text), tempfile.TemporaryDirectory() as directory:
                path, archive = os.path.join(directory, "a.c"), os.path.join(directory, "a.a")
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)
                made = os.path.join(directory, name)
                subprocess.run([*compiler, "-O2", "-fPIC", "-w", "-c", "-o", made, path], check=True)
                subprocess.run(["ar", "rc", archive, made], check=True)
                found = purity.findings([archive], True, [("start.o", "lock")])
                self.assertEqual(expected, bool(found), found)


if __name__ == "__main__":
    compiler = sys.argv[1:] or compiler
    unittest.main(argv=sys.argv[:1])
