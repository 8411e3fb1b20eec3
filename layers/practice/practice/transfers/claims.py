"""An import's claim on its account: nothing else is created while it is held, and each transaction of the import extends it.

Every item that an import writes is marked. A claim that is not extended lapses: the account is free again, and the next
import that claims it, the same one or another, first deletes the marked items. All of them are of imports that failed,
since the first of these imports found the account empty.
"""

import secrets
from collections.abc import Iterator
from typing import Final, NamedTuple

from practice import table
from practice.errors import AccountNotEmpty, ImportInProgress, Unauthorized
from practice.runtime.deadline import Deadline
from practice.store import accounts, sweeps
from practice.table import keys

CLAIM_SECONDS: Final = 60.0
"""How long an import that does not go on keeps the account."""
MARK: Final = {"imported": table.number(1)}
_MARKED: Final = "attribute_exists(#imported)"
_DELETIONS: Final = 20
"""Items that one transaction deletes with their count."""


class Claim(NamedTuple):
    """The account is this import's for as long as it goes on."""

    user_id: int
    token: str

    def extended(self, **counted: int) -> table.Write:
        """The first write of each of its transactions; fails once the claim has lapsed, or is another's."""
        return table.update(
            keys.account(self.user_id),
            set_to={"import_until": table.ms_from_now(CLAIM_SECONDS)},
            add=counted,
            condition=_HELD,
            values=self._values(),
        )

    def released(self) -> table.Write:
        """The same; it ends the claim."""
        return table.update(
            keys.account(self.user_id),
            set_to={"importing": None, "import_until": None},
            condition=_HELD,
            values=self._values(),
        )

    def _values(self) -> dict[str, table.Value]:
        return {":claim": table.text(self.token), ":now": table.ms_from_now()}

    def commit(self, *writes: table.Write, **counted: int) -> None:
        """Raises ImportInProgress when the claim is lost."""
        try:
            table.write(self.extended(**counted), *writes)
        except table.ConditionFailed as failed:
            if failed.index == 0:
                raise ImportInProgress from None
            raise

    def release(self) -> None:
        try:
            table.write(self.released())
        except table.ConditionFailed:
            return

    def lapse(self) -> None:
        """Frees the account and leaves what is written to the next claim, which deletes it."""
        lapsed: dict[str, table.Value | None] = {"import_until": table.number(0)}
        mine = {":claim": table.text(self.token)}
        key = keys.account(self.user_id)
        try:
            table.write(table.update(key, set_to=lapsed, condition="#importing = :claim", values=mine))
        except table.ConditionFailed:
            return


_HELD: Final = "#importing = :claim AND #import_until >= :now"


def accept(account: table.Document | None) -> None:
    """Raises AccountNotEmpty, or ImportInProgress while another import is at work. What a dead import left may be there."""
    item = account.item if account else {}
    if accounts.importing(item):
        raise ImportInProgress
    if "importing" not in item and not is_empty(account):
        raise AccountNotEmpty


def accept_cleared(account: table.Document | None) -> None:
    """Raises AccountNotEmpty for what was created after a dead import's claim had lapsed."""
    if not is_empty(account):
        raise AccountNotEmpty


def claim(user_id: int, transfer_id: int) -> Claim:
    """Two requests. Raises as `accept` does, and Unauthorized once the user was erased. What is claimed is to be cleared."""
    mine = Claim(user_id, f"{transfer_id}.{secrets.token_hex(8)}")
    _claim(mine, transfer_id)
    return mine


@table.optimistic
def _claim(mine: Claim, transfer_id: int) -> None:
    user_id = mine.user_id
    account = accounts.read(user_id)
    item = account.item if account else {}
    if item.get("importing") == table.text(mine.token):
        return  # written by a request whose acknowledgement was lost
    accept(account)
    condition, values = f"attribute_not_exists(#importing) AND {_EMPTY}", {":none": table.number(0)}
    if "importing" in item:
        condition = "#importing = :dead AND #import_until < :now"
        values = {":dead": item["importing"], ":now": table.ms_from_now()}
    taken = table.update(
        keys.account(user_id),
        set_to={
            "importing": table.text(mine.token),
            "import_until": table.ms_from_now(CLAIM_SECONDS),
            "ttl": None,
        },
        condition=f"attribute_not_exists(#erasing) AND {condition}",
        values=values,
    )
    # The job was begun with a token that an erasure had not refused, and an erasure deletes it.
    is_begun = table.check(keys.transfer(user_id, transfer_id), "attribute_exists(#pk)")
    try:
        table.write(taken, is_begun)
    except table.ConditionFailed as failed:
        if failed.index == 1 or "erasing" in (failed.item or {}):
            raise Unauthorized("the user was erased since the import was begun") from None
        raise


_EMPTY: Final = " AND ".join(
    f"(attribute_not_exists(#{name}) OR #{name} = :none)" for name in ("sessions", "examples")
)


def is_empty(account: table.Document | None) -> bool:
    return not any(accounts.total(account, name) for name in ("sessions", "examples"))


def clear(claim: Claim, deadline: Deadline, most: int | None = None) -> bool:
    """Deletes what dead imports wrote; False when there is more than `most` pieces, or no time is left.

    May die anywhere and be begun again.
    """
    for pieces, _ in enumerate(_cleared(claim), 1):
        if not deadline.remaining() or (most is not None and pieces >= most):
            return False
    return True


def _cleared(claim: Claim) -> Iterator[None]:
    examples: list[keys.Key] = []
    for document in table.read_filtered(keys.examples_of(claim.user_id), _MARKED, {}):
        examples.append(document.key)
        if len(examples) == _DELETIONS:
            _delete_counted(claim, "examples", examples)
            examples = []
            yield
    if examples:
        _delete_counted(claim, "examples", examples)
        yield
    last = 0
    for document in table.read_filtered(keys.sessions_of(claim.user_id), _MARKED, {}):
        session_id = keys.session_id_in(document.key.sk)
        if session_id == last:
            continue
        last = session_id
        _delete_counted(claim, "sessions", [keys.session(claim.user_id, session_id)])
        for _ in sweeps.session(claim.user_id, session_id):
            claim.commit()
            yield


def _delete_counted(claim: Claim, name: str, found: list[keys.Key]) -> None:
    """Those of them that are there; a user may delete what a dead import left."""
    try:
        claim.commit(*(table.delete(key, "attribute_exists(#pk)") for key in found), **{name: -len(found)})
    except table.ConditionFailed:
        if len(found) > 1:
            for key in found:
                _delete_counted(claim, name, [key])
