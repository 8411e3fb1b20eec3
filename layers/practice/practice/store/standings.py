"""Standings: from counts of votes to scores with intervals."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from practice import table
from practice.caller import Caller
from practice.schemas.standings import ModelStanding, PairCounts, Scope, Standings, StandingsQuery
from practice.schemas.tally import Tally, UserTally
from practice.store import tallies
from practice.store.bradley_terry import Games, strengths
from practice.table import keys

MEAN: Final = 1000
POINTS: Final = 400 / math.log(10)
"""Of the Elo scale, for one unit of strength: 400 for odds of ten."""
QUANTILE: Final = 1.96
"""Of 95 %."""


def get(caller: Caller, query: StandingsQuery) -> Standings:
    """One request; for a class two more when the state that it shows is renewed."""
    tally: Tally
    if query.scope == Scope.CLASS:
        tally = tallies.shown_to(caller, query.class_id, blind=query.blind)
    else:
        document = table.get(keys.user_votes(caller.user_id, query.class_id))
        tally = UserTally.model_validate_json(document.text) if document else UserTally()
    return standings(query.class_id, query.scope, tally, blind=query.blind)


def standings(class_id: int, scope: Scope, tally: Tally, *, blind: bool) -> Standings:
    pairs = _pairs(tally, blind=blind)
    return Standings(
        class_id=class_id,
        scope=scope,
        votes=tally.blind_votes if blind else tally.votes,
        models=_models(pairs),
        pairs=pairs,
    )


def _pairs(tally: Tally, *, blind: bool) -> list[PairCounts]:
    counts = [
        PairCounts(
            a=each.a, b=each.b, a_wins=each.blind_a_wins, b_wins=each.blind_b_wins, ties=each.blind_ties
        )
        if blind
        else PairCounts(a=each.a, b=each.b, a_wins=each.a_wins, b_wins=each.b_wins, ties=each.ties)
        for each in tally.pairs
    ]
    return [each for each in counts if _games(each)]


def _games(pair: PairCounts) -> int:
    return pair.a_wins + pair.b_wins + pair.ties


def _models(pairs: Sequence[PairCounts]) -> list[ModelStanding]:
    """The best first, equal scores by name; those without a score last."""
    wins, losses, ties = Counter[str](), Counter[str](), Counter[str]()
    for pair in pairs:
        wins.update({pair.a: pair.a_wins, pair.b: pair.b_wins})
        losses.update({pair.a: pair.b_wins, pair.b: pair.a_wins})
        ties.update({pair.a: pair.ties, pair.b: pair.ties})
    scores = _scores(pairs)
    found = []
    for name in sorted(wins):
        score, low, high = scores.get(name, (None, None, None))
        rank = None if high is None else 1 + sum(other > high for _, other, _ in scores.values())
        found.append(
            ModelStanding(
                model_name=name,
                wins=wins[name],
                losses=losses[name],
                ties=ties[name],
                score=score,
                low=low,
                high=high,
                rank=rank,
            )
        )
    return sorted(found, key=lambda each: -math.inf if each.score is None else each.score, reverse=True)


def _scores(pairs: Sequence[PairCounts]) -> dict[str, tuple[int, int, int]]:
    """Score, low and high of the models in the largest component, in whole points."""
    names = sorted(_largest_component(pairs))
    places = {name: place for place, name in enumerate(names)}
    games = [
        Games(places[pair.a], places[pair.b], pair.a_wins + pair.ties / 2, pair.b_wins + pair.ties / 2)
        for pair in pairs
        if pair.a in places
    ]
    found = strengths(len(names), games)
    mean = math.fsum(each.value for each in found) / len(found) if found else 0.0
    scores = {}
    for name, (value, error) in zip(names, found, strict=True):
        score, margin = MEAN + POINTS * (value - mean), QUANTILE * POINTS * error
        scores[name] = (round(score), round(score - margin), round(score + margin))
    return scores


def _largest_component(pairs: Iterable[PairCounts]) -> set[str]:
    """Of the sets of models that votes connect the one with the most votes; of equals the one with the smallest name."""
    components: list[tuple[set[str], int]] = []
    for pair in pairs:
        joined, votes = {pair.a, pair.b}, _games(pair)
        apart = []
        for component in components:
            if component[0].isdisjoint(joined):
                apart.append(component)
            else:
                joined, votes = joined | component[0], votes + component[1]
        components = [*apart, (joined, votes)]
    return min(components, key=lambda each: (-each[1], min(each[0])), default=(set[str](), 0))[0]
