#!/usr/bin/env python3
"""Attacks a `gavel serve` of its own on loopback, in bounds, and says what held.

Parts (all of them unless some are named):
  readings   requests that a proxy and the service could read differently, each with a second request hidden in it
  floods     lines, headers, chunks and bodies without end, and packed bodies that unfold to a gigabyte: memory before and after
  mutations  a good request with bytes changed, cut, doubled and put in, lengths that lie, broken JSON, clients that vanish
  crowd      connections of every kind at once (idle, one byte a second, never reading, thousands of good ones) and honest clients
             among them, which must be answered within a second
  names      Host and Origin of others
  proxy      nginx in front, if it is there: the hidden requests again, while others ask; each gets its own answer
  stop       SIGTERM with slow clients: the time until the process ends
  cage       requests a second with the cage and with --no-cage, both services running and asked by turns (needs wrk)

Whatever comes back must be HTTP below 500 (504 and 503 aside), or a closed connection. Prints a line a case; exits with 1 if one failed.
usage: attack_service.py --adapter runs/demo [--program build/release/gavel] [--seconds 60] [--connections 1000] [PART …]
"""
import argparse
import collections
import gzip
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

GOOD = json.dumps({"id": "hidden", "prompt": ["Why?"], "response_a": ["Because."], "response_b": ["No idea."]}).encode()
JSON = b"Content-Type: application/json\r\n"
failures = []


def check(name, ok, text):
    print(f"{'ok    ' if ok else 'FAILED'} {name}: {text}", flush=True)
    if not ok:
        failures.append(name)


class Service:
    """The program with a judge, on a free port."""

    def __init__(self, options, more=()):
        self.log = tempfile.NamedTemporaryFile("r", suffix=".log")
        with open(self.log.name, "w") as log:
            self.process = subprocess.Popen(
                [options.program, "serve", "--adapter", options.adapter, "--port", "0", *more], stderr=log, stdout=log)
        for _ in range(6000):
            found = re.search(r"listening on http://[^:]*:(\d+)", Path(self.log.name).read_text())
            if found or self.process.poll() is not None:
                break
            time.sleep(0.05)
        if not found:
            sys.exit("the service did not start:\n" + Path(self.log.name).read_text())
        self.port = int(found[1])

    def mib(self):
        return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())[1]) // 1024

    def alive(self):
        return self.process.poll() is None

    def end(self, wait=60):
        """Seconds from SIGTERM to the process's end, None when it has none."""
        start = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(wait)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None
        return time.monotonic() - start


def request(body=GOOD, length=None, more=b"", path=b"/v1/judge"):
    return (b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\n" + JSON + more +
            b"Content-Length: %d\r\n\r\n" % (len(body) if length is None else length) + body)


def whole(answer):
    head, end, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return bool(end) and length is not None and len(body) >= int(length[1])


def exchange(port, data, wait=3.0, half=False, one=False, then=b""):
    """All that comes back until the service closes, nothing comes for `wait`, or (with `one`) an answer is whole. `then` is sent a
    moment later, when what was read with the first part can't be lost with it."""
    answer = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=wait) as link:
            link.sendall(data)
            if half:
                return b""
            if then:
                time.sleep(0.1)
                link.sendall(then)
            while not (one and whole(answer)) and (part := link.recv(65536)):
                answer += part
    except OSError:
        pass
    return answer


def statuses(answer):
    return [int(s) for s in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answer)]


def judge_good(port):
    return statuses(exchange(port, request(more=b"Connection: close\r\n"), 60)) == [200]


