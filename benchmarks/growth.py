"""Cost of a call as libraries and sessions grow: its units as the engine counts them, and its time."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from statistics import median
from typing import Any

from benchmarks import figures
from benchmarks.lab import Lab, fill_session, prose, token_usage
from benchmarks.store import Spent, counting, table_client
from practice import table
from practice.limits import SESSION_IDS
from practice.runtime import clock
from practice.runtime.config import config
from practice.schemas.response import Response
from practice.schemas.session import OwnSession
from practice.store.responses import of_model
from practice.table import keys
from tests.support.learners import Learner

LIBRARIES = (10, 1_000)
SESSIONS = (10, 1_000)
LARGEST_LIBRARY = 100_000
LARGEST_SESSION = 10_000
"""Measured only with `--long`."""
CALLS = 100
"""Calls per request and size, made alternately."""
FLAT_UNITS = 1.05
FLAT_P50 = 1.3
"""Maximum ratio between the most and the least expensive size."""
Item = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """A request that is repeated with a different number for its changed value."""

    request: Callable[[int], tuple[Any, ...]]
    flat_from: int = 0
    """The smallest compared size: below it, the HTTP response itself grows."""


Sizes = dict[int, tuple[Learner, dict[str, Asked]]]


def measure(lab: Lab, *, long: bool) -> dict[str, Any]:
    libraries = (*LIBRARIES, LARGEST_LIBRARY) if long else LIBRARIES
    sessions = (*SESSIONS, LARGEST_SESSION) if long else SESSIONS
    return {
        "calls": CALLS,
        "by": {
            "sessions in the library": _in_turn({count: library(lab, count) for count in libraries}),
            "responses in the session": _in_turn({count: session_of(lab, count) for count in sessions}),
        },
    }


def _in_turn(sizes: Sizes) -> dict[str, Any]:
    _, asked = next(iter(sizes.values()))
    return {name: _row(name, sizes) for name in asked}


def _row(name: str, sizes: Sizes) -> dict[str, Any]:
    times: dict[int, list[float]] = {count: [] for count in sizes}
    spent: dict[int, Spent] = {}
    for turn in range(CALLS + 1):
        for count, (who, asked) in sizes.items():
            request = asked[name].request(turn)
            with counting(table_client()) as spent[count]:
                started = time.perf_counter()
                answer = who.ask(*request)
                took = time.perf_counter() - started
            if answer.status != 200:
                raise SystemExit(f"{request}: {answer.status} {answer.body[:300]!r}")
            if turn:
                times[count].append(took)
    measured = [
        {
            "size": count,
            "p50_milliseconds": 1000 * median(times[count]),
            **spent[count].row(),
        }
        for count in sizes
    ]
    flat_from = next(iter(sizes.values()))[1][name].flat_from
    return {"flat_from": flat_from, "sizes": measured, **verdict(measured, flat_from)}


def verdict(measured: list[dict[str, Any]], flat_from: int) -> dict[str, Any]:
    """Ratio between the most and the least expensive size; `is_flat` is None with fewer than two sizes."""
    compared = [size for size in measured if size["size"] >= flat_from]
    if len(compared) < 2:
        return {"units_ratio": None, "p50_ratio": None, "is_flat": None}

    def ratio(figure: Callable[[dict[str, Any]], float]) -> float:
        return max(map(figure, compared)) / min(map(figure, compared))

    by_units = ratio(units_of)
    by_p50 = ratio(lambda size: size["p50_milliseconds"])
    same = len({size["requests"] for size in compared}) == 1
    return {
        "units_ratio": by_units,
        "p50_ratio": by_p50,
        "is_flat": same and by_units <= FLAT_UNITS and by_p50 <= FLAT_P50,
    }


def failures(measured: dict[str, Any]) -> list[str]:
    return [
        f"{name}: not flat over {by} (units {row['units_ratio']:.2f}, p50 {row['p50_ratio']:.2f})"
        for by, rows in measured["by"].items()
        for name, row in rows.items()
        if row["is_flat"] is False
    ]


# Test data


def library(lab: Lab, count: int) -> tuple[Learner, dict[str, Asked]]:
    """A learner with `count` sessions, the standard one in the middle. The others consist of their own items only, because
    items below a session are not part of any list."""
    ada = lab.new_learner()
    half = count // 2
    put_items(_sessions(ada.user_id, half, datetime(2026, 1, 1, tzinfo=UTC), first_id=2**50))
    whole = fill_session(lab, ada)
    put_items(_sessions(ada.user_id, count - half - 1, datetime(2027, 1, 1, tzinfo=UTC), first_id=2**51))
    table.write(table.update(keys.account(ada.user_id), add={"sessions": count - 1}))
    path = f"/sessions/{whole['session_id']}"
    response = f"/responses/{whole['responses'][0]['response_id']}"
    return ada, {
        "GET session": Asked(lambda _: ("GET", path)),
        "PATCH session": Asked(lambda n: ("PATCH", path, {"title": f"Number {n}"})),
        "GET sessions, size 5": Asked(lambda _: ("GET", "/sessions?size=5")),
        "GET response": Asked(lambda _: ("GET", response)),
        "PATCH response": Asked(lambda n: ("PATCH", response, {"latency_ms": n})),
    }


def _sessions(user_id: int, count: int, since: datetime, first_id: int) -> Iterable[Item]:
    for n in range(count):
        session_id, moment = first_id + n * SESSION_IDS, clock.to_timestamp(since + timedelta(seconds=n))
        session = OwnSession(
            session_id=session_id,
            user_id=user_id,
            created_at=moment,
            updated_at=moment,
            class_id=1,
            title=f"S {n}",
        )
        at = table.text(keys.session_at(moment, session_id))
        attributes = {"created": at, "activity": at, "class_id": table.number(1)}
        [write] = table.put(keys.session(user_id, session_id), session, attributes=attributes)
        yield write.params["Item"]


def session_of(lab: Lab, count: int) -> tuple[Learner, dict[str, Asked]]:
    """A learner with one session of `count` responses."""
    ada = lab.new_learner()
    whole = fill_session(lab, ada, responses=min(count, 10))
    session_id, models = whole["session_id"], ada.models_of(whole)
    left = count - len(whole["responses"])
    counted = table.write_returning(
        table.update(keys.models(ada.user_id, session_id), add={"next_id": left, "answered": left})
    )
    put_items(_responses(ada.user_id, session_id, models, left, counted.number("next_id") - left))
    path = f"/sessions/{session_id}"
    model, response_id = models[0]["session_model_id"], whole["responses"][5]["response_id"]
    return ada, {
        "GET session, responses=0": Asked(lambda _: ("GET", path + "?responses=0")),
        "PATCH session, responses=0": Asked(
            lambda n: ("PATCH", path + "?responses=0", {"title": f"Number {n}"})
        ),
        "GET settings": Asked(lambda _: ("GET", path + "/settings")),
        "PATCH settings": Asked(lambda n: ("PATCH", path + "/settings", {"style_params": {"n": n}})),
        "GET models": Asked(lambda _: ("GET", path + "/models")),
        "GET response": Asked(lambda _: ("GET", f"/responses/{response_id}")),
        "GET responses of a model, size 3": Asked(lambda _: ("GET", f"/models/{model}/responses?size=3")),
        "GET responses of the session, size 5": Asked(lambda _: ("GET", path + "/responses?size=5")),
        "GET session": Asked(lambda _: ("GET", path), flat_from=1_000),
        "PATCH session": Asked(lambda n: ("PATCH", path, {"title": f"Whole {n}"}), flat_from=1_000),
    }


def _responses(
    user_id: int, session_id: int, models: list[dict[str, Any]], count: int, first_id: int
) -> Iterable[Item]:
    since = datetime.now(UTC)
    for n in range(count):
        model = models[n % len(models)]
        response = Response(
            response_id=first_id + n,
            session_model_id=model["session_model_id"],
            session_id=session_id,
            model_name=model["model_name"],
            prompt_text=prose(300, n % 50),
            response_text=prose(1200, n % 50 + 50),
            created_at=clock.to_timestamp(since + timedelta(microseconds=n)),
            token_usage=token_usage(n),
            latency_ms=900,
        )
        key = keys.response(user_id, response.response_id)
        [write] = table.put(key, response, attributes=of_model(response))
        yield write.params["Item"]


def put_items(items: Iterable[Item]) -> None:
    left = iter(items)
    while batch := [{"PutRequest": {"Item": item}} for item in islice(left, 25)]:
        asked: Any = {config().table_name: batch}
        table_client().batch_write_item(RequestItems=asked)


# Report


def show(measured: dict[str, Any]) -> None:
    for by, rows in measured["by"].items():
        sizes = [size["size"] for size in next(iter(rows.values()))["sizes"]]
        figures.table(
            f"Growth: {by}; {measured['calls']} alternating calls of each",
            [
                "",
                *(f"{size:,}: {what}" for size in sizes for what in ("units", "p50 ms")),
                "flat",
            ],
            [
                [name]
                + [figure for size in row["sizes"] for figure in (units_of(size), size["p50_milliseconds"])]
                + [flatness(row)]
                for name, row in rows.items()
            ],
        )


def units_of(size: dict[str, Any]) -> float:
    units: float = size["read_units"] + size["write_units"]
    return units


def flatness(row: dict[str, Any]) -> str:
    if row["is_flat"] is None:
        return "with `--long`"
    since = f" from {row['flat_from']:,}" if row["flat_from"] else ""
    return ("yes" if row["is_flat"] else "NO") + since
