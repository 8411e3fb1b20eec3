"""No function imports more than imports.toml lists for it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.stack import Stack
from tests.support import imports
from tests.support.events import EVENTS, for_learner, function_of
from tests.support.learners import Learner
from tests.support.recording import Recording


@pytest.fixture(scope="module")
def server(stack: Stack) -> Iterator[imports.Server]:
    with imports.Server(stack.environment, imports.imported_by_all()) as running:
        yield running


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.stem)
def test_a_function_imports_what_is_listed(
    event: Path, ada: Learner, server: imports.Server, recording: Recording
) -> None:
    function = function_of(event)

    served = server.serve(function, for_learner(event, ada))

    recording.note_calls(function, served.calls)
    assert is_success(served.answer), served.answer
    more = sorted(imports.comparable(served.modules - imports.allowed(function)))
    assert not more, (
        f"{function} imports {', '.join(more)}: if it has to, `make imports` adds them to imports.toml"
    )


def is_success(answer: Any) -> bool:
    """What was refused, or is a dead letter, did not go the whole way."""
    return answer.get("statusCode", 200) in (200, 201, 204, 405) and not answer.get("batchItemFailures")


def test_modules_are_named_as_deep_as_they_are_chosen() -> None:
    loaded = [
        "handler",
        "_json",
        "email.mime.text",
        "botocore.docs.utils",
        "botocore._x.y",
        "practice.store.turns",
    ]

    assert imports.named(loaded) == {"email", "botocore.docs", "practice.store.turns"}
