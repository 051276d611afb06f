#!/usr/bin/env python3
"""Runs trireme-perf briefly over a driver that needs a device: device_test.py PROGRAM KIND, with KIND one of
packet, xdp (the driver dpdk on veth interfaces, by AF_PACKET and AF_XDP), nic (on the NICs of tests/vm),
verbs (on its RDMA devices).

What is asserted holds on any machine however slow: see command_test.py."""

import json
import os
import subprocess
import sys
import tempfile
import unittest

from keys import KEYS

PROGRAM, KIND = sys.argv[1:]
del sys.argv[1:]
LIMIT_SECONDS = 250
SKIP = 77
VETHS = ("packet", "xdp")

# An address on each of the three devices, and an address of the segment on each NIC.
PEERS = ",".join(f"{i}=10.77.0.{i}:7440" for i in (1, 2, 3))
HOW = {
    "packet": ["--driver", "dpdk", "--veth", "packet"],
    "xdp": ["--driver", "dpdk", "--veth", "xdp"],
    "nic": ["--driver", "dpdk", "--driver-options",
            "device=0000:00:1%n.0," + os.environ.get("TRIREME_NIC_OPTIONS", "")],
    "verbs": ["--driver", "verbs", "--peers", PEERS],
}  # fmt: skip


def why_not():
    """Why this machine cannot run it; "" if it can."""
    if KIND not in VETHS:
        return ""
    if os.geteuid() != 0:
        return "network namespaces need the rights of root"
    made = subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, text=True, check=False)
    return made.stderr.strip()


class Devices(unittest.TestCase):
    def run_json(self, *arguments):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "out.json")
            done = subprocess.run(
                [PROGRAM, *arguments, *HOW[KIND], "--json", path],
                capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False,
            )  # fmt: skip
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            print(done.stdout)
            with open(path, encoding="utf-8") as file:
                found = json.load(file)
        for key, kind in KEYS.items():
            self.assertIn(key, found)
            self.assertIsInstance(found[key], kind, key)
        self.assertTrue(found["digests_equal"])
        self.assertEqual(found["driver"], HOW[KIND][1])
        self.assertEqual(found["veth"], KIND if KIND in VETHS else "off")
        self.assertGreater(found["commands"], 0)
        for key in ("floor_p50_ns", "ratio_p50", "floor_per_s", "ratio_throughput"):
            self.assertGreater(found[key], 0, key)
        return found

    def test_one_at_a_time(self):
        found = self.run_json("latency", "--seconds", "0.4", "--pairs", "2")
        self.assertEqual((found["window"], found["pairs"]), (1, 2))
        if KIND == "verbs":
            self.assert_writes(found)

    def test_many_at_a_time(self):
        found = self.run_json("throughput", "--batch", "16", "--window", "256", "--seconds", "0.4", "--pairs", "2")
        self.assertEqual((found["window"], found["batch"]), (256, 16))
        if KIND == "verbs":
            self.assert_writes(found)

    def test_floor_alone(self):
        done = subprocess.run(
            [PROGRAM, "floor", *HOW[KIND], "--variants", "--seconds", "0.2", "--pairs", "2"],
            capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False,
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertRegex(done.stdout, r"(?m)^  \* ")

    def assert_writes(self, found):
        """One-sided: a write is at most one request of the device, and a request one doorbell."""
        self.assertTrue(found["one_sided"])
        self.assertGreater(found["write_requests"], 0)
        self.assertLessEqual(found["write_requests"], found["writes"])
        self.assertLessEqual(found["write_doorbells"], found["write_requests"])
        if found["writes_broken"] == 0:
            # A slot is one write to each follower; where a ring comes round there is one more.
            self.assertLessEqual(found["requests_per_follower_slot"], 1.01)
            self.assertLessEqual(found["doorbells_per_follower_slot"], 1.01)

    @unittest.skipUnless(KIND == "verbs", "messages are what the others have")
    def test_messages(self):
        found = self.run_json("latency", "--one-sided", "off", "--seconds", "0.4", "--pairs", "2")
        self.assertFalse(found["one_sided"])
        self.assertEqual((found["writes"], found["one_sided_peers"]), (0, 0))

    @unittest.skipUnless(KIND in VETHS, "there is nothing to remove")
    def test_nothing_is_left(self):
        before = os.listdir("/sys/class/net"), os.listdir("/tmp")
        self.run_json("latency", "--seconds", "0.1", "--pairs", "1")
        self.assertEqual(sorted(before[0]), sorted(os.listdir("/sys/class/net")))
        left = set(os.listdir("/tmp")) - set(before[1])
        self.assertEqual([name for name in left if name.startswith("trireme-perf-")], [])


if __name__ == "__main__":
    reason = why_not()
    if reason:
        print("not tested: " + reason)
        sys.exit(SKIP)
    unittest.main()
