"""The page at the root of the local stack, used in a real browser as a learner uses it: ask, watch, stop, ask again."""

import json
import threading
from collections.abc import Callable, Iterator
from math import inf
from typing import Any

import pytest

from local.stack import Stack
from tests.support.browser import Browser
from tests.support.learners import new_user_id
from tests.support.providers import (
    SSE_HEADERS,
    FakeProvider,
    Part,
    Play,
    Played,
    chunk,
    replies,
    sse,
    streamed,
)

SIZES = {"desktop": (1280, 900, False), "phone": (390, 844, True)}
WATCH = """
    window.seen = [];
    new MutationObserver(() => {
        const turn = document.querySelector(".turn:last-child");
        if (turn) seen.push([turn.ariaBusy, ...[...turn.querySelectorAll(".text")].map((each) => each.textContent)]);
    }).observe(document.getElementById("turns"), { subtree: true, childList: true, characterData: true, attributes: true });
"""

READABLE = """
    window.controls = () => [...document.querySelectorAll("button, input, select, textarea")];
    window.nameOf = (each) => each.ariaLabel || each.labels?.[0]?.textContent.trim() || each.textContent.trim();
    const pixel = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const luminance = (color) => {
        pixel.clearRect(0, 0, 1, 1);
        pixel.fillStyle = color;
        pixel.fillRect(0, 0, 1, 1);
        const [red, green, blue, alpha] = pixel.getImageData(0, 0, 1, 1).data;
        const [r, g, b] = [red, green, blue].map((each) => each / 255)
            .map((each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4));
        return alpha ? 0.2126 * r + 0.7152 * g + 0.0722 * b : null;
    };
    window.contrast = (element) => {
        let behind = element;
        while (luminance(getComputedStyle(behind).backgroundColor) === null) behind = behind.parentElement;
        const both = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor].map(luminance);
        return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
    };
"""


@pytest.fixture
def worker(deliver_turns: Callable[[], None]) -> Iterator[None]:
    """Turns are run as they are queued."""
    ends = threading.Event()

    def work() -> None:
        while not ends.wait(0.02):
            deliver_turns()

    thread = threading.Thread(target=work)
    thread.start()
    yield
    ends.set()
    thread.join()


class Page:
    """The page of a new learner, with a session of a class of these models."""

    def __init__(self, browser: Browser, stack: Stack, class_id: int) -> None:
        self.browser = browser
        browser.open(f"{stack.url}/")
        browser.wait_for("document.getElementById('learner') !== null && document.readyState === 'complete'")
        self.set("#learner input", str(new_user_id()))
        self.set("#new-session input", str(class_id))
        browser.evaluate(WATCH)
        self.click("#learner button")
        browser.wait_for("sessionStorage.getItem('practice.token') !== null")

    def set(self, selector: str, value: str) -> None:
        """As a user's change: nothing happens between the new value and its event."""
        self.browser.evaluate(
            f"((field) => {{ field.value = {json.dumps(value)};"
            " field.dispatchEvent(new Event('change', { bubbles: true })); })"
            f"(document.querySelector({json.dumps(selector)}))"
        )

    def click(self, selector: str) -> None:
        self.browser.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    def ask(self, prompt: str) -> None:
        self.set("#prompt", prompt)
        self.click("#send")

    def reload(self) -> None:
        self.browser.evaluate("window.isOld = true; setTimeout(() => location.reload())")
        self.browser.wait_for("!window.isOld && document.readyState === 'complete'")

    def press(self, field: str, **key: Any) -> None:
        pressed = f"new KeyboardEvent('keydown', {json.dumps({'bubbles': True, **key})})"
        self.browser.evaluate(f"document.getElementById('{field}').dispatchEvent({pressed})")

    def wait_for_text(self, text: str) -> None:
        self.browser.wait_for(f"document.body.innerText.includes({json.dumps(text)})")

    def wait_for_turns(self, count: int) -> None:
        """Until so many have ended."""
        self.browser.wait_for(
            f"document.querySelectorAll('.turn[aria-busy=false]').length === {count}"
            " && document.getElementById('stop').hidden"
        )

    def texts(self, turn: str = ":last-child") -> list[str]:
        return list(
            self.browser.evaluate(
                f"[...document.querySelectorAll('.turn{turn} .answer .text')].map((each) => each.textContent)"
            )
        )

    def prompts(self) -> list[str]:
        return list(
            self.browser.evaluate(
                "[...document.querySelectorAll('.turn .prompt')].map((each) => each.textContent)"
            )
        )

    def seen(self) -> list[list[str]]:
        """Of the latest turn, at every change: whether it is under way, and the text of each answer."""
        return list(self.browser.evaluate("window.seen"))


