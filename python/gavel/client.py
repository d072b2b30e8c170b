"""Questions to `gavel serve`, and what it answers."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import threading
import time
import urllib.parse
from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Mapping, Optional, Protocol, Sequence, Tuple, Type, TypeVar, Union, overload

from gavel.program import Service

Turns = Union[str, Sequence[str]]
"""A text, or one for each round of a conversation."""

# The service's own limits are 64 pairs and 1 MiB a request, and 64 pairs that wait.
_MOST_PAIRS = 32
_MOST_BYTES = 500_000


class GavelError(RuntimeError):
    """What the service refused, or that it can't be reached. `status`: of HTTP, None where there was no answer."""

    def __init__(self, message: str, status: Optional[int] = None, request_id: Optional[str] = None) -> None:
        super().__init__(message)
        self.status = status
        self.request_id = request_id


class _Frame(Protocol):
    """As much of a pandas.DataFrame as is used."""

    @property
    def columns(self) -> Any: ...

    def __getitem__(self, key: Any) -> Any: ...

    def assign(self, **columns: Any) -> Any: ...


_F = TypeVar("_F", bound=_Frame)
_Self = TypeVar("_Self", bound="_Client")


@dataclass(frozen=True)
class Verdict:
    """What a judge says of a pair."""

    id: str
    verdict: str
    """"A", "B" or "tie"."""
    probabilities: Mapping[str, float]
    """Of "A", "B" and "tie"."""
    tokens: int
    truncated: bool
    rewards: Optional[Mapping[str, float]] = None
    """Of "A" and "B", where the judge is a reward."""
    agrees: Optional[bool] = None
    """Whether both orders of the answers led to the same verdict; None where one was judged alone."""

    @staticmethod
    def _of(answer: Mapping[str, Any]) -> "Verdict":
        return Verdict(
            id=answer["id"],
            verdict=answer["verdict"],
            probabilities=answer["probabilities"],
            tokens=answer["tokens"],
            truncated=answer["truncated"],
            rewards=answer.get("rewards"),
            agrees=answer.get("agrees"),
        )


def _is_frame(value: Any) -> bool:
    return hasattr(value, "columns") and hasattr(value, "assign")


def _turns(value: Any, where: str) -> Union[str, List[str]]:
    if isinstance(value, str):
        return value
    if isinstance(value, Iterable) and not isinstance(value, (bytes, Mapping)):
        turns = list(value)
        if turns and all(isinstance(turn, str) for turn in turns):
            return turns
    raise TypeError(f"{where}: expected a text or a list of texts, found {value!r:.60}")


def _records(rows: Any, keys: Sequence[str]) -> List[Dict[str, Any]]:
    """Rows of a frame, dicts and tuples as dicts of their texts. Raises TypeError naming the row, counted from 0."""
    records: List[Dict[str, Any]] = []
    if _is_frame(rows):
        missing = [key for key in keys if key not in rows.columns]
        if missing:
            raise TypeError(f"the DataFrame has no column {missing[0]!r}; expected {', '.join(keys)}")
        rows = zip(*(rows[key] for key in keys))
    for number, row in enumerate(rows):
        if isinstance(row, Mapping):
            missing = [key for key in keys if key not in row]
            if missing:
                raise TypeError(f"row {number}: no key {missing[0]!r}; expected {', '.join(keys)}")
            record = {key: _turns(row[key], f"row {number}, {key}") for key in keys}
            if row.get("id") is not None:
                record["id"] = str(row["id"])
        else:
            if isinstance(row, (str, bytes)) or not isinstance(row, Iterable):
                raise TypeError(f"row {number}: expected a dict or a tuple of {', '.join(keys)}, found {row!r:.60}")
            values = list(row)
            if len(values) != len(keys):
                raise TypeError(f"row {number}: {len(values)} values, expected {', '.join(keys)}")
            record = {key: _turns(value, f"row {number}, {key}") for key, value in zip(keys, values)}
        records.append(record)
    return records


