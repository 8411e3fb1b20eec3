"""The page at the root of the local stack: what it serves, what it may reach, and who gets a token."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest

from local.http import Request, Response
from local.stack import ROOT, Stack
from local.web import KINDS
from tests.support.guide import free_port
from tests.support.learners import new_user_id

WEB = ROOT / "clients" / "web"
INLINE = re.compile(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=|javascript:")


def get(stack: Stack, path: str, **more: Any) -> Response:
    headers = [("host", f"127.0.0.1:{stack.server.port}")]
    return stack.answer(Request("GET", path, headers, **more))


def text(response: Response) -> str:
    return response.body.decode()


def test_the_root_is_a_page_that_says_what_runs_here(stack: Stack) -> None:
    page = get(stack, "/")

    assert (page.status, page.header("content-type")) == (200, "text/html; charset=utf-8")
    shown = text(page)
    for link in ("/docs", "/_local/", "/guide"):
        assert f'href="{link}"' in shown
        assert get(stack, link).status == 200
    assert f"http://127.0.0.1:{stack.server.port}/user/practice" in shown
    assert f"ws://127.0.0.1:{stack.server.port}/live" in shown
    assert f"<dd>{len(stack.template.functions)}</dd>" in shown


@pytest.mark.parametrize("file", sorted(file.name for file in WEB.iterdir() if file.suffix in KINDS))
def test_every_file_of_the_page_is_served_and_names_only_files_that_are(stack: Stack, file: str) -> None:
    served = get(stack, f"/{file}")

    assert served.status == 200
    assert served.header("content-type") == KINDS[f".{file.partition('.')[2]}"]
    named = re.findall(r"""(?:src|href)="([\w./]+)"|from "\./([\w.]+)\"""", text(served))
    for name in filter(None, (first or second for first, second in named)):
        assert get(stack, f"/{name.removeprefix('/')}").status == 200, name


def test_the_page_has_no_inline_script_and_reaches_its_own_stack_alone(stack: Stack) -> None:
    page = get(stack, "/")

    policy = dict(
        part.strip().split(" ", 1) for part in (page.header("content-security-policy") or "").split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["connect-src"] == f"'self' ws://127.0.0.1:{stack.server.port}"
    assert not INLINE.search(text(page))
    assert not INLINE.search((WEB / "index.html").read_text())


@pytest.mark.parametrize(
    "path", ["/messages.d.ts", "/../typescript/example.mts", "/%2e%2e/web/page.css", "/web/page.css", "/page"]
)
def test_nothing_else_of_the_tree_is_served(stack: Stack, path: str) -> None:
    assert get(stack, path).status == 404


def test_other_methods_of_the_root_are_answered_by_the_api(stack: Stack) -> None:
    assert stack.answer(Request("POST", "/")).status == 404


def test_the_page_of_another_machine_does_not_show_the_stack(stack: Stack) -> None:
    page = get(stack, "/", client="192.0.2.7")

    assert page.status == 200
    assert "/_local/" not in text(page)


def test_a_host_that_is_none_does_not_reach_the_policy(stack: Stack) -> None:
    page = stack.answer(Request("GET", "/", [("host", "a; script-src *")]))

    assert (page.header("content-security-policy") or "").count("script-src") == 1
    assert "*" not in (page.header("content-security-policy") or "")


def asked(stack: Stack, body: str, **headers: str) -> Response:
    named = {"host": f"127.0.0.1:{stack.server.port}"} | headers
    return stack.answer(Request("POST", "/_local/token", list(named.items()), body.encode()))


def test_the_button_gets_a_token_that_the_api_accepts(stack: Stack) -> None:
    user_id = new_user_id()

    token = json.loads(asked(stack, f'{{"user_id": {user_id}}}').body)["token"]

    connection = HTTPConnection("127.0.0.1", stack.server.port)
    connection.request(
        "POST",
        "/user/practice/sessions",
        '{"class_id": 101}',
        {"authorization": f"Bearer {token}", "content-type": "application/json"},
    )
    answer = connection.getresponse()
    assert json.loads(answer.read())["user_id"] == user_id
    connection.close()


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{}",
        '{"user_id": 0}',
        '{"user_id": "1"}',
        '{"user_id": true}',
        '{"user_id": 9007199254740992}',
    ],
)
def test_a_token_is_for_a_user_id(stack: Stack, body: str) -> None:
    assert asked(stack, body).status == 422


@pytest.mark.parametrize("origin", ["https://evil.example.com", "http://localhost:1", "null"])
def test_no_other_site_gets_a_token(stack: Stack, origin: str) -> None:
    assert asked(stack, '{"user_id": 1}', origin=origin).status == 403


def test_the_guide_is_a_page_whose_links_lead_somewhere(stack: Stack) -> None:
    shown = text(get(stack, "/guide"))

    links = set(re.findall(r'href="#([^"]+)"', shown))
    assert len(links) >= 8
    assert links <= set(re.findall(r'id="([^"]+)"', shown))
    assert not INLINE.search(re.sub(r"<pre>.*?</pre>", "", shown, flags=re.DOTALL))


# For a stack elsewhere


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    """`make page` for a deployed stack."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "local",
        "page",
        "https://api.example.com/",
        "wss://live.example.com/live",
    ]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={"PORT": str(port), "PYTHONPATH": "layers/practice"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline().startswith(f"ready: http://127.0.0.1:{port} ")
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_the_page_is_served_for_a_stack_elsewhere(elsewhere: str) -> None:
    connection = HTTPConnection(urlsplit(elsewhere).netloc)
    connection.request("GET", "/config.mjs")
    config = connection.getresponse()
    assert config.read().decode() == (
        'export const api = "https://api.example.com";\nexport const live = "wss://live.example.com/live";\n'
    )
    policy = config.getheader("content-security-policy") or ""
    assert "connect-src 'self' https://api.example.com wss://live.example.com/live;" in policy
    connection.request("GET", "/")
    page = connection.getresponse()
    assert "/_local/" not in page.read().decode()
    connection.close()


@pytest.mark.parametrize(
    "given", [("ftp://a", "wss://b"), ("https://a", "https://b"), ("https://a; *", "wss://b")]
)
def test_what_is_no_address_is_refused(given: tuple[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "local", "page", *given],
        cwd=ROOT,
        env={"PYTHONPATH": "layers/practice"},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1
    assert "is not an address" in done.stderr
