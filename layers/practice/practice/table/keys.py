"""Every key of the table, and the one place where ids become keys.

The owner is in the partition key, so an id of another user can only miss. Everything of a session is a neighbour of it, and
the digits make its items sort so that a query read backwards meets the session first, then its settings, its models, and
its responses from the newest on:

    USER#7  SESSION#0000000000131072#0AFTER#0000000000131078#0000000000131081
            SESSION#0000000000131072#0RATING#0000000000131079
            SESSION#0000000000131072#0VOTE#0000000000131078
            SESSION#0000000000131072#1TURN#0000000000131078
            SESSION#0000000000131072#2RESPONSE#0000000000131079            (long texts: ...#<version>#<part>)
            SESSION#0000000000131072#3MODELS
            SESSION#0000000000131072#4SETTINGS
            SESSION#0000000000131072#5SESSION

A session owns the `SESSION_IDS` numbers from its own id on, and the things inside it are numbered from them: the
id of a response or a model gives its session without a request.
"""

import hashlib
import re
from typing import NamedTuple

from practice.limits import MAX_ID, SESSION_IDS


class Key(NamedTuple):
    pk: str
    sk: str


class ItemRef(NamedTuple):
    """The object of a key: `id` is the session's own for its item, its settings and its models."""

    kind: str
    user_id: int
    id: int


class Span(NamedTuple):
    """A run of neighbouring items, both ends included."""

    pk: str
    first: str
    last: str


class Index(NamedTuple):
    """A local index, and the attribute it is sorted by."""

    name: str
    range_key: str


BY_CREATED = Index("by_created", "created")
BY_ACTIVITY = Index("by_activity", "activity")
BY_MODEL = Index("by_model", "of_model")
BY_LINKING = Index("by_linking", "linking")

SESSIONS = "SESSION#"
EXAMPLES = "EXAMPLE#"
"""What the keys of sessions and examples begin with, in the table and in `by_created` and `by_activity`."""

_AFTER = "~"
"""Sorts after every character the keys are made of."""


def _padded(number: int) -> str:
    return f"{min(number, MAX_ID + 1):016d}"


def user(user_id: int) -> str:
    return f"USER#{user_id}"


def _session_prefix(session_id: int) -> str:
    return f"SESSION#{_padded(session_id)}#"


def session_of(child_id: int) -> int:
    """The session that owns the id of one of its models or responses."""
    return child_id - child_id % SESSION_IDS


def end_of(session_id: int) -> int:
    """The first number that is not the session's any more."""
    return session_id + SESSION_IDS


def session(user_id: int, session_id: int) -> Key:
    return Key(user(user_id), _session_prefix(session_id) + "5SESSION")


def settings(user_id: int, session_id: int) -> Key:
    return Key(user(user_id), _session_prefix(session_id) + "4SETTINGS")


def models(user_id: int, session_id: int) -> Key:
    return Key(user(user_id), _session_prefix(session_id) + "3MODELS")


def response(user_id: int, response_id: int) -> Key:
    prefix = _session_prefix(session_of(response_id))
    return Key(user(user_id), f"{prefix}2RESPONSE#{_padded(response_id)}")


def turn(user_id: int, turn_id: int) -> Key:
    return Key(user(user_id), f"{_session_prefix(session_of(turn_id))}1TURN#{_padded(turn_id)}")


def turn_after(user_id: int, after_turn_id: int | None, turn_id: int) -> Key:
    """A turn among those that follow the same one, or among the beginnings."""
    return Key(user(user_id), _after_prefix(session_of(turn_id), after_turn_id) + _padded(turn_id))


def _after_prefix(session_id: int, after_turn_id: int | None) -> str:
    return f"{_session_prefix(session_id)}0AFTER#{_padded(after_turn_id or 0)}#"


def rating(user_id: int, response_id: int) -> Key:
    return Key(user(user_id), f"{_session_prefix(session_of(response_id))}0RATING#{_padded(response_id)}")


def vote(user_id: int, turn_id: int) -> Key:
    return Key(user(user_id), f"{_session_prefix(session_of(turn_id))}0VOTE#{_padded(turn_id)}")


def is_vote(sk: str) -> bool:
    return "#0VOTE#" in sk


def part(whole: Key, version: int, number: int) -> Key:
    return Key(whole.pk, f"{whole.sk}#{version:08d}#{number:02d}")


def is_part_of(sk: str, whole_sk: str) -> bool:
    return sk.startswith(whole_sk + "#")


