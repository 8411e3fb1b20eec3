"""$default: whatever no route takes."""

import json
from http import HTTPStatus

from practice.http.contract import methods_of
from practice.http.endpoint import endpoint
from practice.http.inputs import Event
from practice.http.replies import Reply


@endpoint("$default")
def lambda_handler(event: Event) -> Reply[str]:
    """404 for an unknown path, 405 with `Allow` for a known one."""
    allowed = methods_of(event.get("rawPath", "/"))
    if not allowed:
        return Reply(json.dumps({"detail": "not found"}), HTTPStatus.NOT_FOUND)
    detail = json.dumps({"detail": "method not allowed"})
    return Reply(detail, HTTPStatus.METHOD_NOT_ALLOWED, {"allow": ", ".join(allowed)})
