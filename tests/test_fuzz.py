"""schemathesis walks through the whole contract, state by state, and every answer is what the contract says.

`make test` has a short walk from a fixed seed; the long one is a torture test, `FUZZ_SEED` and `FUZZ_EXAMPLES` tell which.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.learners import BASE_URL, Learner

ROOT = Path(__file__).parent.parent
SEED = os.environ.get("FUZZ_SEED", "20260107")

Fuzz = Callable[..., None]


@pytest.fixture
def fuzz(request: pytest.FixtureRequest, tmp_path: Path, ada: Learner, ben: Learner) -> Fuzz:
    """Runs schemathesis as ada, with ben to look over her shoulder."""
    url = BASE_URL or request.getfixturevalue("stack").url
    learners = tmp_path / "learners.json"
    learners.write_text(json.dumps({"auth": [authorized("ada", ada), authorized("ben", ben)]}))

    def run(phases: str, examples: int, seconds: int) -> None:
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", "tests/schemathesis.toml", "run"),
            *(f"{url}/openapi.json", f"--phases={phases}", f"--max-examples={examples}", f"--seed={SEED}"),
        ]
        environment = os.environ | {
            "FUZZ_LEARNERS": str(learners),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "layers" / "practice")]),
        }
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds
        )
        if done.returncode:
            pytest.fail(f"{done.stdout[-20_000:]}{done.stderr[-5_000:]}", pytrace=False)

    return run


def authorized(name: str, who: Learner) -> dict[str, object]:
    return {"name": name, "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {who.token}"}]}


def test_a_stranger_with_the_contract_in_hand_finds_nothing(fuzz: Fuzz) -> None:
    fuzz("examples,coverage,stateful", examples=3, seconds=900)


@pytest.mark.torture
def test_a_stranger_with_much_time_finds_nothing(fuzz: Fuzz) -> None:
    examples = int(os.environ.get("FUZZ_EXAMPLES", "300"))

    fuzz("examples,coverage,fuzzing,stateful", examples, seconds=6 * 3600)