def hidden_requests():
    """(what, bytes): one request by the strict reading, with a second one inside."""
    inner, host = request(), b"Host: localhost\r\n"
    n = b"%d" % len(inner)
    chunks = b"Transfer-Encoding: chunked\r\n"
    post = b"POST /v1/judge HTTP/1.1\r\n" + host + JSON
    for method, path in ((b"GET", b"/health"), (b"HEAD", b"/health"), (b"OPTIONS", b"/v1/judge"), (b"DELETE", b"/v1/judge"),
                         (b"BREW", b"/"), (b"POST", b"/nothing")):
        head = method + b" " + path + b" HTTP/1.1\r\n" + host
        yield f"a body of {method.decode()}", head + b"Content-Length: " + n + b"\r\n\r\n" + inner
        yield f"chunks of {method.decode()}", head + chunks + b"\r\n" + inner
    get = b"GET /health HTTP/1.1\r\n" + host
    yield "a range and a body", get + b"Range: bytes=zz\r\nContent-Length: " + n + b"\r\n\r\n" + inner
    yield "multipart", post.replace(b"application/json", b"multipart/form-data; boundary=B") + b"Content-Length: " + n + b"\r\n\r\n" + inner
    for what, headers in (
            ("two lengths", b"Content-Length: 0\r\nContent-Length: " + n), ("two equal lengths", b"Content-Length: 0\r\nContent-Length: 0"),
            ("a length and chunks", b"Content-Length: 5\r\n" + chunks.strip()), ("chunks and a length", chunks + b"Content-Length: 5"),
            ("a length and gzip, chunked", b"Content-Length: 5\r\nTransfer-Encoding: gzip, chunked"),
            ("xchunked", b"Transfer-Encoding: xchunked"), ("chunked twice", chunks + chunks.strip()),
            ("an encoded length", b"Content-Length: %30"), ("a signed length", b"Content-Length: +0"),
            ("a blank before the colon", b"Content-Length : 0"), ("a folded length", b"Content-Length: 0\r\n 0"),
            ("a length of 65 bits", b"Content-Length: 18446744073709551616")):
        yield what, post + headers + b"\r\n\r\n0\r\n\r\n" + inner
    for what, chunk in (("chunk -1", b"-1\r\n"), ("chunk 0x0", b"0x0\r\n\r\n"), ("a chunk of 65 bits", b"10000000000000000\r\n"),
                        ("a chunk longer than it says", b"1\r\nabc\r\n0\r\n\r\n"), ("LF after a chunk's size", b"0\n\n")):
        yield what, post + chunks + b"\r\n" + chunk + inner
    yield "LF for line ends", b"GET /health HTTP/1.1\nHost: localhost\n\n" + inner
    yield "a line that is no request", b"garbage\r\n\r\n" + inner
    yield "HTTP/9.9", b"GET /health HTTP/9.9\r\nX: y\r\n\r\n" + inner
    yield "two hosts", get + host + b"\r\n" + inner


def readings(options):
    service = Service(options)
    two = 0
    for what, data in hidden_requests():
        answers = [statuses(exchange(service.port, data, 1.0)),
                   statuses(exchange(service.port, data[:-len(request())], 1.0, then=request()))]
        if any(len(a) != 1 or a == [200] and not what.endswith(("GET", "HEAD", "body")) for a in answers):
            two += 1
            check(what, False, f"at once {answers[0]}, in two parts {answers[1]}")
    check("readings", two == 0, f"{len(list(hidden_requests()))} requests with another one inside, sent at once and in two parts: "
          f"{two} not answered once and closed")
    two = exchange(service.port, request() + request(more=b"Connection: close\r\n"), 20)
    check("pipelining", statuses(two) == [200, 200], f"two requests at once: {statuses(two)}")
    service.end()


def floods(options):
    service = Service(options)
    judge_good(service.port)
    mib, chunked = b"a" * (1 << 20), b"Transfer-Encoding: chunked\r\n\r\n"
    post = b"POST /v1/judge HTTP/1.1\r\nHost: localhost\r\n" + JSON
    bomb = gzip.compress(b"a" * (1 << 30), 9)
    headers = (b"X: " + b"y" * 8000 + b"\r\n") * 128
    before = service.mib()
    most = before
    for what, head, part in (
            ("a request line", b"GET /", mib), ("a header line", b"GET / HTTP/1.1\r\nX: ", mib), ("headers", b"GET / HTTP/1.1\r\n", headers),
            ("small headers", b"GET / HTTP/1.1\r\n", b"a:b\r\n" * 200000), ("lines of LF", b"GET / HTTP/1.1\r\n", b"ab\n" * 300000),
            ("chunks to nowhere", b"POST /nope HTTP/1.1\r\nHost: localhost\r\n" + chunked, b"100000\r\n" + mib + b"\r\n"),
            ("chunks to the judge", post + chunked, b"100000\r\n" + mib + b"\r\n"), ("a chunk's size", post + chunked, b"0" * (1 << 20)),
            ("a chunk's extension", post + chunked + b"5;", mib), ("a trailer", post + chunked + b"0\r\n", headers),
            ("a body without length", b"POST /nope HTTP/1.1\r\nHost: localhost\r\n\r\n", mib),
            ("a packed gigabyte", post + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb), bomb)):
        sent = 0
        try:
            with socket.create_connection(("127.0.0.1", service.port), timeout=5) as link:
                link.sendall(head)
                start = time.monotonic()
                while sent < 512 << 20 and time.monotonic() - start < 20:
                    link.sendall(part)
                    sent += len(part)
                    most = max(most, service.mib())
                    if part is bomb:
                        link.recv(1000)
                        break
        except OSError:
            pass
        most = max(most, service.mib())
        if not service.alive():
            check(what, False, "the service ended")
            return
        if sent >= 512 << 20:
            check(what + " without end", False, "512 MiB were read")
    time.sleep(1)
    check("floods", most - before < 64 and judge_good(service.port),
          f"12 kinds up to 512 MiB each: resident memory {before} MiB before, {most} at most, {service.mib()} after")
    service.end()


