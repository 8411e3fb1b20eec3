"""A user as a whole: tokens that are revoked, data that is erased."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local.stack import Stack, read_template, settings
from local.tokens import mint
from practice.store import accounts, erasures, withdrawals
from tests.support.learners import Learner
from tests.support.processes import Killed, killed_at

NO_DATE_IN_UTC = (
    "9999-12-31T23:59:59-14:00",
    "9999-12-31T23:59:59.999999Z",  # as seconds since 1970 it is the year 10000
    "0001-01-01T00:00:00+14:00",
)
HandIn = Callable[[str, dict[str, Any]], Any]
ItemsOf = Callable[[Learner], dict[tuple[str, str], Any]]


def later() -> str:
    return datetime.fromtimestamp(time.time() + 2, UTC).isoformat()


def with_new_token(who: Learner, stack: Stack, issued: float) -> Learner:
    """The same user, with a token issued at another time."""
    real, time.time = time.time, lambda: issued
    try:
        token = mint(stack.token_secret, who.user_id, 3600, settings(read_template()))
    finally:
        time.time = real
    return Learner(who.send, token, who.user_id)


@pytest.fixture(autouse=True)
def a_minute_passes(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process remembers of an account lapses at once."""
    monkeypatch.setattr(accounts, "REMEMBERED_SECONDS", 0.0)


def test_tokens_issued_before_the_revocation_are_refused(ada: Learner, hand_in: HandIn) -> None:
    assert ada.get("/sessions").status == 200

    hand_in("TokensRevoked", {"user_id": ada.user_id, "issued_before": later()})

    assert ada.get("/sessions").status == 401


def test_a_newer_token_is_good(ada: Learner, stack: Stack, hand_in: HandIn) -> None:
    older = with_new_token(ada, stack, time.time() - 60)
    between = datetime.fromtimestamp(time.time() - 30, UTC)  # a token has whole seconds only
    hand_in("TokensRevoked", {"user_id": ada.user_id, "issued_before": between.isoformat()})

    assert older.get("/sessions").status == 401
    assert ada.get("/sessions").status == 200


def test_an_older_revocation_takes_nothing_back(ada: Learner, hand_in: HandIn) -> None:
    hand_in("TokensRevoked", {"user_id": ada.user_id, "issued_before": later()})
    hand_in("TokensRevoked", {"user_id": ada.user_id, "issued_before": "2020-01-01T00:00:00Z"})

    assert ada.get("/sessions").status == 401


def test_another_learners_tokens_stay_good(ada: Learner, ben: Learner, hand_in: HandIn) -> None:
    hand_in("TokensRevoked", {"user_id": ada.user_id, "issued_before": later()})

    assert ben.get("/sessions").status == 200


@pytest.mark.parametrize(
    "detail",
    [
        {},
        {"issued_before": "yesterday"},
        {"issued_before": "2026-01-01T00:00:00Z", "token_id": "a"},
        {"token_id": ""},
        {"token_id": 5},
        {"version": 2, "token_id": "a"},
        {"user_id": True, "token_id": "a"},
        {"user_id": "1", "token_id": "a"},
        {"issued_before": "9999-12-31T23:59:59-14:00"},
    ],
)
def test_an_empty_revocation_goes_to_the_dead_letter_queue(
    ada: Learner, hand_in: HandIn, detail: dict[str, Any]
) -> None:
    assert hand_in("TokensRevoked", {"user_id": ada.user_id, **detail})["outcome"] == "dead_letter"
    assert ada.get("/sessions").status == 200


@pytest.mark.parametrize("moment", NO_DATE_IN_UTC)
@pytest.mark.parametrize(("kind", "detail"), [("UserErased", {}), ("TokensRevoked", {"token_id": "a"})])
def test_an_event_of_a_moment_without_a_date_in_utc_is_a_dead_letter(
    ada: Learner, hand_in: HandIn, items_of: ItemsOf, kind: str, detail: dict[str, Any], moment: str
) -> None:
    ada.open_session()
    before = items_of(ada)

    assert hand_in(kind, {"user_id": ada.user_id, "updated_at": moment, **detail})["outcome"] == "dead_letter"
    assert items_of(ada) == before


def test_true_is_no_user_whose_data_is_erased(hand_in: HandIn) -> None:
    assert hand_in("UserErased", {"user_id": True})["outcome"] == "dead_letter"


