"""Every public model of the profiles answers, whatever was chosen: the stand-in refuses what the services refuse."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local.stack import Stack
from practice.turns import configuration
from practice.turns.model_table import known
from practice.turns.providers import bedrock
from tests.support import matrix
from tests.support.aimock import aimock, answer
from tests.support.learners import Learner
from tests.support.stand_in import PROFILES, TABLE, StandIn
from tools import provider_matrix

Serve = Callable[..., None]


@pytest.fixture
def serve(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Configures all models of the profiles, with this service."""

    def configure(url: str, *, streams: bool) -> None:
        monkeypatch.setenv("MODELS", matrix.configuration(url, streams=streams))
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", url)
        configuration.clear_cache()
        bedrock.clear_cache()

    yield configure
    monkeypatch.undo()
    configuration.clear_cache()
    bedrock.clear_cache()


@pytest.mark.parametrize("streams", [True, False], ids=["streamed", "whole"])
def test_every_model_answers_whatever_was_chosen(
    ada: Learner, class_of: Callable[..., int], serve: Serve, streams: bool
) -> None:
    with StandIn() as stand_in:
        serve(stand_in.url, streams=streams)
        outcomes = matrix.run(ada, class_of)

    failed = {
        (name, choice): (outcome["code"], outcome["reason"])
        for name, of_model in outcomes.items()
        for choice, outcome in of_model.items()
        if "code" in outcome
    }
    assert failed == {}
    assert all(of_model.keys() == matrix.CHOICES.keys() for of_model in outcomes.values())
    assert set(stand_in.asked().values()) == {len(matrix.CHOICES) + 2}, "nothing is asked twice"
    for name, of_model in outcomes.items():
        assert of_model["nothing"]["generation_params"] == {}, name
        assert {each["response_text"] for each in of_model.values()} == {"Paris."}, name
        ours = [each["token_usage"]["_gf"] for each in of_model.values()]
        assert {"first_token_ms" in each for each in ours} == {streams}, name
    page = provider_matrix.PAGE.read_text()
    assert provider_matrix.with_table(page, matrix.page(outcomes)) == page, "python -m tools.provider_matrix"


@pytest.mark.parametrize("streams", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("choice", ["nothing", "all", "history"])
def test_every_model_answers_through_the_stand_in_of_others(
    ada: Learner, class_of: Callable[..., int], serve: Serve, tmp_path: Path, choice: str, streams: bool
) -> None:
    """It refuses nothing; what goes out and comes back is read and written by code that is not ours."""
    with aimock(tmp_path, answer("capital of France", content="Paris.")) as url:
        serve(url, streams=streams)
        outcomes = matrix.run(ada, class_of, {choice: matrix.CHOICES[choice]})

    assert outcomes.keys() == PROFILES.keys()
    for name, of_model in outcomes.items():
        assert of_model[choice].get("response_text") == "Paris.", of_model
        # Text that may be thinking is shown at its end: there is no moment of a first token.
        is_timed = streams and not known(name).get("opens_thinking")
        assert ("first_token_ms" in of_model[choice]["token_usage"]["_gf"]) is is_timed, name


@pytest.mark.parametrize("model", PROFILES)
def test_every_line_of_a_profile_names_its_public_source(model: str) -> None:
    assert all(fact["source"].startswith("https://") for fact in PROFILES[model].facts)


def test_every_error_of_a_service_names_its_public_source() -> None:
    errors = [error for dialect in TABLE["errors"].values() for error in dialect.values()]

    assert all(error["source"].startswith("https://") for error in errors)
