"""The custom metrics: every name with its unit and its dimensions, and the block by which a line of the log carries them.

CloudWatch takes them from the one line that an invocation writes anyway (embedded metric format), each under the name of
its field. A metric is billed for each set of values of its dimensions, in the hours that have it: so the sets are few,
and a count of nothing is left out.
"""

import time
from collections.abc import Mapping
from typing import Any, Final

NAMESPACE: Final = "PracticeApi"

_STAGE: Final = ("stage",)
_ROUTE: Final = ("stage", "route")
"""Of the HTTP API, as the template spells it."""
_ERROR: Final = ("stage", "error")
"""The name of a refusal in `errors.py`, or the phrase of the status."""
_CODE: Final = ("stage", "code")
"""Of a model that failed: the `code` of its entry in `errors`."""
_FUNCTION: Final = ("stage", "function")
"""One that an event or a queue starts, by the name of its folder."""

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
    "failed_models_by_code": ("Count", (_CODE,)),
    "prompt_tokens": ("Count", (_STAGE,)),
    "completion_tokens": ("Count", (_STAGE,)),
    "sweep_lag_seconds": ("Seconds", (_STAGE,)),
    "failures": ("Count", (_FUNCTION,)),
    "dead_letters": ("Count", (_FUNCTION,)),
}


def block(line: Mapping[str, Any]) -> dict[str, Any]:
    """The `_aws` member of a line, which declares what of it is a metric."""
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
