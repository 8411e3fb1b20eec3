"""What the local stack shows of itself: `/_local/` and, from the packages of npm, `/docs`."""

import html
import json
import mimetypes
from pathlib import Path
from typing import Any

from local.http import Response, message

DOCS = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Practice API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="icon" href="/docs/favicon-32x32.png">
</head>
<body>
<div id="reference"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script>
SwaggerUIBundle({url: "/openapi.json", dom_id: "#reference", deepLinking: true, displayRequestDuration: true,
  filter: true, persistAuthorization: true, tryItOutEnabled: true, validatorUrl: null});
</script>
</body>
</html>
"""
STATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="refresh" content="5">
<title>Local stack</title>
<style>
body {{ font: 14px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ border-bottom: 1px solid #ddd; padding: .2rem .6rem .2rem 0; text-align: left; vertical-align: top; }}
pre {{ margin: 0; max-height: 12rem; overflow: auto; white-space: pre-wrap; word-break: break-word; }}
</style>
</head>
<body>
<h1>Local stack</h1>
<p>Engine <b>{engine}</b> ({capabilities}). The same as JSON: <a href="/_local/state">/_local/state</a>.
The API: <a href="/docs">/docs</a>.</p>
{sections}
</body>
</html>
"""


def docs(root: Path, path: str) -> Response:
    """The API reference and its assets."""
    assets = root / "node_modules" / "swagger-ui-dist"
    if not (assets / "swagger-ui-bundle.js").exists():
        return message(
            404, "The API reference needs npm: run make again where it is installed. See /openapi.json."
        )
    name = path.removeprefix("/docs").strip("/")
    if not name:
        return Response(200, [("content-type", "text/html; charset=utf-8")], DOCS.encode())
    known = {file.name: file for file in assets.iterdir() if file.suffix in (".css", ".js", ".png")}
    if name not in known:
        return message(404, "Not Found")
    content_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Response(200, [("content-type", content_type)], known[name].read_bytes())


def state_page(state: dict[str, Any]) -> Response:
    sections = "".join(
        f"<h2>{html.escape(title)}</h2>{_table(state[key])}"
        for title, key in [
            ("Dead letters", "dead_letters"),
            ("Pending messages", "pending"),
            ("Events put on a bus, the latest first", "published"),
            ("Functions", "functions"),
        ]
    )
    page = STATE.format(
        engine=html.escape(state["engine"]["name"]),
        capabilities=html.escape(", ".join(state["engine"]["capabilities"]) or "keeps no data, no streams"),
        sections=sections,
    )
    return Response(200, [("content-type", "text/html; charset=utf-8")], page.encode())


def _table(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "<p>none</p>"
    head = "".join(f"<th>{html.escape(name.replace('_', ' '))}</th>" for name in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row.values()) + "</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "<br>".join(map(html.escape, value))
    if isinstance(value, dict | list):
        return f"<pre>{html.escape(json.dumps(value, indent=1, ensure_ascii=False))}</pre>"
    text = html.escape("" if value is None else str(value))
    return f"<pre>{text}</pre>" if len(text) > 80 or "\n" in text else text
