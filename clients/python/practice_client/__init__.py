"""A typed client of the Practice API: `Client` has a method for each operation of openapi.json, with the same name.

    with Client("http://127.0.0.1:3000", token) as client:
        session = client.create_session(class_id=101)
        client.update_session(session.session_id, title="Kind and short", if_match=session.etag)
        for response in client.iterate_session_responses(session.session_id):
            print(response.created_at, response.response_text)

An omitted argument is not sent, which means "unchanged" in a PATCH; `None` is sent as null.
"""

from practice_client.client import Client
from practice_client.errors import (
    ConnectionFailed,
    Invalid,
    NotFound,
    PracticeError,
    PreconditionFailed,
    Unauthorized,
)

__all__ = [
    "Client",
    "ConnectionFailed",
    "Invalid",
    "NotFound",
    "PracticeError",
    "PreconditionFailed",
    "Unauthorized",
]
