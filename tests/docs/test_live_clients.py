"""The live clients for Python and JavaScript, against a live API that fails in every way: they always show the text."""

import asyncio
import json
import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import asdict
from datetime import datetime
from typing import Any, Protocol

import pytest

from local.http import json_response
from local.stack import ROOT
from practice_client import Client, PracticeError
from practice_client.errors import ConnectionFailed
from practice_client.live import Live
from tests.support.live_service import (
    CUT,
    LOST,
    SESSION_ID,
    SILENCE,
    TURN_ID,
    LiveService,
    Message,
    delta,
    deltas,
    done,
    ended,
    failed,
    refused,
    response_id,
    restarted,
    started,
)
from tests.support.node import node_with_websocket

TOKEN = "a.b-c.d_e"
TEXT = "Grüße, 世界! 👩‍🏫👍"
WHOLE = [started(), *deltas([TEXT]), done(TEXT), ended()]
FOLLOW = {"action": "follow", "session_id": SESSION_ID, "turn_id": TURN_ID}


class Shown(list[Message]):
    """The events that a client showed, how long it paused, and how it ended: with an error, as its name and its detail."""

    error: list[Any] | None = None
    pauses: list[float]

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self]

    def text(self, number: int = 0) -> str:
        """As a reader joins it. Fails where a piece is missing or comes twice."""
        text = ""
        for event in self:
            if event.get("response_id") == response_id(number):
                if event["type"] == "answer.restarted":
                    text = ""
                else:
                    assert event["offset"] == len(text), self
                    text += event["text"]
        return text


Shows = Callable[..., Shown]


class Play(Protocol):
    def __call__(self, action: str, body: Message, **options: float) -> Shown: ...


JAVASCRIPT = """
const { createInterface } = await import("node:readline");
const { Live } = await import(process.argv[1]);
for await (const line of createInterface({ input: process.stdin })) {
  const [url, api, token, action, body, options] = JSON.parse(line);
  const pauses = [];
  const live = new Live({ url, api, token: () => token, pause: async (seconds) => void pauses.push(seconds), ...options });
  const events = [];
  let error = null;
  try {
    if (action === "cancel") events.push(await live.cancel(body));
    else for await (const event of live[action](body)) events.push(event);
  } catch (caught) {
    error = [caught.constructor.name, caught.detail ?? caught.message];
  }
  live.close();
  console.log(JSON.stringify({ events, pauses, error }));
}
"""


