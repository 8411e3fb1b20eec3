"""The environment of a function, read once."""

import os
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Config:
    table_name: str
    token_secret_arn: str
    jwks_url: str
    token_issuer: str
    token_audience: str
    token_user_claim: str
    token_leeway_seconds: int
    cursor_secret_arn: str
    user_requests_per_minute: int
    """0 for no limit."""
    default_models: tuple[str, ...]
    unknown_class_is_refused: bool
    region: str


@lru_cache(maxsize=1)
def config() -> Config:
    env = os.environ
    return Config(
        table_name=env["TABLE_NAME"],
        token_secret_arn=env.get("TOKEN_SECRET_ARN", ""),
        jwks_url=env.get("JWKS_URL", ""),
        token_issuer=env.get("TOKEN_ISSUER", ""),
        token_audience=env.get("TOKEN_AUDIENCE", ""),
        token_user_claim=env.get("TOKEN_USER_CLAIM") or "sub",
        token_leeway_seconds=int(env.get("TOKEN_LEEWAY_SECONDS") or 0),
        cursor_secret_arn=env.get("CURSOR_SECRET_ARN", ""),
        user_requests_per_minute=int(env.get("USER_REQUESTS_PER_MINUTE") or 0),
        default_models=tuple(
            name.strip() for name in env.get("DEFAULT_MODELS", "").split(",") if name.strip()
        ),
        unknown_class_is_refused=env.get("UNKNOWN_CLASS") == "refuse",
        region=env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or "us-east-1",
    )