def _chunks(records: Sequence[Dict[str, Any]]) -> Iterable[List[Dict[str, Any]]]:
    chunk: List[Dict[str, Any]] = []
    held = 0
    for record in records:
        size = len(json.dumps(record))
        if chunk and (len(chunk) == _MOST_PAIRS or held + size > _MOST_BYTES):
            yield chunk
            chunk, held = [], 0
        chunk.append(record)
        held += size
    if chunk:
        yield chunk


class _Client:
    """Use it in one `with`, or call close(). It may be used from several threads."""

    def __init__(
        self,
        adapter: Union[str, "os.PathLike[str]", None] = None,
        *,
        url: Optional[str] = None,
        token: Optional[str] = None,
        model: Union[str, "os.PathLike[str]", None] = None,
        settings: Sequence[str] = (),
        options: Sequence[str] = (),
        timeout: float = 3600,
        start_timeout: float = 1800,
        retries: int = 8,
    ) -> None:
        """Serves the folder `adapter`, or asks the service at `url`.

        model: the base model of the adapter, when it is not where that says. settings: "section.key=value" over its recipe.
        options: further ones of `gavel serve`. timeout: seconds for an answer; start_timeout: until the service is ready, which
        compiles its programs the first time. retries: after 429 and 503.
        Raises ServiceFailed when the service does not come up, and ProgramNotFound."""
        if (adapter is None) == (url is None):
            raise TypeError("give either a folder to serve or url=")
        self._service: Optional[Service] = None
        if adapter is not None:
            if token is not None:
                raise TypeError("token= is for url=; a service of our own makes one")
            given = list(options)
            if model is not None:
                given += ["--model", os.fspath(model)]
            self._service = Service(os.fspath(adapter), [*given, *settings], start_timeout)
            url, token = self._service.url, self._service.token
        elif model is not None or settings or options:
            raise TypeError("model=, settings= and options= are for a folder; the service at url= has its own")
        assert url is not None
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url={url!r}: expected http://… or https://…")
        self.url = url.rstrip("/")
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._prefix = parts.path.rstrip("/")
        self._token = token
        self._timeout = timeout
        self._retries = retries
        self._lock = threading.Lock()
        self._idle: List[http.client.HTTPConnection] = []

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Any, trace: Any) -> None:
        self.close()

    def close(self) -> None:
        """Ends the service, where it is our own."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        if self._service is not None:
            self._service.close()

    @property
    def token(self) -> Optional[str]:
        return self._token

    def models(self) -> List[str]:
        """The names of what is served: one."""
        return [model["id"] for model in self._ask("GET", "/v1/models")["data"]]

    def _connection(self) -> http.client.HTTPConnection:
        """One that nobody uses."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
        if not self._secure:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=context)

    def _exchange(self, method: str, path: str, body: Optional[bytes]) -> Tuple[http.client.HTTPResponse, bytes]:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        while True:
            connection = self._connection()
            used = connection.sock is not None
            try:
                connection.request(method, self._prefix + path, body, headers)
                response = connection.getresponse()
                answer = response.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                # One that was kept may have been closed by the other side meanwhile; questions change nothing there.
                if used and not isinstance(error, socket.timeout):
                    continue
                raise GavelError(f"{self.url}{path}: {error or type(error).__name__}") from error
            except BaseException:  # Ctrl-C: what comes next on it would be the answer to this
                connection.close()
                raise
            with self._lock:
                self._idle.append(connection)
            return response, answer

    def _ask(self, method: str, path: str, question: Any = None) -> Any:
        body = None if question is None else json.dumps(question).encode()
        for attempt in range(self._retries + 1):
            response, answer = self._exchange(method, path, body)
            if response.status not in (429, 503) or attempt == self._retries:
                break
            try:
                wait = float(response.headers.get("Retry-After", "1"))
            except ValueError:
                wait = 1
            time.sleep(min(max(wait, 0.1) * (1 + attempt / 2), 30))
        try:
            parsed = json.loads(answer)
        except ValueError:
            parsed = None
        if response.status == 200 and parsed is not None:
            return parsed
        why = parsed.get("error") if isinstance(parsed, dict) else None
        if isinstance(why, dict):
            why = why.get("message")
        raise GavelError(
            f"{self.url}{path}: {response.status}: {why or answer[:200].decode('utf-8', 'replace')}",
            response.status,
            response.headers.get("X-Request-Id"),
        )

    def _ask_list(self, path: str, records: List[Dict[str, Any]], answers_of: Any) -> List[Any]:
        """Asks for all records at once, or, where that is too much for the service, for halves."""
        try:
            answers: List[Any] = answers_of(self._ask("POST", path, records))
        except GavelError as error:
            if error.status not in (413, 504) or len(records) == 1:
                raise
            half = len(records) // 2
            return self._ask_list(path, records[:half], answers_of) + self._ask_list(path, records[half:], answers_of)
        if len(answers) != len(records):
            raise GavelError(f"{self.url}{path}: {len(answers)} answers to {len(records)} questions")
        return answers


