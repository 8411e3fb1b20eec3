"""Exports and imports as jobs: begun by a request, done at once or by a worker, looked up until they have ended."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnection

from practice import table
from practice.caller import Caller
from practice.errors import (
    ExportNotFound,
    ImportNotFound,
    RequestInFlight,
    StoreUnavailable,
    TooManyTransfers,
)
from practice.runtime import clock, queues
from practice.runtime.config import config
from practice.schemas.transfer import Export, Import, StoredTransfer, TransferMessage, TransferStatus
from practice.store import accounts
from practice.store.idempotency import IdempotentAttempt
from practice.table import ids, keys
from practice.transfers import files

TRANSFERS_AT_ONCE: Final = 3
"""Of one account, that have not ended."""
ATTEMPTS: Final = 2
"""How often a worker begins a job."""
INTERRUPTED: Final = "interrupted"
"""The problem of a job that was begun as often as it may."""
KEPT: Final = timedelta(hours=24)

Kind = Literal["export", "import"]


# Begun by a request


def start(
    caller: Caller,
    kind: Kind,
    status: TransferStatus,
    attempt: IdempotentAttempt | None = None,
    lines: list[str] | None = None,
) -> StoredTransfer:
    """The job, its file if there is one, and its message. Refuses like a create while the user is erased.

    Goes on with the job that a dead attempt had begun. Raises StoreUnavailable when the file or the message is not taken;
    should the message arrive all the same, it finds a job that failed.
    """
    attempt = attempt or IdempotentAttempt()
    transfer = read(caller.user_id, attempt.resume_id) if attempt.resume_id else None
    if transfer is None or transfer.status == TransferStatus.FAILED:
        transfer = begin(caller, kind, status, attempt)
    if transfer.status != status:
        return transfer  # its worker has begun
    try:
        if lines is not None:
            files.write(files.name(caller.user_id, transfer.transfer_id), lines)
        ask(caller.user_id, transfer.transfer_id)
    except (queues.NotSent, ClientError, NoConnection, HTTPClientError) as error:
        change(
            caller.user_id,
            transfer.transfer_id,
            status=TransferStatus.FAILED,
            problem=StoreUnavailable.detail,
        )
        attempt.discard()
        raise StoreUnavailable(f"transfers: {type(error).__name__}") from error
    return transfer


@table.optimistic
def begin(
    caller: Caller, kind: Kind, status: TransferStatus, attempt: IdempotentAttempt, *, has_file: bool = True
) -> StoredTransfer:
    """Two requests, three beside other jobs. An export that has not ended is reused, and an import that waits for its file.

    Raises TooManyTransfers beside too many that have not ended.
    """
    account = accounts.read(caller.user_id)
    before = account.item.get("jobs") if account else None
    under_way = _under_way(caller.user_id, [int(each) for each in before["NS"]] if before else [])
    for each in under_way:
        if each.kind == kind and (kind == "export" or each.status == status == TransferStatus.WAITING):
            return each
    if len(under_way) >= TRANSFERS_AT_ONCE:
        raise TooManyTransfers
    now = datetime.now(UTC)
    (transfer_id,) = ids.new_ids(1)
    transfer = StoredTransfer(
        transfer_id=transfer_id,
        kind=kind,
        status=status,
        created_at=clock.to_timestamp(now),
        expires_at=clock.to_timestamp(now + KEPT),
        has_file=has_file,
    )
    condition, values = accounts.not_erased(caller)
    begun = account.item.get("transfers") if account else None
    if begun:
        values[":begun"] = begun
    counted = table.update(
        keys.account(caller.user_id),
        set_to={
            "ttl": None,
            "jobs": table.numbers([*(each.transfer_id for each in under_way), transfer_id]),
        },
        add={"transfers": 1},
        condition=f"{condition} AND {'#transfers = :begun' if begun else 'attribute_not_exists(#transfers)'}",
        values=values,
    )
    expiry = {"ttl": table.number(int((now + KEPT).timestamp()))}
    puts = table.put(keys.transfer(caller.user_id, transfer_id), transfer, attributes=expiry)
    pointer = attempt.resume_with(transfer_id)
    try:
        table.write(counted, *puts, *pointer)
    except table.ConditionFailed as failed:
        if failed.index > len(puts):
            raise RequestInFlight(1) from None
        if accounts.is_erased(failed.item or {}, caller):
            raise accounts.count_refusal(failed) from None
        raise
    return transfer


def _under_way(user_id: int, transfer_ids: list[int]) -> list[StoredTransfer]:
    """One request, none without ids."""
    if not transfer_ids:
        return []
    found = table.fetch(keys.transfer(user_id, transfer_id) for transfer_id in transfer_ids)
    transfers = [StoredTransfer.model_validate_json(each.text) for each in found.values() if _is_kept(each)]
    return [each for each in transfers if not each.status.has_ended]


def ask(user_id: int, transfer_id: int, delay: int = 0) -> None:
    message = TransferMessage(user_id=user_id, transfer_id=transfer_id)
    queues.send_later(config().transfer_queue_url, message.model_dump_json(), delay)


@table.optimistic
def change(user_id: int, transfer_id: int, **update: object) -> None:
    """Nothing for a job that has ended, which a worker that was given the same message may have seen to, or has gone."""
    document = find(user_id, transfer_id)
    if document is None:
        return
    before = StoredTransfer.model_validate_json(document.text)
    if before.status.has_ended:
        return
    table.write(*table.revise(document, before.model_copy(update=update)))


# Looked up


def get_export(caller: Caller, export_id: int) -> Export:
    """One request."""
    transfer = read(caller.user_id, export_id)
    if transfer is None or transfer.kind != "export":
        raise ExportNotFound
    return wire_export(caller, transfer)


def get_import(caller: Caller, import_id: int) -> Import:
    """One request."""
    transfer = read(caller.user_id, import_id)
    if transfer is None or transfer.kind != "import":
        raise ImportNotFound
    return wire_import(caller, transfer)


def wire_export(caller: Caller, transfer: StoredTransfer) -> Export:
    is_done = transfer.status == TransferStatus.DONE
    link = files.download_link(files.name(caller.user_id, transfer.transfer_id)) if is_done else None
    return Export(export_id=transfer.transfer_id, url=link, **_common(transfer))


def wire_import(caller: Caller, transfer: StoredTransfer) -> Import:
    is_waiting = transfer.status == TransferStatus.WAITING
    link = files.upload_link(files.name(caller.user_id, transfer.transfer_id)) if is_waiting else None
    return Import(import_id=transfer.transfer_id, upload_url=link, **_common(transfer))


def _common(transfer: StoredTransfer) -> dict[str, Any]:
    return transfer.model_dump(include={"status", "created_at", "expires_at", "counts", "problem"})


def find(user_id: int, transfer_id: int) -> table.Document | None:
    document = table.get(keys.transfer(user_id, transfer_id))
    return document if document and _is_kept(document) else None


def _is_kept(document: table.Document) -> bool:
    """Expired items stay in the table for a while."""
    return document.number("ttl") > datetime.now(UTC).timestamp()


def read(user_id: int, transfer_id: int) -> StoredTransfer | None:
    document = find(user_id, transfer_id)
    return StoredTransfer.model_validate_json(document.text) if document else None
