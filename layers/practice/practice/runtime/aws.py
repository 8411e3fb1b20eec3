"""The session that every client of AWS is made from: what its making costs is paid once, and no more than it has to be."""

import gzip
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from weakref import WeakSet

import botocore.session
from botocore.config import Config as ClientConfig
from botocore.loaders import JSONFileLoader, Loader
from pydantic_core import from_json

from practice.runtime.config import config
from practice.runtime.snapshots import clear_on_restore

SERVICES: Final = ("bedrock-agent-runtime", "bedrock-runtime", "dynamodb", "events", "sqs")
"""All that `client` is asked for."""

_making = threading.Lock()
_made: Final[WeakSet[Any]] = WeakSet()


class _Files(JSONFileLoader):
    """Reads the megabytes that describe AWS with the faster of the two parsers at hand."""

    def load_file(self, file_path: str) -> Any:
        plain, packed = Path(f"{file_path}.json"), Path(f"{file_path}.json.gz")
        if plain.is_file():
            return from_json(plain.read_bytes())
        return from_json(gzip.decompress(packed.read_bytes())) if packed.is_file() else None


class _Loader(Loader):
    """Knows our services by name; to learn of them, the library's own looks into the folders of some four hundred."""

    def list_available_services(self, type_name: str) -> list[str]:
        return list(SERVICES)


@lru_cache(maxsize=1)
def session() -> botocore.session.Session:
    made = botocore.session.get_session()
    made.register_component("data_loader", _Loader(file_loader=_Files()))
    return made


def client(service: str, settings: ClientConfig, region: str | None = None) -> Any:
    """A client may be used by several threads; making two at the same time is not safe."""
    with _making:
        made = session().create_client(service, region_name=region or config().region, config=settings)
        _made.add(made)
        return made


@clear_on_restore
def close_connections() -> None:
    """The clients stay, and connect anew. Their credentials go by the time of day, which no snapshot holds still."""
    for each in _made:
        each.close()