def example(user_id: int, example_id: int) -> Key:
    return Key(user(user_id), f"EXAMPLE#{_padded(example_id)}")


def transfer(user_id: int, transfer_id: int) -> Key:
    """An export or an import that is too large for one answer."""
    return Key(user(user_id), f"TRANSFER#{_padded(transfer_id)}")


def usage(user_id: int, day: str) -> Key:
    """What a user's models took on a day."""
    return Key(user(user_id), f"USAGE#{day}")


def usage_days(user_id: int, first: str, last: str) -> Span:
    return Span(user(user_id), f"USAGE#{first}", f"USAGE#{last}")


def is_usage(sk: str) -> bool:
    return sk.startswith("USAGE#")


def day_in(sk: str) -> str:
    return sk.split("#")[1]


def reservation(user_id: int, name: str) -> Key:
    """What budgets hold for a turn under way, by its id; for the first turn of a run by the session's."""
    return Key(user(user_id), f"RESERVED#{name}")


def reservations(user_id: int) -> Span:
    return Span(user(user_id), "RESERVED#", f"RESERVED#{_AFTER}")


def reservation_name(sk: str) -> str:
    return sk.partition("#")[2]


def account(user_id: int) -> Key:
    """Counts, revoked tokens and the receipt of an erasure: the one item a user always has.

    It has a partition key of its own: a user whose items fill the 10 GB of theirs can still be erased, and tokens revoked.
    """
    return Key(f"{user(user_id)}#ACCOUNT", "ACCOUNT")


def connection(connection_id: str) -> Key:
    """A live connection: its id is all that a message of its client comes with."""
    return Key(f"CONNECTION#{connection_id}", "CONNECTION")


def connections(user_id: int) -> Key:
    """Which live connections a user has; beside the account, since a full partition must not keep a user from following."""
    return Key(f"{user(user_id)}#ACCOUNT", "CONNECTIONS")


def account_of_before(user_id: int) -> Key:
    """Where accounts were kept before they had a partition key of their own."""
    return Key(user(user_id), "ACCOUNT")


def ingested(user_id: int, digest: str) -> Key:
    """Remembers that a message became a response, until no copy of it can arrive any more."""
    return Key(user(user_id), f"INGESTED#{digest}")


def idempotency(user_id: int, digest: str) -> Key:
    return Key(user(user_id), f"KEY#{digest}")


def practice_class(class_id: int) -> Key:
    return Key(f"CLASS#{class_id}", "CLASS")


def user_votes(user_id: int, class_id: int) -> Key:
    """What the votes of a user in a class add up to. It sorts after the votes: an erasure comes to them first."""
    return Key(user(user_id), f"VOTES#{class_id}")


def class_votes(class_id: int) -> Key:
    """How many votes and voters a class has."""
    return Key(f"STANDINGS#{class_id}", "CLASS")


def shown_standings(class_id: int) -> Key:
    """What the class shows of its votes."""
    return Key(f"STANDINGS#{class_id}", "SHOWN")


def class_pair(class_id: int, a: str, b: str) -> Key:
    digest = hashlib.sha256(f"{len(a)} {a}{b}".encode()).hexdigest()[:32]
    return Key(f"STANDINGS#{class_id}", f"PAIR#{digest}")


def class_pairs(class_id: int) -> Span:
    return Span(f"STANDINGS#{class_id}", "PAIR#", f"PAIR#{_AFTER}")


def agent(agent_id: int) -> Key:
    return Key(f"AGENT#{agent_id}", "AGENT")


def id_block(shard: int) -> Key:
    return Key(f"IDS#{shard}", "LEASE")


_OWNER = re.compile(r"USER#([1-9]\d{0,15})", re.ASCII)
_CHILD = re.compile(
    r"SESSION#(?P<session>\d{16})#(?:(?P<item>3MODELS|4SETTINGS|5SESSION)|(?P<kind>0RATING|0VOTE|1TURN|2RESPONSE)#(?P<child>\d{16}))"
    r"|(?P<library>EXAMPLE)#(?P<example>\d{16})",
    re.ASCII,
)


def item_ref_of(key: Key) -> ItemRef | None:
    """None for a part of a long document, and for every kind of item that is not a learner's to see."""
    owner, found = _OWNER.fullmatch(key.pk), _CHILD.fullmatch(key.sk)
    if owner is None or found is None:
        return None
    kind = found["item"] or found["kind"] or found["library"]
    number = found["child"] or found["session"] or found["example"]
    return ItemRef(kind.lstrip("012345"), int(owner[1]), int(number))


