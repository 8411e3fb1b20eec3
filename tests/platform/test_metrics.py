"""The lines and metrics of the log, and that alarms, dashboard and runbook use the same names."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import pytest

from benchmarks.prices import PER_MILLION
from local.functions import FunctionError
from local.intrinsics import parse
from local.stack import Stack
from practice.runtime import log, metrics
from practice.schemas.turn import ErrorCode
from practice.turns import configuration
from tests.support import faults
from tests.support.learners import Learner
from tests.support.lists import assert_complete
from tests.support.live import Socket
from tests.support.log_lines import Line, written
from tests.support.providers import FakeProvider, Played, completion
from tools.expansion import deployed

ROOT = Path(__file__).parents[2]
DOCUMENT = parse((ROOT / "template.yaml").read_text())
MONITORING = parse((ROOT / "stacks" / "monitoring.yaml").read_text())
TOPIC = "arn:aws:sns:us-east-1:000000000000:pager"
RESOURCES = deployed({"Stage": "local", "AlarmTopicArn": TOPIC}).resources
ALARMS = {n: r for n, r in RESOURCES.items() if r["Type"] == "AWS::CloudWatch::Alarm"}
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
ON_ALARMS = RUNBOOK[RUNBOOK.index("## Alarms") : RUNBOOK.index("## Drills")]

CANARY = "the heron stands in the reeds"
CLASS_ID = 4_200_000_001

NAME = {"type": "string", "minLength": 1, "maxLength": 1024, "pattern": r"\S"}
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
EMBEDDED_METRICS = {
    "type": "object",
    "required": ["Timestamp", "CloudWatchMetrics"],
    "additionalProperties": False,
    "properties": {
        # Milliseconds, not seconds.
        "Timestamp": {"type": "integer", "minimum": 1_600_000_000_000, "maximum": 9_999_999_999_999},
        "CloudWatchMetrics": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["Namespace", "Dimensions", "Metrics"],
                "additionalProperties": False,
                "properties": {
                    "Namespace": {"type": "string", "pattern": r"^[A-Za-z0-9._/#:-]{1,255}$"},
                    "Dimensions": {
                        "type": "array",
                        "minItems": 1,
                        "items": {"type": "array", "items": NAME, "maxItems": 30, "uniqueItems": True},
                    },
                    "Metrics": {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": 100,
                        "items": {
                            "type": "object",
                            "required": ["Name"],
                            "additionalProperties": False,
                            "properties": {
                                "Name": NAME,
                                "Unit": {"enum": ["Count", "Milliseconds", "None", "Seconds"]},
                                "StorageResolution": {"enum": [1, 60]},
                            },
                        },
                    },
                },
            },
        },
    },
}


@pytest.fixture
def lines(stack: Stack) -> Iterator[Callable[[], list[Line]]]:
    with written() as read:
        yield read


def messages(*bodies: object) -> dict[str, Any]:
    sent = {"SentTimestamp": "1767763856120"}
    return {
        "Records": [
            {"messageId": f"m{n}", "eventSource": "aws:sqs", "attributes": sent, "body": json.dumps(body)}
            for n, body in enumerate(bodies)
        ]
    }


def announcement(*models: str) -> dict[str, Any]:
    detail = {
        "version": 1,
        "class_id": CLASS_ID,
        "status": "active",
        "primary_model": None,
        "allowed_models": list(models),
        "updated_at": "2026-01-07T05:31:56Z",
    }
    return {"source": "practice.catalogue", "detail-type": "ClassUpdated", "id": "e1", "detail": detail}


@pytest.fixture(scope="module")
def a_bad_day(stack: Stack, another_learner: Callable[[], Learner]) -> list[Line]:
    """What the functions write on a day when a little of everything happens."""
    ada, invoke = another_learner(), stack.invoker.invoke
    with pytest.MonkeyPatch.context() as patch, FakeProvider() as provider, written() as read:
        patch.setattr(log, "_cold", True)
        patch.setenv(
            "MODELS",
            json.dumps({"*": {"provider": "openai", "base_url": f"{provider.url}/v1", "prices": PRICES}}),
        )
        configuration.clear_cache()
        provider.plays = {
            "alpha": lambda _: Played(completion(CANARY)),
            "beta": lambda _: Played({"error": CANARY}, 500),
        }
        try:
            invoke("update_catalogue", announcement("alpha", "beta"))
            session = ada.open_session(class_id=CLASS_ID, notes=CANARY)
            path = f"/sessions/{session['session_id']}"
            ada.add_example(input_text=CANARY, output_text=CANARY)
            assert ada.post(path + "/chat", {"prompt_text": CANARY}).status == 201
            assert ada.patch(path, {"class_id": CANARY}).status == 422
            assert ada.get(f"/sessions/{2**52}").status == 404
            assert ada.get(f"/nowhere?q={CANARY.split()[1]}").status == 404
            assert Learner(ada.send, ada.token + "x", ada.user_id).get("/sessions").status == 401
            socket = Socket.open(stack, ada)
            socket.say("ping")
            with faults.at(1, faults.throttled, times=99):
                assert ada.get("/sessions").status == 503
                socket.events.clear()
                socket.say("chat", session_id=session["session_id"], prompt_text=CANARY)
                assert [(each["type"], each["status"]) for each in socket.events] == [("error", 503)]
                invoke("erase_items", messages({"user_id": ada.user_id}))
                with pytest.raises(FunctionError):
                    invoke("update_catalogue", announcement(CANARY))
            patch.setenv("TITLE_MODEL", "beta")
            configuration.clear_cache()
            invoke("write_titles", messages({"user_id": ada.user_id, "session_id": session["session_id"]}))
            assert ada.delete(path).status == 204
            gone = {"sweep": "session", "user_id": ada.user_id, "session_id": session["session_id"]}
            invoke("sweep", messages(gone, CANARY))
        finally:
            configuration.clear_cache()
        return read()


def of_function(name: str, day: Iterable[Line]) -> list[Line]:
    return [line for line in day if line.get("function") == name and line["message"] == "invocation"]


PRICES = {"prompt": "0.25", "completion": "1.25"}


class Metric(NamedTuple):
    name: str
    dimensions: frozenset[tuple[str, str | None]]
    """With their values; None for whatever value."""

    def is_among(self, emitted: "set[Metric]") -> bool:
        return any(
            each.name == self.name
            and dict(each.dimensions).keys() == dict(self.dimensions).keys()
            and all(value in (None, dict(each.dimensions)[key]) for key, value in self.dimensions)
            for each in emitted
        )


def emitted(day: Iterable[Line]) -> set[Metric]:
    return {
        Metric(metric["Name"], frozenset((key, line[key]) for key in dimensions))
        for line in day
        if "_aws" in line
        for directive in line["_aws"]["CloudWatchMetrics"]
        if directive["Namespace"] == metrics.NAMESPACE
        for dimensions in directive["Dimensions"]
        for metric in directive["Metrics"]
    }


# The line


def test_a_request_writes_one_line_with_all_that_is_asked_of_it(
    ada: Learner, lines: Callable[[], list[Line]]
) -> None:
    session = ada.open_session()

    answer = ada.get(f"/sessions/{session['session_id']}")

    line = lines()[-1]
    assert len(lines()) == 2
    assert (line["message"], line["level"], line["status"]) == ("invocation", "INFO", 200)
    assert line["route"] == "GET /user/practice/sessions/{session_id}"
    assert line["request_id"] == answer.headers["x-request-id"]
    assert line["lambda_function"].endswith("GetSession")
    assert line["user"] == log.hashed(ada.user_id)
    assert str(ada.user_id) not in json.dumps(line)
    assert line["cold_start"] is False
    assert line["duration_ms"] > 0
    assert (line["table_requests"], line["throttles"], line["write_units"]) == (1, 0, 0)


def test_the_first_line_of_a_process_is_a_cold_start(a_bad_day: list[Line]) -> None:
    reported = [line for line in a_bad_day if line.get("cold_start")]

    assert reported == a_bad_day[:1]
    assert reported[0]["cold_starts"] == 1


def test_the_line_of_a_turn_has_its_usage_and_the_models_that_failed(a_bad_day: list[Line]) -> None:
    [line] = [each for each in a_bad_day if each.get("route", "").endswith("/chat")]

    assert (line["turns"], line["models_asked"], line["model_failures"]) == (1, 2, 1)
    assert line["failed_models"] == f"beta {ErrorCode.PROVIDER_ERROR}"
    assert (line["prompt_tokens"], line["completion_tokens"]) == (3, 4)
    assert line["model_cost_usd"] == pytest.approx(5.75e-6)


def test_a_title_that_no_model_wrote_counts_too(a_bad_day: list[Line]) -> None:
    [line] = of_function("write_titles", a_bad_day)

    assert (line["models_asked"], line["model_failures"]) == (2, 2)
    assert line["failed_models"] == ", ".join([f"title {ErrorCode.PROVIDER_ERROR}"] * 2)


def test_the_line_of_an_error_has_its_kind(a_bad_day: list[Line]) -> None:
    kinds = {(line["status"], line["error"]) for line in a_bad_day if "error" in line}

    assert kinds == {
        (401, "Unauthorized"),
        (404, "SessionNotFound"),
        (404, "Not Found"),
        (422, "Invalid"),
        (503, "StoreUnavailable"),
    }
    refused = [line["level"] for line in a_bad_day if line.get("status", 0) >= 500]
    assert refused == ["ERROR", "ERROR"]


def test_an_event_writes_one_line_too_and_one_that_fails_names_the_place(a_bad_day: list[Line]) -> None:
    taken, failed = of_function("update_catalogue", a_bad_day)

    assert (taken["detail_type"], taken["request_id"], taken["level"]) == ("ClassUpdated", "e1", "INFO")
    assert taken["write_units"] > 0
    assert (failed["level"], failed["failures"]) == ("ERROR", 1)
    assert failed["cause"].startswith("StoreUnavailable")


def test_a_message_that_fails_and_a_dead_letter_are_counted(a_bad_day: list[Line]) -> None:
    [erasure], [sweep] = of_function("erase_items", a_bad_day), of_function("sweep", a_bad_day)

    assert erasure["failures"] == 1
    assert sweep["dead_letters"] == 1
    assert sweep["sweep_lag_seconds"] > 0


def test_no_line_has_a_text_of_the_learners_or_a_token(a_bad_day: list[Line]) -> None:
    everything = json.dumps(a_bad_day)

    assert len(a_bad_day) > 12
    assert not [word for word in ("heron", "reeds", "eyJ", "Bearer") if word in everything]


# The metrics in it


def test_every_line_of_an_invocation_is_in_the_embedded_metric_format(a_bad_day: list[Line]) -> None:
    for line in (each for each in a_bad_day if each["message"] == "invocation"):
        jsonschema.validate(line["_aws"], EMBEDDED_METRICS)
        for directive in line["_aws"]["CloudWatchMetrics"]:
            for key in {key for dimensions in directive["Dimensions"] for key in dimensions}:
                assert isinstance(line[key], str)
                assert line[key].isascii()
                assert 1 <= len(line[key]) <= 1024
            for metric in directive["Metrics"]:
                assert type(line[metric["Name"]]) in (int, float), metric


def test_only_the_line_of_an_invocation_and_of_a_failed_model_has_metrics(a_bad_day: list[Line]) -> None:
    others = [line for line in a_bad_day if line["message"] not in ("invocation", "a model failed")]

    assert others
    assert not [line for line in others if "_aws" in line]


def test_every_metric_of_the_table_is_emitted_with_its_dimensions_and_no_other(a_bad_day: list[Line]) -> None:
    found = {(each.name, frozenset(dict(each.dimensions))) for each in emitted(a_bad_day)}

    assert found == {
        (name, frozenset(each)) for name, (_, dimensions) in metrics.METRICS.items() for each in dimensions
    }


def test_a_count_of_nothing_is_not_a_metric(a_bad_day: list[Line]) -> None:
    line = next(
        line for line in a_bad_day if line.get("route", "").startswith("GET") and not line["throttles"]
    )
    declared = {metric["Name"] for each in line["_aws"]["CloudWatchMetrics"] for metric in each["Metrics"]}

    assert "throttles" not in declared
    assert "duration_ms" in declared


# Alarms, dashboard, runbook


DASHBOARD = json.loads(RESOURCES["Dashboard"]["Properties"]["DashboardBody"])
WIDGETS = {widget["properties"]["title"]: widget["properties"] for widget in DASHBOARD["widgets"]}
SEARCH = re.compile(r"SEARCH\('\{([\w/]+),([\w,]+)\} MetricName=\"(\w+)\" (\w+)=\"(\w+)\"', '\w+', \d+\)")


def of_alarm(alarm: Mapping[str, Any]) -> Iterator[tuple[str, Metric]]:
    """Namespaces and metrics."""
    single = [alarm] if "MetricName" in alarm else []
    stats = [each["MetricStat"]["Metric"] for each in alarm.get("Metrics", []) if "MetricStat" in each]
    for each in [*single, *stats]:
        dimensions = frozenset((one["Name"], one["Value"]) for one in each["Dimensions"])
        yield each["Namespace"], Metric(each["MetricName"], dimensions)


def of_widget(properties: Mapping[str, Any]) -> Iterator[tuple[str, Metric]]:
    for row in properties.get("metrics", []):
        if isinstance(row[0], str):
            namespace, name, *dimensions = [each for each in row if isinstance(each, str)]
            yield namespace, Metric(name, frozenset(zip(dimensions[::2], dimensions[1::2], strict=True)))
        elif "SEARCH" in row[0]["expression"]:
            searched = SEARCH.fullmatch(row[0]["expression"])
            assert searched, row
            namespace, keys, name, key, value = searched.groups()
            values = dict.fromkeys(keys.split(","), None) | {key: value}
            yield namespace, Metric(name, frozenset(values.items()))


def watched() -> list[tuple[str, str, Metric]]:
    """Who watches, in which namespace, what."""
    return [
        *((name, *each) for name, alarm in ALARMS.items() for each in of_alarm(alarm["Properties"])),
        *((title, *each) for title, widget in WIDGETS.items() for each in of_widget(widget)),
    ]


def test_whatever_is_watched_is_emitted_under_the_same_name_and_dimensions(a_bad_day: list[Line]) -> None:
    ours = [(who, metric) for who, namespace, metric in watched() if not namespace.startswith("AWS/")]
    found = emitted(a_bad_day)

    assert {namespace for _, namespace, _ in watched() if not namespace.startswith("AWS/")} == {
        metrics.NAMESPACE
    }
    assert len(ours) > len(metrics.METRICS)
    assert not [(who, metric) for who, metric in ours if not metric.is_among(found)]


def test_every_metric_is_in_an_alarm_or_on_the_dashboard() -> None:
    looked_at = {metric.name for _, namespace, metric in watched() if namespace == metrics.NAMESPACE}

    assert_complete(
        looked_at, metrics.METRICS, "an alarm or the dashboard, or to METRICS of runtime/metrics.py"
    )


def test_the_lines_that_carry_the_metrics_cannot_be_switched_off() -> None:
    assert set(DOCUMENT["Parameters"]["LogLevel"]["AllowedValues"]) == {"DEBUG", "INFO"}


def anchors(text: str) -> set[str]:
    return {
        re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^### (.+)$", text, re.MULTILINE)
    }


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_rings_and_names_the_page_to_open(name: str) -> None:
    alarm = ALARMS[name]["Properties"]
    page = re.search(r"\. See docs/runbook\.md#([a-z0-9-]+)$", alarm["AlarmDescription"])
    assert page, alarm["AlarmDescription"]
    assert page.group(1) in anchors(ON_ALARMS)
    assert alarm["AlarmActions"] == alarm["OKActions"] == [TOPIC]
    assert f"`{name}`" in ON_ALARMS


def test_the_dashboard_shows_every_alarm_and_the_runbook_names_every_widget() -> None:
    assert set(WIDGETS["Alarms"]["alarms"]) == {f"{name}.Arn" for name in ALARMS}
    assert not [title for title in WIDGETS if f"*{title}*" not in ON_ALARMS]


INSIGHTS = re.compile(r"```sql\n(.*?)```", re.DOTALL)
COMMANDS = {"fields", "filter", "stats", "sort", "limit", "by", "as", "desc", "asc"}
FUNCTIONS = {"count", "sum", "avg", "max", "min", "pct", "bin", "and", "or", "not", "like", "in", "ispresent"}


def test_the_queries_of_the_runbook_ask_for_fields_that_lines_have(a_bad_day: list[Line]) -> None:
    known = {field for line in a_bad_day for field in line} | {"@timestamp", "@message", "@type"}
    queries = INSIGHTS.findall(ON_ALARMS)

    assert len(queries) >= 6
    for query in queries:
        bare = re.sub(r"\"[^\"]*\"|/[^/\n]+/", "", query)
        named = set(re.findall(r"(?<![\w.])@?[a-z]\w*", bare))
        given = set(re.findall(r"\bas (\w+)", bare))
        assert named - COMMANDS - FUNCTIONS - given <= known, query


# The price of a day


def test_the_template_reckons_with_the_prices_of_the_benchmarks() -> None:
    prices = MONITORING["Mappings"]["Prices"]["Million"]

    assert {name: float(price) for name, price in prices.items()} == PER_MILLION


@cache
def cost_expression(**parameters: str) -> str:
    [dollars] = [
        each["Expression"]
        for each in deployed(parameters).resources["CostPerDayAlarm"]["Properties"]["Metrics"]
        if "Expression" in each
    ]
    return re.sub(r"FILL\((\w+),0\)", r"\1", dollars)


def dollars_of(day: Mapping[str, float], **parameters: str) -> float:
    return float(eval(cost_expression(**parameters), {"__builtins__": {}}, dict(day)))


def test_the_cost_of_a_day_adds_up() -> None:
    metrics_of_a_day = ALARMS["CostPerDayAlarm"]["Properties"]["Metrics"]
    nothing = {each["Id"]: 0.0 for each in metrics_of_a_day if "MetricStat" in each}
    million = 1_000_000.0

    assert dollars_of(nothing) == 0
    assert dollars_of(nothing | {"reads": million}) == PER_MILLION["ReadUnits"]
    assert dollars_of(nothing | {"writes": million}) == PER_MILLION["WriteUnits"]
    assert dollars_of(nothing | {"requests": million, "calls": million}) == pytest.approx(1.2)
    spent = nothing | {"milliseconds": 20 * million}
    assert dollars_of(spent, MemorySize="512") == pytest.approx(0.133, abs=0.001)
    assert dollars_of(spent, MemorySize="512", LambdaArchitecture="x86_64") == pytest.approx(0.167, abs=0.001)
    assert dollars_of(nothing | {"models": 16.5}) == pytest.approx(16.5)
    assert dollars_of(nothing | {"lines": 1e9, "access": 1e9}) == pytest.approx(1.0)


def test_the_dashboard_reckons_the_cost_of_a_day_as_its_alarm_does() -> None:
    alarm = ALARMS["CostPerDayAlarm"]["Properties"]
    widget = WIDGETS["Cost per day"]
    shown = {row[-1]["id"]: row for row in widget["metrics"]}
    stats = {each["Id"]: each["MetricStat"] for each in alarm["Metrics"] if "MetricStat" in each}

    [expression] = [each["Expression"] for each in alarm["Metrics"] if "Expression" in each]
    assert shown.pop("dollars")[0]["expression"] == expression.replace(" ", "")
    assert widget["period"] == 86400
    assert set(of_widget(widget)) == set(of_alarm(alarm))
    assert {name: row[-1]["stat"] for name, row in shown.items()} == {
        name: stat["Stat"] for name, stat in stats.items()
    }
    assert {stat["Period"] for stat in stats.values()} == {86400}
