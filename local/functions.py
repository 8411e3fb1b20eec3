"""The functions of the template, invoked in this process as Lambda would."""

import importlib.util
import json
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol

from local.intrinsics import ACCOUNT, REGION, TemplateError
from local.template import Function, Template

PAYLOAD_LIMIT = 6_291_556

serving: ContextVar[Function | None] = ContextVar("serving", default=None)
"""The function that has an event in this context."""


class FunctionError(Exception):
    """The function raised, took too long, or answered what Lambda does not take: its message says which."""

    def __init__(self, text: str, trace: str = "") -> None:
        super().__init__(text)
        self.trace = trace


class PayloadTooLargeError(Exception):
    """The event is larger than Lambda accepts."""


class Invoker(Protocol):
    """How an event reaches a function: in this process, or in an emulator of Lambda."""

    def invoke(self, function_name: str, event: dict[str, Any], timeout: float | None = None) -> Any:
        """The function's result; waits for the shorter of `timeout` and the function's own."""


class Context:
    """The context object of Lambda's Python runtime."""

    function_version = "$LATEST"
    identity = None
    client_context = None

    def __init__(self, function: Function, seconds: float) -> None:
        self.function_name = function.physical_name
        self.memory_limit_in_mb = str(function.memory)
        self.invoked_function_arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function.physical_name}"
        self.aws_request_id = str(uuid.uuid4())
        self.log_group_name = f"/aws/lambda/{function.physical_name}"
        self.log_stream_name = "local"
        self._deadline = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self._deadline - time.monotonic()) * 1000))


Handler = Callable[[dict[str, Any], Context], Any]


class InProcess:
    """Handlers imported into this process, each under a module name of its own."""

    def __init__(self, template: Template) -> None:
        self._functions = template.functions
        self._handlers: dict[str, Handler] = {}
        self._loading = threading.Lock()

    def load(self) -> None:
        """Import every handler now, rather than at its first event."""
        for name in self._functions:
            self.handler(name)

    def invoke(self, function_name: str, event: dict[str, Any], timeout: float | None = None) -> Any:
        function = self._functions[function_name]
        handler = self.handler(function_name)
        payload = json.dumps(event)
        if len(payload) > PAYLOAD_LIMIT:
            raise PayloadTooLargeError(f"{function_name}: an event of {len(payload)} bytes")
        seconds = min(function.timeout, timeout or function.timeout)
        outcome = _Outcome(function)
        # Its own thread, because a function that takes too long is left behind.
        thread = threading.Thread(
            target=outcome.run,
            args=(handler, payload, Context(function, function.timeout)),
            name=function_name,
            daemon=True,
        )
        thread.start()
        thread.join(seconds)
        if thread.is_alive():
            raise FunctionError(f"Task timed out after {seconds:.2f} seconds")
        if outcome.error is not None:
            raise outcome.error
        return json.loads(outcome.result)

    def handler(self, name: str) -> Handler:
        with self._loading:
            if name not in self._handlers:
                self._handlers[name] = _import_handler(self._functions[name])
            return self._handlers[name]


class _Outcome:
    def __init__(self, function: Function) -> None:
        self._function = function
        self.result = "null"
        self.error: FunctionError | None = None

    def run(self, handler: Handler, payload: str, context: Context) -> None:
        serving.set(self._function)
        try:
            result = json.dumps(handler(json.loads(payload), context))
        except BaseException as error:  # noqa: BLE001 (as in Lambda, whatever is raised fails the invocation alone)
            self.error = FunctionError(f"{type(error).__qualname__}: {error}", traceback.format_exc())
            return
        if len(result) > PAYLOAD_LIMIT:
            self.error = FunctionError(f"a result of {len(result)} bytes, Lambda takes {PAYLOAD_LIMIT}")
        else:
            self.result = result


def _import_handler(function: Function) -> Handler:
    module_name, _, attribute = function.handler.rpartition(".")
    path = function.folder / f"{module_name}.py"
    name = f"local_functions.{function.name}.{module_name}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.exists():
        raise TemplateError(f"{function.logical_id} has no handler at {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        handler: Handler = getattr(module, attribute)
    except BaseException:
        del sys.modules[name]
        raise
    return handler