def fill(who: Learner) -> None:
    example = who.add_example()
    for _ in range(2):
        session = who.open_session()
        who.patch(
            f"/sessions/{session['session_id']}/settings", {"few_shot_example_ids": [example["example_id"]]}
        )
        for length in (10, 1_000_000):
            who.add_response(session, response_text="x" * length)
    who.delete(f"/sessions/{who.open_session()['session_id']}")


def erase(stack: Stack, who: Learner) -> None:
    """The worker, until it has no more to do: what the erasure queue would deliver."""
    body = json.dumps({"user_id": who.user_id})
    event = {"Records": [{"messageId": "1", "body": body, "eventSource": "aws:sqs", "attributes": {}}]}
    assert stack.invoker.invoke("erase_items", event) == {"batchItemFailures": []}


def test_everything_of_the_user_goes_but_a_receipt(
    ada: Learner, ben: Learner, stack: Stack, hand_in: HandIn, items_of: ItemsOf
) -> None:
    fill(ada)
    fill(ben)
    others = items_of(ben)

    assert hand_in("UserErased", {"user_id": ada.user_id, "updated_at": later()})["outcome"] == "begun"
    erase(stack, ada)

    assert [sk for _, sk in items_of(ada)] == ["ACCOUNT"]
    [receipt] = items_of(ada).values()
    assert {
        name: receipt[name]["N"] for name in ("erased_sessions", "erased_examples", "erased_responses")
    } == {
        "erased_sessions": "2",
        "erased_examples": "1",
        "erased_responses": "4",
    }
    assert int(receipt["ttl"]["N"]) > time.time()
    assert "erasing" not in receipt
    assert items_of(ben) == others


def test_tokens_from_before_are_refused_and_create_nothing(
    ada: Learner, stack: Stack, hand_in: HandIn, items_of: ItemsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada.open_session()
    monkeypatch.setattr(accounts, "REMEMBERED_SECONDS", 60.0)
    ada.get("/sessions")  # this process remembers that the token is good

    hand_in("UserErased", {"user_id": ada.user_id, "updated_at": later()})
    erase(stack, ada)

    assert ada.post("/sessions", {"class_id": 1}).status == 401
    assert ada.post("/few-shot-examples", {"input_text": "a", "output_text": "b"}).status == 401
    assert [sk for _, sk in items_of(ada)] == ["ACCOUNT"]
    accounts.clear_cache()
    assert ada.get("/sessions").status == 401


def test_who_comes_back_starts_anew(ada: Learner, stack: Stack, hand_in: HandIn, items_of: ItemsOf) -> None:
    ada.open_session()
    before = datetime.now(UTC) - timedelta(seconds=2)  # a token has whole seconds only
    hand_in("UserErased", {"user_id": ada.user_id, "updated_at": before.isoformat()})
    erase(stack, ada)

    back = with_new_token(ada, stack, time.time())
    session = back.open_session()

    assert back.get("/sessions").json["total"] == 1
    assert back.get(f"/sessions/{session['session_id']}").status == 200
    assert "ttl" not in items_of(ada)[f"USER#{ada.user_id}#ACCOUNT", "ACCOUNT"]


def test_an_erasure_that_dies_anywhere_is_finished_by_the_next_one_and_counts_exactly(
    ada: Learner, stack: Stack, hand_in: HandIn, items_of: ItemsOf
) -> None:
    fill(ada)
    before = len([sk for _, sk in items_of(ada) if sk != "ACCOUNT"])
    hand_in("UserErased", {"user_id": ada.user_id, "updated_at": later()})

    deaths = 0
    for moment in ("before-call", "after-call"):
        for at in range(1, 6):
            try:
                with killed_at(at, moment=moment):
                    for _ in erasures.erase(ada.user_id, withdrawals.removal):
                        pass
            except Killed:
                deaths += 1
    erase(stack, ada)

    [receipt] = items_of(ada).values()
    assert deaths >= 3
    assert int(receipt["erased_items"]["N"]) == before


def test_an_erasure_announced_twice_is_done_once(ada: Learner, stack: Stack, hand_in: HandIn) -> None:
    moment = later()
    hand_in("UserErased", {"user_id": ada.user_id, "updated_at": moment})
    erase(stack, ada)

    again = hand_in("UserErased", {"user_id": ada.user_id, "updated_at": moment})

    assert again["outcome"] == "superseded"
