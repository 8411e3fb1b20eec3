"""The sample events of events/, filled in for a learner of the tests."""

import json
import secrets
from pathlib import Path
from typing import Any

from tests.support.learners import Learner

ROOT = Path(__file__).parents[2]
EVENTS = sorted((ROOT / "events").glob("*.json"))
FUNCTIONS = sorted(path.parent.name for path in ROOT.glob("functions/*/handler.py"))


def function_of(event: Path) -> str:
    return "update_catalogue" if event.stem == "class_updated" else event.stem.partition(".")[0]


def for_learner(event: Path, ada: Learner) -> dict[str, Any]:
    """The event with her token, and with ids of hers in the place of the sample's."""
    text = event.read_text().replace("<token>", ada.token)
    if "connectionId" in text:
        connection_id = secrets.token_urlsafe(11) + "="
        text = text.replace(CONNECTION, connection_id)
        if event.stem != "live_connect":
            open_connection(ada, connection_id)
    for sample, own in ids_for(event.stem, ada).items():
        text = text.replace(sample, str(own))
    filled: dict[str, Any] = json.loads(text)
    return filled


CONNECTION = "L0SM9cOFvHcCIhw="


def open_connection(ada: Learner, connection_id: str) -> None:
    """As the gateway asks for it; no client is behind it."""
    event = (ROOT / "events" / "live_connect.json").read_text()
    event = event.replace("<token>", ada.token).replace(CONNECTION, connection_id)
    handed = ada.send("POST", "/_local/events", {"host": "localhost"}, event.encode())
    if handed.status != 404:  # only the local stack hands events in
        assert handed.json["outcomes"][0]["answer"]["statusCode"] == 200, handed.body


def ids_for(function: str, ada: Learner) -> dict[str, int]:
    if function == "create_import":
        return {}  # into an empty account
    if function == "get_import":
        return {"32769": ada.post("/import").json["import_id"]}
    session = ada.open_session(class_id=123)
    if function == "get_export":
        for _ in range(6):
            ada.add_response(session, response_text="x" * 1_000_000)
        return {"32769": ada.get("/export").json["export_id"]}
    if function in JUDGING:
        return {"32768000": session["session_id"], "32768007": judged_turn(ada, session)}
    response = ada.add_response(session)
    return {
        "32768000": session["session_id"],
        "32768002": response["session_model_id"],
        "32768007": response["response_id"],
        "32768009": waiting_turn(ada, session),
        "32800768": ada.add_example()["example_id"],
    }


JUDGING = {f"{verb}_{noun}" for verb in ("put", "get", "delete") for noun in ("rating", "vote", "blind_turn")}


def judged_turn(ada: Learner, session: dict[str, Any]) -> int:
    """With a vote, and a rating of the answer that has the turn's id."""
    path = f"/sessions/{session['session_id']}"
    turn_id: int = ada.post(f"{path}/chat", {"prompt_text": "Why?"}).json["results"][0]["response_id"]
    ada.put(f"{path}/turns/{turn_id}/vote", {"label": "A"})
    ada.put(f"/responses/{turn_id}/rating", {"score": 2})
    return turn_id


def waiting_turn(ada: Learner, session: dict[str, Any]) -> int:
    answer = ada.post(
        f"/sessions/{session['session_id']}/chat",
        {"prompt_text": "Why?"},
        headers={"prefer": "respond-async"},
    )
    turn_id: int = answer.json["turn_id"]
    return turn_id
