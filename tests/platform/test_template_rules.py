"""What the linters say of template.yaml is mended or excused, and an excuse is not kept for longer than it is needed."""

from typing import Any

from tools.expansion import deployed
from tools.template_rules import Finding, judge, loops

QUEUE = Finding("ES6000", "SweepQueue", "should have a redrive policy")
LETTERS = Finding("ES6000", "SweepDeadLetters", "should have a redrive policy")
EXCUSED = {"ES6000": {"*DeadLetters": "What was set aside stays."}}


def test_a_finding_is_reported_unless_it_is_excused() -> None:
    assert judge([LETTERS], EXCUSED) == []
    assert judge([LETTERS, QUEUE], EXCUSED) == ["ES6000 SweepQueue: should have a redrive policy"]
    assert judge([LETTERS], {}) == ["ES6000 SweepDeadLetters: should have a redrive policy"]


def test_an_excuse_that_nothing_needs_is_reported() -> None:
    assert judge([], EXCUSED) == ["ES6000 *DeadLetters: the exception is unused"]
    assert judge([LETTERS], EXCUSED | {"WS1000": {"*": "Why."}}) == ["WS1000 *: the exception is unused"]


RESOURCES: dict[str, Any] = deployed({"Stage": "dev"}).resources


def changed(function: str, recursive_loop: str | None) -> dict[str, Any]:
    properties = {**RESOURCES[function]["Properties"], "RecursiveLoop": recursive_loop}
    return {**RESOURCES, function: {**RESOURCES[function], "Properties": properties}}


def test_a_function_that_may_send_to_its_own_queue_must_allow_the_loop() -> None:
    """Lambda ended imports that waited for an upload after 35 seconds, and long sweeps and erasures."""
    assert list(loops(RESOURCES)) == []
    for function in ("EraseItems", "Sweep", "WorkTransfer"):
        [finding] = loops(changed(function, None))
        assert (finding.rule, finding.resource) == ("RecursiveLoop", function)


def test_no_other_function_allows_a_loop() -> None:
    """For them a loop is a mistake, and Lambda stops it."""
    for function in ("WorkTurn", "StreamChanges", "GetSession"):
        [finding] = loops(changed(function, "Allow"))
        assert (finding.rule, finding.resource) == ("RecursiveLoop", function)
