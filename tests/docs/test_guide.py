"""docs/guide.md is true: its commands run, its programs work, its diffs apply to this tree and do what they say."""

import ast
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from local.http import Response
from local.intrinsics import parse
from local.server import Server
from local.stack import ROOT, Stack
from practice.events.outbound import ModelAnswer, TurnCompleted
from practice.runtime import clock
from tests.support.browser import Browser
from tests.support.guide import Block, Place, blocks_of, free_port
from tests.support.learners import new_user_id
from tests.support.node import node_with_websocket
from tests.support.providers import FakeProvider, Played

GUIDE = ROOT / "docs" / "guide.md"
BLOCKS = blocks_of(GUIDE)
BEGIN = "Before you begin"
SECTIONS = [name for name in dict.fromkeys(block.section for block in BLOCKS) if name != BEGIN]
RUN = {"sh", "sh run", "js browser", "js node", "python", "python consumer", "diff apply", "csv examples.csv"}
CHECKED: dict[str, Callable[[str], object]] = {
    "sh cloud": lambda text: subprocess.run(["bash", "-n", "-c", text], check=True),
    "js cloud": lambda text: subprocess.run(["node", "--check", "-"], input=text.encode(), check=True),
    "python cloud": ast.parse,
    "yaml cloud": parse,
    "json": json.loads,
}
EVENTS = "Consume its events"
TOOLS = ("bash", "curl", "jq", "make", "node", "git")
PACKAGES = ROOT / "node_modules" / "openapi-typescript"
OLLAMA = "http://localhost:11434"

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, TOOLS)) or not (ROOT / ".venv").exists(),
    reason=f"needs {', '.join(TOOLS)} and the environment that make installs",
)


def blocks(section: str, *infos: str) -> list[Block]:
    return [block for block in BLOCKS if block.section == section and (not infos or block.info in infos)]


@pytest.fixture
def ollama() -> Iterator[FakeProvider]:
    """Plays both interfaces of an Ollama that has llama3.2."""
    output = {"content": "Hello yourself."}
    answer = {"model": "llama3.2", "message": output, "choices": [{"message": output}], "eval_count": 4}
    with FakeProvider() as fake:
        fake.plays["llama3.2"] = lambda request: Played(answer)
        yield fake