@pytest.fixture
def page(
    browser: Browser, stack: Stack, worker: None, provider: FakeProvider, class_of: Callable[..., int]
) -> Page:
    return Page(browser, stack, class_of("alpha", "beta"))


def slowly(*pieces: str, pause: float = 0.2) -> Play:
    parts: list[Part] = []
    for piece in streamed(*pieces):
        parts += [piece, pause]
    return lambda request: Played(b"", headers=SSE_HEADERS, parts=parts)


def test_a_learner_watches_the_answers_grow_side_by_side(page: Page, provider: FakeProvider) -> None:
    words = [f"word{number} " for number in range(8)]
    provider.plays = {"alpha": slowly(*words), "beta": replies("At once.")}

    page.ask("Tell me.")
    page.wait_for_turns(1)

    assert page.texts() == ["".join(words), "At once."]
    growing = {alpha for busy, *texts in page.seen() if busy == "true" and texts for alpha in texts[:1]}
    assert len(growing - {"", "".join(words)}) >= 2
    assert all("".join(words).startswith(text) for text in growing)
    shown = page.browser.evaluate("document.querySelector('.turn .answer .figures').textContent")
    assert "4 tokens" in shown
    assert "in all" in shown


def test_a_turn_is_sent_and_stopped_by_keyboard_and_keeps_what_was_written(
    page: Page, provider: FakeProvider
) -> None:
    begun = sse(chunk("The beginning"))
    provider.plays = {
        "alpha": lambda request: Played(b"", headers=SSE_HEADERS, parts=[*begun, inf]),
        "beta": replies("All of it."),
    }

    page.set("#prompt", "Tell me.")
    page.press("prompt", key="Enter", ctrlKey=True)
    page.wait_for_text("The beginning")
    page.press("prompt", key="Escape")
    page.wait_for_turns(1)

    assert page.texts() == ["The beginning", "All of it."]
    page.wait_for_text("ended by cancelled")


def test_a_model_that_fails_says_so_beside_the_others(page: Page, provider: FakeProvider) -> None:
    provider.plays = {"alpha": lambda request: Played({}, 400), "beta": replies("Fine.")}

    page.ask("Tell me.")
    page.wait_for_turns(1)

    assert page.texts() == ["", "Fine."]
    page.wait_for_text("provider_error")


def test_a_prompt_is_asked_again_and_edited(page: Page, provider: FakeProvider) -> None:
    page.ask("Tell me.")
    page.wait_for_turns(1)
    page.click(".turn .again")
    page.browser.wait_for("document.querySelector('.place').textContent === '2 of 2'")
    page.wait_for_turns(1)
    page.click(".turn .edit")

    assert page.browser.evaluate("document.getElementById('prompt').value") == "Tell me."
    assert page.browser.evaluate("document.activeElement.id") == "prompt"
    assert provider.asked() == {"alpha": 2, "beta": 2}


def test_versions_of_a_turn_are_siblings_and_the_conversation_goes_on_after_the_one_that_is_shown(
    page: Page, provider: FakeProvider
) -> None:
    for prompt in ("One", "Two"):
        page.ask(prompt)
        page.wait_for_turns(1 if prompt == "One" else 2)
    page.click(".turn:last-child .edit")
    page.ask("Three")
    page.browser.wait_for("document.querySelector('.turn:last-child .place').textContent === '2 of 2'")
    page.wait_for_turns(2)
    page.ask("Four")
    page.wait_for_turns(3)
    assert page.prompts() == ["One", "Three", "Four"]

    page.click(".turn:nth-child(2) .older")
    assert page.prompts() == ["One", "Two"]
    page.click(".turn:nth-child(2) .newer")
    assert page.prompts() == ["One", "Three", "Four"]

    page.reload()
    page.wait_for_turns(3)
    assert page.prompts() == ["One", "Three", "Four"]
    history = [each["content"] for each in provider.requests[-1]["messages"] if each["role"] == "user"]
    assert history == ["One", "Three", "Four"]


