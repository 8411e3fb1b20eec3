"""Queues in one SQLite file: SQS as the functions see it, and where events wait for their function."""

import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.intrinsics import ACCOUNT, REGION
from local.template import Queue

MESSAGE_LIMIT = 1024 * 1024
DROPPED = "dropped"
"""The queue of messages that failed for good and have no dead-letter queue. AWS deletes them."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL,
    message_id TEXT NOT NULL,
    body TEXT NOT NULL,
    attributes TEXT NOT NULL,
    reason TEXT,
    sent_at REAL NOT NULL,
    visible_at REAL NOT NULL,
    receives INTEGER NOT NULL DEFAULT 0,
    first_received_at REAL,
    receipt TEXT
);
CREATE INDEX IF NOT EXISTS by_queue ON messages (queue, visible_at);
CREATE INDEX IF NOT EXISTS by_receipt ON messages (receipt);
CREATE TABLE IF NOT EXISTS checkpoints (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Message:
    message_id: str
    body: str
    attributes: dict[str, Any]
    receipt: str
    receives: int
    sent_at: float
    first_received_at: float
    hidden_until: float

    def system_attributes(self) -> dict[str, str]:
        return {
            "ApproximateFirstReceiveTimestamp": str(int(self.first_received_at * 1000)),
            "ApproximateReceiveCount": str(self.receives),
            "SenderId": ACCOUNT,
            "SentTimestamp": str(int(self.sent_at * 1000)),
        }


class Queues:
    """All methods may be called from any thread; what `send` returned for is on disk."""

    def __init__(self, path: Path | None, declared: Iterable[Queue]) -> None:
        self.declared = {queue.name: queue for queue in declared}
        self.changed = threading.Condition()
        """Notified when a message arrives."""
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path or ":memory:", check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        with self._transaction() as db:
            db.executescript(f"PRAGMA journal_mode = WAL; {SCHEMA}")
            # Their receivers ended with the process that served them.
            db.execute("UPDATE messages SET visible_at = 0, receipt = NULL WHERE receipt IS NOT NULL")

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def send(
        self,
        queue: str,
        body: str,
        attributes: Mapping[str, Any] | None = None,
        delay: float | None = None,
        reason: str | None = None,
    ) -> str:
        if delay is None:
            delay = self.declared[queue].delay if queue in self.declared else 0
        now, message_id = time.time(), str(uuid.uuid4())
        with self._transaction() as db:
            db.execute(
                "INSERT INTO messages (queue, message_id, body, attributes, reason, sent_at, visible_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (queue, message_id, body, json.dumps(attributes or {}), reason, now, now + delay),
            )
        with self.changed:
            self.changed.notify_all()
        return message_id

    def receive(self, queue: str, limit: int, visibility: float | None = None) -> list[Message]:
        """The next messages, hidden from others until `visibility` seconds have passed."""
        declared = self.declared.get(queue)
        if visibility is None:
            visibility = declared.visibility if declared else 30
        now = time.time()
        with self._transaction() as db:
            if declared and declared.dead_letters and declared.max_receives:
                db.execute(
                    "UPDATE messages SET queue = ?, visible_at = 0, receives = 0, receipt = NULL,"
                    " reason = coalesce(reason, ?) WHERE queue = ? AND visible_at <= ? AND receives >= ?",
                    (
                        declared.dead_letters,
                        f"received {declared.max_receives} times from {queue} without success",
                        queue,
                        now,
                        declared.max_receives,
                    ),
                )
            rows = db.execute(
                "SELECT id FROM messages WHERE queue = ? AND visible_at <= ? ORDER BY id LIMIT ?",
                (queue, now, limit),
            ).fetchall()
            return [
                _message(
                    db.execute(
                        "UPDATE messages SET receives = receives + 1, receipt = ?, visible_at = ?,"
                        " first_received_at = coalesce(first_received_at, ?) WHERE id = ? RETURNING *",
                        (str(uuid.uuid4()), now + visibility, now, row["id"]),
                    ).fetchone()
                )
                for row in rows
            ]

    def delete(self, receipt: str) -> None:
        with self._transaction() as db:
            db.execute("DELETE FROM messages WHERE receipt = ?", (receipt,))

    def purge(self, queue: str) -> None:
        """Delete all messages, those that wait for their time too."""
        with self._transaction() as db:
            db.execute("DELETE FROM messages WHERE queue = ?", (queue,))

    def release(self, receipt: str, delay: float) -> None:
        """Let a received message be received again after `delay` seconds."""
        with self._transaction() as db:
            db.execute("UPDATE messages SET visible_at = ? WHERE receipt = ?", (time.time() + delay, receipt))

    def return_failed(self, message: Message, delay: float, reason: str) -> None:
        """The same for one that failed, unless its receiver has chosen a time itself."""
        with self._transaction() as db:
            db.execute("UPDATE messages SET reason = ? WHERE receipt = ?", (reason, message.receipt))
            db.execute(
                "UPDATE messages SET visible_at = ? WHERE receipt = ? AND visible_at = ?",
                (time.time() + delay, message.receipt, message.hidden_until),
            )

    def counts(self) -> dict[str, int]:
        with self._transaction() as db:
            return dict(db.execute("SELECT queue, count(*) FROM messages GROUP BY queue").fetchall())

    def unsettled(self, queue: str) -> bool:
        """Whether a message waits for its first receiver or has failed and waits for its next."""
        with self._transaction() as db:
            found = db.execute(
                "SELECT 1 FROM messages WHERE queue = ? AND (receives > 0 OR visible_at <= ?) LIMIT 1",
                (queue, time.time()),
            )
            return found.fetchone() is not None

    def peek(self, queue: str, limit: int = 100) -> list[dict[str, Any]]:
        """The newest messages, without receiving them."""
        shown = "message_id, body, attributes, reason, receives, sent_at"
        latest = f"SELECT {shown} FROM messages WHERE queue = ? ORDER BY id DESC LIMIT ?"  # noqa: S608 (constants)
        with self._transaction() as db:
            rows = [dict(row) for row in db.execute(latest, (queue, limit))]
        return [row | {"attributes": json.loads(row["attributes"])} for row in rows]

    def checkpoint(self, name: str) -> str | None:
        with self._transaction() as db:
            row = db.execute("SELECT value FROM checkpoints WHERE name = ?", (name,)).fetchone()
        return row["value"] if row else None

    def save_checkpoint(self, name: str, value: str) -> None:
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO checkpoints (name, value) VALUES (?, ?)", (name, value))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._db:
            yield self._db


def _message(row: sqlite3.Row) -> Message:
    return Message(
        row["message_id"],
        row["body"],
        json.loads(row["attributes"]),
        row["receipt"],
        row["receives"],
        row["sent_at"],
        row["first_received_at"],
        hidden_until=row["visible_at"],
    )


def queue_arn(name: str) -> str:
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"