def mutate(rng):
    """(kind, bytes, whether the answer is read)"""
    kind = rng.choice(["bytes", "cut", "insert", "double", "length", "json", "chunks", "headers", "vanish", "line"])
    sent = bytearray(request())
    if kind == "bytes":
        for _ in range(rng.randint(1, 12)):
            sent[rng.randrange(len(sent))] = rng.randrange(256)
    elif kind == "cut":
        del sent[rng.randrange(len(sent)):]
    elif kind == "insert":
        at = rng.randrange(len(sent))
        sent[at:at] = bytes(rng.randrange(256) for _ in range(rng.choice([1, 3, 100, 9000])))
    elif kind == "double":
        at, size = rng.randrange(len(sent)), rng.randint(1, 200)
        sent[at:at] = sent[at:at + size]
    elif kind == "length":
        sent = request(GOOD, rng.choice([0, 1, len(GOOD) - 1, len(GOOD) + 5, 10**6, 10**9, 10**18]))
    elif kind == "json":
        body = rng.choice([b"[" * 20000, b'{"prompt":' * 5000, b"[" + b",".join([GOOD] * 200) + b"]", b"null", b"3",
                           b'{"prompt": "\\ud800", "response_a": "", "response_b": 1e999}', GOOD[:-1], GOOD + GOOD,
                           b'"' + b"x" * 100000 + b'"', b"\xff\xfe" + GOOD, GOOD.replace(b"prompt", b"promt")])
        sent = request(body)
    elif kind == "chunks":
        size = rng.choice([b"zz", b"-1", b"ffffffffffffffff", b"5", b"7fffffff", b""])
        sent = request(size + b"\r\n" + GOOD, 0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    elif kind == "headers":
        more = b"".join(b"X-%d: %s\r\n" % (i, b"y" * rng.choice([1, 100, 9000])) for i in range(rng.choice([1, 90, 300])))
        sent = request(GOOD, more=more)
    elif kind == "vanish":
        return kind, bytes(sent[:rng.randrange(1, len(sent) + 1)]), False
    elif kind == "line":
        first = rng.choice([b"GET / HTTP/9.9", b"GARBAGE", b"GET /%00%ff%2e%2e/ HTTP/1.1", b"POST /v1/judge", b"",
                            b"GET /../../etc/passwd HTTP/1.1", b"GET /" + b"x" * 20000 + b" HTTP/1.1", b"PUT /v1/judge HTTP/1.1"])
        sent = first + sent[sent.index(b"\r\n"):]
    return kind, bytes(sent), True


def mutations(options):
    service = Service(options, ["--body-timeout", "1"])
    judge_good(service.port)
    before, rng, found, slowest = service.mib(), random.Random(1), collections.Counter(), 0.0
    for i in range(options.requests):
        kind, data, reads = mutate(rng)
        start = time.monotonic()
        answer = exchange(service.port, data, 1.5, half=not reads, one=True)
        slowest = max(slowest, time.monotonic() - start)
        codes = statuses(answer)
        what = "client left" if not reads else str(codes[0]) if codes else "closed, or more is waited for" if not answer else "no HTTP"
        found[what] += 1
        if what == "no HTTP" or codes and codes[0] >= 500 and codes[0] != 505 or not service.alive():
            check(f"mutation {i} ({kind})", False, f"{what}: {data[:120]!r}")
        if i % 200 == 199 and not judge_good(service.port):
            check(f"after mutation {i}", False, "a good request is not answered")
            break
    check("mutations", slowest < 5, f"{options.requests} requests: " + ", ".join(f"{k} {v}" for k, v in sorted(found.items())) +
          f"; slowest {slowest:.2f} s, memory {before} to {service.mib()} MiB")
    service.end()


def crowd(options):
    # The crowd has no token: whoever has one asks for what the judge can do, and is told 429 beyond it.
    secret = tempfile.NamedTemporaryFile("w", suffix=".token")
    secret.write("open sesame")
    secret.flush()
    token = b"Authorization: Bearer open sesame\r\n"
    service = Service(options, ["--max-connections", str(max(64, options.connections // 2)), "--token-file", secret.name])
    exchange(service.port, request(more=token + b"Connection: close\r\n"), 60)
    before, most, end = service.mib(), service.mib(), time.monotonic() + options.seconds
    kinds = [b"", b"GET /health HTTP/1.1\r\nX", request(GOOD, 900000)[:-len(GOOD)] + b"[" * 500000,
             b"POST /v1/judge HTTP/1.1\r\nHost: localhost\r\n" + JSON + b"Transfer-Encoding: chunked\r\n\r\n5\r\n[[",
             b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 400, request()]
    links, opened, latencies, slowest, wrong, lock = [], 0, [], [0.0, 0.0], collections.Counter(), threading.Lock()

    def attack():
        nonlocal opened
        rng = random.Random(2)
        while time.monotonic() < end:
            while len(links) < options.connections:
                try:
                    link = socket.create_connection(("127.0.0.1", service.port), timeout=1)
                    link.settimeout(0.05)
                    links.append(link)
                    opened += 1
                    link.sendall(kinds[opened % len(kinds)])
                except OSError:
                    pass
            for link in rng.sample(links, len(links) // 4):
                try:
                    link.send(b"x")
                except OSError:
                    link.close()
                    links.remove(link)
            time.sleep(0.2)

    def honest(number):
        while time.monotonic() < end:
            start = time.monotonic()
            judge = number % 2
            data = request(more=token + b"Connection: close\r\n") if judge else b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            codes = statuses(exchange(service.port, data, 20))
            with lock:
                latencies.append(time.monotonic() - start)
                slowest[judge] = max(slowest[judge], latencies[-1])
                if codes != [200]:
                    wrong[str(codes)] += 1
            time.sleep(0.1)

    resource.setrlimit(resource.RLIMIT_NOFILE, (min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], options.connections + 500),
                                                resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    threads = [threading.Thread(target=attack)] + [threading.Thread(target=honest, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    half = None
    while time.monotonic() < end:
        time.sleep(1)
        most = max(most, service.mib())
        if half is None and time.monotonic() > end - options.seconds / 2:
            half = service.mib()
    for thread in threads:
        thread.join()
    latencies.sort()
    check("crowd", latencies[-1] < 1 and not wrong and service.alive(),
          f"{options.connections} connections of {len(kinds)} kinds for {options.seconds} s ({opened} opened): {len(latencies)} honest requests, "
          f"median {latencies[len(latencies) // 2] * 1000:.0f} ms, slowest {slowest[0]:.2f} s (/health) and {slowest[1]:.2f} s (judged), not answered {dict(wrong)}; "
          f"memory {before} MiB before, {half} at half time, {service.mib()} at the end, {most} at most")
    for link in links:
        link.close()
    service.end()


def names(options):
    service = Service(options)
    def status(headers):
        return (statuses(exchange(service.port, b"GET /health HTTP/1.1\r\n" + headers + b"Connection: close\r\n\r\n")) or [0])[0]
    for host, expected in ((b"localhost", 200), (b"127.0.0.1:%d" % service.port, 200), (b"evil.example", 421), (b"127.0.0.1.evil.example", 421)):
        check("name " + host.decode(), status(b"Host: " + host + b"\r\n") == expected, f"expected {expected}")
    for origin, expected in ((b"http://localhost", 200), (b"http://evil.example", 403), (b"null", 403)):
        check("origin " + origin.decode(), status(b"Host: localhost\r\nOrigin: " + origin + b"\r\n") == expected, f"expected {expected}")
    service.end()


def proxy(options):
    program = shutil.which("nginx") or ("/usr/sbin/nginx" if os.path.exists("/usr/sbin/nginx") else None)
    if not program:
        print("nginx is not here: the proxy was left out")
        return
    service = Service(options)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = Path(tempfile.mkdtemp())
    (folder / "nginx.conf").write_text(f"""
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 2; events {{ worker_connections 512; }}
http {{ access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream judge {{ server 127.0.0.1:{service.port}; keepalive 4; }}
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://judge; proxy_http_version 1.1; proxy_request_buffering off;
    proxy_set_header Connection ""; proxy_set_header Host localhost; }} }} }}""")
    nginx = subprocess.Popen([program, "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")])
    time.sleep(1)
    end, asked, wrong, lock = time.monotonic() + min(options.seconds, 30), collections.Counter(), [], threading.Lock()

    def honest(number):
        while time.monotonic() < end:
            own = f"{number}-{asked[number]}"
            body = json.dumps({"id": own, "prompt": "p", "response_a": "a", "response_b": "b"}).encode()
            answer = exchange(port, request(body, more=b"Connection: close\r\n"), 20)
            with lock:
                asked[number] += 1
                if statuses(answer) != [200] or f'"id":"{own}"'.encode() not in answer:
                    wrong.append(answer[-200:])

    threads = [threading.Thread(target=honest, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    attacks = 0
    while time.monotonic() < end:
        for _, data in hidden_requests():
            exchange(port, data, 0.2)
            exchange(port, data[:-7], 0.05, half=True)
            attacks += 2
    for thread in threads:
        thread.join()
    check("proxy", not wrong and sum(asked.values()) > 0,
          f"{attacks} hidden requests through nginx, {sum(asked.values())} honest ones beside them, {len(wrong)} with another's answer or none {wrong[:1]}")
    nginx.terminate()
    nginx.wait()
    shutil.rmtree(folder)
    service.end()


def stop(options):
    slow = [b"", b"GET / HTTP/1.1\r\nX", request(GOOD, 5000), b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2000, request()]
    service = Service(options, ["--grace", "3"])
    links = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(40)]
    for i, link in enumerate(links):
        link.settimeout(0.2)
        try:
            link.sendall(slow[i % len(slow)])
        except OSError:
            pass
    going = True

    def drip():
        while going:
            for link in links:
                try:
                    link.send(b"x")
                except OSError:
                    pass
            time.sleep(0.3)
    thread = threading.Thread(target=drip)
    thread.start()
    time.sleep(0.5)
    took = service.end(45)
    going = False
    thread.join()
    check("stop", took is not None and took < 6, f"with 40 slow clients and --grace 3 after {took and round(took, 2)} s, status {service.process.returncode}")
    process = subprocess.Popen([options.program, "serve", "--adapter", options.adapter, "--port", "0"], stderr=subprocess.DEVNULL)
    time.sleep(0.7)
    start = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    check("stop before it serves", time.monotonic() - start < 2, f"{time.monotonic() - start:.2f} s, status {process.returncode}")


def cage(options):
    if not shutil.which("wrk"):
        return print("skipped cage: wrk is not installed")
    script = tempfile.NamedTemporaryFile("w", suffix=".lua")
    script.write(f"wrk.method = 'POST'; wrk.body = [[{GOOD.decode()}]]; wrk.headers['Content-Type'] = 'application/json'")
    script.flush()
    services = [Service(options), Service(options, ["--no-cage"])]
    asked = [("/health", 8, 4, []), ("/v1/judge", 4, 20, ["-s", script.name])]
    for path, connections, seconds, more in asked:
        rates = [[], []]
        for turn in range(1 + options.rounds):  # the first warms up
            for which in (0, 1) if turn % 2 else (1, 0):
                done = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", *more, f"http://127.0.0.1:{services[which].port}{path}"],
                                      capture_output=True, text=True, check=True).stdout
                if turn > 0:
                    rates[which].append(float(re.search(r"Requests/sec:\s+([\d.]+)", done)[1]))
                    check("cage", "Non-2xx" not in done, f"{path} {'without' if which else 'with'}: {rates[which][-1]:.1f} a second")
        ratios = sorted(a / b for a, b in zip(*rates))
        print(f"      cage: {path} with against without {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f}), "
              f"medians {statistics.median(rates[0]):.1f} and {statistics.median(rates[1]):.1f} a second")
    for service in services:
        service.end()


PARTS = {part.__name__: part for part in (readings, names, stop, mutations, floods, proxy, cage, crowd)}
arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("parts", nargs="*", metavar="PART")
arguments.add_argument("--adapter", required=True)
arguments.add_argument("--program", default="build/release/gavel")
arguments.add_argument("--seconds", type=int, default=60)
arguments.add_argument("--connections", type=int, default=1000)
arguments.add_argument("--requests", type=int, default=3000)
arguments.add_argument("--rounds", type=int, default=5, help="of the part cage")
given = arguments.parse_args()
if unknown := set(given.parts) - set(PARTS):
    sys.exit(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
for name in given.parts or PARTS:
    PARTS[name](given)
sys.exit(bool(failures))
