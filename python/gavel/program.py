"""The program `gavel`: where it is, and `gavel serve` as a process of our own."""

from __future__ import annotations

import json
import os
import pathlib
import re
import secrets
import shutil
import subprocess
import threading
import weakref
from collections import deque
from importlib import metadata
from typing import Deque, Iterator, Optional, Sequence

_ADDRESS = re.compile(r"listening on (http://[^ /]+)/")


class ProgramNotFound(RuntimeError):
    """There is no program `gavel` where it is looked for."""


class ServiceFailed(RuntimeError):
    """`gavel serve` ended before it served; the text has its own words."""


def _is_program(path: pathlib.Path) -> bool:
    """Whether it can be run and is no script: a package's command `gavel` is one, and would start itself for ever."""
    if not os.access(path, os.X_OK) or not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


def _candidates() -> Iterator[pathlib.Path]:
    try:
        # Where pip put the wheel's program: its environment need not be on PATH.
        for file in metadata.files("gavel-judge") or ():
            if file.name == "gavel" and file.parent.name in ("bin", "scripts"):
                yield pathlib.Path(str(file.locate())).resolve()
    except metadata.PackageNotFoundError:
        pass  # run from a clone
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        found = shutil.which("gavel", path=folder) if folder else None
        if found:
            yield pathlib.Path(found)


def find_program() -> str:
    """The path of the program: the variable GAVEL_PROGRAM where it is set, else the one that was installed with this
    package, else the first on PATH. Raises ProgramNotFound."""
    named = os.environ.get("GAVEL_PROGRAM")
    if named:
        if not _is_program(pathlib.Path(named)):
            raise ProgramNotFound(f"GAVEL_PROGRAM is {named}, which is no program that can be run")
        return named
    for path in _candidates():
        if _is_program(path):
            return str(path)
    raise ProgramNotFound(
        "the program gavel was not installed with this package and is not on PATH; build it (make build) and set GAVEL_PROGRAM to its path"
    )


def _end(process: "subprocess.Popen[bytes]", grace: float) -> None:
    if process.stdin is not None:
        try:
            process.stdin.close()  # it stops with its input (--stop-with-stdin)
        except OSError:
            pass
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Service:
    """`gavel serve` of a folder on a free port of this machine, with a token that nobody else knows. It ends with close(), when this
    object is collected, and with this process, however that ends."""

    def __init__(self, adapter: str, options: Sequence[str], start_timeout: float) -> None:
        self.token = secrets.token_urlsafe(32)
        self._lines: Deque[str] = deque(maxlen=50)
        self._address: Optional[str] = None
        self._told = threading.Event()
        command = [find_program(), "serve", "--adapter", adapter, "--host", "127.0.0.1", "--port", "0"]
        command += ["--log-format", "json", "--stop-with-stdin", "--answer-timeout", "3600", *options]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "GAVEL_TOKEN": self.token},  # a command line can be seen by others
            start_new_session=True,  # Ctrl-C is for this process to handle
        )
        self._finalizer = weakref.finalize(self, _end, self._process, 15.0)
        threading.Thread(target=self._read, daemon=True).start()
        if not self._told.wait(start_timeout):
            self.close()
            raise ServiceFailed(f"gavel serve was not ready within {start_timeout:g} s: {self._last_words()}")
        if self._address is None:
            self._process.wait()
            self.close()
            raise ServiceFailed(f"gavel serve ended with status {self._process.returncode}: {self._last_words()}")
        self.url: str = self._address

    def close(self) -> None:
        """May be called more than once."""
        self._finalizer()

    def _read(self) -> None:
        """Takes what the service says for as long as it says something: a pipe that is full would stop it."""
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            for raw in stream:
                line = raw.decode("utf-8", "replace").rstrip()
                try:
                    record = json.loads(line)
                    text = str(record["message"]) if isinstance(record, dict) else line
                    if isinstance(record, dict) and "request_id" in record:
                        continue
                except (ValueError, KeyError):
                    text = line
                self._lines.append(text)
                found = _ADDRESS.search(text)
                if found and self._address is None:
                    self._address = found.group(1)
                    self._told.set()
        self._told.set()

    def _last_words(self) -> str:
        errors = [line for line in self._lines if line.startswith("error: ")]
        return "\n".join(errors or list(self._lines)[-5:]) or "it said nothing"
