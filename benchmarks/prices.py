"""On-demand prices of AWS in us-east-1. The alarm on the cost per day in `template.yaml` uses the same figures."""

from typing import Final

PER_MILLION: Final = {
    "ReadUnits": 0.125,
    "WriteUnits": 0.625,
    "ApiRequests": 1.00,
    "FunctionCalls": 0.20,
    "GigabyteSecondsArm64": 13.3334,
    "GigabyteSecondsX86": 16.6667,
    "LogBytes": 0.0005,
}
"""US dollars per million, by the name in the mapping `Prices` of the template."""
