"""Every public model of the profiles answers, whatever was chosen: the stand-in refuses what the services refuse."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from local.stack import Stack
from practice.turns import configuration
from practice.turns.providers import bedrock
from tests.support import matrix
from tests.support.learners import Learner
from tests.support.stand_in import PROFILES, TABLE, StandIn
from tools import provider_matrix


@pytest.fixture
def stand_in(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with StandIn() as serving:
        monkeypatch.setenv("MODELS", matrix.configuration(serving.url))
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", serving.url)
        configuration.clear_cache()
        bedrock.clear_cache()
        yield serving
    monkeypatch.undo()
    configuration.clear_cache()
    bedrock.clear_cache()


@pytest.mark.parametrize("streams", [True, False], ids=["streamed", "whole"])
def test_every_model_answers_whatever_was_chosen(
    ada: Learner,
    announce: Callable[..., Any],
    stand_in: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    streams: bool,
) -> None:
    monkeypatch.setenv("MODELS", matrix.configuration(stand_in.url, streams=streams))
    configuration.clear_cache()

    outcomes = matrix.run(ada, announce)

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


@pytest.mark.parametrize("model", PROFILES)
def test_every_line_of_a_profile_names_its_public_source(model: str) -> None:
    assert all(fact["source"].startswith("https://") for fact in PROFILES[model].facts)


def test_every_error_of_a_service_names_its_public_source() -> None:
    errors = [error for dialect in TABLE["errors"].values() for error in dialect.values()]

    assert all(error["source"].startswith("https://") for error in errors)
