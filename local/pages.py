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
pre {{ max-height: 24rem; overflow: auto; white-space: pre-wrap; word-break: break-word; }}
</style>
</head>
<body>
<h1>Local stack</h1>
<p>As JSON: <a href="/_local/state">/_local/state</a>. The API: <a href="/docs">/docs</a>.</p>
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
    shown = {name: json.dumps(value, indent=1, ensure_ascii=False) for name, value in state.items()}
    sections = "".join(
        f"<h2>{html.escape(title)}</h2><pre>{html.escape(shown[key])}</pre>"
        for title, key in [
            ("Dead letters", "dead_letters"),
            ("Pending messages", "pending"),
            ("Events put on a bus, the latest first", "published"),
            ("Live connections", "connections"),
            ("Functions", "functions"),
            ("Engine", "engine"),
        ]
    )
    page = STATE.format(sections=sections)
    return Response(200, [("content-type", "text/html; charset=utf-8")], page.encode())
