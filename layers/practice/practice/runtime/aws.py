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
from botocore.loaders import JSONFileLoader, Loader
from pydantic_core import from_json

from practice.runtime.config import config
from practice.runtime.snapshots import clear_on_restore

SERVICES: Final = (
    "apigatewaymanagementapi",
    "bedrock-agent-runtime",
    "bedrock-runtime",
    "dynamodb",
    "events",
    "s3",
    "sqs",
)
"""All that `client` makes."""
USER_AGENT: Final = ClientConfig(user_agent=f"practice-api Botocore/{botocore.__version__}")
"""Botocore builds its default User-Agent for each request, which takes a quarter of the request's processor time."""

_making = threading.Lock()
_made: Final[WeakSet[Any]] = WeakSet()


class _Files(JSONFileLoader):
    """Parses botocore's service descriptions, megabytes of JSON, with pydantic's parser: it is faster."""

    def load_file(self, file_path: str) -> Any:
        plain, packed = Path(f"{file_path}.json"), Path(f"{file_path}.json.gz")
        if plain.is_file():
            return from_json(plain.read_bytes())
        return from_json(gzip.decompress(packed.read_bytes())) if packed.is_file() else None


class _Loader(Loader):
    """Knows our services by name. The library's own loader lists the folders of some four hundred."""

    def list_available_services(self, type_name: str) -> list[str]:
        return list(SERVICES)


@lru_cache(maxsize=1)
def session() -> botocore.session.Session:
    made = botocore.session.get_session()
    made.register_component("data_loader", _Loader(file_loader=_Files()))
    return made


@lru_cache(maxsize=1)
def _factory() -> boto3.Session:
    return boto3.Session(botocore_session=session())


def client(
    service: str, settings: ClientConfig, region: str | None = None, endpoint: str | None = None
) -> Any:
    """Threads may share a client, but must not make two at the same time."""
    make: Any = _factory().client  # its stubs list each service by a literal
    with _making:
        settings = settings.merge(USER_AGENT)
        made = make(service, region_name=region or config().region, config=settings, endpoint_url=endpoint)
        _made.add(made)
        return made


@clear_on_restore
def close_connections() -> None:
    """Clients stay, and open new connections. Their credentials expire by the wall clock, which goes on after a snapshot."""
    for each in _made:
        each.close()
