"""PynamoDB for the table, without a framework: JSON in, JSON out."""

import json
import os

from bearer import user_of
from naive import SESSION_FIELDS, TABLE, now
from pynamodb.attributes import (
    BooleanAttribute,
    DynamicMapAttribute,
    ListAttribute,
    MapAttribute,
    NumberAttribute,
    UnicodeAttribute,
)
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex
from pynamodb.models import Model


class ByUser(GlobalSecondaryIndex):
    class Meta:
        index_name = "by_user"
        projection = AllProjection()

    user_id = NumberAttribute(hash_key=True)
    created_at = UnicodeAttribute(range_key=True)


class Thing(Model):
    """Any item of the table."""

    class Meta:
        table_name = TABLE
        region = os.environ["AWS_REGION"]

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    by_user = ByUser()
    session_id = NumberAttribute(null=True)
    user_id = NumberAttribute(null=True)
    owner_id = NumberAttribute(null=True)
    class_id = NumberAttribute(null=True)
    project_id = NumberAttribute(null=True)
    agent_id = NumberAttribute(null=True)
    knowledge_ids = ListAttribute(null=True, of=NumberAttribute)
    title = UnicodeAttribute(null=True)
    notes = UnicodeAttribute(null=True)
    created_at = UnicodeAttribute(null=True)
    updated_at = UnicodeAttribute(null=True)
    setting_id = NumberAttribute(null=True)
    style_preset = UnicodeAttribute(null=True)
    style_params = DynamicMapAttribute(null=True)
    generation_params = DynamicMapAttribute(null=True)
    agent_snapshot = DynamicMapAttribute(null=True)
    id = NumberAttribute(null=True)
    example_id = NumberAttribute(null=True)
    sort_order = NumberAttribute(null=True)
    input_text = UnicodeAttribute(null=True)
    output_text = UnicodeAttribute(null=True)
    is_active = BooleanAttribute(null=True)
    meta = DynamicMapAttribute(null=True)
    session_model_id = NumberAttribute(null=True)
    model_name = UnicodeAttribute(null=True)
    is_primary = BooleanAttribute(null=True)
    response_id = NumberAttribute(null=True)
    prompt_text = UnicodeAttribute(null=True)
    response_text = UnicodeAttribute(null=True)
    token_usage = DynamicMapAttribute(null=True)
    latency_ms = NumberAttribute(null=True)

    def fields(self):
        values = self.attribute_values.items()
        return {
            name: value.as_dict() if isinstance(value, MapAttribute) else value
            for name, value in values
            if name not in ("pk", "sk")
        }


def session_of(session_id, user_id):
    things = {thing.sk: thing for thing in Thing.query(f"SESSION#{session_id}", consistent_read=True)}
    if "SESSION" not in things or things["SESSION"].user_id != user_id:
        return None
    return things


def settings_of(things):
    links = [thing for sk, thing in things.items() if sk.startswith("LINK#")]
    keys = [(f"EXAMPLE#{link.example_id}", "EXAMPLE") for link in links]
    examples = {each.example_id: each.fields() for each in Thing.batch_get(keys, consistent_read=True)}
    return things["SETTING"].fields() | {
        "few_shot_links": [link.fields() | {"example": examples[link.example_id]} for link in links]
    }


def whole(things):
    return things["SESSION"].fields() | {
        "settings": settings_of(things),
        "responses": [thing.fields() for sk, thing in things.items() if sk.startswith("RESPONSE#")],
        "responses_next_cursor": None,
    }


def page_of(user_id):
    found = Thing.by_user.query(user_id, scan_index_forward=False, limit=50, page_size=50)
    items = [{name: thing.fields().get(name) for name in SESSION_FIELDS} for thing in found]
    return {"items": items, "total": Thing.by_user.count(user_id), "page": 1, "size": 50, "next_cursor": None}


def lambda_handler(event, context):
    user_id = user_of(event["headers"]["authorization"])
    method, _, path = event["routeKey"].partition(" ")
    if method == "GET" and path.endswith("/sessions"):
        return {"statusCode": 200, "body": json.dumps(page_of(user_id))}
    things = session_of(int(event["pathParameters"]["session_id"]), user_id)
    if things is None:
        return {"statusCode": 404, "body": json.dumps({"detail": "session not found"})}
    if method == "GET":
        return {"statusCode": 200, "body": json.dumps(whole(things))}
    changes = json.loads(event["body"])
    if not path.endswith("/settings"):
        for name, value in changes.items():
            setattr(things["SESSION"], name, value)
        things["SESSION"].updated_at = now()
        things["SESSION"].save()
        return {"statusCode": 200, "body": json.dumps(whole(things))}
    merged = [things["SETTING"]]
    merged += [thing for sk, thing in things.items() if sk.startswith("MODEL#")]
    for thing in merged:
        thing.generation_params = thing.generation_params.as_dict() | changes["generation_params"]
    things["SETTING"].style_params = things["SETTING"].style_params.as_dict() | changes["style_params"]
    things["SETTING"].updated_at = now()
    with Thing.batch_write() as batch:
        for thing in merged:
            batch.save(thing)
    return {"statusCode": 200, "body": json.dumps(settings_of(things))}
