"""Strengths and scores, held against figures that independent programs computed from published tables."""

import json
import math
import random
import time
from collections.abc import Callable
from itertools import combinations, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import pictures
from practice.schemas.standings import Scope, Standings
from practice.schemas.tally import Comparisons, Tally
from practice.store.bradley_terry import ITERATIONS, Games, strengths
from practice.store.standings import standings

Table = dict[str, dict[str, int]]

# Wins of the row over the column. The figures beside each table: strength and standard error by the logistic regression of
# statsmodels 0.14 (binomial GLM, a row for each pair and one row 0.5 : 0.5 against no opponent for each player), and the
# same strengths to all digits by choix 0.4.1 (opt_pairwise over doubled counts, with a further player shifted to 0).
TABLES: dict[str, tuple[list[str], list[list[int]], list[tuple[float, float]]]] = {
    # Citations between four journals of statistics, 1987 to 1989 (Stigler 1994; Agresti, Categorical Data Analysis).
    "journals": (
        ["Biometrika", "Comm. Statist.", "JASA", "JRSS-B"],
        [[0, 730, 498, 221], [33, 0, 68, 17], [320, 813, 0, 142], [284, 276, 325, 0]],
        [(0.642297, 1.146621), (-2.302883, 1.149207), (0.163150, 1.146567), (0.910711, 1.147015)],
    ),
    # Matches of five tennis players, 2014 to 2018 (Agresti, An Introduction to Categorical Data Analysis, 3rd edition).
    "tennis": (
        ["Djokovic", "Federer", "Murray", "Nadal", "Wawrinka"],
        [[0, 9, 14, 9, 4], [6, 0, 5, 5, 7], [3, 0, 0, 2, 2], [2, 1, 4, 0, 4], [3, 2, 2, 3, 0]],
        [
            (0.821731, 0.982786),
            (0.773281, 0.993701),
            (-0.869443, 1.008736),
            (-0.381273, 0.994384),
            (-0.322871, 0.998850),
        ],
    ),
    # Games of the American League, eastern division, 1987 (Agresti, Categorical Data Analysis).
    "baseball": (
        ["Milwaukee", "Detroit", "Toronto", "New York", "Boston", "Cleveland", "Baltimore"],
        [
            [0, 7, 9, 7, 7, 9, 11],
            [6, 0, 7, 5, 11, 9, 9],
            [4, 6, 0, 7, 7, 8, 12],
            [6, 8, 6, 0, 6, 7, 10],
            [6, 2, 6, 7, 0, 7, 12],
            [4, 4, 5, 6, 6, 0, 6],
            [2, 4, 1, 3, 1, 7, 0],
        ],
        [
            (0.513385, 0.804266),
            (0.370390, 0.803213),
            (0.230327, 0.802542),
            (0.184068, 0.802397),
            (0.045956, 0.802181),
            (-0.372257, 0.803521),
            (-1.045199, 0.812803),
        ],
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_strengths_and_errors_are_those_of_other_programs(name: str) -> None:
    names, wins, expected = TABLES[name]
    games = [Games(i, j, wins[i][j], wins[j][i]) for i, j in combinations(range(len(names)), 2)]

    found = strengths(len(names), games)

    for (value, error), (expected_value, expected_error) in zip(found, expected, strict=True):
        assert value == pytest.approx(expected_value, abs=1e-6)
        assert error == pytest.approx(expected_error, abs=1e-6)


@pytest.mark.parametrize("name", TABLES)
def test_scores_are_those_strengths_on_the_scale_of_elo(name: str) -> None:
    names, wins, expected = TABLES[name]
    made = of(
        {(names[i], names[j]): (wins[i][j], wins[j][i], 0) for i, j in combinations(range(len(names)), 2)}
    )

    mean = sum(value for value, _ in expected) / len(expected)
    unit = 400 / math.log(10)
    for player, (value, error) in zip(names, expected, strict=True):
        model = next(each for each in made.models if each.model_name == player)
        assert model.score == round(1000 + unit * (value - mean))
        assert model.low == round(1000 + unit * (value - mean - 1.96 * error))
        assert model.high == round(1000 + unit * (value - mean + 1.96 * error))


def of(counts: dict[tuple[str, str], tuple[int, int, int]]) -> Standings:
    """Standings of votes on two answers each."""
    pairs = []
    for (first, second), (won, lost, tied) in counts.items():
        a, b, a_wins, b_wins = (first, second, won, lost) if first < second else (second, first, lost, won)
        pairs.append(Comparisons(a=a, b=b, a_wins=a_wins, b_wins=b_wins, ties=tied))
    tally = Tally(
        votes=sum(map(sum, counts.values())), pairs=sorted(pairs, key=lambda each: (each.a, each.b))
    )
    return standings(1, Scope.MINE, tally, blind=False)


def test_no_vote_has_no_models() -> None:
    assert of({}) == Standings(class_id=1, scope=Scope.MINE, votes=0, models=[], pairs=[])


def test_one_vote_puts_the_winner_first_and_says_how_little_it_means() -> None:
    best, worst = of({("a", "b"): (1, 0, 0)}).models

    assert (best.model_name, best.wins, best.losses, best.rank) == ("a", 1, 0, 1)
    assert (worst.model_name, worst.wins, worst.losses, worst.rank) == ("b", 0, 1, 1)
    assert best.score is not None
    assert worst.score is not None
    assert best.score + worst.score == 2000
    assert best.score > 1000


def test_ties_alone_are_a_tie() -> None:
    for model in of({("a", "b"): (0, 0, 9), ("b", "c"): (0, 0, 4)}).models:
        assert (model.score, model.rank, model.wins, model.losses) == (1000, 1, 0, 0)


def test_a_tie_is_half_a_win_for_each() -> None:
    tied, split = of({("a", "b"): (3, 1, 2)}), of({("a", "b"): (4, 2, 0)})

    assert [each.score for each in tied.models] == [each.score for each in split.models]


def test_all_wins_have_a_finite_score() -> None:
    best, worst = of({("a", "b"): (1_000_000, 0, 0)}).models

    assert best.score is not None
    assert 2000 < best.score < 5000
    assert worst.score == 2000 - best.score


def test_models_that_no_votes_connect_are_not_compared() -> None:
    made = of({("c", "d"): (3, 1, 0), ("a", "b"): (2, 1, 0), ("d", "e"): (0, 1, 0)})

    scored = {each.model_name for each in made.models if each.score is not None}
    assert scored == {"c", "d", "e"}
    for model in made.models[3:]:
        assert (model.score, model.low, model.high, model.rank) == (None, None, None, None)
        assert model.wins + model.losses == 3


def test_of_components_with_equally_many_votes_the_smallest_name_is_scored() -> None:
    made = of({("c", "d"): (3, 0, 0), ("b", "a"): (2, 1, 0)})

    assert {each.model_name for each in made.models if each.score is not None} == {"a", "b"}


def test_a_rank_counts_the_models_that_are_better_beyond_doubt() -> None:
    made = of({(f"m{i}", f"m{i + 1}"): (5000, 0, 0) for i in range(9)})

    ranks = [each.rank for each in made.models]
    assert ranks[0] == 1
    assert ranks[-1] == 1 + sum(
        each.low is not None and made.models[-1].high is not None and each.low > made.models[-1].high
        for each in made.models
    )
    assert ranks[-1] > 3


def many(players: int, votes: int) -> list[Games]:
    chance = random.Random(7)
    real = [chance.gauss(0, 1) for _ in range(players)]
    games = []
    each = votes // math.comb(players, 2)
    for i, j in combinations(range(players), 2):
        won = round(each / (1 + math.exp(real[j] - real[i])))
        games.append(Games(i, j, won, each - won))
    return games


def seconds_of(*works: Callable[[], object]) -> list[float]:
    """Of the processor, the best of nine rounds for each: what slows a round slows all of it."""
    rounds = []
    for _ in range(9):
        times = [time.process_time()]
        for work in works:
            work()
            times.append(time.process_time())
        rounds.append([after - before for before, after in pairwise(times)])
    return [min(each) for each in zip(*rounds, strict=True)]


def a_million_additions() -> float:
    total = 0.0
    for number in range(1_000_000):
        total += number
    return total


def test_fifty_models_and_a_million_votes_take_less_than_a_million_additions() -> None:
    """50 ms of a processor that adds twenty million times a second."""
    games = many(50, 1_000_000)

    ours, additions = seconds_of(lambda: strengths(50, games), a_million_additions)

    assert ours < additions


ONE_SIDED = {
    "a chain": [Games(i, i + 1, 20_000, 0) for i in range(49)],
    "an order": [Games(i, j, 800, 0) for i, j in combinations(range(50), 2)],
    "a star": [Games(0, i, 20_000, 0) for i in range(1, 50)],
    "votes as they come": many(50, 1_000_000),
}


@pytest.mark.parametrize("name", ONE_SIDED)
def test_twelve_iterations_reach_the_maximum(name: str) -> None:
    games = ONE_SIDED[name]
    found = [each.value for each in strengths(50, games)]

    slopes = [-math.tanh(value / 2) / 2 for value in found]
    for i, j, won, lost in games:
        expected = (won + lost) / (1 + math.exp(found[j] - found[i])) if found[j] - found[i] < 700 else 0
        slopes[i] += won - expected
        slopes[j] -= won - expected
    assert max(map(abs, slopes)) < 1e-5
    assert ITERATIONS == 12


counts = st.sampled_from([0, 1, 2, 7, 100, 10_000, 1_000_000])
tables = st.dictionaries(
    st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("ijklmnop")), st.tuples(counts, counts, counts)
)


def test_the_picture_of_the_page_is_the_one_of_today() -> None:
    assert (pictures.FOLDER / "intervals.svg").read_text() == pictures.intervals(), (
        "python -c 'from benchmarks import pictures; pictures.draw_intervals()'"
    )


@given(tables)
@settings(max_examples=200, deadline=None)
def test_whatever_the_votes_the_standings_are_finite_and_whole(table: dict[Any, Any]) -> None:
    made = of(table)

    assert json.loads(made.model_dump_json())["votes"] == made.votes
    for model in made.models:
        if model.score is not None:
            assert model.low is not None
            assert model.high is not None
            assert model.low <= model.score <= model.high
            assert abs(model.high) < 2**53
    assert sum(each.wins for each in made.models) == sum(each.losses for each in made.models)


@given(tables, st.randoms())
@settings(max_examples=50, deadline=None)
def test_the_order_of_the_votes_changes_no_digit(table: dict[Any, Any], chance: random.Random) -> None:
    shuffled = list(table.items())
    chance.shuffle(shuffled)

    assert of(dict(shuffled)) == of(table)
