"""What the linters say of template.yaml is mended or excused, and an excuse is not kept for longer than it is needed."""

from tools.template_rules import Finding, judge

QUEUE = Finding("ES6000", "SweepQueue", "should have a redrive policy")
LETTERS = Finding("ES6000", "SweepDeadLetters", "should have a redrive policy")
EXCUSED = {"ES6000": {"*DeadLetters": "What was set aside stays."}}


def test_a_finding_is_told_unless_it_is_excused() -> None:
    assert judge([LETTERS], EXCUSED) == []
    assert judge([LETTERS, QUEUE], EXCUSED) == ["ES6000 SweepQueue: should have a redrive policy"]
    assert judge([LETTERS], {}) == ["ES6000 SweepDeadLetters: should have a redrive policy"]


def test_an_excuse_that_nothing_needs_is_told() -> None:
    assert judge([], EXCUSED) == ["ES6000 *DeadLetters: excused, and never found"]
    assert judge([LETTERS], EXCUSED | {"WS1000": {"*": "Why."}}) == ["WS1000 *: excused, and never found"]