class Judge(_Client):
    """A judge of pairs, or a reward, which judges pairs as well."""

    def judge(self, prompt: Turns, a: Turns, b: Turns) -> Verdict:
        """Which of two answers is better."""
        texts = (("prompt", prompt), ("response_a", a), ("response_b", b))
        return Verdict._of(self._ask("POST", "/v1/judge", {key: _turns(value, key) for key, value in texts}))

    @overload
    def judge_many(self, pairs: _F) -> _F: ...

    @overload
    def judge_many(self, pairs: Iterable[Union[Mapping[str, Any], Sequence[Any]]]) -> List[Verdict]: ...

    def judge_many(self, pairs: Any) -> Any:
        """Any number of pairs: dicts with prompt, response_a, response_b and perhaps id, or tuples of the first three; gives their
        verdicts in order. Of a pandas.DataFrame with these columns it gives a copy with the columns verdict, probability_a,
        probability_b, probability_tie, and, where the judge has them, agrees, reward_a and reward_b."""
        records = _records(pairs, ("prompt", "response_a", "response_b"))
        verdicts = [
            Verdict._of(answer)
            for chunk in _chunks(records)
            for answer in self._ask_list("/v1/judge", chunk, lambda answers: answers)
        ]
        if not _is_frame(pairs):
            return verdicts
        columns: Dict[str, List[Any]] = {"verdict": [verdict.verdict for verdict in verdicts]}
        for name, key in (("probability_a", "A"), ("probability_b", "B"), ("probability_tie", "tie")):
            columns[name] = [verdict.probabilities[key] for verdict in verdicts]
        if verdicts and verdicts[0].agrees is not None:
            columns["agrees"] = [verdict.agrees for verdict in verdicts]
        if verdicts and verdicts[0].rewards is not None:
            for name, key in (("reward_a", "A"), ("reward_b", "B")):
                columns[name] = [(verdict.rewards or {})[key] for verdict in verdicts]
        return pairs.assign(**columns)


class Reward(_Client):
    """A reward: a number for one answer, the larger the better."""

    def score(self, prompt: str, response: str) -> float:
        return self.score_many([(prompt, response)])[0]

    @overload
    def score_many(self, answers: _F) -> _F: ...

    @overload
    def score_many(self, answers: Iterable[Union[Mapping[str, Any], Sequence[Any]]]) -> List[float]: ...

    def score_many(self, answers: Any) -> Any:
        """Any number of answers: dicts with prompt and response, or tuples of both; gives their rewards in order. Of a
        pandas.DataFrame with these columns it gives a copy with the column reward."""
        records = _records(answers, ("prompt", "response"))
        for number, record in enumerate(records):
            for key in ("prompt", "response"):
                if not isinstance(record[key], str):
                    raise TypeError(f"row {number}, {key}: expected one text; conversations of several rounds are not taken")
            record.pop("id", None)
        rewards: List[float] = [
            reward
            for chunk in _chunks(records)
            for reward in self._ask_list("/get_reward", chunk, lambda answer: answer["rewards"])
        ]
        return answers.assign(reward=rewards) if _is_frame(answers) else rewards
