"""A process that Lambda restores from a snapshot, many times: no copy goes on with what another has, or what is over.

`os.fork` would let Python prepare the child. The fork of the C library copies the process behind Python's back, as
Firecracker does; the same copies without our hooks show what would go wrong.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from local.stack import Stack
from practice.store import accounts
from tests.support.learners import Learner

ROOT = Path(__file__).parents[2]
OLD: Final = "the secret of last month, of 32 bytes or more"
NEW: Final = "the secret of this month, of 32 bytes or more"
COPIES: Final = 3

RUNTIME = """
hooks = []
def register_after_restore(function, *arguments, **named):
    hooks.append(lambda: function(*arguments, **named))
    return function
"""

PROGRAM = """
import ctypes, datetime, importlib, json, os, pkgutil, random, sys
from pathlib import Path
import snapshot_restore_py
import practice
from tools.openapi import load_handler

create, read = (load_handler(Path("functions", name)) for name in ("create_session", "get_session"))
for found in pkgutil.walk_packages(practice.__path__, "practice."):
    importlib.import_module(found.name)
from practice import table
from practice.http import jwks
from practice.runtime import aws, log
from practice.table import ids
from practice.errors import Unauthorized

events = json.loads(sys.argv[1])


def is_known(kid):
    try:
        return jwks.key_for({"kid": kid, "alg": "ES256"}) is not None
    except Unauthorized:
        return False


def kept():
    caches, containers = {}, {}
    for name, module in sorted(sys.modules.items()):
        if not name.startswith("practice."):
            continue
        for attribute, value in vars(module).items():
            if hasattr(value, "cache_info") and value.__module__ == name:
                caches[f"{name}.{attribute}"] = value.cache_info().currsize
            elif isinstance(value, (dict, list, set)) and attribute.islower() and not attribute.startswith("__"):
                containers[f"{name}.{attribute}"] = len(value)
    return caches | containers


def tell(with_hooks):
    state = {"random": random.random(), "cold": log._cold, "kept": kept()}
    state["connections"] = len(table.dynamodb()._endpoint.http_session._manager.pools)
    state["statuses"] = {name: read(event, None)["statusCode"] for name, event in events["reads"].items()}
    state["keys"] = {kid: is_known(kid) for kid in ("old", "new")}
    state["ids"] = [ids.new_session_id() for _ in range(3)] + list(ids.new_ids(3))
    if with_hooks:
        created = create(events["create"], None)
        state["ids"].append(json.loads(created["body"])["session_id"])
    return state


for event in events["warm"]:
    assert read(event, None)["statusCode"] == 200
