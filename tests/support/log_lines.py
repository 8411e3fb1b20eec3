"""What the functions write into their log."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from practice.runtime import log

Line = dict[str, Any]


@contextmanager
def written() -> Iterator[Callable[[], list[Line]]]:
    """The lines of the log as CloudWatch gets them."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(log.logger.registered_formatter)
    logger = logging.getLogger(log.logger.name)
    logger.addHandler(handler)
    try:
        yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    finally:
        logger.removeHandler(handler)
