"""The custom metrics, with their units and dimensions.

CloudWatch reads them from the line of each invocation (embedded metric format), each under the name of its field. A metric
is billed by set of dimension values and hour: the sets are few, and zero counts are left out.
"""

from typing import Final

NAMESPACE: Final = "PracticeApi"

_STAGE: Final = ("stage",)
_ROUTE: Final = ("stage", "route")
"""Route of the HTTP API, as the template spells it; of the live API with `live` before it."""
_ERROR: Final = ("stage", "error")
"""Name of an error in `errors.py`, or the phrase of the status."""
_CODE: Final = ("stage", "code")
"""Of a model that failed: the `code` of its entry in `errors`."""
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
    "failed_models_by_code": ("Count", (_CODE,)),
    "prompt_tokens": ("Count", (_STAGE,)),
    "completion_tokens": ("Count", (_STAGE,)),
    "model_cost_usd": ("None", (_STAGE,)),
    "sweep_lag_seconds": ("Seconds", (_STAGE,)),
    "live_messages": ("Count", (_STAGE,)),
    "live_failures": ("Count", (_STAGE,)),
    "failures": ("Count", (_FUNCTION,)),
    "dead_letters": ("Count", (_FUNCTION,)),
}
