"""Every route and every event of a deployed stack, once. A step that does not do what it should ends the drive."""

import json
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from tools.rehearse.deployment import Deployment

BASE = "/user/practice"
SECONDS = 60.0
"""What follows from a request does so within this time."""
MEGABYTES = 6
"""Responses of a megabyte that make an account too large for an answer."""


class Failed(Exception):
    """A step did not do what it should."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class User:
    """Sends requests with a token, and notes the routes that they reach."""

    url: str
    user_id: int
    token: str
    routes: dict[str, re.Pattern[str]]
    reached: set[str] = field(default_factory=set)

    def ask(self, status: int, method: str, path: str, body: object = None, **headers: str) -> Answer:
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        media = "application/x-ndjson" if isinstance(body, bytes) else "application/json"
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent |= {"authorization": f"Bearer {self.token}"} | ({"content-type": media} if content else {})
        target = path if path.startswith(("/openapi", BASE)) else BASE + path
        answer = request(self.url + target, method, content, sent)
        if answer.status != status:
            raise Failed(f"{method} {target} answered {answer.status}, not {status}: {answer.body[:300]!r}")
        self.reached |= {
            key
            for key, pattern in self.routes.items()
            if key.startswith(f"{method} ") and pattern.fullmatch(target.partition("?")[0])
        }
        return answer

    def get(self, path: str) -> Any:
        return self.ask(200, "GET", path).json


def request(url: str, method: str, body: bytes | None, headers: dict[str, str]) -> Answer:
    parts = urlsplit(url)
    connection = (HTTPSConnection if parts.scheme == "https" else HTTPConnection)(parts.netloc, timeout=60)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target, body, headers)
        answer = connection.getresponse()
        return Answer(
            answer.status, {name.lower(): text for name, text in answer.getheaders()}, answer.read()
        )
    finally:
        connection.close()


def until(what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise Failed(f"not within {SECONDS:.0f} s: {what}")
        time.sleep(0.25)


@dataclass
class Drive:
    deployment: Deployment
    routes: set[str]
    mint: Callable[[int], str]

    def __post_init__(self) -> None:
        self._patterns = {
            key: re.compile(re.sub(r"\{\w+\}", "[^/]+", key.partition(" ")[2])) for key in self.routes
        }
        self._reached: set[str] = set()

    def run(self) -> Iterator[str]:
        """Yields the name of each step when it is done."""
        for step in (
            self.sessions,
            self.settings,
            self.models,
            self.responses,
            self.turns,
            self.titles,
            self.ingestion,
            self.classes,
            self.agents,
            self.deletions,
            self.export_and_import,
            self.export_and_import_by_link,
            self.revocation,
            self.erasure,
            self.contract,
            self.preflight,
            self.dead_letters,
            self.whole,
        ):
            step()
            yield step.__name__.replace("_", " ")

    def user(self) -> User:
        user_id = secrets.randbelow(2**50) + 1
        return User(self.deployment.url, user_id, self.mint(user_id), self._patterns, self._reached)

    def sessions(self) -> None:
        ada = self.user()
        session = ada.ask(201, "POST", "/sessions", {"class_id": 101}).json
        path = f"/sessions/{session['session_id']}"
        changed = ada.ask(200, "PATCH", path, {"title": "Kind", "notes": "Compare"}, if_match='"1"')
        if changed.headers["etag"] != '"2"':
            raise Failed(f"the second version has the etag {changed.headers['etag']}")
        ada.ask(412, "PATCH", path, {"title": "Late"}, if_match='"1"')
        if [each["title"] for each in ada.get("/sessions")["items"]] != ["Kind"]:
            raise Failed("the list does not show the changed session")
        if ada.get(path)["notes"] != "Compare":
            raise Failed("the session does not show its notes")
        self.user().ask(404, "GET", path)

    def settings(self) -> None:
        ada = self.user()
        example = ada.ask(201, "POST", "/few-shot-examples", {"input_text": "2+2", "output_text": "4"}).json
        ada.ask(200, "PATCH", f"/few-shot-examples/{example['example_id']}", {"title": "Sum"})
        ada.get(f"/few-shot-examples/{example['example_id']}")
        ada.get("/few-shot-examples?size=1")
        session = ada.ask(201, "POST", "/sessions", {"class_id": 101}).json
        path = f"/sessions/{session['session_id']}/settings"
        ada.ask(200, "PATCH", path, {"few_shot_example_ids": [example["example_id"]]})
        if len(ada.get(path)["few_shot_links"]) != 1:
            raise Failed("the example is not selected")
        ada.get(f"/sessions/{session['session_id']}/effective-parameters")

    def models(self) -> None:
        ada = self.user()
        session = ada.ask(201, "POST", "/sessions", {"class_id": 101}).json
        path = f"/sessions/{session['session_id']}/models"
        [primary, second] = ada.get(path)
        ada.ask(204, "DELETE", f"/models/{second['session_model_id']}")
        again = ada.ask(201, "POST", path, {"model_name": second["model_name"]}).json
        ada.ask(200, "PATCH", f"/models/{again['session_model_id']}", {"is_primary": True})
        if ada.get(path)[0]["session_model_id"] == primary["session_model_id"]:
            raise Failed("the primary model is the one before")

    def responses(self) -> None:
        ada = self.user()
        session = ada.ask(201, "POST", "/sessions", {"class_id": 101}).json
        [model, *_] = ada.get(f"/sessions/{session['session_id']}/models")
        path = f"/models/{model['session_model_id']}/responses"
        body = {"prompt_text": "Why?", "response_text": "Because."}
        added = [ada.ask(201, "POST", path, body, idempotency_key="once").json for _ in range(2)]
        if added[0] != added[1]:
            raise Failed("a retry with the same key made a second response")
        own = f"/responses/{added[0]['response_id']}"
        ada.ask(200, "PATCH", own, {"response_text": "x" * 1_000_000})
        if len(ada.get(own)["response_text"]) != 1_000_000:
            raise Failed("a response of a megabyte does not come back whole")
        ada.get(path)
        ada.get(f"/sessions/{session['session_id']}/responses")
        ada.ask(204, "DELETE", own)
        ada.ask(404, "GET", own)

    def turns(self) -> None:
        ada = self.user()
        run = ada.ask(201, "POST", "/sessions/run?class_id=101", {"prompt_text": "Why?"}).json
        path = f"/sessions/{(run.get('session') or run)['session_id']}"
        ada.ask(201, "POST", f"{path}/chat", {"prompt_text": "And then?"})
        queued = ada.ask(202, "POST", f"{path}/chat", {"prompt_text": "At last?"}, prefer="respond-async")
        location = queued.headers["location"]
        until("the queued turn is done", lambda: bool(ada.get(location)["status"] == "done"))
        ada.ask(409, "DELETE", location)
        if len(ada.get(f"{path}/turns")["items"]) != 3:
            raise Failed("the list of turns is not three long")

    def titles(self) -> None:
        ada = self.user()
        session = ada.ask(201, "POST", "/sessions", {"class_id": 101}).json
        path = f"/sessions/{session['session_id']}"
        ada.ask(201, "POST", f"{path}/chat", {"prompt_text": "Why is the sky blue?"})
        until("the session has a title", lambda: bool(ada.get(path)["title"]))

    def ingestion(self) -> None:
        ada = self.user()
        session = ada.ask(201, "POST", "/sessions", {"class_id": 101}).json
        [model, *_] = ada.get(f"/sessions/{session['session_id']}/models")
        message = {
            "user_id": ada.user_id,
            "session_model_id": model["session_model_id"],
            "prompt_text": "Why?",
            "response_text": "Because.",
            "token_usage": None,
            "latency_ms": 5,
            "dedup_id": "rehearsal/1",
        }
        sqs = self.deployment.emulator.client("sqs")
        for _ in range(2):
            sqs.send_message(
                QueueUrl=self.deployment.physical("IngestionQueue"), MessageBody=json.dumps(message)
            )
        path = f"/models/{model['session_model_id']}/responses"
        until("the response of a worker arrives", lambda: bool(ada.get(path)))
        time.sleep(2)
        if len(ada.get(path)) != 1:
            raise Failed("a message that came twice made two responses")

    def classes(self) -> None:
        ada, class_id = self.user(), secrets.randbelow(2**40) + 1
        self._announce(
            "ClassUpdated",
            class_id=class_id,
            status="active",
            primary_model="gpt-4o-mini",
            allowed_models=["gpt-4o-mini"],
        )

        def announced() -> bool:
            session = ada.ask(201, "POST", "/sessions", {"class_id": class_id}).json
            models = ada.get(f"/sessions/{session['session_id']}/models")
            return [each["model_name"] for each in models] == ["gpt-4o-mini"]

        until("a class has the models that were announced", announced)

    def agents(self) -> None:
        ada, agent_id = self.user(), secrets.randbelow(2**40) + 1
        agent = {"agent_id": agent_id, "user_id": ada.user_id, "is_active": True, "shared_class_ids": []}
        self._announce("AgentUpdated", **agent, name="Socrates", system_prompt="Ask.", generation_params={})

        def snapshot() -> dict[str, Any]:
            session = ada.ask(201, "POST", "/sessions", {"class_id": 101, "agent_id": agent_id}).json
            return dict(session["settings"]["agent_snapshot"])

        until("a session has what was announced of an agent", lambda: snapshot().get("name") == "Socrates")
        self._announce("AgentDeleted", agent_id=agent_id)
        until("a deleted agent gives a session nothing", lambda: snapshot() == {})

    def deletions(self) -> None:
        """What follows a deletion, behind the door: the sweep leaves nothing of the session."""
        ada = self.user()
        session = ada.ask(201, "POST", "/sessions", {"class_id": 101}).json
        path = f"/sessions/{session['session_id']}"
        ada.ask(201, "POST", f"{path}/chat", {"prompt_text": "Why?"})
        example = ada.ask(201, "POST", "/few-shot-examples", {"input_text": "2+2", "output_text": "4"}).json
        ada.ask(204, "DELETE", f"/few-shot-examples/{example['example_id']}")
        ada.ask(204, "DELETE", path)
        until("nothing of a deleted session is left", lambda: not self._items(ada, "SESSION#"))

    def export_and_import(self) -> None:
        ada, ben = self.user(), self.user()
        ada.ask(201, "POST", "/sessions", {"class_id": 101, "title": "Lesson"})
        file = ada.ask(200, "GET", "/export").body
        ben.ask(201, "POST", "/import", file)
        if [each["title"] for each in ben.get("/sessions")["items"]] != ["Lesson"]:
            raise Failed("the import has other sessions than the export")

    def export_and_import_by_link(self) -> None:
        ada, ben = self.user(), self.user()
        session = ada.ask(201, "POST", "/sessions", {"class_id": 101, "title": "Lesson"}).json
        [model, *_] = ada.get(f"/sessions/{session['session_id']}/models")
        body = {"prompt_text": "Why?", "response_text": "x" * 1_000_000}
        for _ in range(MEGABYTES):
            ada.ask(201, "POST", f"/models/{model['session_model_id']}/responses", body)
        location = ada.ask(202, "GET", "/export").headers["location"]
        until("the export is done", lambda: bool(ada.get(location)["status"] == "done"))
        link = ada.get(location)["url"]
        file = by_link("GET", link)

        job = ben.ask(202, "POST", "/import")
        by_link("PUT", job.json["upload_url"], file)
        until("the import is done", lambda: bool(ben.get(job.headers["location"])["status"] == "done"))
        [moved] = ben.get("/sessions")["items"]
        path = f"/sessions/{moved['session_id']}/responses"
        pages = [ben.get(path)]
        while cursor := pages[-1]["next_cursor"]:
            pages.append(ben.get(f"{path}?cursor={cursor}"))
        if sum(len(page["items"]) for page in pages) != MEGABYTES:
            raise Failed("the import has other responses than the export")

    def revocation(self) -> None:
        ada = self.user()
        ada.get("/sessions")
        self._announce(
            "TokensRevoked",
            user_id=ada.user_id,
            issued_before=datetime.fromtimestamp(time.time() + 5, UTC).isoformat(),
        )
        until("a revoked token is refused", lambda: self._status(ada, "/sessions") == 401)

    def erasure(self) -> None:
        ada = self.user()
        session = ada.ask(201, "POST", "/sessions", {"class_id": 101}).json
        ada.ask(201, "POST", f"/sessions/{session['session_id']}/chat", {"prompt_text": "Why?"})
        self._announce("UserErased", user_id=ada.user_id)
        until("a receipt is all that is left of a user", lambda: self._items(ada) == ["ACCOUNT"])

    def contract(self) -> None:
        if len(self.user().get("/openapi.json")["paths"]) < 10:
            raise Failed("/openapi.json has no paths")
        self.user().ask(404, "GET", f"{BASE}/nowhere")
        self._reached.add("$default")

    def preflight(self) -> None:
        asked = {"origin": self._origin(), "access-control-request-method": "PATCH"}
        answer = request(f"{self.deployment.url}{BASE}/sessions", "OPTIONS", None, asked)
        allowed = answer.headers.get("access-control-allow-methods", "")
        if "PATCH" not in allowed or "Authorization" not in answer.headers.get(
            "access-control-allow-headers", ""
        ):
            raise Failed(f"a browser may not call: {answer.status} {answer.headers}")

    def dead_letters(self) -> None:
        sqs = self.deployment.emulator.client("sqs")
        for name in self.deployment.resources:
            if name.endswith("DeadLetters"):
                url = self.deployment.physical(name)
                count = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
                if count["Attributes"]["ApproximateNumberOfMessages"] != "0":
                    [letter] = sqs.receive_message(QueueUrl=url)["Messages"]
                    raise Failed(f"{name} has a message: {letter['Body'][:300]}")

    def whole(self) -> None:
        """Nothing was left out: every route answered, and every function wrote its line."""
        if missed := self.routes - self._reached:
            raise Failed(f"the drive has no step for {', '.join(sorted(missed))}")
        functions = {
            physical: name
            for name, (kind, physical) in self.deployment.resources.items()
            if kind == "AWS::Lambda::Function"
        }
        logged = self._functions_in_log()
        if idle := sorted(name for physical, name in functions.items() if physical not in logged):
            raise Failed(f"nothing called {', '.join(idle)}")

    def _functions_in_log(self) -> set[str]:
        pages = self.deployment.emulator.client("logs").get_paginator("filter_log_events")
        group = self.deployment.physical("FunctionLogs")
        found = set()
        for page in pages.paginate(logGroupName=group):
            for event in page["events"]:
                found |= set(re.findall(r'"lambda_function":"([^"]+)"', event["message"]))
        return found

    def _announce(self, kind: str, **detail: object) -> None:
        now = {"version": 1, "updated_at": datetime.now(UTC).isoformat()}
        parameters = self.deployment.parameters
        entry = {
            "Source": parameters["CatalogueSource"],
            "DetailType": kind,
            "Detail": json.dumps(now | detail),
            "EventBusName": parameters["EventBusName"],
        }
        answer = self.deployment.emulator.client("events").put_events(Entries=[entry])
        if answer["FailedEntryCount"]:
            raise Failed(f"the bus does not take {kind}: {answer['Entries']}")

    def _status(self, user: User, path: str) -> int:
        return request(user.url + BASE + path, "GET", None, {"authorization": f"Bearer {user.token}"}).status

    def _items(self, user: User, prefix: str = "") -> list[str]:
        pages = self.deployment.emulator.client("dynamodb").get_paginator("query")
        found = pages.paginate(
            TableName=self.deployment.physical("PracticeTable"),
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": f"USER#{user.user_id}"}},
            ConsistentRead=True,
        )
        keys = [str(item["sk"]["S"]) for page in found for item in page["Items"]]
        return [key for key in keys if key.startswith(prefix)]

    def _origin(self) -> str:
        [first, *_] = self.deployment.parameters["CorsOrigins"].split(",")
        return "https://learn.example.com" if first == "*" else first


def by_link(method: str, url: str, body: bytes | None = None) -> bytes:
    answer = request(url, method, body, {})
    if answer.status != 200:
        raise Failed(f"{method} by link answered {answer.status}: {answer.body[:300]!r}")
    return answer.body
