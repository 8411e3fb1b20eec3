"""The one place that makes clients of AWS. They share a session, whose cost a process pays once."""

import gzip
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from weakref import WeakSet

import boto3
import botocore.session
from botocore.config import Config as ClientConfig
from botocore.credentials import CredentialResolver, EnvProvider
from botocore.handlers import BUILTIN_HANDLERS, REGISTER_FIRST, REGISTER_LAST
from botocore.loaders import JSONFileLoader, Loader
from botocore.utils import EVENT_ALIASES
from pydantic_core import from_json

from practice.runtime.config import config
from practice.runtime.services import DESCRIPTIONS, SERVICES
from practice.runtime.snapshots import clear_on_restore

USER_AGENT: Final = ClientConfig(user_agent=f"practice-api Botocore/{botocore.__version__}")
"""Botocore builds its default User-Agent for each request, which takes a quarter of the request's processor time."""

_REDUCED: Final = Path(botocore.__file__).parent.with_name(DESCRIPTIONS)
_making = threading.RLock()
"""Threads that made sessions at the same time would each have one of their own, and register handlers in the other's."""
_made: Final[WeakSet[Any]] = WeakSet()


class _Files(JSONFileLoader):
    """Reads botocore's descriptions of services: reduced ones where a layer has them, and with pydantic's faster parser."""

    def load_file(self, file_path: str) -> Any:
        if file_path.startswith(Loader.BUILTIN_DATA_PATH):
            reduced = Path(f"{_REDUCED}{file_path.removeprefix(Loader.BUILTIN_DATA_PATH)}.json")
            if reduced.is_file():
                return from_json(reduced.read_bytes())
        plain, packed = Path(f"{file_path}.json"), Path(f"{file_path}.json.gz")
        if plain.is_file():
            return from_json(plain.read_bytes())
        return from_json(gzip.decompress(packed.read_bytes())) if packed.is_file() else None


class _Loader(Loader):
    """Knows our services by name. The library's own loader lists the folders of some four hundred."""

    def list_available_services(self, type_name: str) -> list[str]:
        return list(SERVICES)


def session() -> botocore.session.Session:
    with _making:
        return _session()


@lru_cache(maxsize=1)
def _session() -> botocore.session.Session:
    made = botocore.session.Session(include_builtin_handlers=False)
    _register_handlers(
        made, ""
    )  # of events that name no service; those of a service come with its first client
    made.register_component("data_loader", _Loader(file_loader=_Files()))
    if config().variables.get("AWS_ACCESS_KEY_ID"):  # a snapshot has none
        # The default chain asks the environment first as well, but takes 4 ms to build.
        made.register_component("credential_provider", CredentialResolver([EnvProvider()]))
    return made


@lru_cache
def _register_handlers(made: botocore.session.Session, service: str) -> None:
    """Registers botocore's handlers of one service's events, once for a session: a handler that is registered twice is
    called twice. To register those of all services takes 10 ms of a cold start.
    """
    events: Any = made.get_component("event_emitter")
    places = {REGISTER_FIRST: events.register_first, REGISTER_LAST: events.register_last}
    for name, handler, *place in BUILTIN_HANDLERS:
        kind, _, rest = name.partition(".")
        named = rest.partition(".")[0]
        if kind != "docs" and EVENT_ALIASES.get(named, named) == EVENT_ALIASES.get(service, service):
            places.get(place[0] if place else None, events.register)(name, handler)


@lru_cache(maxsize=1)
def _factory(made: botocore.session.Session) -> boto3.Session:
    return boto3.Session(botocore_session=made)


def client(
    service: str, settings: ClientConfig, region: str | None = None, endpoint: str | None = None
) -> Any:
    """Threads may share a client. It is made under a lock, since boto3 cannot make two at the same time."""
    with _making:
        shared = session()
        _register_handlers(shared, service)
        make: Any = _factory(shared).client  # its stubs list each service by a literal
        settings = settings.merge(USER_AGENT)
        made = make(service, region_name=region or config().region, config=settings, endpoint_url=endpoint)
        _made.add(made)
        return made


@clear_on_restore
def close_connections() -> None:
    """Clients stay, and open new connections. Their credentials expire by the wall clock, which goes on after a snapshot."""
    for each in _made:
        each.close()
