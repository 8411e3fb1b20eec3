"""What the terminal shows: the functions' JSON as lines to read, or all of it as JSON."""

import json
import logging
import time
from typing import Any, TextIO

HIDDEN = {"level", "location", "message", "timestamp", "service", "stage", "_aws", "function", "exception"}
HIDDEN |= {
    "exception_name",
    "stack_trace",
    "lambda_function",
    "lambda_request_id",
    "cold_start",
    "xray_trace_id",
}


class Readable:
    """Standard output for functions: JSON that they log becomes one line each, the rest stays as it is."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, text: str) -> int:
        self._out.write("".join(map(readable, text.splitlines(keepends=True))))
        return len(text)

    def flush(self) -> None:
        self._out.flush()


def readable(line: str) -> str:
    try:
        logged = json.loads(line)
    except ValueError:
        return line
    if not isinstance(logged, dict) or "message" not in logged:
        return line
    parts = [time.strftime("%H:%M:%S")]
    parts += [logged["level"]] if logged.get("level", "INFO") != "INFO" else []
    parts += [str(logged.get("function") or logged.get("lambda_function", "")).rpartition("-")[2]]
    parts += [_text(logged["message"])] if logged["message"] != "invocation" else []
    parts += [
        f"{name}={_text(value)}"
        for name, value in logged.items()
        if name not in HIDDEN and value not in (0, "-")
    ]
    trace = f"\n{logged['exception']}" if "exception" in logged else ""
    return " ".join(filter(None, parts)) + trace + ("\n" if line.endswith("\n") else "")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "level": record.levelname,
            "message": record.getMessage(),
            "timestamp": self.formatTime(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
