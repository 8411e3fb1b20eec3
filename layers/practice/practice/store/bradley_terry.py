"""Strengths of players from counts of their games: the Bradley-Terry model by maximum likelihood.

The logarithm of the odds that `a` beats `b` is the difference of their strengths; a tie is half a win for each. Every player
also won and lost one virtual game, of weight 0.5 each, against a player of fixed strength 0: so a maximum exists and is
unique, for a player who won every game too. It is found by Newton's method with a line search along each direction, because
Newton's own step is too short where the games of a pair are very one-sided. The standard error of a strength is the root of
its entry in the diagonal of the inverse Hessian.

Lists of floats and no package: fifty players take some 20 ms, and a function starts without a library for arrays.
"""

import math
from collections.abc import Sequence
from operator import mul
from typing import Final, NamedTuple

ITERATIONS: Final = 12
"""At most. Real tables need five or six; a chain of fifty players in which each always beat the next needs eight."""
CLOSE: Final = 1e-9
"""A Newton step that is shorter everywhere changes no digit that is shown."""
PRIOR: Final = 0.5
"""The weight of the virtual win, and of the virtual loss."""
FARTHEST: Final = 8.0
"""What the first iteration may add to the difference of two players who met; the next twice that, and so on."""
LARGEST_ERROR: Final = 1e4
"""Far above every error at a maximum: twelve iterations may end before one, in tables that no class can produce."""
_HALVINGS: Final = 40


class Games(NamedTuple):
    """All games of two players, by their places in the list of players; a tie counts half for each."""

    first: int
    second: int
    first_won: float
    second_won: float


class Strength(NamedTuple):
    value: float
    error: float
    """The standard error."""


def strengths(players: int, games: Sequence[Games]) -> list[Strength]:
    """By place. The natural logarithm of odds is the unit."""
    values = [0.0] * players
    for iteration in range(ITERATIONS):
        gradient, hessian = _derivatives(values, games)
        step = _solve(_factor(hessian), gradient)
        if max(map(abs, step), default=0.0) < CLOSE:
            break
        length = _line_search(values, step, games, FARTHEST * 2**iteration)
        values = [value + length * change for value, change in zip(values, step, strict=True)]
    factor = _factor(_derivatives(values, games)[1])
    return [
        Strength(value, min(math.sqrt(variance), LARGEST_ERROR))
        for value, variance in zip(values, _inverse_diagonal(factor), strict=True)
    ]


def _win(difference: float) -> tuple[float, float]:
    """The chances to win and to lose, each exact where it is tiny."""
    tail = math.exp(-abs(difference))
    less, more = tail / (1.0 + tail), 1.0 / (1.0 + tail)
    return (more, less) if difference >= 0 else (less, more)


def _derivatives(values: list[float], games: Sequence[Games]) -> tuple[list[float], list[list[float]]]:
    """The gradient of the log-likelihood, and the lower triangle of its Hessian's negative."""
    gradient, hessian = [], [[0.0] * (place + 1) for place in range(len(values))]
    for place, value in enumerate(values):
        won, lost = _win(value)
        gradient.append(PRIOR * (lost - won))
        hessian[place][place] = 2 * PRIOR * won * lost
    for first, second, first_won, second_won in games:
        won, lost = _win(values[first] - values[second])
        surprise = first_won * lost - second_won * won
        gradient[first] += surprise
        gradient[second] -= surprise
        weight = (first_won + second_won) * won * lost
        hessian[first][first] += weight
        hessian[second][second] += weight
        hessian[max(first, second)][min(first, second)] -= weight
    return gradient, hessian


def _line_search(values: list[float], step: list[float], games: Sequence[Games], farthest: float) -> float:
    """How many steps reach the best point along them: the log-likelihood is concave, so its slope there is zero.

    No pair moves more than `farthest` apart: the first steps of very one-sided pairs can lead where every chance is 0 or 1.
    """
    lines = [(values[i] - values[j], step[i] - step[j], won, lost) for i, j, won, lost in games]
    fastest = max((abs(change) for _, change, _, _ in lines), default=0.0)
    most = farthest / fastest if fastest else 1.0
    lines += [(value, change, PRIOR, PRIOR) for value, change in zip(values, step, strict=True)]

    def slope(length: float) -> float:
        total = 0.0
        for start, change, first_won, second_won in lines:
            won, lost = _win(start + length * change)
            total += change * (first_won * lost - second_won * won)
        return total

    steepest = slope(0.0)
    low, high = 0.0, min(1.0, most)
    at_high = slope(high)
    if abs(at_high) <= 0.05 * steepest:
        return high
    while at_high > 0 and high < most:
        low, high = high, min(2 * high, most)
        at_high = slope(high)
    if at_high > 0:
        return high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        at_middle = slope(middle)
        if abs(at_middle) <= 0.1 * steepest:
            return middle
        low, high = (middle, high) if at_middle > 0 else (low, middle)
    return low


def _factor(matrix: list[list[float]]) -> list[list[float]]:
    """The lower triangle of the Cholesky factor, of the lower triangle of a positive definite matrix."""
    factor: list[list[float]] = []
    for place, row in enumerate(matrix):
        made: list[float] = []
        for column, other in zip(row, factor, strict=False):
            rest = column - sum(map(mul, made, other))
            made.append(rest / other[-1])
        made.append(math.sqrt(max(row[place] - sum(map(mul, made, made)), _TINY)))
        factor.append(made)
    return factor


_TINY: Final = 1e-300
"""Instead of what rounding left of a diagonal: the entry is positive, however small."""


def _solve(factor: list[list[float]], right: list[float]) -> list[float]:
    middle: list[float] = []
    for row, value in zip(factor, right, strict=True):
        middle.append((value - sum(map(mul, row, middle))) / row[-1])
    for place in range(len(factor) - 1, -1, -1):
        row = factor[place]
        middle[place] /= row[-1]
        known = middle[place]
        for column in range(place):
            middle[column] -= row[column] * known
    return middle


def _inverse_diagonal(factor: list[list[float]]) -> list[float]:
    """Of the matrix that has this factor: the squares of the columns of the factor's inverse."""
    size = len(factor)
    diagonal = [0.0] * size
    columns: list[list[float]] = [[] for _ in range(size)]
    for place, row in enumerate(factor):
        for start, column in enumerate(columns[:place]):
            entry = -sum(map(mul, row[start:place], column)) / row[-1]
            column.append(entry)
            diagonal[start] += entry * entry
        columns[place].append(1.0 / row[-1])
        diagonal[place] += columns[place][0] ** 2
    return diagonal