assert is_known("old")
ids.new_session_id()
ids.new_ids(1)
print("warm", flush=True)
sys.stdin.readline()
credentials = aws.session().get_credentials()
clock = credentials._time_fetcher
for with_hooks in [False] * 2 + [True] * int(sys.argv[2]):
    child = ctypes.PyDLL(None).fork()
    if child == 0:
        try:
            credentials._time_fetcher = lambda: clock() + datetime.timedelta(days=30)
            if with_hooks:
                for hook in snapshot_restore_py.hooks:
                    hook()
            os.write(1, json.dumps({"with_hooks": with_hooks, **tell(with_hooks)}).encode() + b"\\n")
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
"""


class World:
    """What is outside of the process and changes while the snapshot does not: secrets, keys, credentials."""

    def __init__(self) -> None:
        self.secret = OLD
        self.kid = "old"
        self.access_key = "KEYOFTHEINITPHASE"
        self.expires = datetime.now(UTC) + timedelta(hours=1)
        self.signed_by: list[str] = []
        public = ec.generate_private_key(ec.SECP256R1()).public_key()
        self.key: dict[str, Any] = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(public))

    def month_passes(self) -> None:
        self.secret, self.kid, self.access_key = NEW, "new", "KEYOFTHECOPY"
        self.expires = datetime.now(UTC) + timedelta(days=31)
        self.signed_by.clear()

    def answer(self, request: BaseHTTPRequestHandler) -> dict[str, Any]:
        if request.command == "POST":
            self.signed_by.append(request.headers["authorization"].partition("Credential=")[2].split("/")[0])
            return {"SecretString": self.secret}
        if request.path == "/jwks":
            return {"keys": [{**self.key, "kid": self.kid}]}
        return {
            "AccessKeyId": self.access_key,
            "SecretAccessKey": "secret",
            "Token": "token",
            "Expiration": self.expires.isoformat(),
        }


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def world_url(world: World) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            body = json.dumps(world.answer(self)).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def token(secret: str, user_id: int, name: str) -> str:
    now = int(time.time())
    return jwt.encode({"sub": str(user_id), "iat": now, "exp": now + 3600, "jti": name}, secret)


def event(bearer: str, session_id: int | None = None) -> dict[str, Any]:
    """What API Gateway sends for POST /sessions, or for GET of that session."""
    named = {"pathParameters": {"session_id": str(session_id)}} if session_id else {"body": '{"class_id": 1}'}
    return {
        "headers": {"authorization": f"Bearer {bearer}", "content-type": "application/json"},
        "requestContext": {"requestId": "r"},
        "isBase64Encoded": False,
        **named,
    }


@pytest.fixture(scope="module")
def copies(
    stack: Stack,
    another_learner: Callable[[], Learner],
    world: World,
    world_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[bool, list[dict[str, Any]]]:
    """What the copies of one warm process tell, a month later: those without our hooks, and those with them."""
    ada = another_learner()
    session = ada.open_session()["session_id"]
    runtime = tmp_path_factory.mktemp("runtime")
    (runtime / "snapshot_restore_py.py").write_text(RUNTIME)
    bearers = {
        "good": token(NEW, ada.user_id, "good"),
        "of the old secret": token(OLD, ada.user_id, "good"),
        "revoked": token(NEW, ada.user_id, "revoked"),
        "revoked, of the old secret": token(OLD, ada.user_id, "revoked"),
    }
    events = {
        "warm": [event(token(OLD, ada.user_id, name), session) for name in ("good", "revoked")],
        "reads": {name: event(bearer, session) for name, bearer in bearers.items()},
        "create": event(bearers["good"]),
    }
    own = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"}
    environment = {name: value for name, value in os.environ.items() if name not in own} | {
        "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{world_url}/credentials",
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": world_url,
        "JWKS_URL": f"{world_url}/jwks",
        "LOG_LEVEL": "CRITICAL",
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "layers/practice", runtime))),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, json.dumps(events), str(COPIES)],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdin
        assert process.stdout
        output = process.stdout.readline()
        if output == "warm\n":
            world.month_passes()
            accounts.revoke_token(ada.user_id, "revoked", time.time())
        out, err = process.communicate("\n", timeout=60)
    assert (output, process.returncode) == ("warm\n", 0), err
    reported = [json.loads(line) for line in out.splitlines()]
    return {
        with_hooks: [one for one in reported if one["with_hooks"] is with_hooks]
        for with_hooks in (False, True)
    }


MAY_STAY = {
    "practice.runtime.aws._factory": "of clients: it holds the session",
    "practice.runtime.aws._register_handlers": "which services' handlers the session has",
    "practice.runtime.aws._session": "describes AWS, and takes long to make",
    "practice.runtime.config.config": "the environment, the same in every copy",
    "practice.http.contract._routes": "a file",
    "practice.http.contract.contract_text": "a file",
    "practice.events.outbound.client": "a client, without its connections",
    "practice.runtime.connections.client": "a client, without its connections",
    "practice.runtime.queues.client": "a client, without its connections",
    "practice.runtime.snapshots._hooks": "the list of hooks",
    "practice.table.client.dynamodb": "a client, without its connections",
    "practice.transfers.files.client": "a client, without its connections",
    "practice.turns.configuration.configuration": "the environment, the same in every copy",
    "practice.turns.configuration.model_named": "the environment, the same in every copy",
    "practice.turns.model_table._pattern": "patterns of the table's names",
    "practice.turns.model_table._table": "a file of the package",
    "practice.turns.knowledge._client": "a client, without its connections",
    "practice.turns.providers.bedrock._clients": "clients, without their connections",
}
MUST_GO = {
    "practice.http.jwks._issuer_keys",
    "practice.http.rates._full_at",
    "practice.runtime.secrets._cache",
    "practice.store.accounts._remembered",
    "practice.turns.providers.openai._pool",
}


def test_copies_of_a_warm_process_share_nothing_that_must_be_their_own(
    copies: dict[bool, list[dict[str, Any]]], world: World
) -> None:
    left_alone, restored = copies[False], copies[True]
    assert left_alone[0]["ids"] == left_alone[1]["ids"], "the copies are no copies"
    assert left_alone[0]["random"] == left_alone[1]["random"]
    assert all(copy["connections"] for copy in left_alone)
    old_world = {"good": 401, "of the old secret": 200, "revoked": 401, "revoked, of the old secret": 200}
    assert [copy["statuses"] for copy in left_alone] == [old_world] * 2
    assert [copy["keys"] for copy in left_alone] == [{"old": True, "new": False}] * 2

    assert len(restored) == COPIES
    taken = [number for copy in [left_alone[0], *restored] for number in copy["ids"]]
    assert len(set(taken)) == len(taken) == 6 + COPIES * 7
    assert len({copy["random"] for copy in [left_alone[0], *restored]}) == 1 + COPIES
    new_world = {"good": 200, "of the old secret": 401, "revoked": 401, "revoked, of the old secret": 401}
    assert [copy["statuses"] for copy in restored] == [new_world] * COPIES
    assert [copy["keys"] for copy in restored] == [{"old": False, "new": True}] * COPIES
    assert [copy["connections"] for copy in restored] == [0] * COPIES
    assert [copy["cold"] for copy in left_alone + restored] == [False] * 2 + [True] * COPIES
    assert set(world.signed_by) == {"KEYOFTHECOPY"}
    assert len(world.signed_by) >= COPIES


def test_all_that_a_process_keeps_is_forgotten_or_may_stay(copies: dict[bool, list[dict[str, Any]]]) -> None:
    """A new cache belongs into one of the two lists; `clear_on_restore` is for those that must go."""
    assert copies[True][0]["kept"].keys() == MAY_STAY.keys() | MUST_GO
    assert copies[False][0]["kept"]["practice.runtime.secrets._cache"]
    assert copies[False][0]["kept"]["practice.store.accounts._remembered"]
    for copy in copies[True]:
        assert {name: copy["kept"][name] for name in MUST_GO} == dict.fromkeys(MUST_GO, 0)
        assert copy["kept"]["practice.table.client.dynamodb"] == 1, "what only costs time to make is kept"
