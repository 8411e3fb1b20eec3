"""The page of clients/web, as it is served with the addresses of a stack: here at `/`, elsewhere by `make page`."""

import html
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from markdown_it import MarkdownIt

from local.http import Request, Response

KINDS: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
MARK: Final = "<!-- here the local stack says what it runs -->"
STACK: Final = """<section id="stack" aria-label="This stack">
  <dl>
    <div><dt>HTTP API</dt><dd>{url}/user/practice</dd></div>
    <div><dt>Live API</dt><dd>{live_url}</dd></div>
    <div><dt>Functions</dt><dd>{functions}</dd></div>
    <div><dt>Table</dt><dd>{engine}, {keeps}</dd></div>
    <div><dt>Waiting messages</dt><dd>{waiting}</dd></div>
    <div><dt>Dead letters</dt><dd>{dead}</dd></div>
  </dl>
  <nav aria-label="This stack">
    <a href="/docs">API reference</a>
    <a href="/_local/">Queues, events, functions</a>
    <a href="/guide">Guide</a>
  </nav>
  <form id="learner">
    <label>Learner <input name="user_id" type="number" min="1" max="9007199254740991" value="1" required></label>
    <button>Get a token</button>
  </form>
  <script type="module" src="/_local/stack.mjs"></script>
</section>"""
GUIDE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Guide</title>
<link rel="icon" href="/icon.svg">
<link rel="stylesheet" href="/page.css">
</head>
<body class="guide">
<p><a href="/">Practice</a></p>
{content}
</body>
</html>
"""


def page(
    root: Path, path: str, *, connect: str, config: str | None = None, stack: Callable[[], str] = str
) -> Response | None:
    """A file of the page, or None. `connect`: what it may reach besides its own origin; `config`: instead of config.mjs."""
    folder = root / "clients" / "web"
    file = folder / (path.removeprefix("/") or "index.html")
    if file.parent != folder or file.suffix not in KINDS or not file.is_file():
        return None
    content = config if config and file.name == "config.mjs" else file.read_text(encoding="utf-8")
    if MARK in content:
        content = content.replace(MARK, stack())
    return _response(content, KINDS[file.suffix], f"'self' {connect}")


def stack_section(state: dict[str, Any], url: str) -> str:
    """What runs here, as the page shows it."""
    engine = state["engine"]
    shown = {
        "url": url,
        "live_url": f"ws{url.removeprefix('http')}/live",
        "functions": len(state["functions"]),
        "engine": engine["name"],
        "keeps": "kept on disk" if "persistence" in engine["capabilities"] else "in memory",
        "waiting": sum(queue["count"] for queue in state["pending"]),
        "dead": len(state["dead_letters"]),
    }
    return STACK.format(**{name: html.escape(str(value)) for name, value in shown.items()})


def guide(root: Path) -> Response:
    markdown = MarkdownIt("commonmark").enable("table")
    tokens = markdown.parse((root / "docs" / "guide.md").read_text(encoding="utf-8"))
    for opening, content in pairwise(tokens):
        if opening.type == "heading_open":
            opening.attrSet("id", re.sub(r"[^\w -]", "", content.content).lower().replace(" ", "-"))
    rendered = markdown.renderer.render(tokens, markdown.options, {})
    return _response(GUIDE.format(content=rendered), KINDS[".html"], "'none'")


def address(request: Request) -> str | None:
    """The host and port by which the client reaches this server, when it is one."""
    host = request.header("host") or ""
    return host if re.fullmatch(r"[A-Za-z0-9.:\[\]-]{1,255}", host) else None


def _response(content: str, kind: str, connect: str) -> Response:
    policy = (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src {connect}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {
        "content-type": kind,
        "content-security-policy": policy,
        "cache-control": "no-cache",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }
    return Response(200, list(headers.items()), content.encode())
