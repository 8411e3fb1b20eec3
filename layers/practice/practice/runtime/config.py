"""The environment of a function, read once. No other module reads it."""

import os
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

INITIALIZATION_TYPE: Final = os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE", "")
"""How Lambda started this process (`on-demand`, `provisioned-concurrency`, `snap-start`); empty elsewhere."""


_BUDGET: Final = re.compile(
    r"(?P<turns>[0-9]{1,9}),(?P<tokens>[0-9]{1,12}),(?P<dollars>[0-9]{1,9})(?:\.(?P<rest>[0-9]{1,12}))?,(?P<cap>[1-9][0-9]{0,6})",
    re.ASCII,
)


class ConfigurationError(Exception):
    """A variable of the environment is missing, or its value cannot be used."""


class _Required:
    """A variable that only the functions which use it have. Raises ConfigurationError when it is missing there."""

    def __init__(self, variable: str) -> None:
        self._variable = variable

    def __get__(self, instance: "Config", owner: type | None = None) -> str:
        value = instance.variables.get(self._variable)
        if not value:
            raise ConfigurationError(f"{self._variable} is not set")
        return value


class Config:
    table_name = _Required("TABLE_NAME")
    event_bus_name = _Required("EVENT_BUS_NAME")
    transfers_bucket = _Required("TRANSFERS_BUCKET")
    erasure_queue_url = _Required("ERASURE_QUEUE_URL")
    sweep_queue_url = _Required("SWEEP_QUEUE_URL")
    titles_queue_url = _Required("TITLES_QUEUE_URL")
    transfer_queue_url = _Required("TRANSFER_QUEUE_URL")
    catalogue_dead_letters_url = _Required("CATALOGUE_DEAD_LETTERS_URL")
    erasure_dead_letters_url = _Required("ERASURE_DEAD_LETTERS_URL")
    ingestion_dead_letters_url = _Required("INGESTION_DEAD_LETTERS_URL")
    stream_dead_letters_url = _Required("STREAM_DEAD_LETTERS_URL")
    sweep_dead_letters_url = _Required("SWEEP_DEAD_LETTERS_URL")
    titles_dead_letters_url = _Required("TITLES_DEAD_LETTERS_URL")
    transfer_dead_letters_url = _Required("TRANSFER_DEAD_LETTERS_URL")
    turn_dead_letters_url = _Required("TURN_DEAD_LETTERS_URL")
    turn_queue_url = _Required("TURN_QUEUE_URL")
    live_api_url = _Required("LIVE_API_URL")

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.variables = variables
        self.stage = variables.get("STAGE", "dev")
        self.region = variables.get("AWS_REGION") or variables.get("AWS_DEFAULT_REGION") or "us-east-1"
        self.token_secret_arn = variables.get("TOKEN_SECRET_ARN", "")
        self.jwks_url = variables.get("JWKS_URL", "")
        self.token_issuer = variables.get("TOKEN_ISSUER", "")
        self.token_audience = variables.get("TOKEN_AUDIENCE", "")
        self.token_user_claim = variables.get("TOKEN_USER_CLAIM") or "sub"
        self.token_leeway_seconds = self._count("TOKEN_LEEWAY_SECONDS")
        self.cursor_secret_arn = variables.get("CURSOR_SECRET_ARN", "")
        self.user_requests_per_minute = self._count("USER_REQUESTS_PER_MINUTE")
        """0 for no limit."""
        self.cors_origins = tuple(variables.get("CORS_ORIGINS", "*").split(","))
        self.default_models = tuple(
            name.strip() for name in variables.get("DEFAULT_MODELS", "").split(",") if name.strip()
        )
        self.unknown_class_is_refused = variables.get("UNKNOWN_CLASS") == "refuse"
        budget = _BUDGET.fullmatch(variables.get("DAILY_BUDGET") or "0,0,0,4096")
        if budget is None:
            raise ConfigurationError("DAILY_BUDGET is not `turns,tokens,dollars,cap`")
        self.daily_turns = int(budget["turns"]) or None
        """Of a user. None for no budget."""
        self.daily_tokens = int(budget["tokens"]) or None
        self.daily_cost = int(budget["dollars"] + (budget["rest"] or "").ljust(18, "0")) or None
        """In 10^-18 dollars."""
        self.budget_cap = int(budget["cap"])
        """Of an answer without a chosen cap, under a budget of tokens or dollars."""
        self.title_model = variables.get("TITLE_MODEL", "")
        """Empty for the first default model."""

    def _count(self, variable: str) -> int:
        value = self.variables.get(variable) or "0"
        if not value.isdecimal():
            raise ConfigurationError(f"{variable} is not a whole number")
        return int(value)


@lru_cache(maxsize=1)
def config() -> Config:
    return Config(dict(os.environ))
