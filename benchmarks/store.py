"""What the table is asked for and what that costs, beside the naive way; and that it stays the same as libraries grow."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

from benchmarks import figures, naive
from benchmarks.lab import Lab, fill_session, prose, token_usage
from benchmarks.prices import PER_MILLION
from tests.learners import Learner
from tools.build import ROOT

PRICES = {
    "a million read units (4 KB, strongly consistent)": PER_MILLION["ReadUnits"],
    "a million write units (1 KB; twice that in a transaction)": PER_MILLION["WriteUnits"],
    "a million requests to the HTTP API": PER_MILLION["ApiRequests"],
    "a million calls of a function": PER_MILLION["FunctionCalls"],
    "a million calls' 20 ms of 512 MB on arm64": round(
        20 / 1000 * 512 / 1024 * PER_MILLION["GigabyteSecondsArm64"], 2
    ),
}
READ, WRITE = list(PRICES.values())[:2]
AROUND = sum(list(PRICES.values())[2:])
"""What a call costs before it asks the table anything."""
READS = frozenset({"Query", "GetItem", "BatchGetItem", "TransactGetItems"})
LIBRARIES = (10, 1_000)
SESSIONS = (10, 1_000)
LARGEST_LIBRARY = 100_000
LARGEST_SESSION = 10_000
"""Measured as well with `--long`: filling them takes many minutes."""


@dataclass
class Spent:
    operations: list[str] = field(default_factory=list)
    read: float = 0.0
    write: float = 0.0

    @property
    def dollars(self) -> float:
        """For a million of the same."""
        return self.read * READ + self.write * WRITE

    def row(self) -> dict[str, Any]:
        return {
            "requests": len(self.operations),
            "operations": self.operations,
            "read_units": self.read,
            "write_units": self.write,
            "dollars": round(self.dollars, 3),
        }


@contextmanager
def counting(client: Any) -> Iterator[Spent]:
    """What is asked through a client."""
    spent = Spent()

    def ask(params: dict[str, Any], **_: Any) -> None:
        params["ReturnConsumedCapacity"] = "TOTAL"

    def note(parsed: dict[str, Any], model: Any, **_: Any) -> None:
        consumed = parsed.get("ConsumedCapacity") or []
        units = sum(
            each["CapacityUnits"] for each in ([consumed] if isinstance(consumed, dict) else consumed)
        )
        spent.operations.append(model.name)
        if model.name in READS:
            spent.read += units
        else:
            spent.write += units

    events = client.meta.events
    events.register("provide-client-params.dynamodb", ask)
    events.register("after-call.dynamodb", note)
    try:
        yield spent
    finally:
        events.unregister("provide-client-params.dynamodb", ask)
        events.unregister("after-call.dynamodb", note)


def table_client() -> Any:
    from practice import table

    return table.client()


# Endpoint by endpoint


def endpoints(lab: Lab) -> dict[str, Any]:
    ada = lab.somebody()
    whole = fill_session(lab, ada)
    models = ada.models_of(whole)
    naive.put(lab, naive.items_of(whole, models))
    client: Any = lab.stack.engine.client()
    store = naive.naive.Store(client)
    rows = {}
    for name, asked, naively in calls(ada, whole, models, store):
        with counting(table_client()) as ours:
            answer = ada.ask(*asked)
        if answer.status >= 300:
            raise SystemExit(f"{name}: {answer.status} {answer.body[:300]!r}")
        with counting(client) as theirs:
            naively()
        rows[name] = {"ours": ours.row(), "naive": theirs.row()}
    return rows


Call = tuple[str, tuple[Any, ...], Callable[[], object]]


def calls(ada: Learner, whole: dict[str, Any], models: list[dict[str, Any]], store: Any) -> Iterator[Call]:
    """Each endpoint, the request for it, and the same work done on the naive table. The last ones delete."""
    user, session = ada.user_id, whole["session_id"]
    path, model = f"/sessions/{session}", models[0]["session_model_id"]
    response, last = whole["responses"][0], whole["responses"][-1]
    example = whole["settings"]["few_shot_links"][0]["example"]
    own = {name: whole[name] for name in naive.naive.SESSION_FIELDS}
    settings = {name: value for name, value in whole["settings"].items() if name != "few_shot_links"}
    text = {"prompt_text": prose(300, 1), "response_text": prose(1200, 2)}
    style = {"style_params": {"tone": "dry"}}
    merged = {"generation_params": {"temperature": 0.9}}

    yield "GET session", ("GET", path), lambda: store.get_session(user, session)
    yield (
        "PATCH session",
        ("PATCH", path, {"title": "B"}),
        lambda: store.update_session(user, session, {"title": "B"}),
    )
    yield "GET settings", ("GET", path + "/settings"), lambda: store.get_settings(user, session)
    yield (
        "PATCH settings",
        ("PATCH", path + "/settings", style),
        lambda: store.update_settings(user, session, style),
    )
    yield (
        "PATCH settings, merged into the models",
        ("PATCH", path + "/settings", merged),
        lambda: store.update_settings(user, session, merged),
    )
    yield "GET models", ("GET", path + "/models"), lambda: store.list_models(user, session)
    yield (
        "GET response",
        ("GET", f"/responses/{response['response_id']}"),
        lambda: store.get_response(user, response["response_id"]),
    )
    yield (
        "PATCH response",
        ("PATCH", f"/responses/{response['response_id']}", text),
        lambda: store.update_response(user, response["response_id"], text),
    )
    yield (
        "POST response",
        ("POST", f"/models/{model}/responses", text),
        lambda: store.add_response(user, session, {**response, **text, "id": last["response_id"] + 1}),
    )
    yield (
        "DELETE response",
        ("DELETE", f"/responses/{last['response_id']}"),
        lambda: store.delete_response(user, last["response_id"]),
    )
    yield (
        "POST session",
        ("POST", "/sessions", {"class_id": whole["class_id"]}),
        lambda: store.create_session(own | {"session_id": 1}, settings, models),
    )
    yield "GET sessions", ("GET", "/sessions"), lambda: store.list_sessions(user, 50)
    yield (
        "GET example",
        ("GET", f"/few-shot-examples/{example['example_id']}"),
        lambda: store.get_example(example["example_id"]),
    )
    yield (
        "PATCH example",
        (
            "PATCH",
            f"/few-shot-examples/{example['example_id']}",
            {"title": "B"},
        ),
        lambda: store.update_example(example["example_id"], {"title": "B"}),
    )
    new = {"input_text": example["input_text"], "output_text": example["output_text"]}
    yield (
        "POST example",
        ("POST", "/few-shot-examples", new),
        lambda: store.create_example({"example_id": 1, "owner_id": user, **new}),
    )
    yield "DELETE session", ("DELETE", path), lambda: store.delete_session(user, session)


# As libraries and sessions grow


def flat(lab: Lab, rounds: int, *, long: bool) -> dict[str, Any]:
    libraries = (*LIBRARIES, LARGEST_LIBRARY) if long else LIBRARIES
    sessions = (*SESSIONS, LARGEST_SESSION) if long else SESSIONS
    in_libraries = [(count, *library(lab, count)) for count in libraries]
    by_library = {
        name: [(count, who, asked[name]) for count, who, asked in in_libraries] for name in in_libraries[0][2]
    }
    in_sessions = [(count, *session_of(lab, count)) for count in sessions]
    by_session = {
        name: [(count, who, asked[name]) for count, who, asked in in_sessions] for name in in_sessions[0][2]
    }
    return {
        "sessions in the library": {name: grown(lab, sizes, rounds) for name, sizes in by_library.items()},
        "responses in the session": {name: grown(lab, sizes, rounds) for name, sizes in by_session.items()},
    }


Asked = dict[str, Callable[[int], tuple[Any, ...]]]
"""Requests by what they are called; each is given a number of its own, for what it changes."""


def grown(
    lab: Lab, sizes: list[tuple[int, Learner, Callable[[int], tuple[Any, ...]]]], rounds: int
) -> list[dict[str, Any]]:
    times: dict[int, list[float]] = {count: [] for count, _, _ in sizes}
    spent: dict[int, Spent] = {}
    for turn in range(rounds + 1):
        for count, who, asked in sizes:
            request = asked(turn)
            started = time.perf_counter()
            with counting(table_client()) as spent[count]:
                answer = who.ask(*request)
            if answer.status != 200:
                raise SystemExit(f"{request}: {answer.status} {answer.body[:300]!r}")
            if turn:
                times[count].append(time.perf_counter() - started)
    return [
        {"size": count, "p50_milliseconds": 1000 * median(times[count]), **spent[count].row()}
        for count, _, _ in sizes
    ]


def library(lab: Lab, count: int) -> tuple[Learner, Asked]:
    """A learner with so many sessions, the standard one in their middle. The others are their own items alone: what is
    below a session stands nowhere but in it."""
    from practice import keys, table

    ada = lab.somebody()
    half = count // 2
    _put_sessions(ada.user_id, half, datetime(2026, 1, 1, tzinfo=UTC), first_id=2**50)
    whole = fill_session(lab, ada)
    _put_sessions(ada.user_id, count - half - 1, datetime(2027, 1, 1, tzinfo=UTC), first_id=2**51)
    table.write(table.update(keys.account(ada.user_id), add={"sessions": count - 1}))
    path = f"/sessions/{whole['session_id']}"
    response = f"/responses/{whole['responses'][0]['response_id']}"
    return ada, {
        "GET session": lambda _: ("GET", path),
        "PATCH session": lambda n: ("PATCH", path, {"title": f"Number {n}"}),
        "GET sessions, size 5": lambda _: ("GET", "/sessions?size=5"),
        "GET response": lambda _: ("GET", response),
        "PATCH response": lambda n: ("PATCH", response, {"latency_ms": n}),
    }


def _put_sessions(user_id: int, count: int, since: datetime, first_id: int) -> None:
    from practice import clock, keys, table
    from practice.limits import SESSION_IDS
    from practice.models.session import OwnSession

    def items() -> Iterator[Any]:
        for n in range(count):
            session_id, moment = first_id + n * SESSION_IDS, clock.written(since + timedelta(seconds=n))
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

    _put_items(items())


def _put_items(items: Iterator[Any]) -> None:
    from practice.config import config

    left = True
    while left:
        batch = [{"PutRequest": {"Item": item}} for _, item in zip(range(25), items, strict=False)]
        left = len(batch) == 25
        if batch:
            table_client().batch_write_item(RequestItems={config().table_name: batch})


def session_of(lab: Lab, count: int) -> tuple[Learner, Asked]:
    """A learner with one session of so many responses."""
    from practice import clock, keys, table
    from practice.models.response import Response
    from practice.store.responses import of_model

    ada = lab.somebody()
    whole = fill_session(lab, ada, responses=min(count, 10))
    session_id, models = whole["session_id"], ada.models_of(whole)
    here = len(whole["responses"])
    models_key = keys.models(ada.user_id, session_id)
    counted = table.write_returning(
        table.update(models_key, add={"next_id": count - here, "answered": count - here})
    )
    first = counted.number("next_id") - (count - here)
    since = datetime.now(UTC)

    def items() -> Iterator[Any]:
        for n in range(count - here):
            model = models[n % len(models)]
            response = Response(
                response_id=first + n,
                session_model_id=model["session_model_id"],
                session_id=session_id,
                model_name=model["model_name"],
                prompt_text=prose(300, n % 50),
                response_text=prose(1200, n % 50 + 50),
                created_at=clock.written(since + timedelta(microseconds=n)),
                token_usage=token_usage(n),
                latency_ms=900,
            )
            key = keys.response(ada.user_id, response.response_id)
            [write] = table.put(key, response, attributes=of_model(response))
            yield write.params["Item"]

    _put_items(items())
    path = f"/sessions/{session_id}"
    model, response_id = models[0]["session_model_id"], whole["responses"][5]["response_id"]
    return ada, {
        "GET session, responses=0": lambda _: ("GET", path + "?responses=0"),
        "PATCH session, responses=0": lambda n: ("PATCH", path + "?responses=0", {"title": f"Number {n}"}),
        "GET settings": lambda _: ("GET", path + "/settings"),
        "PATCH settings": lambda n: ("PATCH", path + "/settings", {"style_params": {"n": n}}),
        "GET models": lambda _: ("GET", path + "/models"),
        "GET response": lambda _: ("GET", f"/responses/{response_id}"),
        "GET responses of a model, size 3": lambda _: ("GET", f"/models/{model}/responses?size=3"),
        "GET responses of the session, size 5": lambda _: ("GET", path + "/responses?size=5"),
        "GET session": lambda _: ("GET", path),
        "PATCH session": lambda n: ("PATCH", path, {"title": f"Whole {n}"}),
    }


def measure(lab: Lab, rounds: int, *, long: bool) -> dict[str, Any]:
    return {"prices": PRICES, "endpoints": endpoints(lab), "flat": flat(lab, rounds, long=long)}


def show(measured: dict[str, Any]) -> None:
    figures.table(
        "The table: requests, units, and US dollars for a million calls; beside the naive way",
        ["", "requests", "read", "write", "$", "naive requests", "read", "write", "$"],
        [
            [name] + [row[of][figure] for of in ("ours", "naive") for figure in FIGURES]
            for name, row in measured["endpoints"].items()
        ],
    )
    for by, rows in measured["flat"].items():
        figures.table(
            f"As it grows: {by}",
            [
                "",
                *(
                    f"{row['size']:,}: {what}"
                    for row in next(iter(rows.values()))
                    for what in ("requests", "units", "p50 ms")
                ),
            ],
            [
                [name]
                + [
                    figure
                    for size in sizes
                    for figure in (
                        size["requests"],
                        size["read_units"] + size["write_units"],
                        size["p50_milliseconds"],
                    )
                ]
                for name, sizes in rows.items()
            ],
        )


FIGURES = ("requests", "read_units", "write_units", "dollars")


PAGE = """\
# What a call costs

