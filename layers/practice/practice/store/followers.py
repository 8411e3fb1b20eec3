"""Who follows a turn live: each live connection, with its client's id for the turn, in a set in the turn's item."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from practice import table
from practice.errors import StoreUnavailable, TooManyFollowers, TurnNotFound, Unauthorized
from practice.limits import FOLLOWERS
from practice.schemas.turn import IN_PROGRESS, TurnStatus
from practice.store import accounts, connections
from practice.store.turn_state import Follower, Followers, followers_in
from practice.table import keys

TELLING_SECONDS: Final = 60.0
"""Longer than the followers of a turn that has ended are sent its messages."""


class Sighting(NamedTuple):
    """What the runner of a turn learns once a second."""

    is_over: bool
    """Cancelled, settled elsewhere, or deleted."""
    followers: Followers
    refused: Followers
    """Of those asked about: the connection is gone, its token expired or revoked, or the user erased."""


def look(user_id: int, turn_id: int, followers: Followers = frozenset()) -> Sighting:
    """One request, for the turn and for what may close the connections of the followers that are known."""
    turn_key = keys.turn(user_id, turn_id)
    names: tuple[str, ...] = ("status", "cancelled", "followers")
    wanted = [turn_key]
    if followers:
        wanted += accounts.places_of(user_id)
        wanted += [keys.connection(each.connection_id) for each in followers]
        names += (*accounts.RULES, *connections.ATTRIBUTES)
    found = table.peek_all(wanted, *names)
    item = found.get(turn_key)
    is_over = item is None or item["status"] != table.text(TurnStatus.RUNNING) or "cancelled" in item
    account = [found[key] for key in accounts.places_of(user_id) if key in found]
    refused = frozenset(each for each in followers if not _may_follow(each, found, account))
    return Sighting(is_over, followers_in(item) if item else frozenset(), refused)


def _may_follow(follower: Follower, found: dict[keys.Key, table.Item], account: list[table.Item]) -> bool:
    item = found.get(keys.connection(follower.connection_id))
    if item is None:
        return False
    connection = connections.connection_of(follower.connection_id, item)
    try:
        accounts.token_rules(account).accept(connection.caller)
    except (Unauthorized, StoreUnavailable):
        return False
    return not connection.is_expired()


def follow(user_id: int, turn_id: int, follower: Follower) -> bool:
    """False when the turn has ended. One request. Raises TurnNotFound, TooManyFollowers."""
    in_progress = {":queued": table.text(TurnStatus.QUEUED), ":running": table.text(TurnStatus.RUNNING)}
    room = "attribute_not_exists(#followers) OR size(#followers) < :most OR contains(#followers, :own)"
    added = table.add_to_set(
        keys.turn(user_id, turn_id),
        "followers",
        [follower.entry],
        condition=f"#status IN (:queued, :running) AND ({room})",
        values={**in_progress, ":most": table.number(FOLLOWERS), ":own": table.text(follower.entry)},
    )
    try:
        table.write(added)
    except table.ConditionFailed as failed:
        if failed.item is None:
            raise TurnNotFound from None
        if failed.item["status"]["S"] in IN_PROGRESS:
            raise TooManyFollowers from None
        return False
    return True


def admit(user_id: int, turn_id: int, follower: Follower) -> None:
    """Makes room for one more. One request; three when followers that are gone must leave. Raises TooManyFollowers."""
    item = table.peek(keys.turn(user_id, turn_id), "followers")
    others = followers_in(item) - {follower} if item else frozenset()
    if len(others) < FOLLOWERS:
        return
    exist = connections.which_exist(each.connection_id for each in others)
    gone = [each for each in others if each.connection_id not in exist]
    if not gone:
        raise TooManyFollowers
    unfollow(user_id, turn_id, gone)


def claim(user_id: int, turn_id: int) -> bool:
    """For a turn that has ended while it has followers: who gets True sends them the rest. One request."""
    in_progress = {":queued": table.text(TurnStatus.QUEUED), ":running": table.text(TurnStatus.RUNNING)}
    claimed = table.update(
        keys.turn(user_id, turn_id),
        set_to={"until": table.ms_from_now(TELLING_SECONDS)},
        condition="NOT (#status IN (:queued, :running)) AND attribute_exists(#followers)"
        " AND (attribute_not_exists(#until) OR #until < :now)",
        values={**in_progress, ":now": table.ms_from_now(0)},
    )
    try:
        table.write(claimed)
    except table.ConditionFailed:
        return False
    return True


def forget(user_id: int, turn_id: int) -> None:
    """When all is sent. One request; nothing for a turn that was deleted."""
    forgotten = table.update(
        keys.turn(user_id, turn_id),
        set_to={"followers": None, "until": None},
        condition="attribute_exists(#pk)",
    )
    try:
        table.write(forgotten)
    except table.ConditionFailed:
        return


def unfollow(user_id: int, turn_id: int, followers: Iterable[Follower]) -> None:
    """One request; nothing for a turn that was deleted."""
    removed = table.remove_from_set(
        keys.turn(user_id, turn_id), "followers", [each.entry for each in followers]
    )
    try:
        table.write(removed)
    except table.ConditionFailed:
        return
