#!/usr/bin/env python3
"""Runs every command of trireme-perf briefly over every driver that is built: command_test.py PROGRAM.

What is asserted holds on any machine however busy: the keys of the JSON, that the replicas agree, that
a floor stands beside the engine, that files are well formed. Figures are not looked at."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

from keys import KEYS

PROGRAM = sys.argv.pop(1)
DRIVERS = ("shm", "udp", "loop")
LIMIT_SECONDS = 90
BRIEF = ["--seconds", "0.12", "--pairs", "3"]

def perf(*arguments):
    """Runs the program to its end. Returns its exit status, standard output and error."""
    done = subprocess.run(
        [PROGRAM, *arguments], capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )
    return done.returncode, done.stdout, done.stderr


def is_built(driver):
    return "no driver " not in perf("floor", "--driver", driver, *BRIEF)[2]


BUILT = [driver for driver in DRIVERS if is_built(driver)]


class Commands(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def run_json(self, *arguments):
        path = self.path("out.json")
        status, out, err = perf(*arguments, "--json", path)
        self.assertEqual(status, 0, out + err)
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        for key, kind in KEYS.items():
            self.assertIn(key, found)
            self.assertIsInstance(found[key], kind, key)
        self.assertGreater(found["commands"], 0)
        self.assertLessEqual(found["p50_ns"], found["p99_ns"])
        self.assertLessEqual(found["p9999_ns"], found["max_ns"])
        return found

    def assert_compared(self, found):
        self.assertTrue(found["digests_equal"])
        self.assertGreaterEqual(found["commands_applied"], found["commands"])
        for key in ("floor_p50_ns", "ratio_p50", "floor_per_s", "ratio_throughput"):
            self.assertGreater(found[key], 0, key)
        self.assertEqual(found["pairs"], 3)

    def test_some_driver_is_built(self):
        self.assertTrue(BUILT)

    def test_latency_over_every_driver(self):
        for driver in BUILT:
            with self.subTest(driver):
                found = self.run_json("latency", "--driver", driver, *BRIEF)
                self.assertEqual(found["driver"], driver)
                self.assertEqual(found["window"], 1)
                self.assertIsNone(found["rate"])
                self.assert_compared(found)

    def test_throughput_batched_over_every_driver(self):
        for driver in BUILT:
            with self.subTest(driver):
                found = self.run_json("throughput", "--driver", driver, "--batch", "32", *BRIEF)
                self.assertEqual((found["window"], found["batch"]), (1024, 32))
                self.assert_compared(found)

    def test_client_to_client_over_every_driver(self):
        for driver in BUILT:
            for command in ("latency", "throughput"):
                with self.subTest((driver, command)):
                    found = self.run_json(command, "--driver", driver, "--client", "remote", *BRIEF)
                    self.assertEqual(found["client"], "remote")
                    self.assert_compared(found)

    def test_messages_where_one_sided_is_refused(self):
        for driver in BUILT:
            with self.subTest(driver):
                found = self.run_json("latency", "--driver", driver, "--one-sided", "off", *BRIEF)
                self.assertFalse(found["one_sided"])
                self.assertEqual(found["one_sided_peers"], 0)
                self.assert_compared(found)

    def test_open_loop_keeps_its_schedule(self):
        found = self.run_json("latency", "--driver", BUILT[0], "--mode", "open", "--rate", "1000", *BRIEF)
        self.assertEqual((found["mode"], found["rate"]), ("open", 1000))
        # Three slices of 0.02 s, due at 0, 1, 2 ... ms.
        self.assertEqual(found["commands"], 60)
        self.assert_compared(found)

    def test_followers_as_processes(self):
        for driver in BUILT:
            if driver != "loop":
                with self.subTest(driver):
                    found = self.run_json("latency", "--driver", driver, "--processes", *BRIEF)
                    self.assertTrue(found["processes"])
                    self.assert_compared(found)

    def test_other_numbers_of_replicas(self):
        for replicas in ("1", "2", "5"):
            with self.subTest(replicas):
                found = self.run_json("latency", "--driver", BUILT[0], "--replicas", replicas, *BRIEF)
                self.assert_compared(found)

    def test_floor_alone_prints_its_variants(self):
        for driver in BUILT:
            with self.subTest(driver):
                found = self.run_json("floor", "--driver", driver, *BRIEF)
                self.assertIsNone(found["ratio_p50"])
                self.assertGreater(found["floor_p50_ns"], 0)
                status, out, err = perf("floor", "--driver", driver, "--variants", *BRIEF)
                self.assertEqual(status, 0, err)
                self.assertRegex(out, r"(?m)^  \* ")

    def test_sweep_has_a_point_a_load(self):
        svg = self.path("sweep.svg")
        found = self.run_json("sweep", "--driver", BUILT[0], "--points", "3", "--svg", svg, "--seconds", "0.4")
        self.assertEqual(len(found["points"]), 3)
        offered = [point["offered_per_s"] for point in found["points"]]
        self.assertEqual(offered, sorted(offered))
        self.assertTrue(found["digests_equal"])
        xml.etree.ElementTree.parse(svg)

    def test_memory_does_not_grow_while_the_log_wraps(self):
        # The command itself fails above 1 MiB between the first wrap and the tenth.
        for driver in BUILT[:2]:
            with self.subTest(driver=driver):
                found = self.run_json("memory", "--driver", driver, "--log-bytes", str(8 << 20))
                first, last = found["memory_first_wrap"], found["memory_last_wrap"]
                self.assertGreaterEqual(last["log_wraps"], 10)
                self.assertGreater(first["resident_bytes"], 0)

    def test_plot_and_percentiles_are_well_formed(self):
        svg, hgrm = self.path("out.svg"), self.path("out.hgrm")
        found = self.run_json("latency", "--driver", BUILT[0], "--svg", svg, "--hgrm", hgrm, *BRIEF)
        root = xml.etree.ElementTree.parse(svg).getroot()
        self.assertTrue(root.tag.endswith("svg"))
        with open(hgrm, encoding="utf-8") as file:
            self.assertIn(f"Total count    = {found['commands']:>12}", file.read())

    def test_errors_are_said(self):
        for words, said in (
            (["latency", "--driver", "pigeon"], "no driver \"pigeon\""),
            (["latency", "--driver", BUILT[0], "--json", "/nowhere/out.json", *BRIEF], "/nowhere/out.json"),
            (["latency", "--driver", BUILT[0], "--cores", "1000", *BRIEF], "CPU 1000"),
        ):
            status, _, err = perf(*words)
            self.assertNotEqual(status, 0)
            self.assertIn(said, err)

    def test_interrupted_run_reports_what_it_has(self):
        process = subprocess.Popen(
            [PROGRAM, "latency", "--driver", BUILT[0], "--seconds", "1000"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        # The first line of progress: pairs are under way.
        self.assertIn("latency", process.stderr.readline())
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT_SECONDS)
        self.assertEqual(process.returncode, 130, err)
        self.assertIn("interrupted", out)


@unittest.skipUnless("udp" in BUILT, "the udp driver is not built")
class Machines(unittest.TestCase):
    """Nodes of their own, as on other machines."""

    def setUp(self):
        sockets = [socket.socket() for _ in range(3)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        self.peers = ",".join(f"{i + 1}=127.0.0.1:{s.getsockname()[1]}" for i, s in enumerate(sockets))
        for s in sockets:
            s.close()
        self.nodes = [self.start(node) for node in (2, 3)]

    def start(self, node):
        process = subprocess.Popen(
            [PROGRAM, "node", "--driver", "udp", "--node", str(node), "--peers", self.peers, "--idle", "yield"],
            stdout=subprocess.DEVNULL,
        )
        self.addCleanup(process.wait, LIMIT_SECONDS)
        self.addCleanup(process.terminate)
        return process

    def test_load_from_the_first_node_twice(self):
        for command in ("latency", "throughput"):
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "out.json")
                status, out, err = perf(
                    command, "--driver", "udp", "--node", "1", "--peers", self.peers,
                    "--idle", "yield", "--json", path, *BRIEF
                )  # fmt: skip
                self.assertEqual(status, 0, out + err)
                with open(path, encoding="utf-8") as file:
                    found = json.load(file)
                self.assertTrue(found["digests_equal"])
                self.assertGreater(found["ratio_p50"], 0)
        for node in self.nodes:
            self.assertIsNone(node.poll())


if __name__ == "__main__":
    unittest.main()