def session_without_responses(user_id: int, session_id: int) -> Span:
    prefix = _session_prefix(session_id)
    return Span(user(user_id), prefix + "3", prefix + "5SESSION")


def session_with_responses(user_id: int, session_id: int) -> Span:
    prefix = _session_prefix(session_id)
    return Span(user(user_id), prefix + "2", prefix + "5SESSION")


def responses(user_id: int, session_id: int, before: int | None = None, after: int | None = None) -> Span:
    """The responses of a session: those whose id is lower than `before` and higher than `after`."""
    return _between(user_id, _session_prefix(session_id) + "2RESPONSE#", before, after)


def turns(user_id: int, session_id: int, before: int | None = None, after: int | None = None) -> Span:
    """The turns of a session, in the same way."""
    return _between(user_id, _session_prefix(session_id) + "1TURN#", before, after)


def _between(user_id: int, prefix: str, before: int | None, after: int | None) -> Span:
    first = "" if after is None else _padded(after) + _AFTER
    last = _AFTER if before is None else _padded(before - 1) + _AFTER
    return Span(user(user_id), prefix + first, prefix + last)


def turns_after(user_id: int, session_id: int, after_turn_id: int | None) -> Span:
    prefix = _after_prefix(session_id, after_turn_id)
    return Span(user(user_id), prefix, prefix + _AFTER)


def ratings(user_id: int, session_id: int) -> Span:
    prefix = _session_prefix(session_id) + "0RATING#"
    return Span(user(user_id), prefix, prefix + _AFTER)


def votes(user_id: int, session_id: int) -> Span:
    prefix = _session_prefix(session_id) + "0VOTE#"
    return Span(user(user_id), prefix, prefix + _AFTER)


def everything_in(user_id: int, session_id: int) -> Span:
    prefix = _session_prefix(session_id)
    return Span(user(user_id), prefix, prefix + _AFTER)


def everything_of(user_id: int) -> Span:
    """All of a user's items but an account of before, which sorts before them."""
    return Span(user(user_id), "B", _AFTER)


def examples_of(user_id: int) -> Span:
    return Span(user(user_id), "EXAMPLE#", f"EXAMPLE#{_AFTER}")


def sessions_of(user_id: int) -> Span:
    """All sessions of a user, with everything in them."""
    return Span(user(user_id), "SESSION#", f"SESSION#{_AFTER}")


def kind_of(sk: str) -> str:
    """`sessions`, `examples` and `responses` are counted as such; parts and all others are none of them."""
    steps = sk.split("#")
    if steps[0] == "EXAMPLE":
        return "examples"
    if steps[-1] == "5SESSION":
        return "sessions"
    return "responses" if len(steps) == 4 and steps[2] == "2RESPONSE" else "others"


# Range keys of the local indexes.


def session_at(timestamp: str, session_id: int) -> str:
    """`by_created` and `by_activity`: sessions by time, ties by id."""
    return f"{SESSIONS}{timestamp}#{_padded(session_id)}"


def moment_in(range_key: str) -> str:
    """The time in a range key of `by_created` or `by_activity`."""
    return range_key.split("#")[1]


def example_at(timestamp: str, example_id: int) -> str:
    """`by_created`: examples by time, ties by id."""
    return f"{EXAMPLES}{timestamp}#{_padded(example_id)}"


def of_model(session_model_id: int, response_id: int) -> str:
    """`by_model`: the responses of one model, oldest first."""
    return of_model_prefix(session_model_id) + _padded(response_id)


def of_model_prefix(session_model_id: int) -> str:
    return f"{_padded(session_model_id)}#"


def model_in(of_model: str) -> int:
    return int(of_model.partition("#")[0])


def link_index_key(session_id: int) -> str:
    """`by_linking`: the settings that select examples."""
    return _padded(session_id)


def last_number(range_key: str) -> int:
    """The id at the end of a range key, or of a key of `turn_after`."""
    return int(range_key.rpartition("#")[2])


def number_in(sk: str) -> int:
    """The id of the response, turn or example that a sort key names, or names the rating or vote of."""
    return int(sk.split("#")[3] if sk.startswith("SESSION#") else sk.split("#")[1])


def session_id_in(sk: str) -> int:
    return int(sk.split("#", 2)[1])
