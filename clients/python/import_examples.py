"""Adds a file of examples to a library: `TOKEN=... python import_examples.py examples.csv --url https://...`

A CSV file has the columns `input_text`, `output_text` and, if it likes, `title`; a JSONL file has an object a line, which
may have `meta` too. A row whose texts the library has already is left alone, and an Idempotency-Key is made of the others: a
run that was cut short is simply made again. (An example that was imported and deleted comes back after a day, when its key
is forgotten.) Rows that do not fit are told by their line, and cost the others nothing.
"""

import argparse
import csv
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from practice_client import Client, Invalid

PAGE = 200
"""The largest page of a list."""
SELECTION = 50
"""The most examples that a session selects."""

FIELDS = ("title", "input_text", "output_text", "meta")

Row = dict[str, Any]


def rows(file: Path) -> Iterator[tuple[int, Row | str]]:
    """Each row with its line; a text says what is wrong with it."""
    with file.open(encoding="utf-8-sig", newline="") as lines:
        if file.suffix == ".csv":
            reader = csv.DictReader(lines)
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
    missing = [name for name in ("input_text", "output_text") if not isinstance(row.get(name), str)]
    return f"without {' and '.join(missing)}" if missing else row


def digest(row: Row) -> str:
    return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()


def add(client: Client, file: Path) -> tuple[list[int], int]:
    """The ids of the file's examples in its order, new or not, and how many rows were refused."""
    known = {
        (each.input_text, each.output_text): each.example_id for each in client.iterate_examples(size=PAGE)
    }
    found: list[int] = []
    refused = 0
    for line, row in rows(file):
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
        description="Adds a file of examples to the library of the user of TOKEN."
    )
    parser.add_argument("file", type=Path, help="*.csv, or JSONL")
    parser.add_argument("--url", default="http://127.0.0.1:3000")
    parser.add_argument("--session", type=int, help=f"selects the first {SELECTION} of them in this session")
    arguments = parser.parse_args()
    with Client(arguments.url, os.environ["TOKEN"]) as client:
        example_ids, refused = add(client, arguments.file)
        print(f"{len(example_ids)} in the library, {refused} refused")
        if arguments.session:
            client.update_settings(arguments.session, few_shot_example_ids=example_ids[:SELECTION])
            print(f"{len(example_ids[:SELECTION])} selected")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
