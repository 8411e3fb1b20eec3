"""schemathesis walks through the whole contract, state by state, and every answer is what the contract says.

`make test` has a short walk from a fixed seed; the long ones are torture tests, each from a seed of its own.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.learners import BASE_URL, Learner
from tests.support.torture import SEED, SIZES, count

pytestmark = pytest.mark.trust

ROOT = Path(__file__).parents[2]

Fuzz = Callable[..., None]


@pytest.fixture
def fuzz(request: pytest.FixtureRequest, tmp_path: Path, ada: Learner, ben: Learner) -> Fuzz:
    """Runs schemathesis as ada, with ben to look over her shoulder."""
    url = BASE_URL or request.getfixturevalue("stack").url
    learners = tmp_path / "learners.json"
    learners.write_text(json.dumps({"auth": [authorized("ada", ada), authorized("ben", ben)]}))
    requests = tmp_path / "requests"

    def run(phases: str, examples: int, seed: int, seconds: int) -> None:
        command = [
            *(sys.executable, "-m", "schemathesis.cli"),
            *("--config-file", "tests/support/schemathesis.toml", "run"),
            *(f"{url}/openapi.json", f"--phases={phases}", f"--max-examples={examples}", f"--seed={seed}"),
        ]
        environment = os.environ | {
            "FUZZ_LEARNERS": str(learners),
            "FUZZ_REQUESTS": str(requests),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "layers" / "practice")]),
        }
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds
        )
        count("requests", requests.stat().st_size)
        if done.returncode:
            pytest.fail(f"{done.stdout[-20_000:]}{done.stderr[-5_000:]}", pytrace=False)

    return run


def authorized(name: str, who: Learner) -> dict[str, object]:
    return {"name": name, "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {who.token}"}]}


def test_a_fuzzer_with_the_contract_finds_nothing(fuzz: Fuzz) -> None:
    fuzz("examples,coverage,stateful", examples=3, seed=SEED, seconds=900)


@pytest.mark.torture
@pytest.mark.parametrize("walk", range(1, SIZES["FUZZ_WALKS"] + 1))
def test_a_fuzzer_with_much_time_finds_nothing(fuzz: Fuzz, walk: int) -> None:
    fuzz("examples,coverage,fuzzing,stateful", SIZES["FUZZ_EXAMPLES"], seed=SEED + walk, seconds=3600)
