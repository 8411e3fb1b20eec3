"""Live turns on the local stack: time that we add, messages and dollars of a turn, many connections at once.

The provider, the stack and the clients are processes of their own. The provider writes the moment of its first piece into
it, by the clock that all processes of a machine share, and the client subtracts.
"""

import asyncio
import ctypes
import gc
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from statistics import median
from typing import Any, Final

from websockets.asyncio.client import connect

from benchmarks import figures
from benchmarks.load import FLAT, resident, serving
from benchmarks.prices import PER_MILLION
from local.tokens import mint
from tests.e2e.build import build_for_this_machine
from tools.build import ROOT

MODELS: Final = ("alpha", "beta", "gamma")
PACE_SECONDS: Final = 0.05
"""Between two pieces of an answer: twenty tokens a second."""
MANY_PACE_SECONDS: Final = 1.0
"""With many connections: every piece is one message then, and two cores make some hundreds a second."""
TURNS: Final = 20
CONNECTIONS: Final = 100
RUNS: Final = 6
"""With so many connections, one after the other on the same stack."""
BETWEEN_SECONDS: Final = 0.15
"""Between the first turns of two connections: a session is opened for each, and the machine has two cores."""
LONG_SECONDS: Final = 30.0
ADDED_P95_MS: Final = 250.0
"""Budget of what we add to a provider's first piece, warm."""
DELTAS_A_SECOND: Final = 10
"""Of one answer, at most."""
MESSAGE_UNIT: Final = 32 * 1024
"""Bytes of a message that API Gateway bills as one."""
CONNECTION_MINUTES: Final = 0.25
"""US dollars for a million minutes of connections."""
LIMIT_SECONDS: Final = 300.0
TRIM_SECONDS: Final = 2.0


def measure() -> dict[str, Any]:
    build_for_this_machine()
    with _provider() as url:
        os.environ["MODELS"] = json.dumps({"*": {"provider": "openai", "base_url": f"{url}/v1"}})
        os.environ["DEFAULT_MODELS"] = ",".join(MODELS)
        with serving(["benchmarks.live", "serve"]) as (process, stack, secret):
            _ask(stack, secret, connections=4, turns=2, pieces=5)  # every function has started
            one = _ask(stack, secret, connections=1, turns=TURNS, pieces=20)
            long = _ask(stack, secret, connections=1, turns=1, pieces=int(LONG_SECONDS / PACE_SECONDS))
            many, megabytes = [], []
            for _ in range(RUNS):
                many.append(
                    _ask(
                        stack,
                        secret,
                        pause=MANY_PACE_SECONDS,
                        connections=CONNECTIONS,
                        turns=1,
                        pieces=30,
                    )
                )
                megabytes.append(_used(process))
        with serving(["benchmarks.fleet"]) as (_, stack, secret):
            _ask(stack, secret, connections=4, turns=2, pieces=5)
            emulated = _ask(stack, secret, connections=1, turns=TURNS, pieces=20)
    return {
        "one": _summary(one),
        "emulated": _summary(emulated),
        "long": {**_summary(long), "dollars": _dollars(long)},
        "many": [_summary(each) for each in many],
        "megabytes": megabytes,
    }


