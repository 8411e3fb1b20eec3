"""The clients for TypeScript and browsers: types from the contracts, strictly checked, run by node on the local stack."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from local.stack import ROOT, Stack
from tests.support.learners import Learner
from tests.support.unreliable import Unreliable, busy
from tools import typescript_client

CLIENTS = ROOT / "clients"
PACKAGES = ROOT / "node_modules"

pytestmark = pytest.mark.skipif(
    not shutil.which("node") or not (PACKAGES / "openapi-typescript").exists(),
    reason="needs node and the packages of npm",
)

# Each line after the mark has to be wrong: tsc refuses a mark without an error.
MISUSE = """
import { practice, type Schemas } from "./practice.mjs";
import { Live } from "../web/live.mjs";
const client = practice({ baseUrl: "", token: () => "" });
const live = new Live({ url: "", api: "", token: () => "" });
const path = { session_id: 1 };
// @ts-expect-error: a misspelled field
const body = { titel: "x" } satisfies Schemas["SessionChanges"];
// @ts-expect-error: a field of another type
await client.PATCH("/user/practice/sessions/{session_id}", { params: { path }, body: { title: 7 } });
// @ts-expect-error: an unknown preset
await client.PATCH("/user/practice/sessions/{session_id}/settings", { params: { path }, body: { style_preset: "x" } });
// @ts-expect-error: no such route
await client.GET("/user/practice/session");
// @ts-expect-error: a required field is missing
await client.POST("/user/practice/few-shot-examples", { body: { input_text: "x" } });
const { data } = await client.GET("/user/practice/sessions/{session_id}", { params: { path } });
// @ts-expect-error: an answer may have failed
data.title;
// @ts-expect-error: a title may be null
data?.title.length;
// @ts-expect-error: a turn needs a prompt
live.chat({ session_id: 1 });
// @ts-expect-error: a misspelled field
live.run({ class_id: 1, prompt_text: "", style: "accurate" });
for await (const event of live.follow({ session_id: 1, turn_id: 1 })) {
  // @ts-expect-error: not every event has a text
  event.text;
  // @ts-expect-error: no such event
  if (event.type === "answer.thought") break;
  if (event.type === "answer.delta") event.text.length;
}
"""
RETRIED = """
import { practice } from "./practice.mjs";
declare const process: { env: Record<string, string> };
const pauses: number[] = [];
const pause = async (seconds: number) => void pauses.push(Math.floor(seconds));
const { BASE_URL = "", TOKEN = "" } = process.env;
const client = practice({ baseUrl: BASE_URL, token: () => TOKEN, pause });
const { response } = await client.POST("/user/practice/few-shot-examples", { body: { input_text: "a", output_text: "b" } });
console.log(JSON.stringify([response.status, pauses]));
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the clients, generated and compiled; what misuses them is compiled too."""
    folder = tmp_path_factory.mktemp("clients")
    for name, kinds in {"typescript": (".mts", ".json"), "web": (".mjs",)}.items():
        (folder / name).mkdir()
        for file in (CLIENTS / name).iterdir():
            if file.suffix in kinds:
                shutil.copy(file, folder / name)
    typescript = folder / "typescript"
    (typescript / "node_modules").symlink_to(PACKAGES)
    (typescript / "misuse.mts").write_text(MISUSE)
    (typescript / "retried.mts").write_text(RETRIED)
    typescript_client.write(folder)
    run("node", PACKAGES / "typescript" / "bin" / "tsc", "--project", typescript)
    return typescript / "built" / "typescript"


def run(*command: str | Path, **variables: str) -> str:
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def played(program: Path, url: str, who: Learner) -> Any:
    return json.loads(run("node", program, BASE_URL=url, TOKEN=who.token))


def test_a_learner_practises_with_it(built: Path, stack: Stack, ada: Learner) -> None:
    seen = played(built / "example.mjs", stack.url, ada)

    assert seen == {
        "opened": 201,
        "temperature": 0.2,
        "answers": ["claude-3-haiku-20240307", "gpt-4o-mini"],
        "library": ["3+3", "2+2", "1+1"],
        "late": [412, "precondition_failed"],
        "problems": [422, "body.class_id"],
        "embedded": 2,
    }
    assert ada.get("/sessions").json["items"][0]["title"] == "Kind and short"


def test_no_answer_is_an_object_that_may_have_no_field(built: Path) -> None:
    assert (
        '"application/json": Record<string, never>' not in (built.parent.parent / "schema.d.ts").read_text()
    )


def test_it_waits_as_it_is_asked_to_and_a_post_is_done_once(
    built: Path, unreliable: Unreliable, ada: Learner
) -> None:
    unreliable.plays = ["lost", busy(409, retry_after="2"), busy(429, retry_after="3")]

    assert played(built / "retried.mjs", unreliable.server.url, ada)[0] == 201

    assert len({request.header("idempotency-key") for request in unreliable.asked}) == 1
    assert len(unreliable.asked) == 4
    assert ada.get("/few-shot-examples").json["total"] == 1
