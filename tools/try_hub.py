#!/usr/bin/env python3
"""Shows that Gavel and huggingface_hub share one cache, against a small server on this machine that behaves like the hub.

Gavel fetches a model, and transformers opens it offline; then huggingface_hub fetches another revision into an empty cache, and Gavel
opens that offline. Needs transformers, in an environment of its own, and FOLDER, a model with tokenizer.json (as
`gavel export --model … --out FOLDER` writes it).
usage: try_hub.py GAVEL FOLDER
"""
import hashlib
import http.server
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading

gavel, folder = sys.argv[1], pathlib.Path(sys.argv[2])
NAME, COMMIT = "tiny/judge", "0123456789abcdef0123456789abcdef01234567"
FILES = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def is_lfs(name):
    return name.endswith(".safetensors")


def etag(name):
    data = FILES[name]
    return hashlib.sha256(data).hexdigest() if is_lfs(name) else hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Store(http.server.BaseHTTPRequestHandler):
    """The files themselves."""

    def log_message(self, *_):
        pass

    def reply(self, status, body=b"", headers=()):
        self.send_response(status)
        for key, value in (("Content-Length", str(len(body))), *headers):
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        self.reply(200, FILES[self.path.rsplit("/", 1)[1]])

    do_HEAD = do_GET


class Hub(Store):
    """The hub: what a repository holds, and where large files lie."""

    def do_GET(self):
        path, name = self.path.split("?")[0], self.path.split("?")[0].rsplit("/", 1)[1]
        if path.startswith(f"/api/models/{NAME}"):
            siblings = [{"rfilename": file, "size": len(data), "blobId": etag(file),
                         **({"lfs": {"sha256": etag(file), "size": len(data), "pointerSize": 130}} if is_lfs(file) else {})}
                        for file, data in FILES.items()]
            if "/tree/" in path:
                siblings = [{"type": "file", "path": file, "size": len(data), "oid": etag(file),
                             **({"lfs": {"oid": etag(file), "size": len(data), "pointerSize": 130}} if is_lfs(file) else {})}
                            for file, data in FILES.items()]
                return self.reply(200, json.dumps(siblings).encode())
            return self.reply(200, json.dumps({"id": NAME, "modelId": NAME, "sha": COMMIT, "private": False, "tags": [],
                                               "downloads": 0, "likes": 0, "siblings": siblings}).encode())
        if not path.startswith(f"/{NAME}/resolve/") or name not in FILES:
            return self.reply(404, b"", [("X-Error-Code", "EntryNotFound"), ("X-Repo-Commit", COMMIT)])
        facts = [("X-Repo-Commit", COMMIT), ("ETag", f'"{etag(name)}"')]
        if not is_lfs(name):
            return self.reply(200, FILES[name], facts)
        self.reply(302, b"", [("X-Repo-Commit", COMMIT), ("X-Linked-Etag", f'"{etag(name)}"'),
                              ("X-Linked-Size", str(len(FILES[name]))),
                              ("Location", f"http://localhost:{store.server_port}/{name}")])

    do_HEAD = do_GET


def start(handler):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


store, hub = start(Store), start(Hub)


def run(cache, *command, offline=False):
    """What the command prints."""
    environment = {**os.environ, "HF_HUB_CACHE": str(cache), "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}",
                   "HF_HUB_OFFLINE": "1" if offline else "0", "HF_HUB_DISABLE_XET": "1", "no_proxy": "127.0.0.1,localhost"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{command}: {done.stderr}")
    return done.stdout


def layout(cache):
    """Each file of the model's folder with what it links to, without those that only one of the two writes."""
    top = cache / "models--tiny--judge"
    return {str(path.relative_to(top)): os.readlink(path) if path.is_symlink() else path.read_bytes()[:40]
            for path in sorted(top.rglob("*"))
            if (path.is_symlink() or path.is_file()) and ".no_exist" not in path.parts
            and path.relative_to(top).parts[0] in ("blobs", "refs", "snapshots")}


OPEN = f"""
from transformers import AutoModelForSequenceClassification, AutoTokenizer
model = AutoModelForSequenceClassification.from_pretrained("{NAME}", num_labels=3)
print(sum(p.numel() for p in model.model.parameters()), AutoTokenizer.from_pretrained("{NAME}")("a pair of words")["input_ids"])
"""
FETCH = f"""
from huggingface_hub import snapshot_download
print(snapshot_download("{NAME}", allow_patterns=PATTERNS))
"""

with tempfile.TemporaryDirectory() as scratch:
    ours, theirs = pathlib.Path(scratch, "ours"), pathlib.Path(scratch, "theirs")
    print("gavel fetches:", run(ours, gavel, "doctor", "--fetch", NAME).strip())
    print("transformers opens that offline:", run(ours, sys.executable, "-c", OPEN, offline=True).strip())
    wanted = [path.name for path in next((ours / "models--tiny--judge" / "snapshots").iterdir()).iterdir()]
    print("huggingface_hub fetches:", run(theirs, sys.executable, "-c", FETCH.replace("PATTERNS", repr(wanted))).strip())
    ids = run(theirs, gavel, "tokenize", "--tokenizer", NAME, "--ids", "--text", "a pair of words", offline=True)
    print("gavel tokenizes with that offline:", ids.strip())
    run(theirs, gavel, "export", "--model", NAME, "--out", f"{scratch}/out", offline=True)
    print("gavel opens that offline and exports", *sorted(path.name for path in pathlib.Path(scratch, "out").iterdir()))
    # The other way round: nothing of a cache that the other made is fetched again.
    print("huggingface_hub takes what gavel fetched:",
          run(ours, sys.executable, "-c", FETCH.replace("PATTERNS", repr(wanted)), offline=True).strip())
    same = layout(ours) == layout(theirs)
    print("both caches are alike:", "yes" if same else f"no\n{layout(ours)}\n{layout(theirs)}")
    sys.exit(0 if same else 1)
