"""The naive table, filled with the objects that the API of the service returns."""

import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

from benchmarks.bundles import PEERS
from benchmarks.lab import Lab

sys.path.append(str(PEERS / "shared"))
naive: Any = import_module("naive")
TABLE: str = naive.TABLE


def make_table(lab: Lab) -> None:
    def key(*names: str) -> list[Any]:
        return [
            {"AttributeName": name, "KeyType": kind}
            for name, kind in zip(names, ("HASH", "RANGE"), strict=False)
        ]

    everything: Any = {"ProjectionType": "ALL"}
    client: Any = lab.stack.engine.client()
    client.create_table(
        TableName=TABLE,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=key("pk", "sk"),
        AttributeDefinitions=[
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "S"},
            {"AttributeName": "user_id", "AttributeType": "N"},
            {"AttributeName": "created_at", "AttributeType": "S"},
            {"AttributeName": "id", "AttributeType": "N"},
        ],
        GlobalSecondaryIndexes=[
            {"IndexName": "by_user", "KeySchema": key("user_id", "created_at"), "Projection": everything},
            {"IndexName": "by_id", "KeySchema": key("id"), "Projection": everything},
        ],
    )


def items_of(whole: Mapping[str, Any], models: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The items of a session, and of its examples."""
    pk = f"SESSION#{whole['session_id']}"
    settings = dict(whole["settings"])
    links = settings.pop("few_shot_links")
    examples = [dict(link["example"]) for link in links]
    for example in examples:
        example["owner_id"] = example.pop("user_id")  # the key of the session index is `user_id`
    return [
        naive.to_item(pk, "SESSION", {name: whole[name] for name in naive.SESSION_FIELDS}),
        naive.to_item(pk, "SETTING", settings),
        *(
            naive.to_item(
                pk, f"LINK#{link['sort_order']:03d}", {k: v for k, v in link.items() if k != "example"}
            )
            for link in links
        ),
        *(naive.to_item(pk, f"MODEL#{model['session_model_id']}", dict(model)) for model in models),
        *(
            naive.to_item(pk, f"RESPONSE#{each['response_id']:016d}", {"id": each["response_id"], **each})
            for each in whole["responses"]
        ),
        *(naive.to_item(f"EXAMPLE#{each['example_id']}", "EXAMPLE", each) for each in examples),
    ]


def put(lab: Lab, items: list[dict[str, Any]]) -> None:
    client = lab.stack.engine.client()
    for start in range(0, len(items), 25):
        asked: Any = [{"PutRequest": {"Item": item}} for item in items[start : start + 25]]
        client.batch_write_item(RequestItems={TABLE: asked})
