#!/usr/bin/env python3
"""Hostile clients at a live cluster: it answers or drops, counts, and goes on; its memory stays
bounded and a well-behaved client notices nothing. Arguments: trireme, driver."""

import random
import socket
import struct
import sys
import threading
import time

from kv_cluster import Client, Cluster

MIB = 1 << 20


def rss_bytes(node):
    with open(f"/proc/{node.process.pid}/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def bytes_of(seed, count):
    return random.Random(seed).randbytes(count)


STREAMS = {
    "an array without end": b"*1000000\r\n" + b"$1\r\na\r\n" * 1000,
    "a length that is none": b"*1\r\n$abc\r\n",
    "a negative length": b"*1\r\n$-5\r\n",
    "a count above all bounds": b"*99999999999999999999\r\n",
    "a count that overflows": b"*-9223372036854775809\r\n",
    "a bulk string of 512 MiB that never comes": b"*2\r\n$4\r\nECHO\r\n$536870912\r\nabc",
    "a bulk string above that": b"*2\r\n$4\r\nECHO\r\n$536870913\r\n",
    "nested arrays": b"*1\r\n" * 10000,
    "a line of 64 KiB": b"x" * 65536,
    "a line of 1 MiB": b"y" * MIB,
    "unbalanced quotes": b'SET "a b\r\n',
    "zero bytes": b"\0" * 70000,
    "a browser": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nPING\n",
    "another server's greeting": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes_of(1, 500),
    "noise": bytes_of(2, 200000),
    "RESP3 types": b"%1\r\n+a\r\n:1\r\n",
    "no line ends": b"*1\r\n$4\r\nPINGPINGPING",
    "names with zero bytes": b"*2\r\n$6\r\nget\0\0\0\r\n$1\r\nk\r\n" * 100,
    "a value above the limit": b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$20000000\r\n" + b"v" * 20000000 + b"\r\n",
    "too many arguments": b"*300000\r\n$4\r\nMGET\r\n" + b"$1\r\nk\r\n" * 299999,
    "many errors": b"NOPE\r\nGET\r\nSET a\r\nINCR a b c\r\nSELECT 9\r\n" * 5000,
}


def throw(port, data):
    """Sends bytes, reads what comes for a moment, leaves rudely."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=30)
    sock.settimeout(0.2)
    try:
        sock.sendall(data)
    except OSError:
        pass
    try:
        while sock.recv(1 << 16):
            pass
    except OSError:
        pass
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def cut_everywhere(port):
    """A good request, cut at every byte, by clients that leave."""
    whole = b"*3\r\n$3\r\nSET\r\n$3\r\ncut\r\n$5\r\nvalue\r\n"
    for cut in range(len(whole)):
        sock = socket.create_connection(("127.0.0.1", port), timeout=30)
        sock.sendall(whole[:cut])
        sock.close()


def one_byte_at_a_time(port):
    client = Client(port)
    for byte in b"*2\r\n$4\r\nECHO\r\n$5\r\nslow!\r\n" * 3:
        client.send_raw(bytes([byte]))
    assert [client.receive() for _ in range(3)] == [b"slow!"] * 3
    client.close()


def never_read(port):
    """Asks for much and reads nothing: is not answered for ever. Returns the socket."""
    client = Client(port)
    client("SET", "large", b"v" * 500000)
    client.socket.setblocking(False)
    data = b"*2\r\n$3\r\nGET\r\n$5\r\nlarge\r\n" * 20000
    try:
        while data:
            data = data[client.socket.send(data) :]
    except OSError:
        pass
    return client.socket


def crowd(port, count):
    """Many clients that say nothing, or half of something."""
    held = []
    for at in range(count):
        sock = socket.create_connection(("127.0.0.1", port), timeout=30)
        if at % 2:
            sock.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\n")
        held.append(sock)
    return held


def wait_rejected(client, count):
    """INFO, once so many clients were turned away."""
    end = time.monotonic() + 60
    while True:
        text = client("INFO").decode()
        info = dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)
        if int(info["rejected_connections"]) >= count:
            return info
        assert time.monotonic() < end, info
        time.sleep(0.02)


class GoodClient(threading.Thread):
    """Counts, all the while."""

    def __init__(self, node, stop):
        super().__init__(daemon=True)
        self.client = node.client(timeout_s=60)
        self.stop = stop
        self.count = 0
        self.failure = None

    def run(self):
        try:
            while not self.stop.is_set():
                value = self.client("INCR", "good")
                assert value == self.count + 1, (value, self.count)
                self.count = value
                assert self.client("GET", "good") == b"%d" % value
        except BaseException as failure:
            self.failure = failure


def main(trireme, driver):
    stop = threading.Event()
    with Cluster(trireme, driver, ["--deadline-us", "60s", "--clients-max", "500"]) as cluster:
        node = cluster.nodes[cluster.leader()]
        good = GoodClient(node, stop)
        good.start()
        throw(node.port, b"PING\r\n" * 1000)
        before = rss_bytes(node)
        for what, data in STREAMS.items():
            throw(node.port, data)
            assert node.process.poll() is None, f"it did not survive {what}"
        cut_everywhere(node.port)
        one_byte_at_a_time(node.port)
        watch = node.client()
        held = [never_read(node.port) for _ in range(3)]
        held += crowd(node.port, 600)
        info = wait_rejected(watch, 100)
        for sock in held:
            sock.close()
        assert watch("ECHO", "still here") == b"still here"
        stop.set()
        good.join(timeout=120)
        assert good.failure is None, good.failure
        assert good.count > 0
        grown = rss_bytes(node) - before
        print(f"{good.count} increments meanwhile, {info['protocol_errors']} protocol errors, ", end="")
        print(f"{info['requests_too_big']} requests too big, {info['rejected_connections']} clients ", end="")
        print(f"rejected, {grown / MIB:.1f} MiB more resident")
        assert int(info["protocol_errors"]) >= 12, info
        assert int(info["requests_too_big"]) >= 2, info
        assert grown < 256 * MIB, "memory was not given back"
        assert node.client()("EXISTS", "cut") == 0
        cluster.agree()
        cluster.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
