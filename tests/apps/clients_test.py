#!/usr/bin/env python3
"""Redis's own programs, unmodified, at a live cluster: redis-cli and redis-benchmark. Ends with 77
where they are not installed. Arguments: trireme, driver."""

import shutil
import subprocess
import sys

from kv_cluster import Cluster


def run(command, data=None):
    done = subprocess.run(command, input=data, capture_output=True, timeout=120)
    assert done.returncode == 0, f"{command}: {done.stdout[-500:]} {done.stderr[-500:]}"
    return done.stdout.decode("utf-8", "replace")


class Tools:
    """The programs, at one node."""

    def __init__(self, port):
        self.where = ["-h", "127.0.0.1", "-p", str(port)]

    def cli(self, *words, data=None, flags=()):
        return run(["redis-cli", *self.where, *flags, *words], data).rstrip("\n")

    def benchmark(self, *flags):
        """The rates of the tests by name."""
        out = run(["redis-benchmark", *self.where, "--csv", *flags])
        assert "ERR" not in out, out
        rows = [line.replace('"', "").split(",") for line in out.strip().split("\n")[1:]]
        return {row[0]: float(row[1]) for row in rows}


def try_cli(tools, elsewhere):
    assert tools.cli("SET", "greeting", "hello") == "OK"
    assert elsewhere.cli("GET", "greeting") == "hello", "another node answers the same"
    assert tools.cli("GET", "none", flags=["-3"]) == ""
    assert tools.cli("MGET", "greeting", "none", flags=["-3", "--no-raw"]) == '1) "hello"\n2) (nil)'
    assert tools.cli("-x", "SET", "binary", data=bytes(range(256))) == "OK"
    assert tools.cli("STRLEN", "binary") == "256"
    assert "db0:keys=" in tools.cli("INFO")
    commands = b"".join(b"SET piped:%d %d\r\n" % (at, at) for at in range(1000))
    assert "errors: 0, replies: 1000" in tools.cli("--pipe", data=commands)
    assert elsewhere.cli("GET", "piped:999") == "999"
    assert "unknown command" in tools.cli("LPUSH", "list", "1")
    assert "syntax error" in tools.cli("SET", "a", "b", "EX", "10")
    several = tools.cli(data=b"SET a 1\nINCR a\nGET a\nCOMMAND DOCS get\nPING\n")
    assert several.split("\n")[:3] == ["OK", "2", "2"], several


def try_benchmark(tools):
    tests = ["-t", "ping,set,get,incr,mset", "-r", "1000"]
    for flags in (["-c", "1", "-n", "300"], ["-c", "50", "-n", "5000"],
                  ["-c", "50", "-P", "16", "-n", "20000"], ["-c", "20", "-P", "64", "-n", "20000"]):
        rates = tools.benchmark(*tests, *flags)
        assert len(rates) == 6, rates  # PING twice: inline and as an array
        assert all(rate > 0 for rate in rates.values()), rates
        print(" ".join(flags), rates)


def main(trireme, driver):
    if not (shutil.which("redis-cli") and shutil.which("redis-benchmark")):
        print("redis-tools is not installed")
        sys.exit(77)
    with Cluster(trireme, driver, ["--deadline-us", "60s"]) as cluster:
        leader = cluster.leader()
        at_leader = Tools(cluster.nodes[leader].port)
        at_follower = Tools(cluster.nodes[1 + leader % 3].port)
        try_cli(at_leader, at_follower)
        try_cli(at_follower, at_leader)
        try_benchmark(at_leader)
        try_benchmark(at_follower)
        before = int(at_leader.cli("GET", "count") or 0)
        at_follower.benchmark("-c", "20", "-n", "5000", "INCR", "count")
        assert int(at_leader.cli("GET", "count")) == before + 5000
        cluster.agree()
        assert at_follower.cli("FLUSHALL") == "OK"
        assert at_leader.cli("DBSIZE") == "0"
        cluster.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
