"""`python -m benchmarks.generator`: generate load on a stack of this machine, in a separate process.

Reads a JSON object from standard input (the fields of `Load`) and prints one with the results. Every connection is a thread
with one kept-alive connection and its own learner. A seed chooses the requests: 80 % reads, 15 % PATCH, 5 % creates. It
ends at its time limit or its request limit.
"""

import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from http.client import HTTPConnection, HTTPException
from statistics import quantiles
from typing import Any
from urllib.parse import urlsplit

from tests.support.learners import Answer, Send, learner

MIX = {"read": 80, "patch": 15, "create": 5}
LOOPBACK = "127.0.0.1"
RESPONSES = 5
"""Responses in the initial session of a learner."""
TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class Load:
    url: str
    secret: str
    connections: int
    seconds: float
    seed: int
    most: int
    """Maximum number of requests over all connections."""
    per_second: float | None = None
    """Rate over all connections; None sends each request as soon as the previous one is complete."""


@dataclass
class Seen:
    milliseconds: list[float] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)


Act = tuple[str, str, dict[str, Any] | None, int]
"""Method, path, body, and the expected status."""


def keeping_alive(url: str) -> Send:
    parts = urlsplit(url)
    if parts.hostname != LOOPBACK:
        raise SystemExit(f"load is for {LOOPBACK} alone, not for {url}")
    connection = HTTPConnection(parts.netloc, timeout=TIMEOUT_SECONDS)

    def send(method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        connection.request(method, target, body, dict(headers))
        response = connection.getresponse()
        named = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, named, response.read())

    return send


class Connection:
    def __init__(self, load: Load, number: int) -> None:
        self._load = load
        self._choose = random.Random(load.seed * 1000 + number)
        self._who = learner(keeping_alive(load.url), load.secret, self._choose.randrange(1, 2**50))
        self.seen = Seen()

    def prepare(self) -> None:
        session = self._who.open_session(title="Fractions", notes="Some notes of the learner's own. " * 5)
        responses = [
            self._who.add_response(session, response_text="Because. " * 150) for _ in range(RESPONSES)
        ]
        example = self._who.add_example()
        path = f"/sessions/{session['session_id']}"
        assert (
            self._who.patch(path + "/settings", {"few_shot_example_ids": [example["example_id"]]}).status
            == 200
        )
        response = f"/responses/{responses[0]['response_id']}"
        self._acts: dict[str, list[Callable[[int], Act]]] = {
            "read": [
                lambda _: ("GET", path, None, 200),
                lambda _: ("GET", "/sessions?size=20", None, 200),
                lambda _: ("GET", path + "/settings", None, 200),
                lambda _: ("GET", response, None, 200),
            ],
            "patch": [
                lambda n: ("PATCH", path, {"title": f"Number {n}"}, 200),
                lambda n: ("PATCH", path + "/settings", {"style_params": {"n": n}}, 200),
            ],
            "create": [lambda n: ("POST", "/sessions", {"class_id": 1, "title": f"Number {n}"}, 201)],
        }

    def run(self, until: float) -> None:
        load, seen = self._load, self.seen
        begun = time.monotonic()
        for n in range(load.most // load.connections):
            if load.per_second:
                due = begun + n * load.connections / load.per_second
                time.sleep(max(0.0, min(due, until) - time.monotonic()))
            if time.monotonic() >= until:
                return
            [kind] = self._choose.choices([*MIX], [*MIX.values()])
            method, path, body, expected = self._choose.choice(self._acts[kind])(n)
            started = time.perf_counter()
            try:
                answer = self._who.ask(method, path, ... if body is None else body)
            except (OSError, HTTPException) as error:
                seen.errors.append(f"{method} {path}: {error!r}")
                return
            seen.milliseconds.append(1000 * (time.perf_counter() - started))
            seen.counts[kind] += 1
            if answer.status != expected:
                seen.errors.append(f"{method} {path}: {answer.status} {answer.body[:200]!r}")


def run(load: Load) -> dict[str, Any]:
    connections = [Connection(load, number) for number in range(load.connections)]
    for each in connections:
        each.prepare()
    started = time.monotonic()
    threads = [
        threading.Thread(target=each.run, args=(started + load.seconds,), daemon=True) for each in connections
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(load.seconds + 2 * TIMEOUT_SECONDS)
    took = time.monotonic() - started
    times = [each for connection in connections for each in connection.seen.milliseconds]
    errors = [each for connection in connections for each in connection.seen.errors]
    errors += ["a connection did not end" for thread in threads if thread.is_alive()]
    cuts = quantiles(times, n=100, method="inclusive")
    return {
        "connections": load.connections,
        "seconds": took,
        "requests": len(times),
        "of_each": dict(sum((connection.seen.counts for connection in connections), Counter())),
        "per_second": len(times) / took,
        "p50": cuts[49],
        "p95": cuts[94],
        "p99": cuts[98],
        "errors": len(errors),
        "first_errors": errors[:5],
    }


def asked(load: Load) -> str:
    return json.dumps(asdict(load))


if __name__ == "__main__":
    print(json.dumps(run(Load(**json.loads(sys.stdin.read())))))
