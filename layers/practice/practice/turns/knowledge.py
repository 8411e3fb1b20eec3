"""Excerpts from a Bedrock knowledge base, filtered by the session's `knowledge_ids`."""

import time
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from botocore.config import Config as ClientConfig
from botocore.exceptions import BotoCoreError, ClientError

from practice.runtime import aws
from practice.runtime.log import logger
from practice.turns.configuration import configuration

TOP_K: Final = 5
THRESHOLD: Final = 0.4
"""A lower score is noise more often than help."""
EXCERPT_CHARACTERS: Final = 2000
QUERY_CHARACTERS: Final = 1000
"""What Retrieve takes."""
ATTRIBUTE: Final = "knowledge_id"
"""The metadata of a document that holds its id."""
TIMEOUT_SECONDS: Final = 4


@dataclass(frozen=True, slots=True)
class Retrieval:
    knowledge_ids: list[int]
    used: bool = False
    excerpts: list[str] = field(default_factory=list)
    sources: list[dict[str, Any]] = field(default_factory=list)

    def usage_entry(self) -> dict[str, Any]:
        """The entry for `token_usage`."""
        return {
            "used": self.used,
            "retrieved_count": len(self.excerpts),
            "top_k": TOP_K,
            "threshold": THRESHOLD,
            "knowledge_ids": self.knowledge_ids,
        }


def retrieve(query: str, knowledge_ids: list[int]) -> Retrieval:
    """Without a knowledge base, and when it fails, the turn goes on without excerpts."""
    base_id = configuration().knowledge_base_id
    if not base_id or not knowledge_ids:
        return Retrieval(knowledge_ids)
    started = time.monotonic()
    try:
        answer = _client().retrieve(
            knowledgeBaseId=base_id,
            retrievalQuery={"text": query[:QUERY_CHARACTERS]},
            retrievalConfiguration={
                "vectorSearchConfiguration": {
                    "numberOfResults": TOP_K,
                    "filter": {"in": {"key": ATTRIBUTE, "value": knowledge_ids}},
                }
            },
        )
        found = [each for each in answer["retrievalResults"] if each.get("score", 1.0) >= THRESHOLD]
        excerpts = [each["content"]["text"][:EXCERPT_CHARACTERS] for each in found]
        sources = [_source(each) for each in found]
    except (BotoCoreError, ClientError, AttributeError, LookupError, TypeError, ValueError) as error:
        cause = type(error).__name__
        logger.warning("retrieval failed", extra={"cause": cause, "seconds": time.monotonic() - started})
        return Retrieval(knowledge_ids)
    return Retrieval(knowledge_ids, True, excerpts, sources)


def _source(found: dict[str, Any]) -> dict[str, Any]:
    location = found.get("location") or {}
    uri = (location.get("s3Location") or {}).get("uri") or (location.get("webLocation") or {}).get("url")
    return {
        "uri": uri,
        "score": found.get("score"),
        "knowledge_id": (found.get("metadata") or {}).get(ATTRIBUTE),
    }


def clear_cache() -> None:
    """For tests that change the environment of a running process."""
    _client.cache_clear()


@lru_cache(maxsize=1)
def _client() -> Any:
    return aws.client(
        "bedrock-agent-runtime",
        ClientConfig(
            connect_timeout=2,
            read_timeout=TIMEOUT_SECONDS,
            retries={"mode": "standard", "total_max_attempts": 1},
        ),
    )