def test_a_blind_vote_reveals_the_models(page: Page, provider: FakeProvider) -> None:
    provider.plays = {"alpha": replies("The good one."), "beta": replies("The other one.")}
    page.click("#standings-panel summary")
    page.click("#blind")
    page.ask("Tell me.")
    page.browser.wait_for("document.querySelectorAll('.best:not([hidden])').length === 2")
    names = "[...document.querySelectorAll('.turn:last-child h3')].map((each) => each.textContent)"
    assert page.browser.evaluate(names) == ["A", "B"]
    assert all("alpha" not in json.dumps(change) for change in page.seen())

    good = page.texts().index("The good one.")
    page.click(f".answer:nth-child({good + 1}) .best")
    page.browser.wait_for("document.querySelectorAll('.best:not([hidden])').length === 0")

    shown = dict(zip(page.texts(), page.browser.evaluate(names), strict=True))
    assert shown["The good one."].startswith("alpha")
    assert shown["The good one."].endswith("best")
    assert shown["The other one."].startswith("beta")
    page.browser.wait_for("document.querySelectorAll('#standings tbody tr').length === 2")
    first = page.browser.evaluate("document.querySelector('#standings tbody tr').innerText")
    assert first.split()[0] == "alpha"


def test_an_open_vote_is_cast_and_changed(page: Page, provider: FakeProvider) -> None:
    page.ask("Tell me.")
    page.wait_for_turns(1)
    page.click(".turn .vote")
    page.browser.wait_for("document.querySelectorAll('.best:not([hidden])').length === 2")
    page.click(".tie[data-tie=bad]")
    page.wait_for_text("all equally bad")
    page.click(".turn .vote")
    page.browser.wait_for("document.querySelectorAll('.best:not([hidden])').length === 2")
    page.click(".answer:nth-child(2) .best")

    page.browser.wait_for("document.querySelector('.answer:nth-child(2) .badge')?.textContent === 'best'")


def test_the_page_says_what_was_used_today(page: Page, provider: FakeProvider) -> None:
    page.ask("Tell me.")
    page.wait_for_turns(1)

    page.wait_for_text("Today: 1 turn ")


def test_the_page_says_what_is_left_of_the_class_and_when_nothing_is(
    browser: Browser, stack: Stack, worker: None, provider: FakeProvider, class_of: Callable[..., int]
) -> None:
    page = Page(browser, stack, class_of("alpha", daily_turns=2, daily_usd="1"))

    page.ask("Tell me.")
    page.wait_for_turns(1)
    page.wait_for_text("left: 1 turn, $")
    page.ask("Tell me more.")
    page.wait_for_turns(2)
    page.wait_for_text("left: 0 turns, $")
    page.ask("Tell me all.")

    page.wait_for_text("The budget of this day is spent.")


def test_the_next_prompt_can_be_sent_before_the_session_has_a_title(page: Page) -> None:
    page.browser.evaluate(
        "const wait = setTimeout; window.setTimeout = (done, delay) => (delay < 1000 ? wait(done, delay) : 0)"
    )
    page.ask("Tell me.")
    page.wait_for_turns(1)
    page.ask("And then?")
    page.wait_for_turns(2)

    assert page.prompts() == ["Tell me.", "And then?"]


@pytest.mark.parametrize("usage", ["new Promise(() => {})", "Promise.reject(new TypeError('gone'))"])
def test_a_turn_that_has_ended_makes_room_for_the_next_one_whatever_comes_of_the_usage(
    page: Page, provider: FakeProvider, usage: str
) -> None:
    page.browser.evaluate(
        "window.fetch = ((fetched) => (url, options) => "
        f"url.includes('/usage') ? {usage} : fetched(url, options))(window.fetch)"
    )

    page.ask("One")
    page.wait_for_turns(1)
    page.ask("Two")
    page.wait_for_turns(2)

    states = "[...document.querySelectorAll('.turn .state')].map((each) => each.textContent)"
    assert page.browser.evaluate(states) == ["", ""]


def test_one_model_alone_is_asked(page: Page, provider: FakeProvider) -> None:
    page.click("#new-session button")
    page.browser.wait_for("document.querySelectorAll('#models input').length === 2")
    page.click("#models input[value=alpha]")
    page.ask("Tell me.")
    page.wait_for_turns(1)

    assert provider.asked() == {"beta": 1}


def test_a_reload_shows_the_session_again_and_follows_what_is_written(
    page: Page, provider: FakeProvider
) -> None:
    provider.plays = {
        "alpha": lambda request: Played(b"", headers=SSE_HEADERS, parts=[*sse(chunk("The beginning")), inf])
    }
    page.ask("Tell me.")
    page.wait_for_text("The beginning")

    page.reload()
    page.wait_for_text("The beginning")
    page.wait_for_text("beta says so")
    page.click("#stop")
    page.wait_for_turns(1)

    assert page.texts() == ["The beginning", "beta says so"]


