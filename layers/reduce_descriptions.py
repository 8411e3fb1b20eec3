"""`python reduce_descriptions.py FOLDER`: botocore's descriptions as a function needs them, beside the library in FOLDER.

Botocore parses its descriptions at each cold start: 1.3 MB of endpoints of four hundred services, and with each operation
its documentation. Here are the services in use, without documentation. Nothing else differs, and botocore's own stay.
"""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "practice"))

from practice.runtime.services import DESCRIPTIONS, SERVICES  # found by the line above


def reduce(packages: Path) -> None:
    original, reduced = packages / "botocore" / "data", packages / DESCRIPTIONS
    described = {}
    for path in sorted(each for name in SERVICES for each in (original / name).glob("*/service-2.json.gz")):
        described[path] = without_documentation(json.loads(gzip.decompress(path.read_bytes())))
        write(reduced / path.relative_to(original).with_suffix(""), described[path])
    prefixes = {each["metadata"]["endpointPrefix"] for each in described.values()}
    endpoints = json.loads((original / "endpoints.json").read_bytes())
    for partition in endpoints["partitions"]:
        partition["services"] = {
            name: each for name, each in partition["services"].items() if name in prefixes | {*SERVICES}
        }
    write(reduced / "endpoints.json", endpoints)


def without_documentation(part: Any) -> Any:
    if isinstance(part, dict):
        # Empty, not gone: botocore reads some of them. A member of a structure may have this name too, and is no text.
        return {
            name: "" if name == "documentation" and isinstance(each, str) else without_documentation(each)
            for name, each in part.items()
        }
    return [without_documentation(each) for each in part] if isinstance(part, list) else part


def write(path: Path, described: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(described, separators=(",", ":")))


if __name__ == "__main__":
    reduce(Path(sys.argv[1]))
