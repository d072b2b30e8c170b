#!/usr/bin/env python3
"""Sends a running `gavel serve` what it must refuse, and checks that it refuses, answers on, and does not grow.

Requests are mutations of a good one, made from a seed: bytes changed, cut, doubled or put in, headers that lie about the
length, chunks that do not add up, deep and broken JSON, clients that vanish. Whatever comes back must be a whole HTTP answer
with a status below 500, or a closed connection; after each batch a good request must be answered with 200.
Start the service with --body-timeout 1, or half a request is waited for ten seconds each time.
usage: try_service.py PORT PID [REQUESTS] [TOKEN]
"""
import collections
import json
import random
import re
import socket
import sys
import time

port, pid = int(sys.argv[1]), int(sys.argv[2])
count = int(sys.argv[3]) if len(sys.argv) > 3 else 2000
token = sys.argv[4] if len(sys.argv) > 4 else ""
GOOD = json.dumps({"prompt": ["Why?", "And then?"], "response_a": ["Because.", "So."], "response_b": ["No idea.", "No."]}).encode()


def request(body, length=None, more=b""):
    head = b"POST /v1/judge HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + more
    if token:
        head += b"Authorization: Bearer " + token.encode() + b"\r\n"
    return head + b"Content-Length: %d\r\n\r\n" % (len(body) if length is None else length) + body


def resident_mib():
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1]) / 1024


def whole_answer(answer):
    head, end, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return bool(end) and length is not None and len(body) >= int(length[1])


def exchange(data, reads=True, wait=15.0):
    """The answer, b"" when the connection was closed, None when nothing came in time."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as link:
        try:
            link.sendall(data)
            if not reads:
                return b"left"
            answer = b""
            while not whole_answer(answer) and (part := link.recv(65536)):
                answer += part
            return answer
        except (ConnectionResetError, BrokenPipeError):
            return b""
        except TimeoutError:
            return None


def mutate(rng):
    """(kind, bytes, whether the answer is read)"""
    kind = rng.choice(["bytes", "cut", "insert", "double", "length", "json", "chunks", "headers", "vanish", "line"])
    whole = bytearray(request(GOOD))
    if kind == "bytes":
        for _ in range(rng.randint(1, 12)):
            whole[rng.randrange(len(whole))] = rng.randrange(256)
    elif kind == "cut":
        del whole[rng.randrange(len(whole)):]
    elif kind == "insert":
        at = rng.randrange(len(whole))
        whole[at:at] = bytes(rng.randrange(256) for _ in range(rng.choice([1, 3, 100, 9000])))
    elif kind == "double":
        at, size = rng.randrange(len(whole)), rng.randint(1, 200)
        whole[at:at] = whole[at:at + size]
    elif kind == "length":
        whole = request(GOOD, rng.choice([0, 1, len(GOOD) - 1, len(GOOD) + 5, 10**6, 10**9, 10**18]))
    elif kind == "json":
        body = rng.choice([b"[" * 20000, b'{"prompt":' * 5000, b"[" + b",".join([GOOD] * 200) + b"]", b"null", b"3",
                           b'{"prompt": "\\ud800", "response_a": "", "response_b": 1e999}', GOOD[:-1], GOOD + GOOD,
                           b'"' + b"x" * 100000 + b'"', b"\xff\xfe" + GOOD, GOOD.replace(b"prompt", b"promt")])
        whole = request(body)
    elif kind == "chunks":
        size = rng.choice([b"zz", b"-1", b"ffffffffffffffff", b"5", b"7fffffff", b""])
        whole = request(size + b"\r\n" + GOOD, 0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    elif kind == "headers":
        more = b"".join(b"X-%d: %s\r\n" % (i, b"y" * rng.choice([1, 100, 9000])) for i in range(rng.choice([1, 90, 300])))
        whole = request(GOOD, more=more)
    elif kind == "vanish":
        return kind, bytes(whole[:rng.randrange(1, len(whole) + 1)]), False
    elif kind == "line":
        first = rng.choice([b"GET / HTTP/9.9", b"GARBAGE", b"GET /%00%ff%2e%2e/ HTTP/1.1", b"POST /v1/judge", b"",
                            b"GET /../../etc/passwd HTTP/1.1", b"GET /" + b"x" * 20000 + b" HTTP/1.1", b"PUT /v1/judge HTTP/1.1"])
        whole = first + whole[whole.index(b"\r\n"):]
    return kind, bytes(whole), True


def judge_good():
    answer = exchange(request(GOOD, more=b"Connection: close\r\n"), wait=60)
    return answer is not None and answer.startswith(b"HTTP/1.1 200")


assert judge_good(), "a good request is not answered"
before, rng = resident_mib(), random.Random(1)
found, slowest, bad = collections.Counter(), 0.0, 0
for i in range(count):
    kind, data, reads = mutate(rng)
    start = time.monotonic()
    answer = exchange(data, reads)
    slowest = max(slowest, time.monotonic() - start)
    status = re.match(rb"HTTP/1\.1 (\d{3}) ", answer or b"")
    what = ("client left" if answer == b"left" else "closed" if answer == b"" else "no answer in 15 s" if answer is None else
            status[1].decode() if status else "no HTTP")
    found[what] += 1
    if what in ("no answer in 15 s", "no HTTP") or what.startswith("5"):
        bad += 1
        print(f"request {i} ({kind}): {what}: {data[:120]!r}")
    if i % 100 == 99 and not judge_good():
        sys.exit(f"after request {i} a good request is not answered any more")
print(f"{count} requests: " + ", ".join(f"{name} {number}" for name, number in sorted(found.items())))
print(f"slowest {slowest:.2f} s; resident memory {before:.0f} MiB before, {resident_mib():.0f} MiB after; bad answers {bad}")
sys.exit(bad > 0)
