"""Every request to AWS that a function makes while the suite runs, held against its role.

A role may allow neither less nor more than its function was seen to need. Unneeded grants are reported only when the
whole suite ran, and passed, on an engine that shows everything: a part of it cannot say what is needed by nothing.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.httpsession import URLLib3Session
from botocore.signers import RequestSigner

from local.functions import serving
from practice.runtime import secrets
from tests.support.roles import Call, Roles, Use

ROOT: Final = Path(__file__).parents[2]
WHOLE: Final = "not e2e and not torture"
"""What `make test` runs."""


class Recording:
    """A plugin of pytest, in every worker and in what started them."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._roles = Roles(ROOT / "template.yaml")
        self._patches = pytest.MonkeyPatch()
        self.seen: dict[str, dict[Use, str]] = {name: {} for name in self._roles.statements}
        """What each function needed, and a test in which it did."""
        self.shows_all = True
        self._faults: list[str] = []

    def pytest_sessionstart(self) -> None:
        send, presign = URLLib3Session.send, RequestSigner.generate_presigned_url

        def sent(session: URLLib3Session, request: AWSPreparedRequest) -> AWSResponse:
            call = self._noted(request.method, request.url, dict(request.headers.items()), request.body)
            response: AWSResponse = send(session, request)
            if call and response.status_code == 404:
                function = serving.get()
                assert function
                self.note(function.name, self._roles.uses_of_absence(call))
            return response

        def presigned(signer: RequestSigner, request_dict: Mapping[str, Any], **named: Any) -> str:
            """Such a link may do what its signer may, in any hands."""
            url: str = presign(signer, request_dict=request_dict, **named)
            self._noted(request_dict["method"], url, {}, b"")
            return url

        self._patches.setattr(secrets, "_cache", _OfEachFunction())
        self._patches.setattr(URLLib3Session, "send", sent)
        self._patches.setattr(RequestSigner, "generate_presigned_url", presigned)

    def _noted(self, method: str, url: str, headers: Mapping[str, Any], body: Any) -> Call | None:
        """None for what no function of ours sent, or not to AWS."""
        function = serving.get()
        if function is None or function.folder.parent != ROOT / "functions":
            return None
        lower = {name.lower(): _text(value) for name, value in headers.items()}
        call = Call(method, url, lower, body.encode() if isinstance(body, str) else body or b"")
        if call.signature is None or "streams" in lower.get("x-amz-target", "").lower():
            return None  # a test that goes on inside a function reads the stream there, as Lambda does
        self.note(function.name, self._roles.uses(call))
        return call

    def note_calls(self, function: str, calls: Iterable[Call]) -> None:
        """Of a function in a process of its own."""
        for call in calls:
            if call.signature:
                self.note(function, self._roles.uses(call))

    def note(self, function: str, uses: Iterable[Use]) -> None:
        for use in uses:
            self.seen[function].setdefault(use, os.environ.get("PYTEST_CURRENT_TEST", "").split(" ")[0])

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A worker of pytest-xdist has ended."""
        handed = getattr(node, "workeroutput", {}).get("roles")
        if handed is None:
            self.shows_all = False  # it crashed, with what it had seen
            return
        self.shows_all &= handed["shows_all"]
        for function, action, resource, families, test in handed["seen"]:
            self.seen[function].setdefault(Use(action, resource, frozenset(families)), test)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        self._patches.undo()
        if hasattr(self._config, "workeroutput"):
            self._config.workeroutput["roles"] = {"seen": list(self._rows()), "shows_all": self.shows_all}
            return
        self._faults = [
            f"{function} is not allowed {use}: grant it in template.yaml, it is needed in {self.seen[function][use]}"
            for function, uses in self.seen.items()
            for use in self._roles.refused(function, uses)
        ]
        if exitstatus == pytest.ExitCode.OK and self.shows_all and self._is_whole():
            self._faults += [
                f"{function} is allowed {grant}, but no test needs it: remove it from template.yaml, or test it"
                for function, uses in self.seen.items()
                for grant in self._roles.unneeded(function, uses)
            ]
        if self._faults:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self._faults:
            terminalreporter.section("roles of template.yaml", red=True)
            for fault in sorted(self._faults):
                terminalreporter.line(fault)

    def _rows(self) -> Iterator[tuple[str, str, str, list[str], str]]:
        for function, uses in self.seen.items():
            for use, test in uses.items():
                yield function, use.action, use.resource, sorted(use.families), test

    def _is_whole(self) -> bool:
        option = self._config.option
        return (
            self._config.args_source is pytest.Config.ArgsSource.TESTPATHS
            and option.markexpr == WHOLE
            and not (option.keyword or option.deselect or option.ignore or option.ignore_glob)
            and not getattr(option, "lf", False)
        )


class _OfEachFunction(dict[tuple[str, str], Any]):
    """What a function fetched serves that function alone: each has an execution environment of its own."""

    def get(self, name: str, default: Any = None) -> Any:  # type: ignore[override]
        return super().get((_serving(), name), default)

    def __setitem__(self, name: str, value: Any) -> None:  # type: ignore[override]
        super().__setitem__((_serving(), name), value)


def _serving() -> str:
    function = serving.get()
    return function.name if function else ""


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
