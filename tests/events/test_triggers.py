"""What template.yaml promises of the functions that no HTTP call starts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.intrinsics import parse
from tools.expansion import deployed

RESOURCES: dict[str, Any] = parse((Path(__file__).parents[2] / "template.yaml").read_text())["Resources"]


def of_type(kind: str) -> dict[str, Any]:
    return {name: each["Properties"] for name, each in RESOURCES.items() if each["Type"] == kind}


FUNCTIONS = of_type("AWS::Serverless::Function")
QUEUES = of_type("AWS::SQS::Queue")
WORK = {name: queue for name, queue in QUEUES.items() if "RedrivePolicy" in queue}


def rules() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, function in FUNCTIONS.items():
        for event in function.get("Events", {}).values():
            if event["Type"] == "EventBridgeRule":
                yield name, event["Properties"]


def sources(kind: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The function, the queue or table that it reads, and how."""
    for mapping in of_type("AWS::Lambda::EventSourceMapping").values():
        source = mapping["EventSourceArn"]["Fn::GetAtt"][0]
        if RESOURCES[source]["Type"] == kind:
            yield mapping["FunctionName"]["Ref"].removesuffix(".Alias"), source, mapping


def dead_letters() -> set[str]:
    return QUEUES.keys() - WORK.keys()


def test_a_queue_that_is_worked_on_has_dead_letters_and_time_for_retries() -> None:
    worked_on = {queue: function for function, queue, _ in sources("AWS::SQS::Queue")}

    assert worked_on.keys() == WORK.keys()
    for queue, function in worked_on.items():
        redrive = WORK[queue]["RedrivePolicy"]
        assert redrive["deadLetterTargetArn"]["Fn::GetAtt"][0] in dead_letters()
        assert WORK[queue]["VisibilityTimeout"] > FUNCTIONS[function]["Timeout"]


@pytest.mark.parametrize("kind", ["AWS::SQS::Queue", "AWS::DynamoDB::Table"])
def test_one_message_that_fails_costs_the_others_of_its_batch_nothing(kind: str) -> None:
    found = list(sources(kind))

    assert found
    for name, _, mapping in found:
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"], name


def test_at_most_two_functions_read_the_stream_and_what_they_lose_is_kept() -> None:
    readers = list(sources("AWS::DynamoDB::Table"))

    assert 1 <= len(readers) <= 2
    for _, _, mapping in readers:
        assert mapping["DestinationConfig"]["OnFailure"]["Destination"]["Fn::GetAtt"][0] in dead_letters()
        assert mapping["StartingPosition"] == "TRIM_HORIZON"


def test_an_event_that_its_function_fails_on_is_retried_then_kept() -> None:
    for name, trigger in rules():
        invoked = FUNCTIONS[name]["EventInvokeConfig"]
        assert invoked["MaximumRetryAttempts"] >= 1
        assert invoked["DestinationConfig"]["OnFailure"]["Destination"]["Fn::GetAtt"][0] in dead_letters()
        assert trigger["DeadLetterConfig"]["Arn"]["Fn::GetAtt"][0] in dead_letters()
        assert trigger["RetryPolicy"]["MaximumRetryAttempts"] > 1


def test_every_dead_letter_rings() -> None:
    watched = {
        alarm["Properties"]["Dimensions"][0]["Value"].removesuffix(".QueueName")
        for alarm in deployed({}).resources.values()
        if alarm["Type"] == "AWS::CloudWatch::Alarm"
        and alarm["Properties"].get("MetricName") == "ApproximateNumberOfMessagesVisible"
        and alarm["Properties"]["Threshold"] == 1
    }

    assert dead_letters() <= watched
