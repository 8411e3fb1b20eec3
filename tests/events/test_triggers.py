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


def triggers(kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, function in FUNCTIONS.items():
        for event in function.get("Events", {}).values():
            if event["Type"] == kind:
                yield name, event["Properties"]


def dead_letters() -> set[str]:
    return QUEUES.keys() - WORK.keys()


def test_a_queue_that_is_worked_on_has_dead_letters_and_time_for_retries() -> None:
    worked_on = {queue["Queue"]["Fn::GetAtt"][0]: name for name, queue in triggers("SQS")}

    assert worked_on.keys() == WORK.keys()
    for queue, function in worked_on.items():
        redrive = WORK[queue]["RedrivePolicy"]
        assert redrive["deadLetterTargetArn"]["Fn::GetAtt"][0] in dead_letters()
        assert WORK[queue]["VisibilityTimeout"] > FUNCTIONS[function]["Timeout"]


@pytest.mark.parametrize("kind", ["SQS", "DynamoDB"])
def test_one_message_that_fails_costs_the_others_of_its_batch_nothing(kind: str) -> None:
    found = list(triggers(kind))

    assert found
    for name, trigger in found:
        assert trigger["FunctionResponseTypes"] == ["ReportBatchItemFailures"], name


def test_at_most_two_functions_read_the_stream_and_what_they_lose_is_kept() -> None:
    readers = list(triggers("DynamoDB"))

    assert 1 <= len(readers) <= 2
    for _, trigger in readers:
        assert trigger["DestinationConfig"]["OnFailure"]["Destination"]["Fn::GetAtt"][0] in dead_letters()
        assert trigger["StartingPosition"] == "TRIM_HORIZON"


def test_an_event_that_its_function_fails_on_is_retried_then_kept() -> None:
    for name, trigger in triggers("EventBridgeRule"):
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