def test_settings_and_examples_are_at_hand(page: Page, provider: FakeProvider) -> None:
    page.click("#new-session button")
    page.browser.wait_for("!document.querySelector('#settings select').disabled")
    page.set("#settings [name=style_preset]", "accurate")
    page.set("#settings [name=temperature]", "0.3")
    page.set("#new-example [name=input_text]", "2+2")
    page.set("#new-example [name=output_text]", "four")
    page.click("#new-example button")
    page.browser.wait_for("document.querySelectorAll('#examples input').length === 1")
    page.click("#examples input")
    page.browser.wait_for(
        "performance.getEntriesByType('resource').filter((each) => each.name.endsWith('/settings')).length >= 3"
    )
    page.ask("3+3")
    page.wait_for_turns(1)

    [request, *_] = provider.requests
    assert request["temperature"] == 0.3
    assert [each["content"] for each in request["messages"]][-3:] == ["2+2", "four", "3+3"]


def test_an_answer_that_comes_late_neither_hides_an_example_nor_undoes_what_is_typed(page: Page) -> None:
    """The page holds back the first list of examples, then the first change of the settings."""
    page.browser.evaluate(
        "window.hold = (method, path) => new Promise((held) => {"
        " const fetched = window.fetch;"
        " window.fetch = async (url, options) => {"
        "  const answer = await fetched(url, options);"
        "  if (options.method === method && url.includes(path)) {"
        "   window.fetch = fetched;"
        "   await new Promise((release) => { window.release = release; held(); });"
        "  }"
        "  return answer;"
        " };"
        "}), null"
    )
    page.browser.evaluate(
        "window.isHeld = false; hold('GET', '/few-shot-examples').then(() => { isHeld = true; }), null"
    )
    page.click("#new-session button")
    page.browser.wait_for("isHeld && !document.querySelector('#settings select').disabled")
    page.set("#new-example [name=input_text]", "2+2")
    page.set("#new-example [name=output_text]", "four")
    page.click("#new-example button")
    page.browser.wait_for("document.querySelectorAll('#examples input').length === 1")
    page.browser.evaluate("release()")
    page.browser.evaluate("fetch('/', {}).then(() => null)")

    assert page.browser.evaluate("document.querySelectorAll('#examples input').length") == 1

    page.browser.evaluate(
        "window.isHeld = false; hold('PATCH', '/settings').then(() => { isHeld = true; }), null"
    )
    page.set("#settings [name=style_preset]", "accurate")
    page.browser.wait_for("isHeld")
    page.browser.evaluate("document.getElementById('settings').closest('details').open = true")
    page.browser.evaluate("document.querySelector('#settings [name=temperature]').focus()")
    page.browser.evaluate("document.querySelector('#settings [name=temperature]').value = '0.3'")
    page.browser.evaluate("release()")
    page.browser.evaluate("fetch('/', {}).then(() => null)")

    assert page.browser.evaluate("document.querySelector('#settings [name=temperature]').value") == "0.3"


def test_a_token_that_is_not_accepted_is_asked_for_again(page: Page) -> None:
    page.set("#token", "wrong")
    page.click("#access button")

    page.wait_for_text("The token is not accepted.")
    assert page.browser.evaluate("document.activeElement.id") == "token"


def test_the_page_asks_no_other_host_and_breaks_no_policy(page: Page, stack: Stack) -> None:
    page.browser.evaluate(
        "window.broken = []; document.addEventListener('securitypolicyviolation', (each) => broken.push(each.blockedURI))"
    )
    page.ask("Tell me.")
    page.wait_for_turns(1)

    hosts = page.browser.evaluate(
        "performance.getEntriesByType('resource').map((each) => new URL(each.name).host)"
    )
    assert set(hosts) == {stack.url.removeprefix("http://")}
    assert page.browser.evaluate("window.broken") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_it_fits_its_window_and_can_be_read(page: Page, size: str, scheme: str) -> None:
    width, height, is_mobile = SIZES[size]
    page.browser.resize(width, height, is_mobile=is_mobile, scheme=scheme)
    page.ask("x" * 300)
    page.wait_for_turns(1)
    page.browser.evaluate(READABLE)

    assert page.browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert (
        page.browser.evaluate("controls().filter((each) => !nameOf(each)).map((each) => each.outerHTML)")
        == []
    )
    for selector in (
        "h1",
        "label",
        ".prompt",
        ".answer .text",
        ".figures",
        "#send",
        "#new-session button",
        "a",
    ):
        contrast = page.browser.evaluate(f"contrast(document.querySelector({json.dumps(selector)}))")
        assert contrast >= 4.5, selector
