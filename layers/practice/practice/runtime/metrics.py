"""The custom metrics with their units and dimensions, and the block that declares them in a log line.

CloudWatch reads them from the line of each invocation (embedded metric format), each under the name of its field. A metric
is billed by set of dimension values and hour: the sets are few, and zero counts are left out.
"""

import time
from collections.abc import Mapping
from typing import Any, Final

NAMESPACE: Final = "PracticeApi"

_STAGE: Final = ("stage",)
_ROUTE: Final = ("stage", "route")
"""Route of the HTTP API, as the template spells it."""
_ERROR: Final = ("stage", "error")
"""Name of an error in `errors.py`, or the phrase of the status."""
_FUNCTION: Final = ("stage", "function")
"""Folder of a function that an event or a queue starts."""

METRICS: Final[dict[str, tuple[str, tuple[tuple[str, ...], ...]]]] = {
    "duration_ms": ("Milliseconds", (_STAGE, _ROUTE)),
    "cold_starts": ("Count", (_STAGE,)),
    "read_units": ("Count", (_STAGE,)),
    "write_units": ("Count", (_STAGE,)),
    "throttles": ("Count", (_STAGE,)),
    "errors": ("Count", (_ERROR,)),
    "server_errors": ("Count", (_ROUTE,)),
    "turns": ("Count", (_STAGE,)),
    "models_asked": ("Count", (_STAGE,)),
    "model_failures": ("Count", (_STAGE,)),
    "prompt_tokens": ("Count", (_STAGE,)),
    "completion_tokens": ("Count", (_STAGE,)),
    "sweep_lag_seconds": ("Seconds", (_STAGE,)),
    "failures": ("Count", (_FUNCTION,)),
    "dead_letters": ("Count", (_FUNCTION,)),
}


def block(line: Mapping[str, Any]) -> dict[str, Any]:
    """The `_aws` member of a line, which declares the metrics among its fields."""
    by_dimensions: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for name, (unit, dimensions) in METRICS.items():
        if line.get(name):
            for each in dimensions:
                if each[-1] in line:
                    by_dimensions.setdefault(each, []).append({"Name": name, "Unit": unit})
    return {
        "Timestamp": int(time.time() * 1000),
        "CloudWatchMetrics": [
            {"Namespace": NAMESPACE, "Dimensions": [each], "Metrics": declared}
            for each, declared in by_dimensions.items()
        ],
    }
