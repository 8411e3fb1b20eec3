"""Every route and every event of a deployed stack, once. A step that does not do what it should ends the drive."""

import json
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from tools.rehearse import live, slow_model
from tools.rehearse.checks import Failed, until
from tools.rehearse.deployment import Deployment

BASE = "/user/practice"
MEGABYTES = 6
"""Responses of a megabyte that make an account too large for an answer."""


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
    connection = (HTTPSConnection if parts.scheme == "https" else HTTPConnection)(parts.netloc, timeout=180)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target, body, headers)
        answer = connection.getresponse()
        return Answer(
            answer.status, {name.lower(): text for name, text in answer.getheaders()}, answer.read()
        )
    finally:
        connection.close()


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
        self._revoked = self.user()

    def run(self) -> Iterator[str]:
        """Yields the name of each step when it is done."""
        for step in (
            self.revocation,
            self.sessions,
            self.settings,
            self.models,
            self.responses,
            self.turns,
            self.branches,
            self.ratings,
            self.votes,
            self.usage,
            self.live_turns,
            self.live_cancellation,
            self.live_refusals,
            self.titles,
            self.ingestion,
            self.classes,
            self.agents,
            self.deletions,
            self.export_and_import,
            self.export_and_import_by_link,
            self.erasure,
            self.contract,
            self.preflight,
            self.revoked_token,
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
        path = f"/sessions/{run['session_id']}"
        ada.ask(201, "POST", f"{path}/chat", {"prompt_text": "And then?"})
        queued = ada.ask(202, "POST", f"{path}/chat", {"prompt_text": "At last?"}, prefer="respond-async")
        location = queued.headers["location"]
        until("the queued turn is done", lambda: bool(ada.get(location)["status"] == "done"))
        ada.ask(409, "DELETE", location)
        if len(ada.get(f"{path}/turns")["items"]) != 3:
            raise Failed("the list of turns is not three long")

    def branches(self) -> None:
        ada = self.user()
        session = ada.ask(201, "POST", "/sessions", {"class_id": 101}).json
        path = f"/sessions/{session['session_id']}"

        def ask(**place: object) -> int:
            """The id of a turn, which is that of its first answer."""
            answer = ada.ask(201, "POST", f"{path}/chat", {"prompt_text": "A prime number?", **place}).json
            return int(answer["results"][0]["response_id"])

        first = ask()
        second = ask()
        again = ask(after_turn_id=first)
        if ada.get(f"{path}/turns/{again}")["siblings"] != [second, again]:
            raise Failed("the turns after the same turn are no siblings")
        branch = ada.get(f"{path}/turns?leaf={again}")["items"]
        if [each["turn_id"] for each in branch] != [first, again]:
            raise Failed(f"the branch of a turn has other turns: {branch}")

    def ratings(self) -> None:
        ada = self.user()
        run = ada.ask(201, "POST", "/sessions/run?class_id=101", {"prompt_text": "Why?"}).json
        path = f"/responses/{run['results'][0]['response_id']}/rating"
        ada.ask(200, "PUT", path, {"score": 4, "tags": ["clear"], "comment": "Good"})
        if (rating := ada.get(path))["score"] != 4:
            raise Failed(f"the rating is {rating}")
        ada.ask(204, "DELETE", path)
        ada.ask(404, "GET", path)

    def votes(self) -> None:
        ada = self.user()
        class_id = self._announce_class(ada, "gpt-4o-mini", "gpt-4o")
        run = ada.ask(201, "POST", f"/sessions/run?class_id={class_id}", {"prompt_text": "Why?"}).json
        turn_id = run["results"][0]["response_id"]
        path = f"/sessions/{run['session_id']}/turns/{turn_id}"
        blind = ada.get(f"{path}/blind")
        if [sorted(each) for each in blind["answers"]] != [["label", "response_text"]] * 2:
            raise Failed(f"the blind view is {blind}")
        vote = ada.ask(200, "PUT", f"{path}/vote", {"label": "B"}).json
        [winner] = [each["response_id"] for each in vote["revealed"] if each["label"] == "B"]
        if not vote["blind"] or ada.get(f"{path}/vote")["winner"] != winner:
            raise Failed(f"the vote is {vote}")
        standings = ada.get(f"/standings?class_id={class_id}")
        if standings["votes"] != 1 or sorted(each["wins"] for each in standings["models"]) != [0, 1]:
            raise Failed(f"the standings are {standings}")
        refused = ada.ask(403, "GET", f"/standings?class_id={class_id}&scope=class").json
        if refused["detail"] != "too_few_voters":
            raise Failed(f"the standings of a class with one voter are refused with {refused}")
        ada.ask(204, "DELETE", f"{path}/vote")
        ada.ask(404, "GET", f"{path}/vote")

    def usage(self) -> None:
        ada = self.user()
        class_id = self._announce_class(ada, "gpt-4o-mini", daily_turns=1)
        run = f"/sessions/run?class_id={class_id}"
        ada.ask(201, "POST", run, {"prompt_text": "Why?"})
        refused = ada.ask(429, "POST", run, {"prompt_text": "And then?"})
        if refused.json["detail"] != "daily_budget_spent" or "retry-after" not in refused.headers:
            raise Failed(f"the budget of a class refuses with {refused}")
        until("the usage shows the turn", lambda: ada.get("/usage")["total"]["turns"] == 1)

    def live_turns(self) -> None:
        """Begun on one connection, followed on another one, whose handshake is that of a browser."""
        ada = self.user()
        class_id = self._announce_class(ada, slow_model.NAME)
        with self._connected(ada) as first, self._connected(ada, is_browser=True) as second:
            first.send("ping", "ping")
            first.wait("pong", "ping")
            first.send("dance", "unknown")
            first.wait("error", "unknown")  # and the connection stays
            first.send("run", "run", class_id=class_id, prompt_text="Why?", idempotency_key="live")
            begun = first.wait("turn.started", "run")
            first.wait("turn.done", "run")
            self._compare(ada, begun, first.text("run"))
            first.send("run", "replay", class_id=class_id, prompt_text="Why?", idempotency_key="live")
            if first.wait("turn.started", "replay")["turn_id"] != begun["turn_id"]:
                raise Failed("a message that was sent again began a second turn")
            first.send("chat", "chat", session_id=begun["session_id"], prompt_text="And then?")
            begun = first.wait("turn.started", "chat")
            first.wait("answer.delta", "chat")
            ids = {name: begun[name] for name in ("session_id", "turn_id")}
            second.send("follow", "follow", **ids)
            if second.wait("answer.delta", "follow")["offset"] != 0:
                raise Failed("a follower does not get the answer from its beginning")
            for socket, own_id in ((first, "chat"), (second, "follow")):
                if socket.wait("turn.done", own_id)["status"] != "done":
                    raise Failed(f"{own_id} ended with {socket.of(own_id)[-1]}")
                self._compare(ada, begun, socket.text(own_id))

    def live_cancellation(self) -> None:
        """In the middle of an answer: what was shown is kept."""
        ada = self.user()
        class_id = self._announce_class(ada, slow_model.NAME)
        with self._connected(ada) as socket:
            prompt = f"Tell it {slow_model.AT_LENGTH}."
            socket.send("run", "run", class_id=class_id, prompt_text=prompt)
            begun = socket.wait("turn.started", "run")
            socket.wait("answer.delta", "run")
            ids = {name: begun[name] for name in ("session_id", "turn_id")}
            socket.send("cancel", "cancel", **ids)
            for own_id in ("cancel", "run"):
                if socket.wait("turn.done", own_id)["status"] != "cancelled":
                    raise Failed(f"after its cancellation {own_id} ended with {socket.of(own_id)[-1]}")
            self._compare(ada, begun, socket.text("run"), status="cancelled")

    def live_refusals(self) -> None:
        ada = self.user()
        for token in ("", "nonsense", ada.token[:-4] + "AAAA"):
            if (status := live.refusal(self.deployment.live_url, token)) not in (401, 403):
                raise Failed(f"a handshake without a valid token gets {status}")

    def _connected(self, user: User, *, is_browser: bool = False) -> AbstractContextManager[live.Socket]:
        return live.connected(self.deployment.live_url, user.token, is_browser=is_browser)

    def _compare(self, user: User, begun: live.Event, shown: dict[int, str], *, status: str = "done") -> None:
        """A turn is stored as it was shown."""
        turn = user.get(f"/sessions/{begun['session_id']}/turns/{begun['turn_id']}")
        stored = {each["response_id"]: each["response_text"] for each in turn["results"]}
        if turn["status"] != status or stored != shown or not shown:
            raise Failed(f"the turn is stored as {turn}, and was shown as {shown}")

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
        self._announce_class(self.user(), "gpt-4o-mini")

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

        def of_session() -> list[tuple[str, str]]:
            return [key for key in self._items(ada) if f"{session['session_id']:016d}" in "".join(key)]

        if not of_session():
            raise Failed("the session has no items before it is deleted")
        example = ada.ask(201, "POST", "/few-shot-examples", {"input_text": "2+2", "output_text": "4"}).json
        ada.ask(204, "DELETE", f"/few-shot-examples/{example['example_id']}")
        ada.ask(204, "DELETE", path)
        until("nothing of a deleted session is left", lambda: not of_session())

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
        """First: a process remembers the account for most of a minute."""
        ada = self._revoked
        ada.get("/sessions")
        self._announce(
            "TokensRevoked",
            user_id=ada.user_id,
            issued_before=datetime.fromtimestamp(time.time() + 5, UTC).isoformat(),
        )

    def revoked_token(self) -> None:
        until("a revoked token is refused", lambda: self._status(self._revoked, "/sessions") == 401)

    def erasure(self) -> None:
        ada = self.user()
        session = ada.ask(201, "POST", "/sessions", {"class_id": 101}).json
        ada.ask(201, "POST", f"/sessions/{session['session_id']}/chat", {"prompt_text": "Why?"})
        self._announce("UserErased", user_id=ada.user_id)
        until(
            "a receipt is all that is left of a user",
            lambda: [sk for _, sk in self._items(ada)] == ["ACCOUNT"],
        )

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
        """Nothing was left out: every route answered, and every function was called."""
        if missed := self.routes - self._reached:
            raise Failed(f"the drive has no step for {', '.join(sorted(missed))}")
        functions = {
            physical: name
            for name, (kind, physical) in self.deployment.resources.items()
            if kind == "AWS::Lambda::Function"
        }
        called = self._functions_in_log() | self._started()
        if idle := sorted(name for physical, name in functions.items() if physical not in called):
            raise Failed(f"nothing called {', '.join(idle)}")

    def _functions_in_log(self) -> set[str]:
        pages = self.deployment.emulator.client("logs").get_paginator("filter_log_events")
        group = self.deployment.physical("FunctionLogs")
        found = set()
        for page in pages.paginate(logGroupName=group):
            for event in page["events"]:
                found |= set(re.findall(r'"lambda_function":"([^"]+)"', event["message"]))
        return found

    def _started(self) -> set[str]:
        """The functions whose processes the emulator has started: it keeps no log of those of a WebSocket API."""
        return set(re.findall(r"worker spawned for (\S+)", self.deployment.emulator.log.read_text()))

    def _announce_class(self, user: User, *models: str, **fields: object) -> int:
        """The id of a new class that has these models."""
        class_id = secrets.randbelow(2**40) + 1
        named = {"class_id": class_id, "primary_model": models[0], "allowed_models": list(models)}
        self._announce("ClassUpdated", **named, status="active", **fields)

        def announced() -> bool:
            session = user.ask(201, "POST", "/sessions", {"class_id": class_id}).json
            found = user.get(f"/sessions/{session['session_id']}/models")
            return [each["model_name"] for each in found] == list(models)

        until("a class has the models that were announced", announced)
        return class_id

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

    def _items(self, user: User) -> list[tuple[str, str]]:
        """The keys of all items in the partitions of a user."""
        pages = self.deployment.emulator.client("dynamodb").get_paginator("scan")
        found = pages.paginate(
            TableName=self.deployment.physical("PracticeTable"),
            FilterExpression="pk = :own OR begins_with(pk, :more)",
            ExpressionAttributeValues={
                ":own": {"S": f"USER#{user.user_id}"},
                ":more": {"S": f"USER#{user.user_id}#"},
            },
            ProjectionExpression="pk, sk",
            ConsistentRead=True,
        )
        return [(item["pk"]["S"], item["sk"]["S"]) for page in found for item in page["Items"]]

    def _origin(self) -> str:
        [first, *_] = self.deployment.parameters["CorsOrigins"].split(",")
        return "https://learn.example.com" if first == "*" else first


def by_link(method: str, url: str, body: bytes | None = None) -> bytes:
    answer = request(url, method, body, {})
    if answer.status != 200:
        raise Failed(f"{method} by link answered {answer.status}: {answer.body[:300]!r}")
    return answer.body