`make bench` writes this page. Every endpoint is called once on the engine, with the standard session (5 selected
examples, 20 responses of 1.5 KB, 3 models), and the units that DynamoDB would bill are counted. Beside it the same
work on the same data, done as most services do it: one item for each thing with native attributes, an index over
everything for what is asked by owner or by id, and get, then put, without a condition.
`benchmarks/peers/shared/naive.py` is that way in full.

Not counted: an idempotency key, a block of new ids, the look at revoked tokens once a minute, what the stream does
afterwards.

| endpoint | requests | read units | write units | $ per million | naive: requests | read | write | $ per million |
|---|--:|--:|--:|--:|--:|--:|--:|--:|
{endpoints}

Where we pay more, it is for a promise that the naive way does not keep: creating is one transaction (each write
counts twice) that also keeps the exact total of a list, orders it twice, and checks that nothing was deleted
meanwhile; a list is read with strong consistency. A naive total is counted over the whole index, and costs more with
every session. Deleting is one transaction here; what was below the session is removed by the stream afterwards, one
write unit for each item and row of an index.

## Prices

US dollars in us-east-1, on demand; change them in `benchmarks/prices.py` and run `make bench`.

| | $ |
|---|--:|
{prices}

The gateway and the function add ${around:.2f} to each million calls, whatever they ask of the table.