def _ask(stack: str, secret: str, pause: float = PACE_SECONDS, **scenario: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.live", "clients"],
        cwd=ROOT,
        input=json.dumps({"stack": stack, "secret": secret, "pause": pause, **scenario}),
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )
    if done.returncode:
        raise SystemExit(f"the clients failed\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _summary(asked: dict[str, Any]) -> dict[str, Any]:
    added = sorted(asked["added_ms"])
    return {
        "turns": asked["turns"],
        "answers": len(added),
        "added_p50_ms": median(added),
        "added_p95_ms": added[int(len(added) * 0.95)],
        "messages": asked["messages"] / asked["turns"],
        "deltas": asked["deltas"] / asked["turns"],
        "seconds": asked["seconds"],
        "wrong": asked["wrong"],
    }


def _dollars(asked: dict[str, Any]) -> float:
    """Of the live API alone for one turn: messages both ways and the time of the connection."""
    messages, minutes = asked["units"] + 1, asked["seconds"] / 60
    return float(messages * PER_MILLION["ApiRequests"] + minutes * CONNECTION_MINUTES) / 1e6


def show(measured: dict[str, Any]) -> None:
    rows = [
        ("one connection", measured["one"]),
        ("one connection, emulated", measured["emulated"]),
        ("30 seconds", measured["long"]),
    ]
    rows += [(f"{CONNECTIONS} at once, run {n}", each) for n, each in enumerate(measured["many"], 1)]
    figures.table(
        "Live turns of three models",
        ["", "added p50 ms", "added p95 ms", "messages a turn", "wrong answers"],
        [
            [name, each["added_p50_ms"], each["added_p95_ms"], each["messages"], each["wrong"]]
            for name, each in rows
        ],
    )
    sizes = ", ".join(f"{each:.0f}" for each in measured["megabytes"])
    print(f"\n  memory of the stack, in MB, after each run with {CONNECTIONS} connections: {sizes}")


def failures(measured: dict[str, Any]) -> list[str]:
    failed = [
        f"live: {each['wrong']} answers of {each['answers']} differ from what is stored"
        for each in (measured["one"], measured["emulated"], measured["long"], *measured["many"])
        if each["wrong"]
    ]
    failed += [
        f"live: {measured[name]['added_p95_ms']:.0f} ms added, {ADDED_P95_MS:.0f} allowed"
        for name in ("one", "emulated")
        if measured[name]["added_p95_ms"] > ADDED_P95_MS
    ]
    if (growth := growth_of(measured)) > FLAT:
        failed.append(f"live: memory grows {growth:.2f} times")
    long = measured["long"]
    if long["deltas"] > len(MODELS) * (DELTAS_A_SECOND * long["seconds"] + 1):
        failed.append(f"live: {long['deltas']:.0f} deltas of a turn of {long['seconds']:.0f} seconds")
    return failed


def _used(process: subprocess.Popen[str]) -> float:
    """Resident megabytes, without the freed memory that the C library keeps."""
    process.send_signal(signal.SIGUSR1)
    time.sleep(TRIM_SECONDS)
    return resident(process.pid)


def growth_of(measured: dict[str, Any]) -> float:
    """Of the memory, from the middle run to the last."""
    megabytes = measured["megabytes"]
    return float(megabytes[-1] / megabytes[len(megabytes) // 2])


# The clients


async def _clients(asked: dict[str, Any]) -> dict[str, Any]:
    total: dict[str, Any] = {"added_ms": [], "messages": 0, "deltas": 0, "units": 0, "wrong": 0, "turns": 0}
    address = asked["stack"].replace("http", "ws", 1) + "/live"
    ready = asyncio.Barrier(asked["connections"])
    started = time.monotonic()

    async def one(number: int) -> None:
        token = mint(asked["secret"], 1_000_000 + number, 3600, {})
        headers = {"authorization": f"Bearer {token}"}
        async with connect(address, additional_headers=headers, compression=None) as socket:
            await ready.wait()
            await asyncio.sleep(number * BETWEEN_SECONDS)
            for turn in range(asked["turns"]):
                prompt = f"pieces={asked['pieces']} pause={asked['pause']}"
                message = {"action": "run", "id": str(turn), "class_id": 1, "prompt_text": prompt}
                await socket.send(json.dumps(message))
                await _turn(socket, total)

    await asyncio.gather(*(one(number) for number in range(asked["connections"])))
    total["seconds"] = time.monotonic() - started
    return total


async def _turn(socket: Any, total: dict[str, Any]) -> None:
    """Every delta in its order, none lost, none twice: else the answer counts as wrong."""
    texts: dict[int, str] = {}
    missing = len(MODELS)
    async for raw in socket:
        now, event = time.monotonic(), json.loads(raw)
        total["messages"] += 1
        total["units"] += -(-len(raw.encode()) // MESSAGE_UNIT)
        match event.get("type"):
            case "answer.delta":
                total["deltas"] += 1
                text = texts.setdefault(event["response_id"], "")
                if not text:
                    total["added_ms"].append((now - float(event["text"].split()[0])) * 1000)
                total["wrong"] += event["offset"] != len(text)
                texts[event["response_id"]] += event["text"]
            case "answer.restarted":
                texts.pop(event["response_id"], None)
            case "answer.done":
                text = texts[event["result"]["response_id"]]
                total["wrong"] += sha256(text.encode()).hexdigest() != event["sha256"]
                missing -= 1
            case "error" | None:
                raise SystemExit(str(event))
            case "turn.done":
                total["wrong"] += missing
                total["turns"] += 1
                return


# The provider


@contextmanager
def _provider() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.live", "provider"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


async def _provide() -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", 0, backlog=1000)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    body = json.loads(await reader.readexactly(int(head.partition("content-length:")[2].split()[0])))
    prompt = str(body["messages"][-1]["content"])
    wanted = re.fullmatch(r"pieces=(\d+) pause=([\d.]+)", prompt)
    pieces, pause = (int(wanted[1]), float(wanted[2])) if wanted else (1, 0.0)  # a title
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
    try:
        for number in range(pieces):
            piece = f"{time.monotonic():.6f} " if number == 0 else f"word-{number} "
            writer.write(
                _event({"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]})
            )
            await writer.drain()
            await asyncio.sleep(pause)
        writer.write(_event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
        usage = {"prompt_tokens": 5, "completion_tokens": pieces, "total_tokens": 5 + pieces}
        writer.write(_event({"choices": [], "usage": usage}) + b"data: [DONE]\n\n")
        await writer.drain()
    finally:
        writer.close()


def _event(chunk: dict[str, Any]) -> bytes:
    return (
        b"data: "
        + json.dumps({"model": "fake", "object": "chat.completion.chunk", **chunk}).encode()
        + b"\n\n"
    )


# The stack


def _serve() -> int:
    """As `make run`, with as many workers as there are connections: Lambda starts them as they are needed."""
    from local import __main__ as local_stack
    from local import triggers

    triggers.CONSUMERS_OF_WIDE_QUEUES = CONNECTIONS
    # The logger has standard output already, of which only the first line is read.
    ready = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.stdout = ready
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    threading.Thread(target=_trim_when_asked, daemon=True).start()
    return local_stack.run(as_json=True)


def _trim_when_asked() -> None:
    while True:
        signal.sigwait({signal.SIGUSR1})
        gc.collect()
        if sys.platform == "linux":
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def main() -> int:
    match sys.argv[1]:
        case "serve":
            return _serve()
        case "provider":
            asyncio.run(_provide())
        case "clients":
            print(json.dumps(asyncio.run(_clients(json.load(sys.stdin)))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
