"""Authentication with PyJWT. The secret is in the environment, so a peer makes no request to Secrets Manager."""

import os

import jwt

SECRET = os.environ["TOKEN_SECRET"]


def user_of(authorization):
    return int(jwt.decode(authorization.removeprefix("Bearer "), SECRET, algorithms=["HS256"])["sub"])
