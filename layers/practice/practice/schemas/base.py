"""The base of all models."""

import pydantic
from pydantic import ConfigDict

DEFERRED = ConfigDict(defer_build=True)


class BaseModel(pydantic.BaseModel):
    """Built when it is first used, since a function imports more models than it uses: 5 to 8 % of a cold start."""

    model_config = DEFERRED
