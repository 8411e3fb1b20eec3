"""The session that every client of AWS is made from: what its making costs is paid once."""

import threading
from functools import lru_cache
from typing import Any, Final

import botocore.session
from botocore.config import Config as ClientConfig
from botocore.loaders import Loader

from practice.config import config

SERVICES: Final = ("bedrock-agent-runtime", "bedrock-runtime", "dynamodb", "events", "sqs")
"""All that `client` is asked for."""

_making = threading.Lock()


class _Loader(Loader):
    """Knows our services by name; to learn of them, the library's own looks into the folders of some four hundred."""

    def list_available_services(self, type_name: str) -> list[str]:
        return list(SERVICES)


@lru_cache(maxsize=1)
def session() -> botocore.session.Session:
    made = botocore.session.get_session()
    made.register_component("data_loader", _Loader())
    return made


def client(service: str, settings: ClientConfig, region: str | None = None) -> Any:
    """A client may be used by several threads; making two at the same time is not safe."""
    with _making:
        return session().create_client(service, region_name=region or config().region, config=settings)
