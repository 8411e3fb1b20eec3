"""Add a file of examples to a library: `TOKEN=... python import_examples.py examples.csv --url https://...`

A CSV file has the columns `input_text`, `output_text` and optionally `title`. A JSONL file has one object per line, which
may also have `meta`. A row whose texts are already in the library is skipped. The Idempotency-Key of a request is derived
from its row, so an interrupted run can be repeated. (If an imported example is deleted and its row is imported again more
than a day later, it is created again, because its key has expired.) An invalid row is reported with its line, and the
other rows are imported. If the file cannot be read, or is without examples, nothing is imported and the exit code is 2.
"""

import argparse
import csv
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from practice_client import Client, Invalid

PAGE = 200
"""The maximum page size of a list."""
SELECTION = 50
"""The maximum number of examples in a selection."""

FIELDS = ("title", "input_text", "output_text", "meta")

Row = dict[str, Any]


class Unreadable(Exception):
    pass


def rows(file: Path) -> Iterator[tuple[int, Row | str]]:
    """Each row with its line number, or a text with its error."""
    with file.open(encoding="utf-8-sig", newline="") as lines:
        if file.suffix.lower() == ".csv":
            reader = csv.DictReader(lines)
            if reader.fieldnames is not None and (missing := absent(reader.fieldnames)):
                raise csv.Error(f"the header is without {missing} (columns are separated by commas)")
            for row in reader:
                yield reader.line_num, checked({name: row[name] for name in row if row[name] is not None})
            return
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, parsed(line)


def parsed(line: str) -> Row | str:
    try:
        return checked(json.loads(line))
    except ValueError as error:
        return f"not JSON: {error}"


def checked(row: Any) -> Row | str:
    if not isinstance(row, dict):
        return "not an object"
    missing = absent(name for name in row if isinstance(row[name], str))
    return f"without {missing}" if missing else row


def absent(names: Iterable[str]) -> str:
    return " and ".join(sorted({"input_text", "output_text"}.difference(names)))


def read(file: Path) -> list[tuple[int, Row | str]]:
    """All rows, read before the first is imported, so that an unreadable file changes nothing."""
    try:
        found = list(rows(file))
    except UnicodeDecodeError as error:
        raise Unreadable("not UTF-8 text (save it with the encoding UTF-8)") from error
    except OSError as error:
        raise Unreadable(error.strerror) from error
    except csv.Error as error:
        raise Unreadable(str(error)) from error
    if not found:
        raise Unreadable("no examples in the file")
    return found


def digest(row: Row) -> str:
    return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()


def add(client: Client, file: Path, examples: list[tuple[int, Row | str]]) -> tuple[list[int], int]:
    """The ids of the examples in file order, new or existing, and the number of rejected rows."""
    known = {
        (each.input_text, each.output_text): each.example_id for each in client.iterate_examples(size=PAGE)
    }
    found: list[int] = []
    refused = 0
    for line, row in examples:
        if isinstance(row, str):
            problem = row
        else:
            texts = row["input_text"], row["output_text"]
            try:
                if texts not in known:
                    fields = {name: row[name] for name in FIELDS if name in row}
                    made = client.create_example(**fields, idempotency_key=f"import-{digest(fields)}")
                    known[texts] = made.example_id
                found.append(known[texts])
                continue
            except Invalid as error:
                problem = error.detail
        print(f"{file}:{line}: {problem}", file=sys.stderr)
        refused += 1
    return list(dict.fromkeys(found)), refused


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Add a file of examples to the library of the user of TOKEN."
    )
    parser.add_argument("file", type=Path, help="a *.csv file, or JSONL")
    parser.add_argument("--url", default="http://127.0.0.1:3000")
    parser.add_argument("--session", type=int, help=f"select the first {SELECTION} of them in this session")
    arguments = parser.parse_args()
    try:
        examples = read(arguments.file)
    except Unreadable as error:
        parser.exit(2, f"{arguments.file}: {error}\n")
    with Client(arguments.url, os.environ["TOKEN"]) as client:
        example_ids, refused = add(client, arguments.file, examples)
        print(f"{len(example_ids)} in the library, {refused} refused")
        if arguments.session:
            client.update_settings(arguments.session, few_shot_example_ids=example_ids[:SELECTION])
            print(f"{len(example_ids[:SELECTION])} selected")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
