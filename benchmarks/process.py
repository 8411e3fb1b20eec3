"""Runs in the measured process. It imports nothing that a handler may import itself, except json and time.

`cold`: imports the handler and passes it one event. `warm`: passes it events on request from the pipe, with recorded
responses of the table, and reports the processor time and, on request, its distribution over components.
"""

import json
import os
import sys
import time

# The log of a handler is written to the null device; results use a separate pipe.
pipe, sys.stdout = sys.stdout, open(os.devnull, "w")  # noqa: PTH123, SIM115  # pathlib is one of the imports


class Context:
    function_name = "measured"
    memory_limit_in_mb = "512"
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:measured"
    aws_request_id = "00000000-0000-4000-8000-000000000000"
    log_group_name = log_stream_name = "measured"

    @staticmethod
    def get_remaining_time_in_millis():  # type: ignore[no-untyped-def]  # like Lambda's own
        return 1000 * int(os.environ["AWS_LAMBDA_FUNCTION_TIMEOUT"])


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
        answer=answer if answer is None or "body" not in answer else answer | {"body": answer["body"][:300]},
        wall=done - wall,
        processor=done_processor - processor,
        import_wall=imported - wall,
        import_processor=imported_processor - processor,
        services=services(),
    )


def services() -> list[str]:
    """The services for which a client was created."""
    import gc

    from botocore.client import BaseClient

    gc.unfreeze()
    clients = [each for each in gc.get_objects() if issubclass(type(each), BaseClient)]
    return sorted({each.meta.service_model.service_name for each in clients})


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
    """Position in the recording; None while the real table responds."""
    real = URLLib3Session.send

    def send(session, request):  # type: ignore[no-untyped-def]  # like botocore's own, which has no types
        nonlocal place
        if place is None:
            answer = real(session, request)
            recorded.append((answer.status_code, answer.headers, answer.content))
            return answer
        status, headers, content = recorded[place]
        place += 1
        return AWSResponse(request.url, status, headers, Raw(content))  # type: ignore[arg-type]  # the only member that is used

    URLLib3Session.send = send  # type: ignore[method-assign]  # the network is what is replaced
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
                raise SystemExit(f"sent {place} requests to the table, recorded are {len(recorded)}")
        spent = time.process_time() - started

        def again(event: object = event) -> None:
            nonlocal place
            place = 0
            lambda_handler(event, Context)

        say(
            status=answer["statusCode"],
            seconds=spent / asked["calls"],
            requests=len(recorded),
            received=sum(len(content) for _, _, content in recorded),
            bytes=len(answer["body"]),
            shares=sampled(again, asked["sampled_seconds"]) if asked["sampled_seconds"] else None,
        )


# By the innermost frame with an owner: time in the standard library counts for its caller.
OWNERS = {
    "/benchmarks/process.py": "measuring",
    "/botocore/parsers.py": "client: parsing answers",
    "/botocore/serialize.py": "client: writing requests",
    "/botocore/auth.py": "client: signing",
    "/botocore/signers.py": "client: signing",
    "/botocore/credentials.py": "client: signing",
    "/boto3/dynamodb/": "client: converting types",
    "/boto3/": "client: all else",
    "/botocore/": "client: all else",
    "/urllib3/": "client: all else",
    "/pydantic": "pydantic",
    "/aws_lambda_powertools/": "log",
    "/logging/": "log",
    "/python/practice/log.py": "log",
    "/jwt/": "token",
    "/python/practice/auth.py": "token",
    "/python/practice/table/": "table",
    "/python/practice/": "our own code",
    "/functions/": "our own code",
    "/peers/": "the bare handler",
}


def sampled(call, seconds: float):  # type: ignore[no-untyped-def]  # types would be one more import
    """The share of processor time of each component."""
    import random
    import signal

    counts: dict[str, int] = {}
    owners: dict[str, str] = {}

    def owner_of(name: str) -> str:
        if name not in owners:
            owners[name] = next((owner for part, owner in OWNERS.items() if part in name), "")
        return owners[name]

    def note(_: int, frame) -> None:  # type: ignore[no-untyped-def]  # its type is in `types`: an import
        owner = ""
        while frame and not owner:
            owner = owner_of(frame.f_code.co_filename)
            frame = frame.f_back
        counts[owner] = counts.get(owner, 0) + 1

    signal.signal(signal.SIGPROF, note)
    signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)
    started = time.process_time()
    while time.process_time() - started < seconds:
        call()
        time.sleep(0.004 * random.random())  # not in step with the clock ticks at which samples are taken
    signal.setitimer(signal.ITIMER_PROF, 0)
    ours = {owner: count for owner, count in counts.items() if owner != "measuring"}
    return {
        owner: count / sum(ours.values()) for owner, count in sorted(ours.items(), key=lambda each: -each[1])
    }


if sys.argv[1] == "cold":
    cold(json.loads(sys.stdin.read()))
else:
    warm()
