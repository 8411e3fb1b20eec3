"""Requests to the table and their cost for each endpoint, compared with the naive design."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks import figures, naive
from benchmarks.lab import Lab, fill_session, prose
from benchmarks.prices import PER_MILLION
from tests.support.learners import Learner

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
"""Cost of a call without the table."""
READS = frozenset({"Query", "GetItem", "BatchGetItem", "TransactGetItems"})
FIGURES = ("requests", "read_units", "write_units", "dollars")


@dataclass
class Spent:
    operations: list[str] = field(default_factory=list)
    read: float = 0.0
    write: float = 0.0

    @property
    def dollars(self) -> float:
        """US dollars per million calls."""
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
    """Counts the requests of a client."""
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

    return table.dynamodb()


# Endpoint by endpoint


def endpoints(lab: Lab) -> dict[str, Any]:
    ada = lab.new_learner()
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
    """Each endpoint with its request and the equivalent on the naive table. The last ones delete."""
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


def measure(lab: Lab) -> dict[str, Any]:
    return {"prices": PRICES, "endpoints": endpoints(lab)}


def show(measured: dict[str, Any]) -> None:
    figures.table(
        "The table: requests, units, and US dollars per million calls; compared with the naive design",
        ["", "requests", "read", "write", "$", "naive requests", "read", "write", "$"],
        rows(measured),
    )


def rows(measured: dict[str, Any]) -> list[list[Any]]:
    return [
        [name] + [row[of][figure] for of in ("ours", "naive") for figure in FIGURES]
        for name, row in measured["endpoints"].items()
    ]
