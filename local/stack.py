"""The whole stack: template, engine, functions, gateway, stand-ins for AWS."""

import logging
import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from local import web
from local.aws import PREFIX, PROVIDER_KEYS, Service, secret_arn, secrets_manager
from local.bus import Bus
from local.control import Control
from local.data import TOKEN_SECRET, DataFolder, usable
from local.engine import Engine, answering, create_table, start_engine
from local.functions import InProcess, Invoker
from local.gateway import BODY_LIMIT, Gateway
from local.http import Request, Response
from local.intrinsics import REGION
from local.live import Live
from local.objects import Objects
from local.pages import docs
from local.presigned import SECRET_KEY
from local.queues import Queues
from local.server import Server
from local.sqs import sqs
from local.template import Template
from local.tokens import mint
from local.triggers import Triggers
from practice.runtime.config import config

ROOT = Path(__file__).resolve().parent.parent
OBJECT_LIMIT = 1 << 30
TOKEN_SECONDS = 86400
"""How long a token of the page is valid."""

log = logging.getLogger("local.stack")
SHELL = dict(os.environ)
"""The environment that this process was started with, before any stack added to it."""


def read_template(path: Path | None = None) -> Template:
    """The template as the local stack deploys it."""
    return Template(
        path or ROOT / "template.yaml",
        {
            "Stage": "local",
            "TokenSecretArn": secret_arn(TOKEN_SECRET),
            "UnclaimedModels": "echo",
            "UserRequestsPerMinute": "0",
            "ProviderSecretArn": secret_arn(PROVIDER_KEYS),
        },
    )


def settings(template: Template) -> dict[str, str]:
    """The functions' variables; one that is set in the shell wins over the template's."""
    return {name: SHELL.get(name, value) for name, value in template.environment.items()}


class Stack:
    """Everything that runs. `data=None` keeps it all in memory and in a folder that goes with it.

    `failed` is called when it cannot go on, with one line for the user.
    """

    def __init__(
        self,
        data: Path | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        template: Template | None = None,
        invoker: Callable[[Template], Invoker] = InProcess,
        failed: Callable[[str], None] = log.error,
    ) -> None:
        self._in_memory = data is None
        self._closing = ExitStack()
        with self._closing:
            if data is None:
                data = Path(
                    self._closing.enter_context(tempfile.TemporaryDirectory(prefix="practice-local-"))
                )
            self._start(data, host, port, template or read_template(), invoker, failed)
            self._closing = self._closing.pop_all()

    def _start(
        self,
        data: Path,
        host: str,
        port: int,
        template: Template,
        invoker: Callable[[Template], Invoker],
        failed: Callable[[str], None],
    ) -> None:
        self.template = template
        self.data = DataFolder(data)
        self.data.lock()
        self._closing.callback(self.data.unlock)
        self.server = Server(self.answer, host, port, self._body_limit, lambda: self.live)
        self._closing.callback(self.server.close)
        self.data.secret(TOKEN_SECRET)
        with usable(data / "engine.pid"):
            self.engine: Engine = start_engine(
                template.root, None if self._in_memory else data.resolve(), failed=failed
            )
        self._closing.callback(self.engine.stop)
        with answering(self.engine):
            create_table(self.engine.client(), template.table)
        with usable(data / "queues.db"):
            self.queues = Queues(None if self._in_memory else data / "queues.db", template.queues.values())
        self._closing.callback(self.queues.close)
        self.bus = Bus(template, self.queues)
        self._set_environment()
        self.invoker = invoker(template)
        self.triggers = Triggers(template, self.invoker, self.queues, self.engine)
        self.gateway = Gateway(template.routes, template.cors, self.invoker)
        self.live = Live(template.live_routes, self.invoker)
        with usable(data / "objects"):
            objects = Objects(data / "objects", f"{PREFIX}s3", template.buckets)
        services: dict[str, Service] = {
            "secretsmanager": secrets_manager(self.data, [TOKEN_SECRET, *template.secrets]),
            "sqs": sqs(self.queues),
            "events": self.bus.service,
            "s3": objects,
            "live": self.live,
        }
        self._control = Control(
            template, self.engine, self.invoker, self.queues, self.bus, services, host, self._token, self.live
        )
        self.server.start()
        self._closing.callback(self.server.close)
        self._closing.callback(self.triggers.close)
        self.live.start()
        self._closing.callback(self.live.close)

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def capabilities(self) -> frozenset[str]:
        """What this engine can show: `persistence`, `streams`, exact `capacity`; whether it bears `load`."""
        return self.engine.capabilities

    @property
    def token_secret(self) -> str:
        return self.data.secret(TOKEN_SECRET)

    @property
    def state(self) -> dict[str, Any]:
        """What `/_local/state` shows: pending messages, dead letters, events put on a bus."""
        return self._control.state()

    def answer(self, request: Request) -> Response:
        if request.path.startswith("/_local"):
            return self._control.answer(request)
        if request.path == "/docs" or request.path.startswith("/docs/"):
            return docs(ROOT, request.path)
        if request.method == "GET" and (page := self._page(request)):
            return page
        return self.gateway.answer(request)

    def _page(self, request: Request) -> Response | None:
        if request.path == "/guide":
            return web.guide(ROOT)
        host = web.address(request) or ""

        def shown() -> str:
            return (
                "" if self._control.is_foreign(request) else web.stack_section(self.state, f"http://{host}")
            )

        return web.page(ROOT, request.path, connect=f"ws://{host}" if host else "", stack=shown)

    def close(self) -> None:
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _body_limit(self, target: str) -> int:
        return OBJECT_LIMIT if target.startswith(PREFIX) else BODY_LIMIT

    def _token(self, user_id: int) -> str:
        return mint(self.token_secret, user_id, TOKEN_SECONDS, self.environment)

    def _set_environment(self) -> None:
        """What the functions find in their environment, which is this process's."""
        services = {
            "SECRETS_MANAGER": "secretsmanager",
            "SQS": "sqs",
            "EVENTBRIDGE": "events",
            "S3": "s3",
        }
        self.environment = {
            **settings(self.template),
            "LIVE_API_URL": f"{self.url}{PREFIX}live",
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL_DYNAMODB": self.engine.endpoint,
            **{f"AWS_ENDPOINT_URL_{name}": f"{self.url}{PREFIX}{path}" for name, path in services.items()},
        }
        self._closing.callback(config.cache_clear)
        for name, value in self.environment.items():
            self._closing.callback(_restore, name, os.environ.get(name))
            os.environ[name] = value
        config.cache_clear()


def _restore(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
