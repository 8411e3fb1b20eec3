"""A turn in a session of long answers holds no more of them than a model is shown."""

import tracemalloc

from local.stack import Stack
from tests.api.test_long_sessions import seed
from tests.support.learners import Learner, made

MEGABYTE = 1024 * 1024


def test_a_turn_reads_no_more_of_a_long_history_than_its_models_are_shown(stack: Stack, ada: Learner) -> None:
    """Compressed, sixty answers of a megabyte are a small part of the page that they are read from."""
    session = ada.open_session()
    seed(stack, ada, session, 60, "x" * MEGABYTE)
    path = f"/sessions/{session['session_id']}/chat"
    made(ada.post(path, {"prompt_text": "first"}), 201)

    tracemalloc.start()
    try:
        answered = ada.post(path, {"prompt_text": "second"})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    made(answered, 201)
    assert peak < 16 * MEGABYTE, f"{peak / MEGABYTE:.0f} MB"
