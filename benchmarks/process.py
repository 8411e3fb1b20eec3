"""Runs in the measured process: nothing is imported here that a handler might import itself, but json and time.

`cold`: imports the handler and hands it one event. `warm`: hands it events as often as the other end of the pipe asks,
from recorded answers of the table, and says what processor time that took.
"""

import json
import os
import sys
import time

# What a handler logs is written, to nowhere; figures go where it cannot reach.
pipe, sys.stdout = sys.stdout, open(os.devnull, "w")  # noqa: PTH123, SIM115  # pathlib is one of the imports


class Context:
    function_name = "measured"
    memory_limit_in_mb = "512"
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:measured"
    aws_request_id = "00000000-0000-4000-8000-000000000000"
    log_group_name = log_stream_name = "measured"

    @staticmethod
    def get_remaining_time_in_millis():  # type: ignore[no-untyped-def]  # like Lambda's own
        return 15_000


def say(**figures: object) -> None:
    pipe.write(json.dumps(figures) + "\n")
    pipe.flush()


def cold(event: object) -> None:
    wall, processor = time.perf_counter(), time.process_time()
    from handler import lambda_handler  # type: ignore[import-not-found]  # by the path of this process

    imported, imported_processor = time.perf_counter(), time.process_time()
    answer = lambda_handler(event, Context)
    done, done_processor = time.perf_counter(), time.process_time()
    say(
        status=answer["statusCode"],
        wall=done - wall,
        processor=done_processor - processor,
        import_wall=imported - wall,
        import_processor=imported_processor - processor,
        modules=sorted(sys.modules),
        body=answer.get("body", "")[:300],
    )


def warm() -> None:
    from botocore.awsrequest import AWSResponse
    from botocore.httpsession import URLLib3Session

    class Raw:
        def __init__(self, content: bytes) -> None:
            self.content = content

        def stream(self) -> list[bytes]:
            return [self.content]

    recorded: list[tuple[int, object, bytes]] = []
    place: int | None = None
    """In what was recorded; None while the real table answers."""
    real = URLLib3Session.send

    def send(session, request):  # type: ignore[no-untyped-def]
        nonlocal place
        if place is None:
            answer = real(session, request)
            recorded.append((answer.status_code, answer.headers, answer.content))
            return answer
        status, headers, content = recorded[place]
        place += 1
        return AWSResponse(request.url, status, headers, Raw(content))  # type: ignore[arg-type]

    URLLib3Session.send = send  # type: ignore[method-assign]
    from handler import lambda_handler

    for count, line in enumerate(sys.stdin):
        asked = json.loads(line)
        place = None
        lambda_handler(json.loads(asked["event"].replace("@n", f"{count} before")), Context)
        event = json.loads(asked["event"].replace("@n", f"{count} after"))
        recorded.clear()
        answer = lambda_handler(event, Context)
        started = time.process_time()
        for _ in range(asked["calls"]):
            place = 0
            lambda_handler(event, Context)
            if place != len(recorded):
                raise SystemExit(f"asked the table {place} times after {len(recorded)}")
        spent = time.process_time() - started
        say(
            status=answer["statusCode"],
            seconds=spent / asked["calls"],
            requests=len(recorded),
            bytes=len(answer["body"]),
        )


if sys.argv[1] == "cold":
    cold(json.loads(sys.stdin.read()))
else:
    warm()
