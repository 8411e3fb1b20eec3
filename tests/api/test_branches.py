"""Asked again, edited, from the beginning: turns follow each other in branches, and a model is shown its branch alone."""

import secrets
import threading
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from local import consumers
from local.stack import Stack
from practice import table
from practice.schemas.response import Response
from practice.schemas.turn import ANCESTORS, Ancestry, StoredTurn
from practice.store import turns
from practice.store.responses import of_model
from practice.table import keys
from tests.api.test_turns import chat, turns_of
from tests.support import deliveries
from tests.support.deliveries import Deliveries
from tests.support.learners import Answer, Learner, made
from tests.support.processes import SECONDS
from tests.support.providers import FakeProvider, Played, completion

Json = dict[str, Any]
LATER = {"prefer": "respond-async"}


@pytest.fixture
def provider(provider: FakeProvider) -> FakeProvider:
    """Serves every model: an answer names its prompt."""

    def answer(request: Json) -> Played:
        return Played(completion(f"{request['model']} on {request['messages'][-1]['content']}"))

    provider.plays = dict.fromkeys(("alpha", "beta"), answer)
    return provider


@pytest.fixture
def delivered(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Deliveries:
    monkeypatch.setattr(consumers, "retry_delay", lambda attempts: 0)
    return deliveries.of(stack)


@pytest.fixture
def session(ada: Learner, class_of: Callable[..., int]) -> Json:
    """Of a class with two models."""
    return ada.open_session(class_id=class_of("alpha", "beta"), title="Lesson")


def ask(who: Learner, session: Json, prompt: str, **body: Any) -> int:
    """Sends a prompt and returns the id of the turn."""
    turn = made(chat(who, session, prompt, body=body), 201)
    return int(turn["results"][0]["response_id"])


def read(who: Learner, session: Json, turn_id: int) -> Json:
    return made(who.get(f"/sessions/{session['session_id']}/turns/{turn_id}"), 200)


def after(who: Learner, session: Json, turn_id: int) -> int | None:
    found: int | None = read(who, session, turn_id)["after_turn_id"]
    return found


def branch(who: Learner, session: Json, leaf: int, size: int = 200) -> list[int]:
    """Oldest first, page by page."""
    found: list[int] = []
    cursor = ""
    while True:
        page = turns_of(who, session, f"?leaf={leaf}&size={size}{cursor}")
        assert len(page["items"]) <= size
        found = [each["turn_id"] for each in page["items"]] + found
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


def shown_to(provider: FakeProvider, model: str, prompt: str) -> list[str]:
    """The prompts of the history that the model was last shown with this prompt."""
    *_, request = (
        each
        for each in provider.requests
        if each["model"] == model and each["messages"][-1]["content"] == prompt
    )
    texts = [each["content"] for each in request["messages"][:-1]]
    assert texts[1::2] == [f"{model} on {text}" for text in texts[::2]]
    return texts[::2]


# Which turn follows which


def test_without_a_choice_a_turn_follows_the_newest(ada: Learner, session: Json) -> None:
    one, two, three = (ask(ada, session, text) for text in ("one", "two", "three"))

    assert [after(ada, session, each) for each in (one, two, three)] == [None, one, two]
    assert [each["after_turn_id"] for each in turns_of(ada, session)["items"]] == [None, one, two]


def test_a_turn_asked_again_and_an_edited_one_are_siblings_of_the_first(ada: Learner, session: Json) -> None:
    one = ask(ada, session, "one")
    two = ask(ada, session, "two")
    again = ask(ada, session, "two", after_turn_id=one)
    edited = ask(ada, session, "two, edited", after_turn_id=one)

    for turn_id in (two, again, edited):
        turn = read(ada, session, turn_id)
        assert (turn["after_turn_id"], turn["siblings"]) == (one, [two, again, edited])
        assert turn["siblings_total"] == 3
    assert read(ada, session, one)["siblings"] == [one]


def test_null_is_a_new_beginning(ada: Learner, session: Json, provider: FakeProvider) -> None:
    one = ask(ada, session, "one")
    beginning = ask(ada, session, "from the beginning", after_turn_id=None)
    next_one = ask(ada, session, "and on")

    assert shown_to(provider, "alpha", "from the beginning") == []
    assert shown_to(provider, "alpha", "and on") == ["from the beginning"]
    assert read(ada, session, beginning)["siblings"] == [one, beginning]
    assert branch(ada, session, next_one) == [beginning, next_one]


def test_a_model_is_shown_the_ancestors_of_a_turn_alone(
    ada: Learner, session: Json, provider: FakeProvider
) -> None:
    one = ask(ada, session, "one")
    two = ask(ada, session, "two")
    ask(ada, session, "three")
    ask(ada, session, "two again", after_turn_id=one)
    ask(ada, session, "on from there")
    ask(ada, session, "three again", after_turn_id=two, model_names=["beta"])

    for model in ("alpha", "beta"):
        assert shown_to(provider, model, "three") == ["one", "two"]
        assert shown_to(provider, model, "two again") == ["one"]
        assert shown_to(provider, model, "on from there") == ["one", "two again"]
    assert shown_to(provider, "beta", "three again") == ["one", "two"]


def test_turns_sent_at_the_same_time_are_siblings(
    ada: Learner, session: Json, provider: FakeProvider
) -> None:
    one = ask(ada, session, "one")
    all_there = threading.Barrier(3, timeout=SECONDS)

    def together(request: Json) -> Played:
        all_there.wait()
        return Played(completion("together"))

    provider.plays["alpha"] = together
    answers: list[Answer] = []
    threads = [
        threading.Thread(
            target=lambda n=n: answers.append(
                chat(ada, session, f"at once {n}", body={"model_names": ["alpha"]})
            )
        )
        for n in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    turn_ids = sorted(made(answer, 201)["results"][0]["response_id"] for answer in answers)

    for turn_id in turn_ids:
        assert read(ada, session, turn_id)["siblings"] == turn_ids
        assert after(ada, session, turn_id) == one


def test_a_failed_and_a_cancelled_turn_may_be_followed(
    ada: Learner, session: Json, provider: FakeProvider
) -> None:
    one = ask(ada, session, "one")
    healthy = dict(provider.plays)
    provider.plays = dict.fromkeys(healthy, lambda _: Played({}, 400))
    assert chat(ada, session, "fails").status == 502
    failed = turns_of(ada, session)["items"][-1]["turn_id"]
    provider.plays = healthy
    queued = made(chat(ada, session, "later", headers=LATER), 202)["turn_id"]
    ada.delete(f"/sessions/{session['session_id']}/turns/{queued}")

    newest = ask(ada, session, "newest")
    chosen = ask(ada, session, "chosen", after_turn_id=failed)

    assert [after(ada, session, each) for each in (failed, queued, newest, chosen)] == [
        one,
        failed,
        queued,
        failed,
    ]
    assert shown_to(provider, "alpha", "newest") == ["one"]
    assert branch(ada, session, newest) == [one, failed, queued, newest]


@pytest.mark.usefixtures("stack")
def test_a_turn_that_has_not_ended_is_passed_over_and_refused_by_name(ada: Learner, session: Json) -> None:
    one = ask(ada, session, "one")
    queued = made(chat(ada, session, "later", headers=LATER), 202)["turn_id"]

    two = ask(ada, session, "two")
    refused = chat(ada, session, "three", body={"after_turn_id": queued})
    turns.claim(ada.user_id, queued, turns.Lease(60, 60))
    running = chat(ada, session, "three", body={"after_turn_id": queued})

    assert after(ada, session, two) == one
    assert read(ada, session, two)["siblings"] == [queued, two]
    for answer in (refused, running):
        assert (answer.status, answer.detail) == (409, "turn_not_finished")


def test_a_turn_that_is_not_there_cannot_be_followed(ada: Learner, ben: Learner, session: Json) -> None:
    turn = made(chat(ada, session, "one"), 201)
    first, second = (each["response_id"] for each in turn["results"])
    other = ada.open_session()
    foreign = ben.open_session()
    elsewhere = ada.add_response(other)["response_id"]
    in_the_future = first + 100
    unknown = (second, elsewhere, in_the_future, session["session_id"], ask(ben, foreign, "x"), 2**53 - 1)

    for turn_id in unknown:
        answer = chat(ada, session, "two", body={"after_turn_id": turn_id})
        assert (answer.status, answer.detail) == (404, "turn not found"), turn_id
    values: list[Any] = [0, -1, 2**53, "x", 1.5, [], {}]
    for value in values:
        answer = chat(ada, session, "two", body={"after_turn_id": value})
        assert answer.status == 422, value
        assert answer.json["detail"][0]["loc"] == ["body", "after_turn_id"]
    run = ada.post(
        f"/sessions/run?class_id={session['class_id']}", {"prompt_text": "x", "after_turn_id": None}
    )
    assert (run.status, run.json["detail"][0]["type"]) == (422, "extra_forbidden")
    assert len(turns_of(ada, session)["items"]) == 1


def test_an_idempotency_key_covers_the_choice(ada: Learner, session: Json) -> None:
    one = ask(ada, session, "one")
    ask(ada, session, "two")
    keyed = {"idempotency-key": "again"}

    first, second = (chat(ada, session, "two", body={"after_turn_id": one}, headers=keyed) for _ in range(2))
    another = chat(ada, session, "two", body={"after_turn_id": None}, headers=keyed)

    assert first.body == second.body
    assert (another.status, another.detail) == (422, "idempotency_key_reused")
    assert read(ada, session, made(first, 201)["results"][0]["response_id"])["siblings_total"] == 2


# By time


def test_responses_added_by_hand_follow_each_other_by_time(
    ada: Learner, session: Json, provider: FakeProvider
) -> None:
    by_hand = [
        ada.add_response(session, prompt_text=text, response_text=f"alpha on {text}")["response_id"]
        for text in ("a", "b")
    ]
    one = ask(ada, session, "one", model_names=["alpha"])
    between = ada.add_response(session, prompt_text="c", response_text="alpha on c")["response_id"]
    two = ask(ada, session, "two", model_names=["alpha"])

    turn_ids = [*by_hand, one, between, two]
    assert [after(ada, session, each) for each in turn_ids] == [None, *turn_ids[:-1]]
    assert [each["after_turn_id"] for each in turns_of(ada, session)["items"]] == [None, *turn_ids[:-1]]
    assert all(read(ada, session, each)["siblings"] == [each] for each in turn_ids)
    assert shown_to(provider, "alpha", "two") == ["a", "b", "one", "c"]
    assert branch(ada, session, two, size=2) == turn_ids

    again = ask(ada, session, "again", after_turn_id=by_hand[0], model_names=["alpha"])
    assert shown_to(provider, "alpha", "again") == ["a"]
    assert read(ada, session, again)["siblings"] == [by_hand[1], again]
    assert read(ada, session, by_hand[1])["siblings"] == [by_hand[1], again]
    beginning = ask(ada, session, "beginning", after_turn_id=None)
    assert read(ada, session, beginning)["siblings"] == [by_hand[0], beginning]
    assert read(ada, session, by_hand[0])["siblings"] == [by_hand[0], beginning]


def make_old(who: Learner, turn_ids: list[int]) -> None:
    """As turns were stored before there were branches."""
    for turn_id in turn_ids:
        item = table.get(keys.turn(who.user_id, turn_id))
        assert item
        turn = StoredTurn.model_validate_json(item.text)
        plain = turn.model_dump_json(exclude={"ancestry", "after_turn_id", "is_deleted"})
        table.write(table.update(item.key, set_to={"doc": table.text(plain)}))
        table.write(table.delete(keys.turn_after(who.user_id, turn.after_turn_id, turn_id)))
        for asked in turn.asked:
            key = keys.response(who.user_id, asked.response_id)
            table.write(table.update(key, set_to={"after": None}))


@pytest.mark.usefixtures("stack")
def test_turns_of_before_there_were_branches_follow_each_other_by_time(
    ada: Learner, session: Json, provider: FakeProvider
) -> None:
    old = [ask(ada, session, text) for text in ("a", "b", "c")]
    make_old(ada, old)

    one = ask(ada, session, "one")
    again = ask(ada, session, "b again", after_turn_id=old[0])

    assert [after(ada, session, each) for each in (*old, one)] == [None, *old]
    assert shown_to(provider, "beta", "one") == ["a", "b", "c"]
    assert shown_to(provider, "beta", "b again") == ["a"]
    assert branch(ada, session, one, size=1) == [*old, one]
    assert branch(ada, session, again) == [old[0], again]
    for turn_id in (old[1], again):
        assert read(ada, session, turn_id)["siblings"] == [old[1], again]
    assert [read(ada, session, each)["siblings"] for each in (old[0], old[2], one)] == [
        [old[0]],
        [old[2]],
        [one],
    ]


# What was deleted


@pytest.mark.parametrize("swept", [False, True])
def test_a_turn_whose_answers_were_all_deleted_keeps_its_place_in_the_chain(
    ada: Learner, session: Json, provider: FakeProvider, delivered: Deliveries, swept: bool
) -> None:
    one, two, three = (ask(ada, session, text) for text in ("one", "two", "three"))
    again = ask(ada, session, "two again", after_turn_id=one)
    for result in read(ada, session, two)["results"]:
        assert ada.delete(f"/responses/{result['response_id']}").status == 204
    if swept:
        delivered.run()

    four = ask(ada, session, "four", after_turn_id=three)

    assert ada.get(f"/sessions/{session['session_id']}/turns/{two}").status == 404
    assert ada.get(f"/sessions/{session['session_id']}/turns?leaf={two}").status == 404
    judged = f"/sessions/{session['session_id']}/turns/{two}"
    for refused in (ada.put(f"{judged}/vote", {"label": "A"}), ada.get(f"{judged}/blind")):
        assert (refused.status, refused.detail) == (404, "turn not found")
    assert chat(ada, session, "x", body={"after_turn_id": two}).detail == "turn not found"
    assert after(ada, session, three) == two
    assert shown_to(provider, "alpha", "four") == ["one", "three"]
    assert branch(ada, session, four, size=1) == [one, three, four]
    assert [each["turn_id"] for each in turns_of(ada, session)["items"]] == [one, three, again, four]
    assert (read(ada, session, again)["siblings"], read(ada, session, again)["siblings_total"]) == (
        [again],
        1,
    )


@pytest.mark.parametrize("swept", [False, True])
def test_a_response_added_by_hand_that_is_deleted_does_not_break_the_chain(
    ada: Learner, session: Json, provider: FakeProvider, delivered: Deliveries, swept: bool
) -> None:
    one = ask(ada, session, "one", model_names=["alpha"])
    by_hand = ada.add_response(session, prompt_text="b", response_text="alpha on b")["response_id"]
    two = ask(ada, session, "two", model_names=["alpha"])
    ada.delete(f"/responses/{by_hand}")
    if swept:
        delivered.run()

    three = ask(ada, session, "three", model_names=["alpha"])

    assert after(ada, session, two) == by_hand
    assert shown_to(provider, "alpha", "three") == ["one", "two"]
    assert branch(ada, session, three) == [one, two, three]
    assert read(ada, session, two)["siblings"] == [two]


@pytest.mark.parametrize("swept", [False, True])
def test_a_turn_goes_from_its_siblings_with_the_model_of_its_last_answer(
    ada: Learner, session: Json, delivered: Deliveries, swept: bool
) -> None:
    one = ask(ada, session, "one")
    both = ask(ada, session, "both", after_turn_id=one)
    ask(ada, session, "beta alone", after_turn_id=one, model_names=["beta"])
    [beta] = [each for each in read(ada, session, both)["results"] if each["model_name"] == "beta"]
    assert read(ada, session, both)["siblings_total"] == 2

    ada.delete(f"/models/{beta['session_model_id']}")
    if swept:
        delivered.run()

    assert (read(ada, session, both)["siblings"], read(ada, session, both)["siblings_total"]) == ([both], 1)


def test_a_turn_with_an_error_stays_among_its_siblings_without_its_answer(
    ada: Learner, session: Json, provider: FakeProvider, delivered: Deliveries
) -> None:
    one = ask(ada, session, "one")
    provider.plays["beta"] = lambda _: Played({}, 400)
    half = ask(ada, session, "half", after_turn_id=one)
    [result] = read(ada, session, half)["results"]
    ada.delete(f"/responses/{result['response_id']}")
    delivered.run()
    beta = next(each for each in read(ada, session, half)["asked"] if each["model_name"] == "beta")
    ada.delete(f"/models/{beta['session_model_id']}")
    delivered.run()

    whole = ask(ada, session, "whole", after_turn_id=one)

    assert read(ada, session, whole)["siblings"] == [half, whole]


# Many


@pytest.mark.usefixtures("stack")
def test_of_many_siblings_the_nearest_hundred_are_listed(ada: Learner, session: Json) -> None:
    queued = [
        made(chat(ada, session, f"{n}", headers=LATER, body={"model_names": ["alpha"]}), 202)["turn_id"]
        for n in range(130)
    ]

    def shown(place: int) -> tuple[list[int], int]:
        turn = read(ada, session, queued[place])
        return turn["siblings"], turn["siblings_total"]

    assert shown(0) == (queued[:100], 130)
    assert shown(60) == (queued[10:110], 130)
    assert shown(129) == (queued[30:], 130)


@pytest.mark.usefixtures("stack")
def test_a_prompt_behind_many_turns_that_have_not_ended_takes_few_requests(
    ada: Learner, session: Json, requests_to_table: Any
) -> None:
    def costs_of_the_next() -> int:
        with requests_to_table() as requests:
            made(chat(ada, session, "and?", headers=LATER, body={"model_names": ["alpha"]}), 202)
        return len(requests)

    first, *_, last = [costs_of_the_next() for _ in range(60)]

    # Pages of turns and of answers, each twice as long as the one before.
    assert last <= first + 10, (first, last)


@pytest.mark.usefixtures("stack")
def test_for_a_model_without_answers_no_more_of_the_others_is_read_than_a_bound(
    ada: Learner,
    session: Json,
    provider: FakeProvider,
    requests_to_table: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for _ in range(60):
        ada.add_response(session, response_text=secrets.token_urlsafe(45_000))

    def reads() -> int:
        with requests_to_table() as requests:
            made(chat(ada, session, "and?", body={"model_names": ["beta"]}), 201)
            made(chat(ada, session, "and?"), 201)
        return len([name for name, _ in requests if name == "BatchGetItem"])

    unbounded = reads()
    monkeypatch.setattr("practice.store.history.HISTORY_BYTES", 100_000)

    assert reads() < unbounded - 3


@pytest.mark.usefixtures("stack")
def test_a_branch_of_which_most_was_deleted_takes_few_requests(
    ada: Learner, session: Json, delivered: Deliveries, requests_to_table: Any
) -> None:
    for n in range(60):
        ask(ada, session, f"{n}", model_names=["alpha"])
    last = ask(ada, session, "last", model_names=["beta"])
    [alpha] = [each for each in ada.models_of(session) if each["model_name"] == "alpha"]
    assert ada.delete(f"/models/{alpha['session_model_id']}").status == 204
    delivered.run()

    with requests_to_table() as requests:
        page = turns_of(ada, session, f"?leaf={last}&size=1")

    assert [each["turn_id"] for each in page["items"]] == [last]
    assert len(requests) <= 12, requests


def test_the_cursor_of_a_branch_is_its_own(ada: Learner, session: Json) -> None:
    one, two, three = (ask(ada, session, text) for text in ("one", "two", "three"))
    cursor = turns_of(ada, session, f"?leaf={three}&size=1")["next_cursor"]
    path = f"/sessions/{session['session_id']}/turns"

    for query in (f"?cursor={cursor}", f"?leaf={two}&cursor={cursor}", f"?leaf={three}&cursor={cursor}x"):
        answer = ada.get(path + query)
        assert (answer.status, answer.json["detail"][0]["type"]) == (422, "cursor_invalid"), query
    for leaf, status in ((one + 1, 404), (2**53 - 1, 404), (0, 422), ("x", 422), ("", 422)):
        assert ada.get(f"{path}?leaf={leaf}").status == status, leaf
    page = turns_of(ada, session, f"?leaf={three}&size=2&cursor={cursor}")
    assert ([each["turn_id"] for each in page["items"]], page["next_cursor"]) == ([one, two], None)


def test_a_turn_too_big_for_one_page_of_its_branch_is_continued(
    ada: Learner, session: Json, provider: FakeProvider
) -> None:
    one = ask(ada, session, "one")
    provider.plays = dict.fromkeys(("alpha", "beta"), lambda _: Played(completion('"' * 1_000_000)))
    big = [made(chat(ada, session, f"big {n}", body={"after_turn_id": one}), 201) for n in range(2)]
    on = ask(ada, session, "on")

    seen: list[int] = []
    cursor, pages = "", 0
    while pages < 10:
        page = turns_of(ada, session, f"?leaf={on}{cursor}")
        pages += 1
        seen = [each["response_id"] for turn in page["items"] for each in turn["results"]] + seen
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"

    wanted = [one, one + 1, *(each["response_id"] for each in big[1]["results"]), on, on + 1]
    assert (seen, pages > 1) == (wanted, True)


def grow(who: Learner, session: Json, length: int) -> list[int]:
    """A branch, and one beside it that grows more slowly, with one model and one answer each, as `chat` stores them.

    Returns the ids of the first.
    """
    first_id = ask(who, session, "one", model_names=["alpha"])
    document = table.get(keys.turn(who.user_id, first_id))
    answer = table.get(keys.response(who.user_id, first_id))
    assert document
    assert answer
    first = StoredTurn.model_validate_json(document.text)
    response = Response.model_validate_json(answer.text)
    branches = [[first_id], [first_id]]
    writes: list[table.Write] = []
    for number in count(1):
        grown, turn_id = branches[number % 8 == 4], first_id + number
        after, known = grown[-1], grown[::-1][: ANCESTORS + 1]
        ancestry = Ancestry.of(turn_id, known, is_whole=len(grown) <= ANCESTORS, is_next=False)
        asked = [first.asked[0].model_copy(update={"response_id": turn_id})]
        place = {"turn_id": turn_id, "asked": asked, "after_turn_id": after, "ancestry": ancestry}
        turn = first.model_copy(update={**place, "reserved": None})
        copied = response.model_copy(update={"response_id": turn_id})
        of_turn = {"turn": table.number(turn_id), "after": table.number(after)}
        ended = {"status": table.text("done"), "errors": table.text("[]")}
        models = [copied.session_model_id]
        writes += [
            *table.put(keys.turn(who.user_id, turn_id), turn, attributes=ended),
            *table.put(
                keys.response(who.user_id, turn_id), copied, attributes={**of_model(copied), **of_turn}
            ),
            turns.among_siblings(who.user_id, after, turn_id, models, is_next=False),
        ]
        grown.append(turn_id)
        if len(branches[0]) == length:
            break
    for start in range(0, len(writes), 99):
        table.write(*writes[start : start + 99])
    counted = {"next_id": number, "answered": number}
    table.write(table.update(keys.models(who.user_id, session["session_id"]), add=counted))
    return branches[0]


@pytest.mark.usefixtures("stack")
def test_a_branch_of_ten_thousand_turns_costs_no_more_than_a_short_one_and_is_read_to_its_beginning(
    another_learner: Callable[[], Learner], class_of: Any, provider: FakeProvider, requests_to_table: Any
) -> None:
    class_id = class_of("alpha", "beta")

    def costs(length: int) -> list[list[str]]:
        who = another_learner()
        session = who.open_session(class_id=class_id, title="Lesson")
        grown = grow(who, session, length)
        path = f"/sessions/{session['session_id']}/turns"
        found: list[list[str]] = []

        def measured(call: Callable[[], Answer]) -> Json:
            with requests_to_table() as requests:
                answer = call()
            found.append([operation for operation, _ in requests])
            value: Json = answer.json
            return value

        last = measured(lambda: who.get(f"{path}?size=50&leaf={grown[-1]}"))
        cursor = last["next_cursor"]
        before = measured(lambda: who.get(f"{path}?size=50&leaf={grown[-1]}&cursor={cursor}"))
        assert [each["turn_id"] for each in [*before["items"], *last["items"]]] == grown[-100:]
        measured(lambda: who.get(f"{path}/{grown[60]}"))
        again = {"after_turn_id": grown[60], "model_names": ["alpha"]}
        measured(lambda: chat(who, session, "again", body=again))
        assert len(shown_to(provider, "alpha", "again")) > 50
        assert branch(who, session, grown[-1]) == grown
        return found

    small, large = costs(200), costs(10_000)

    assert large[:3] == small[:3]
    assert [len(each) for each in large[:3]] == [6, 6, 6]
    # Sixty turns that are not among the newest megabyte of the session are read by their ids.
    assert len(large[3]) <= len(small[3]) + 12, (small[3], large[3])
