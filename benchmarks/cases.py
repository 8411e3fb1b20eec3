"""A new event for every function: each started process gets an event that has not been handled yet."""

import json
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from benchmarks import naive
from benchmarks.lab import MODELS, Lab, fill_session
from tests.support.learners import Learner
from tests.support.live import Socket
from tests.support.reads import reads

Event = dict[str, Any]
Case = Callable[[], Event]


class Cases:
    """`of` returns all cases: `<function>`, or `<function>: <variant>` for another path through it."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._ada = lab.new_learner()
        self._whole = fill_session(lab, self._ada)
        self._models = self._ada.models_of(self._whole)
        self._path = f"/sessions/{self._whole['session_id']}"
        self._class_id = self._whole["class_id"]
        self._small_file = self._erasable().get("/export").body
        naive.put(lab, naive.items_of(self._whole, self._models))
        self._collector, self._export = self._exported()
        lab.deliveries.run()

    def of(self) -> dict[str, Case]:
        return dict(
            [
                *self._reads(),
                *self._changes(),
                *self._creates(),
                *self._deletes(),
                *self._judging(),
                *self._turns(),
                *self._live(),
                *self._events(),
            ]
        )

    def _asked(
        self, name: str, method: str, path: str, body: object = ..., **headers: str
    ) -> tuple[str, Case]:
        """A case that repeats the same request."""
        return name, lambda: self._http(name, self._ada, method, path, body, **headers)

    def _http(
        self, name: str, who: Learner, method: str, path: str, body: object = ..., **headers: str
    ) -> Event:
        return self._lab.hold(name.partition(":")[0], lambda: who.ask(method, path, body, headers=headers))

    def _reads(self) -> Iterator[tuple[str, Case]]:
        """Each GET as it is; a case further down may replace it."""
        response = self._whole["responses"][0]
        ids = {
            "session_id": self._whole["session_id"],
            "session_model_id": response["session_model_id"],
            "response_id": response["response_id"],
            "example_id": self._whole["settings"]["few_shot_links"][0]["example_id"],
            "turn_id": self._ada.get(self._path + "/turns").json["items"][0]["turn_id"],
        }
        for name, path in reads(ids):
            yield self._asked(name, "GET", path)
        reader = self._lab.new_learner()  # ada's account grows with every measured start
        fill_session(self._lab, reader)
        yield "create_export", lambda: self._http("create_export", reader, "GET", "/export")
        yield self._asked("default", "GET", "/nothing-here")
        newcomer, collector = self._lab.new_learner(), self._collector
        waiting = newcomer.post("/import").headers["location"]
        yield "get_export", lambda: self._http("get_export", collector, "GET", self._export)
        yield "get_import", lambda: self._http("get_import", newcomer, "GET", waiting)
        yield (
            "create_export: a file",
            lambda: self._http("create_export: a file", collector, "GET", "/export"),
        )

    def _exported(self) -> tuple[Learner, str]:
        """A learner with more data than fits one HTTP response, and the path of a finished export."""
        who = self._lab.new_learner()
        session = who.open_session()
        for _ in range(7):
            who.add_response(session, response_text="a part of the talk " * 50_000)
        begun = who.get("/export")
        self._lab.deliveries.run()
        place = begun.headers["location"]
        assert who.get(place).json["status"] == "done", who.get(place).body
        return who, place

    def _changes(self) -> Iterator[tuple[str, Case]]:
        path, response = self._path, self._whole["responses"][0]
        example = self._whole["settings"]["few_shot_links"][0]["example_id"]
        n = iter(range(1, 10**6))

        def changing(name: str, where: str, change: Callable[[int], dict[str, Any]]) -> tuple[str, Case]:
            return name, lambda: self._http(name, self._ada, "PATCH", where, change(next(n)))

        yield changing("update_session", path, lambda n: {"title": f"Number {n}"})
        yield changing("update_settings", path + "/settings", lambda n: {"style_params": {"n": n}})
        yield changing(
            "update_model",
            f"/models/{response['session_model_id']}",
            lambda n: {"generation_params": {"max_tokens": n}},
        )
        yield changing(
            "update_response", f"/responses/{response['response_id']}", lambda n: {"latency_ms": n}
        )
        yield changing("update_example", f"/few-shot-examples/{example}", lambda n: {"title": f"Number {n}"})

    def _creates(self) -> Iterator[tuple[str, Case]]:
        model = self._models[0]
        text = {"prompt_text": "Why?", "response_text": "Because."}
        yield self._asked("create_session", "POST", "/sessions", {"class_id": self._class_id})
        yield self._asked(
            "create_example", "POST", "/few-shot-examples", {"input_text": "2+2", "output_text": "4"}
        )
        yield self._asked("add_model", "POST", self._path + "/models", {"model_name": model["model_name"]})
        other = self._session()
        [first, *_] = self._ada.models_of(other)
        yield self._asked("add_response", "POST", f"/models/{first['session_model_id']}/responses", text)
        yield "create_import", self._import
        yield (
            "create_import: a link",
            lambda: self._http("create_import: a link", self._lab.new_learner(), "POST", "/import"),
        )

    def _import(self) -> Event:
        headers = {"content-type": "application/x-ndjson"}
        who = self._lab.new_learner()
        return self._lab.hold(
            "create_import", lambda: who.ask("POST", "/import", raw=self._small_file, headers=headers)
        )

    def _session(self) -> dict[str, Any]:
        return self._ada.open_session(class_id=self._class_id)

    def _deletes(self) -> Iterator[tuple[str, Case]]:
        def gone(name: str, make: Callable[[], str]) -> tuple[str, Case]:
            return name, lambda: self._http(name, self._ada, "DELETE", make())

        ada = self._ada
        yield gone("delete_session", lambda: f"/sessions/{self._session()['session_id']}")
        yield gone("delete_model", lambda: f"/models/{ada.models_of(self._session())[0]['session_model_id']}")
        yield gone(
            "delete_response", lambda: f"/responses/{ada.add_response(self._session())['response_id']}"
        )
        yield gone("delete_example", lambda: f"/few-shot-examples/{ada.add_example()['example_id']}")
        yield "cancel_turn", lambda: self._http("cancel_turn", ada, "DELETE", self._queued()[1])

    def _judging(self) -> Iterator[tuple[str, Case]]:
        ada, responses = self._ada, self._whole["responses"]
        rated, rating = (f"/responses/{each['response_id']}/rating" for each in responses[:2])
        judged, turn = self._answered(), self._answered()
        assert ada.put(rated, {"score": 4}).status == 200
        assert ada.put(f"{judged}/vote", {"tie": "good"}).status == 200

        def anew(path: str, body: object) -> str:
            assert ada.put(path, body).status == 200
            return path

        yield self._asked("put_rating", "PUT", rating, {"score": 5})
        yield self._asked("get_rating", "GET", rated)
        yield (
            "delete_rating",
            lambda: self._http("delete_rating", ada, "DELETE", anew(rating, {"score": 1})),
        )
        yield self._asked("get_blind_turn", "GET", f"{turn}/blind")
        yield self._asked("put_vote", "PUT", f"{turn}/vote", {"label": "A"})
        yield self._asked("get_vote", "GET", f"{judged}/vote")
        yield (
            "delete_vote",
            lambda: self._http(
                "delete_vote", ada, "DELETE", anew(f"{self._answered()}/vote", {"tie": "bad"})
            ),
        )
        yield self._asked("get_standings", "GET", f"/standings?class_id={self._class_id}")

    def _answered(self) -> str:
        """The path of a new turn that every model answered."""
        path = f"/sessions/{self._session()['session_id']}"
        answer = self._ada.post(f"{path}/chat", {"prompt_text": "What is a fugue?"})
        return f"{path}/turns/{answer.json['results'][0]['response_id']}"

    def _queued(self) -> tuple[dict[str, Any], str]:
        """A session with a queued turn, and the path of the turn."""
        session = self._session()
        asked = {"prompt_text": "What is a fugue?", "model_names": [MODELS[0]]}
        accepted = self._ada.post(
            f"/sessions/{session['session_id']}/chat", asked, headers={"prefer": "respond-async"}
        )
        assert accepted.status == 202, accepted.body
        return session, accepted.headers["location"]

    def _turns(self) -> Iterator[tuple[str, Case]]:
        asked = {"prompt_text": "What is a fugue?", "model_names": [MODELS[0]]}

        def chat(name: str, **headers: str) -> tuple[str, Case]:
            return name, lambda: self._http(
                name, self._ada, "POST", f"/sessions/{self._session()['session_id']}/chat", asked, **headers
            )

        yield self._asked("run_session", "POST", f"/sessions/run?class_id={self._class_id}", asked)
        yield chat("chat")
        yield chat("chat: for later", prefer="respond-async")
        yield "work_turn", self._worked

    def _live(self) -> Iterator[tuple[str, Case]]:
        asked = {"prompt_text": "What is a fugue?", "model_names": [MODELS[0]]}

        def said(action: str, fields: Callable[[], dict[str, Any]]) -> tuple[str, Case]:
            def make() -> Event:
                socket, message = Socket.open(self._lab.stack, self._ada), fields()
                return self._lab.hold(
                    f"live_{'default' if action == 'ping' else action}", lambda: socket.say(action, **message)
                )

            return f"live_{'default' if action == 'ping' else action}", make

        def queued() -> dict[str, Any]:
            session, location = self._queued()
            return {"session_id": session["session_id"], "turn_id": int(location.rpartition("/")[2])}

        stack, ada = self._lab.stack, self._ada
        yield "live_connect", lambda: self._lab.hold("live_connect", lambda: Socket.open(stack, ada))
        yield "live_disconnect", lambda: self._lab.hold("live_disconnect", Socket.open(stack, ada).leave)
        yield said("ping", dict)
        yield said("chat", lambda: {"session_id": self._session()["session_id"], **asked})
        yield said("run", lambda: {"class_id": self._class_id, **asked})
        yield said("follow", queued)
        yield said("cancel", queued)

    def _worked(self) -> Event:
        self._lab.deliveries.run()  # cancelled and queued turns are before it in the queue
        return self._lab.hold("work_turn", self._queued)

    def _events(self) -> Iterator[tuple[str, Case]]:
        lab, ada = self._lab, self._ada

        def announced(function: str, kind: str, **detail: Any) -> tuple[str, Case]:
            return function, lambda: lab.hold(
                function, lambda: lab.tell(kind, user_id=self._erasable().user_id, **detail)
            )

        agent = {
            "agent_id": 9,
            "is_active": True,
            "shared_class_ids": [],
            "name": "Socrates",
            "system_prompt": "Ask.",
        }
        yield announced("update_catalogue", "AgentUpdated", generation_params={}, **agent)
        yield announced("revoke_tokens", "TokensRevoked", token_id="one")
        yield announced("erase_user", "UserErased")
        yield (
            "erase_items",
            lambda: lab.hold("erase_items", lambda: lab.tell("UserErased", user_id=self._erasable().user_id)),
        )
        yield "ingest_responses", lambda: lab.hold("ingest_responses", self._produce)
        changed = {"style_preset": "creative"}
        yield (
            "stream_changes",
            lambda: lab.hold(
                "stream_changes",
                lambda: ada.patch(f"/sessions/{self._session()['session_id']}/settings", changed),
            ),
        )
        yield "sweep", lambda: lab.hold("sweep", self._remove)
        yield "write_titles", lambda: lab.hold("write_titles", lambda: ada.add_response(self._session()))
        yield "work_transfer", lambda: lab.hold("work_transfer", self._upload)

    def _erasable(self) -> Learner:
        who = self._lab.new_learner()
        who.add_response(who.open_session())
        return who

    def _produce(self) -> None:
        model = self._ada.models_of(self._session())[0]["session_model_id"]
        message = {
            "user_id": self._ada.user_id,
            "session_model_id": model,
            "prompt_text": "Why?",
            "response_text": "Because.",
            "token_usage": None,
            "latency_ms": None,
        }
        self._lab.stack.queues.send("practice-local-IngestionQueue", json.dumps(message))

    def _upload(self) -> None:
        """A file for a waiting import; the message has the form of the bucket's notification."""
        who = self._lab.new_learner()
        waiting = who.post("/import").json
        parts = urlsplit(waiting["upload_url"])
        connection = HTTPConnection(parts.netloc, timeout=30)
        connection.request("PUT", f"{parts.path}?{parts.query}", self._small_file)
        assert connection.getresponse().status == 200
        connection.close()
        job = {"user_id": who.user_id, "transfer_id": waiting["import_id"]}
        self._lab.stack.queues.send("practice-local-TransferQueue", json.dumps(job))

    def _remove(self) -> None:
        session = self._session()
        for _ in range(3):
            self._ada.add_response(session)
        self._ada.delete(f"/sessions/{session['session_id']}")