## As it grows

Units of one call, read and write together, and its requests in brackets. In the libraries, the sessions around the
standard one are their own items alone: what is below a session stands nowhere but in it.

{growth}
"""


def document(measured: dict[str, Any]) -> str:
    """`docs/cost.md`."""
    rows = [
        [name, *(row[of][figure] for of in ("ours", "naive") for figure in FIGURES)]
        for name, row in measured["endpoints"].items()
    ]
    return PAGE.format(
        endpoints="\n".join("| " + " | ".join(map(figures.shown, row)) + " |" for row in rows),
        prices="\n".join(f"| {what} | {price:.3f} |" for what, price in measured["prices"].items()),
        around=AROUND,
        growth="\n".join(line for by, sizes in measured["flat"].items() for line in _growth(by, sizes)),
    )


def _growth(by: str, rows: dict[str, list[dict[str, Any]]]) -> list[str]:
    sizes = [row["size"] for row in next(iter(rows.values()))]
    lines = [f"| {by} | " + " | ".join(f"{size:,}" for size in sizes) + " |", "|---|" + "--:|" * len(sizes)]
    for name, each in rows.items():
        units = [f"{row['read_units'] + row['write_units']:g} ({row['requests']})" for row in each]
        lines.append(f"| {name} | " + " | ".join(units) + " |")
    return [*lines, ""]


def write_document(measured: dict[str, Any]) -> None:
    (ROOT / "docs" / "cost.md").write_text(document(measured).rstrip() + "\n")