# What is run


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Where `make run` runs, and the stack that it runs."""
    folder = tmp_path_factory.mktemp("guide")
    place = Place(folder, {"PORT": str(free_port()), "DATA": str(folder / "data")})
    with place.serving("make run"):
        yield place


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_does_what_it_says(
    section: str, request: pytest.FixtureRequest, ollama: FakeProvider, tmp_path: Path
) -> None:
    if section == EVENTS:
        request.getfixturevalue("needs")("streams")
    if any("make client-ts" in block.text for block in blocks(section)) and not PACKAGES.exists():
        pytest.skip("needs the packages of npm")
    if blocks(section, "sh run"):
        variables = {"PORT": str(free_port()), "DATA": str(tmp_path / "data")}
    else:
        variables = request.getfixturevalue("served").variables
    variables = {**variables, "USER_ID": str(new_user_id())}
    place = Place(tmp_path, variables)
    with ExitStack() as running:
        for block in [*blocks(BEGIN), *blocks(section)]:
            match block.info:
                case "sh":
                    place.shell(block.text.replace("USER_ID=1", ""))
                case "sh run":
                    running.enter_context(place.serving(block.text.replace(OLLAMA, ollama.url)))
                case "diff apply":
                    place.apply(block.text)
                case "csv examples.csv":
                    (place.folder / "examples.csv").write_text(block.text)
                case "js node":
                    if (command := node_with_websocket()) is None:
                        pytest.skip("needs a Node.js with WebSocket")
                    (place.folder / "program.mjs").write_text(place.here(block.text))
                    place.shell(f"{' '.join(command)} program.mjs")
                case "python":
                    program = place.folder / "program.py"
                    program.write_text(place.here(block.text))
                    place.shell(f"PYTHONPATH=clients/python .venv/bin/python {program.name}")


def test_a_block_that_fails_is_noticed(tmp_path: Path) -> None:
    place = Place(tmp_path, {"PORT": "1"})
    place.shell("count=3\nwords=(a b)")

    assert place.shell('echo "$count ${words[1]}"') == "3 b\n"
    with pytest.raises(AssertionError):
        place.shell("false\necho went on")
    with pytest.raises(AssertionError):
        place.shell("false | true")
    with pytest.raises(AssertionError):
        place.shell('echo "$nothing"')


def test_a_stack_that_logs_much_is_not_blocked(tmp_path: Path) -> None:
    place = Place(tmp_path, {"PORT": "1"})
    deadline = time.monotonic() + 20

    with place.serving("echo 'ready: now'; seq 50000; touch logged; exec sleep 60"):
        while not (place.folder / "logged").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)


# The page


SHOWN = [
    ["done", 2],
    ["changed meanwhile, now", "from another tab"],
    [422, ["body.class_id", "body.title"], True],
    [["3+3", "2+2", "1+1"]],
]


@pytest.fixture
def script(served: Place) -> str:
    """The page, as an expression that promises what it prints."""
    [block] = [block for block in BLOCKS if block.info == "js browser"]
    token = served.shell(f"make -s token USER_ID={new_user_id()}").strip()
    return f"""(async () => {{
        const token = {json.dumps(token)};
        const printed = [];
        const console = {{ log: (...all) => printed.push(all) }};
        {served.here(block.text)}
        return printed;
    }})()"""


def test_the_page_works_in_a_browser_from_another_origin(browser: Browser, script: str) -> None:
    page = Response(200, [("content-type", "text/html")], b"<!doctype html><title>A page</title>")
    elsewhere = Server(lambda request: page)
    elsewhere.start()
    try:
        browser.open(elsewhere.url)
        browser.wait_for("document.title === 'A page'")
        assert browser.evaluate(script) == SHOWN
        assert browser.evaluate("location.origin") == elsewhere.url
    finally:
        elsewhere.close()


def test_the_page_works_in_node(script: str) -> None:
    program = f"{script}.then((printed) => console.log(JSON.stringify(printed)));"

    done = subprocess.run(["node", "-"], input=program, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == SHOWN


# The consumer


def reported(event_id: str, *tokens: int | None) -> dict[str, Any]:
    """The detail of an event about a turn of as many models."""
    usage: dict[str, Any] = {"latency_ms": 1, "prompt_tokens": None, "completion_tokens": None}
    answers = [
        ModelAnswer(session_model_id=1, model_name="echo", response_id=2, total_tokens=count, **usage)
        for count in tokens
    ]
    turn = TurnCompleted(
        event_id=event_id,
        user_id=7,
        session_id=1,
        turn_id=2,
        status="done",
        created_at=clock.now(),
        results=answers,
        errors=[],
    )
    return turn.model_dump()


def test_the_consumer_counts_an_event_once_however_often_it_comes(
    stack: Stack, needs: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("load")
    [block] = [block for block in BLOCKS if block.info == "python consumer"]
    [cloud] = [parse(block.text)["Resources"] for block in BLOCKS if block.info == "yaml cloud"]
    described = {
        name: value
        for name, value in cloud["Seen"]["Properties"].items()
        if name != "TimeToLiveSpecification"
    }
    client = stack.engine.client()
    client.create_table(TableName="guide-seen-events", **described)
    monkeypatch.setenv("SEEN", "guide-seen-events")
    module = ModuleType("count_tokens")
    exec(compile(block.text, f"{GUIDE.name}:{block.line}", "exec"), module.__dict__)
    details = [reported("one", 3, None), reported("two", 4), reported("one", 3, None)]
    records = [
        {"messageId": detail["event_id"], "body": json.dumps({"detail": detail})}
        for detail in [*details, {"event_id": "what is this?"}]
    ]

    answers = [module.lambda_handler({"Records": records}, None) for _ in range(2)]

    key = {"event_id": {"S": "tokens of user 7"}}
    total = client.get_item(TableName="guide-seen-events", Key=key)["Item"]["tokens"]["N"]
    client.delete_table(TableName="guide-seen-events")
    assert answers == [{"batchItemFailures": [{"itemIdentifier": "what is this?"}]}] * 2
    assert total == "7"


# The session with curl in README.md


def readme_steps() -> list[tuple[str, Block | None]]:
    """Each shell block of the session, with the block of its expected output."""
    section = [block for block in blocks_of(ROOT / "README.md") if block.section == "A session with curl"]
    shell = [block for block in section if block.info == "sh" and "make run" not in block.text]
    following = dict(pairwise(section))
    return [
        (block.text, after if (after := following.get(block)) and after.info != "sh" else None)
        for block in shell
    ]


def compare(shown: Any, real: Any, ids: dict[int, int], where: str = "$") -> None:
    """Equal except for times and ids; an id on the page maps to one real id."""
    assert type(shown) is type(real), where
    if isinstance(shown, dict):
        assert list(shown) == list(real), where
        for name in shown:
            compare(shown[name], real[name], ids, f"{where}.{name}")
    elif isinstance(shown, list):
        assert len(shown) == len(real), where
        for number, (one, other) in enumerate(zip(shown, real, strict=True)):
            compare(one, other, ids, f"{where}[{number}]")
    elif isinstance(shown, int) and where.endswith(("_id", ".id")) and shown > 1000:
        assert ids.setdefault(shown, real) == real, where
    elif not where.endswith(("_at", ".user_id")):
        assert shown == real, where


def test_the_readme_session_can_be_pasted_and_prints_what_the_page_shows(
    served: Place, tmp_path: Path
) -> None:
    place = Place(tmp_path, {**served.variables, "USER_ID": str(new_user_id())})
    ids: dict[int, int] = {}
    compared = []
    for text, shown in readme_steps():
        real = place.shell(text.replace("USER_ID=1", ""))
        if shown and shown.info == "json":
            compare(json.loads(shown.text), json.loads(real), ids)
            compared.append(shown.line)
        elif shown:
            assert real.replace("\r\n", "\n") == shown.text
            compared.append(shown.line)

    assert len(compared) >= 9


# What is only read


def test_every_block_names_how_it_is_checked() -> None:
    assert [str(block) for block in BLOCKS if block.info not in RUN | CHECKED.keys()] == []


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.info in CHECKED], ids=str)
def test_what_needs_a_cloud_can_be_read(block: Block) -> None:
    CHECKED[block.info](block.text)


ELSEWHERE = [
    block
    for document in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if document != GUIDE
    for block in blocks_of(document)
    if block.info in ("sh", "json", "yaml")
]


@pytest.mark.parametrize("block", ELSEWHERE, ids=str)
def test_the_blocks_of_the_other_documents_can_be_read(block: Block) -> None:
    CHECKED[{"sh": "sh cloud", "yaml": "yaml cloud"}.get(block.info, block.info)](block.text)
