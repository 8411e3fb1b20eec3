"""Counts of votes, counted again from the votes themselves: another way than that of the product."""

import json
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from local.stack import Stack

Items = Mapping[tuple[str, str], Any]


def votes_in(items: Items) -> list[dict[str, Any]]:
    """The votes among the items of learners."""
    return [
        document(item)
        for (_, sk), item in items.items()
        if "#0VOTE#" in sk and ("doc" in item or "z" in item)
    ]


def document(item: Mapping[str, Any]) -> Any:
    return json.loads(item["doc"]["S"] if "doc" in item else zlib.decompress(item["z"]["B"]))


def recount(votes: Iterable[Mapping[str, Any]]) -> Counter[tuple[str, ...]]:
    """By pair and outcome: `(winner, loser)` for a win, `(a, b, "tie")` for a tie; the blind ones once more."""
    counts: Counter[tuple[str, ...]] = Counter()
    for vote in votes:
        names = {each["response_id"]: each["model_name"] for each in vote["answers"]}
        best = names.get(vote["winner"])
        if best:
            found: list[tuple[str, ...]] = [(best, name) for name in names.values() if name != best]
        else:
            found = [(a, b, "tie") for a in names.values() for b in names.values() if a < b]
        for each in found:
            counts[each] += 1
            if vote["blind"]:
                counts["blind", *each] += 1
    return counts


def as_counted(pairs: Iterable[Mapping[str, Any]]) -> Counter[tuple[str, ...]]:
    """The same, of counts as they are stored."""
    counts: Counter[tuple[str, ...]] = Counter()
    for pair in pairs:
        a, b = pair["a"], pair["b"]
        for prefix, name in (((), ""), (("blind",), "blind_")):
            counts[*prefix, a, b] = pair.get(f"{name}a_wins", 0)
            counts[*prefix, b, a] = pair.get(f"{name}b_wins", 0)
            counts[*prefix, a, b, "tie"] = pair.get(f"{name}ties", 0)
    return +counts


def own_miscounts(items: Items) -> list[str]:
    """What a learner's counts in any class say otherwise than the votes do."""
    votes = votes_in(items)
    stored = {
        int(sk[6:]): as_counted(document(item)["pairs"])
        for (_, sk), item in items.items()
        if sk[:6] == "VOTES#"
    }
    classes = stored.keys() | {vote["class_id"] for vote in votes if vote["class_id"]}
    expected = {each: recount(vote for vote in votes if vote["class_id"] == each) for each in classes}
    return [
        f"counts in class {each} are {stored.get(each)}, the votes {counts}"
        for each, counts in expected.items()
        if stored.get(each, Counter()) != counts
    ]


def class_items(stack: Stack, class_id: int) -> dict[str, Any]:
    answer = stack.engine.client().query(
        TableName=stack.template.environment["TABLE_NAME"],
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": f"STANDINGS#{class_id}"}},
        ConsistentRead=True,
    )
    return {item["sk"]["S"]: item for item in answer["Items"]}


def plain(item: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: int(value["N"]) if "N" in value else value.get("S")
        for name, value in item.items()
        if "N" in value or "S" in value
    }


def miscounts(stack: Stack, class_id: int, items: Iterable[Items]) -> list[str]:
    """What the counts of a class, and of each of these learners in it, say otherwise than all of their votes do."""
    problems = []
    mine: list[dict[str, Any]] = []
    voters: Counter[str] = Counter()
    for each in items:
        own = [vote for vote in votes_in(each) if vote["class_id"] == class_id]
        cast = [vote for vote in own if not vote["imported"]]
        mine += cast
        voters["voters"] += bool(cast)
        voters["blind_voters"] += any(vote["blind"] for vote in cast)
        tallies = [document(item) for (_, sk), item in each.items() if sk == f"VOTES#{class_id}"]
        counted = as_counted(tallies[0]["pairs"]) if tallies else Counter()
        if counted != recount(own):
            problems.append(f"a learner's counts are {counted}, the votes {recount(own)}")
        for name, number in (("votes", len(own)), ("cast", len(cast))):
            if (tallies[0][name] if tallies else 0) != number:
                problems.append(f"{name} of a learner: {tallies}, not {number}")
    stored = class_items(stack, class_id)
    counted = as_counted(plain(item) for sk, item in stored.items() if sk.startswith("PAIR#"))
    if counted != recount(mine):
        problems.append(f"the class counts {counted}, the votes are {recount(mine)}")
    whole = plain(stored.get("CLASS", {}))
    expected = {
        "votes": len(mine),
        "blind_votes": sum(vote["blind"] for vote in mine),
        "voters": voters["voters"],
        "blind_voters": voters["blind_voters"],
    }
    if {name: whole.get(name, 0) for name in expected} != expected:
        problems.append(f"the class has {whole}, not {expected}")
    moves = sum(plain(item)["moves"] for sk, item in stored.items() if sk.startswith("PAIR#"))
    if whole.get("moves", 0) != moves:
        problems.append(f"the pairs moved {moves} times, the class says {whole.get('moves')}")
    return problems