@pytest.fixture(scope="module")
def in_node() -> Iterator[Shows]:
    command = node_with_websocket()
    if command is None:
        pytest.skip("needs a Node.js with WebSocket")
    program = [*command, "--input-type=module", "-e", JAVASCRIPT]
    with subprocess.Popen(
        [*program, str(ROOT / "clients/web/live.mjs")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def show(service: LiveService, action: str, body: Message, **options: float) -> Shown:
            assert process.stdin
            assert process.stdout
            given = [service.url, service.api, TOKEN, action, body, options]
            process.stdin.write(json.dumps(given) + "\n")
            process.stdin.flush()
            seen = json.loads(process.stdout.readline())
            shown = Shown(seen["events"])
            shown.pauses, shown.error = seen["pauses"], seen["error"]
            if shown.error:
                shown.error[0] = {"Lost": "ConnectionFailed"}.get(shown.error[0], shown.error[0])
            return shown

        yield show
        process.communicate(timeout=60)


def in_python(service: LiveService, action: str, body: Message, **options: float) -> Shown:
    shown = Shown()
    shown.pauses = []
    named = {"pingSeconds": "ping_seconds"}

    async def pause(seconds: float) -> None:
        shown.pauses.append(seconds)

    async def show(client: Client) -> None:
        settings: dict[str, Any] = {named.get(name, name): value for name, value in options.items()}
        live = Live(client, service.url, sleep=pause, **settings)
        try:
            if action == "cancel":
                shown.append(asdict(await live.cancel(**body)))
                return
            async with aclosing(getattr(live, action)(**body)) as events:
                async for event in events:
                    shown.append(asdict(event))
        except PracticeError as error:
            shown.error = [type(error).__name__, error.detail]
        except ConnectionFailed as error:
            shown.error = ["ConnectionFailed", str(error)]

    with Client(service.api, TOKEN) as client:
        asyncio.run(show(client))
    for event in shown:
        if event["type"] == "answer.done":
            assert isinstance(event["result"]["created_at"], datetime)
    return shown


@pytest.fixture
def service() -> Iterator[LiveService]:
    with LiveService() as made:
        yield made


@pytest.fixture(params=["python", "javascript"])
def play(request: pytest.FixtureRequest, service: LiveService) -> Play:
    client: Shows = in_python if request.param == "python" else request.getfixturevalue("in_node")
    return lambda action, body, **options: client(service, action, body, **options)


CHAT = {"session_id": SESSION_ID, "prompt_text": "Hello"}


def test_a_turn_is_shown_as_it_is_written(service: LiveService, play: Play) -> None:
    service.plays = [
        [
            started(2),
            delta(0, "Good "),
            delta(0, "Well, ", 1),
            delta(5, "day"),
            failed(1),
            done("Good day"),
            ended(),
        ]
    ]

    shown = play("chat", CHAT)

    assert shown.types == [
        "turn.started",
        *["answer.delta"] * 3,
        "answer.failed",
        "answer.done",
        "turn.done",
    ]
    assert shown.text() == "Good day"
    [asked] = service.asked
    assert asked["action"] == "chat"
    assert asked["prompt_text"] == "Hello"
    assert asked["idempotency_key"]


def test_the_token_is_in_no_address(service: LiveService, play: Play) -> None:
    service.plays = [WHOLE]

    play("chat", CHAT)

    [handshake] = service.handshakes
    sent = handshake.headers.get("authorization") or handshake.headers["sec-websocket-protocol"]
    assert sent in (f"Bearer {TOKEN}", f"practice.v1, bearer.{TOKEN}")
    assert handshake.path == "/live"


def test_a_lost_connection_is_opened_again_and_the_turn_followed_from_where_it_was(
    service: LiveService, play: Play
) -> None:
    service.plays = [
        [started(2), delta(0, TEXT[:9]), delta(0, "a", 1), delta(9, TEXT[9:11]), done("a", 1), LOST],
        [started(2), delta(0, TEXT[:4]), LOST],
        [
            started(2),
            delta(0, "a", 1),
            done("a", 1),
            *deltas([TEXT[:3], TEXT[3:12], TEXT[12:]]),
            done(TEXT),
            ended(),
        ],
    ]

    shown = play("chat", CHAT)

    assert (shown.text(), shown.text(1)) == (TEXT, "a")
    assert [shown.types.count(kind) for kind in ("turn.started", "answer.done", "turn.done")] == [1, 2, 1]
    assert [each["action"] for each in service.asked] == ["chat", "follow", "follow"]
    assert service.asked[1] == FOLLOW | {"id": service.asked[1]["id"]}
    assert "answer.restarted" not in shown.types
    assert len(shown.pauses) == 2
    assert shown.pauses[1] < 2


def test_a_message_that_was_never_answered_is_sent_again_under_its_key(
    service: LiveService, play: Play
) -> None:
    service.plays = [
        [CUT],
        [refused(409, "request_in_flight")],
        [refused(503, "service unavailable")],
        WHOLE,
    ]

    shown = play("run", {"class_id": 101, "prompt_text": "Hello"})

    assert shown.text() == TEXT
    assert {each["action"] for each in service.asked} == {"run"}
    assert len(service.asked) == 4
    assert len({each["idempotency_key"] for each in service.asked}) == 1


def test_a_key_of_the_callers_is_kept(service: LiveService, play: Play) -> None:
    service.plays = [WHOLE]

    play("chat", CHAT | {"idempotency_key": "mine"})

    assert service.asked[0]["idempotency_key"] == "mine"


def test_pieces_before_a_restart_are_void(service: LiveService, play: Play) -> None:
    service.plays = [
        [
            started(),
            restarted(),
            delta(0, "Wrong"),
            restarted(),
            *deltas(["Ri", "ght"]),
            done("Right"),
            ended(),
        ]
    ]

    shown = play("chat", CHAT)

    assert shown.types.count("answer.restarted") == 1
    assert shown.text() == "Right"


@pytest.mark.parametrize("anew", ["Quite another", "Sa", "Say it in other words", ""])
def test_a_restart_that_a_lost_connection_hid_is_noticed(service: LiveService, play: Play, anew: str) -> None:
    service.plays = [
        [started(), delta(0, "Say it in one"), LOST],
        [started(), *(deltas([anew]) if anew else []), done(anew), ended()],
    ]

    shown = play("chat", CHAT)

    assert shown.text() == anew
    assert shown.types.count("answer.restarted") == 1


@pytest.mark.parametrize(
    "broken",
    [
        [delta(3, TEXT[3:]), done(TEXT)],
        [delta(0, TEXT[:3]), done(TEXT)],
        [delta(0, TEXT[:-1] + "?"), done(TEXT)],
        [delta(0, TEXT), delta(0, TEXT), done(TEXT)],
    ],
    ids=["a gap", "the end is missing", "another character", "twice"],
)
def test_a_text_that_is_not_what_was_stored_is_followed_again(
    service: LiveService, play: Play, broken: list[Message]
) -> None:
    service.plays = [[started(), *broken, ended()], WHOLE]

    shown = play("chat", CHAT)

    assert shown.text() == TEXT
    assert shown.types[-1] == "turn.done"
    assert shown.error is None


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_lost_or_asked_anew_the_text_is_shown(
    service: LiveService, play: Play, seed: int
) -> None:
    chance = random.Random(seed)

    def pieces(text: str) -> list[str]:
        cuts = sorted(chance.sample(range(len(text) + 1), min(len(text), 4)))
        ends = zip([0, *cuts], [*cuts, len(text)], strict=True)
        return [text[start:end] for start, end in ends if start < end]

    def written() -> str:
        return "".join(chance.choices("ab é世👩", k=chance.randrange(1, 20)))

    texts = [written(), written()]
    for _ in range(chance.randrange(4)):
        steps: list[Message | str] = [started(2)]
        for number in (0, 1):
            if chance.random() < 0.3:  # asked anew, while connected or not
                texts[number] = written()
                if chance.random() < 0.5:
                    steps += [*deltas(pieces(written()), number), restarted(number)]
            steps += deltas(pieces(texts[number][: chance.randrange(len(texts[number]) + 1)]), number)
        service.plays.append([*steps, LOST])
    ends = [
        step
        for number in (1, 0)
        for step in (*deltas(pieces(texts[number]), number), done(texts[number], number))
    ]
    service.plays.append([started(2), *ends, ended()])

    shown = play("chat", CHAT)

    assert shown.error is None
    assert [shown.text(0), shown.text(1)] == texts
    assert [shown.types.count(kind) for kind in ("turn.started", "answer.done", "turn.done")] == [1, 2, 1]


def test_an_error_ends_the_turn_with_what_http_would_answer(service: LiveService, play: Play) -> None:
    service.plays = [[refused(404, "session not found")]]

    shown = play("chat", CHAT)

    assert shown == []
    assert shown.error
    assert shown.error[1] == "session not found"
    assert len(service.asked) == 1


def test_a_refused_token_ends_with_unauthorized_after_one_request(service: LiveService, play: Play) -> None:
    service.refusals = [401]
    service.answers = [json_response(401, {"detail": "unauthorized"})]

    shown = play("chat", CHAT)

    assert shown.error == ["Unauthorized", "unauthorized"]
    [request] = service.requests
    assert (request.method, request.path) == ("GET", "/user/practice/sessions")
    assert request.header("authorization") == f"Bearer {TOKEN}"
    assert len(service.handshakes) == 1


def test_a_handshake_that_fails_for_another_reason_is_tried_again(service: LiveService, play: Play) -> None:
    service.refusals = [503, 429]
    service.plays = [WHOLE]

    shown = play("chat", CHAT)

    assert shown.text() == TEXT
    assert len(service.handshakes) == 3
    assert len(service.requests) == 2


def test_it_gives_up_after_its_tries_without_progress(service: LiveService, play: Play) -> None:
    service.plays = [[started(), delta(0, "a"), LOST] for _ in range(9)]

    shown = play("chat", CHAT, tries=3)

    assert shown.error
    assert shown.error[0] == "ConnectionFailed"
    assert len(service.asked) == 3
    assert shown.text() == "a"


def test_a_prompt_that_does_not_fit_a_message_goes_over_http(service: LiveService, play: Play) -> None:
    service.answers = [
        json_response(
            202, {"session_id": SESSION_ID, "session_title": None, "turn_id": TURN_ID, "status": "queued"}
        )
    ]
    service.plays = [WHOLE]

    shown = play("chat", {"session_id": SESSION_ID, "prompt_text": "ü" * 16_400, "model_names": ["gpt"]})

    assert shown.text() == TEXT
    [request] = service.requests
    assert (request.method, request.path) == ("POST", f"/user/practice/sessions/{SESSION_ID}/chat")
    assert request.header("prefer") == "respond-async"
    assert request.header("idempotency-key")
    assert json.loads(request.body) == {"prompt_text": "ü" * 16_400, "model_names": ["gpt"]}
    assert [each["action"] for each in service.asked] == ["follow"]


def test_a_session_that_begins_with_a_long_prompt_begins_over_http(service: LiveService, play: Play) -> None:
    service.answers = [
        json_response(
            202, {"session_id": SESSION_ID, "session_title": None, "turn_id": TURN_ID, "status": "queued"}
        )
    ]
    service.plays = [WHOLE]

    play("run", {"class_id": 101, "prompt_text": "x" * 40_000, "style_preset": "accurate"})

    [request] = service.requests
    assert request.target == "/user/practice/sessions/run?class_id=101"
    assert json.loads(request.body) == {"prompt_text": "x" * 40_000, "style_preset": "accurate"}


def test_a_connection_that_stays_silent_is_given_up(service: LiveService, play: Play) -> None:
    service.plays = [[SILENCE], WHOLE]

    assert play("chat", CHAT, patience=0.3).text() == TEXT
    assert len(service.asked) == 2


def test_a_connection_that_answers_no_ping_is_given_up(service: LiveService, play: Play) -> None:
    service.plays = [[started(), delta(0, TEXT[:2]), SILENCE], WHOLE]

    assert play("chat", CHAT, pingSeconds=0.2, patience=0.4).text() == TEXT
    assert service.pings >= 1
    assert len(service.handshakes) == 2


def test_an_error_of_the_gateway_that_names_no_message_is_tried_again(
    service: LiveService, play: Play
) -> None:
    service.plays = [[{"message": "Internal server error", "connectionId": "x", "requestId": "y"}], WHOLE]

    assert play("chat", CHAT).text() == TEXT
    assert len(service.asked) == 2


def test_events_of_a_newer_service_are_left_out(service: LiveService, play: Play) -> None:
    service.plays = [[started(), {"type": "answer.thought", "text": "hm"}, *WHOLE[1:]]]

    shown = play("chat", CHAT)

    assert shown.text() == TEXT
    assert "answer.thought" not in shown.types


def test_a_turn_is_cancelled(service: LiveService, play: Play) -> None:
    service.plays = [[LOST], [ended("cancelled")]]

    shown = play("cancel", {"session_id": SESSION_ID, "turn_id": TURN_ID})

    assert shown[0]["status"] == "cancelled"
    assert [each["action"] for each in service.asked] == ["cancel", "cancel"]


def test_a_finished_turn_is_not_cancelled(service: LiveService, play: Play) -> None:
    service.plays = [[refused(409, "turn_finished")]]

    shown = play("cancel", {"session_id": SESSION_ID, "turn_id": TURN_ID})

    assert shown.error == ["PracticeError", "turn_finished"]
