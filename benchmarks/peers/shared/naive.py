"""The same sessions in the design of most services: one item per object, native attributes, get, then put.

    SESSION#<id>   SESSION | SETTING | LINK#<order> | MODEL#<id> | RESPONSE#<id>       GSI by_user: user_id, created_at
    EXAMPLE#<id>   EXAMPLE                                                             GSI by_id: response_id

A store takes a boto3 client and returns the plain objects of the API.
"""

from datetime import UTC, datetime
from decimal import Decimal

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

TABLE = "naive-practice"

_read = TypeDeserializer().deserialize
_write = TypeSerializer().serialize


def plain(value):
    """Numbers as in JSON."""
    if isinstance(value, Decimal):
        return (
            int(value)
            if value == value.to_integral_value() and value.as_tuple().exponent >= 0
            else float(value)
        )
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value


def native(value):
    """Numbers as in DynamoDB."""
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, dict):
        return {name: native(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [native(inner) for inner in value]
    return value


def from_item(item):
    return {name: plain(_read(value)) for name, value in item.items() if name not in ("pk", "sk")}


def to_item(pk, sk, fields):
    return {name: _write(native(value)) for name, value in {"pk": pk, "sk": sk, **fields}.items()}


def now():
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


SESSION_FIELDS = (
    "session_id",
    "user_id",
    "created_at",
    "updated_at",
    "class_id",
    "project_id",
    "knowledge_ids",
    "agent_id",
    "title",
    "notes",
)


class Store:
    """A store over `boto3.client`."""

    def __init__(self, client):
        self.client = client

    value = staticmethod(_write)
    fields = staticmethod(from_item)
    item = staticmethod(to_item)

    @staticmethod
    def sk(item):
        return item["sk"]["S"]

    def _session_items(self, session_id, prefix=None):
        """All items of a session by sort key."""
        condition, values = "pk = :pk", {":pk": self.value(f"SESSION#{session_id}")}
        if prefix:
            condition += " AND begins_with(sk, :prefix)"
            values[":prefix"] = self.value(prefix)
        found, start = {}, {}
        while True:
            page = self.client.query(
                TableName=TABLE,
                KeyConditionExpression=condition,
                ExpressionAttributeValues=values,
                ConsistentRead=True,
                **start,
            )
            for item in page["Items"]:
                found[self.sk(item)] = self.fields(item)
            if "LastEvaluatedKey" not in page:
                return found
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def _examples(self, ids):
        if not ids:
            return {}
        keys = [{"pk": self.value(f"EXAMPLE#{each}"), "sk": self.value("EXAMPLE")} for each in ids]
        found = self.client.batch_get_item(RequestItems={TABLE: {"Keys": keys, "ConsistentRead": True}})
        examples = [self.fields(item) for item in found["Responses"][TABLE]]
        return {each["example_id"]: each | {"user_id": each["owner_id"]} for each in examples}

    def _settings(self, items):
        links = [item for sk, item in items.items() if sk.startswith("LINK#")]
        examples = self._examples([link["example_id"] for link in links])
        links = [
            link | {"example": examples[link["example_id"]]}
            for link in links
            if link["example_id"] in examples
        ]
        return items["SETTING"] | {"few_shot_links": links}

    def _whole(self, items):
        responses = [item for sk, item in items.items() if sk.startswith("RESPONSE#")]
        return items["SESSION"] | {
            "settings": self._settings(items),
            "responses": responses,
            "responses_next_cursor": None,
        }

    def get_session(self, user_id, session_id):
        items = self._session_items(session_id)
        if "SESSION" not in items or items["SESSION"]["user_id"] != user_id:
            return None
        return self._whole(items)

    def update_session(self, user_id, session_id, changes):
        items = self._session_items(session_id)
        if "SESSION" not in items or items["SESSION"]["user_id"] != user_id:
            return None
        items["SESSION"] |= changes | {"updated_at": now()}
        self.client.put_item(
            TableName=TABLE, Item=self.item(f"SESSION#{session_id}", "SESSION", items["SESSION"])
        )
        return self._whole(items)

    def list_sessions(self, user_id, size):
        query = {
            "TableName": TABLE,
            "IndexName": "by_user",
            "KeyConditionExpression": "user_id = :user",
            "ExpressionAttributeValues": {":user": self.value(user_id)},
        }
        page = self.client.query(**query, ScanIndexForward=False, Limit=size)
        total, start = 0, {}
        while True:
            counted = self.client.query(**query, Select="COUNT", **start)
            total += counted["Count"]
            if "LastEvaluatedKey" not in counted:
                break
            start = {"ExclusiveStartKey": counted["LastEvaluatedKey"]}
        items = [self.fields(item) for item in page["Items"]]
        return {"items": items, "total": total, "page": 1, "size": size, "next_cursor": None}

    def update_settings(self, user_id, session_id, changes):
        items = self._session_items(session_id, "S")
        if "SESSION" not in items or items["SESSION"]["user_id"] != user_id:
            return None
        items |= self._session_items(session_id, "LINK#") | self._session_items(session_id, "MODEL#")
        settings = items["SETTING"]
        for name, value in changes.items():
            settings[name] = settings[name] | value if isinstance(value, dict) else value
        settings["updated_at"] = now()
        changed = {"SETTING": settings}
        for sk, model in items.items():
            if sk.startswith("MODEL#") and "generation_params" in changes:
                model["generation_params"] |= changes["generation_params"]
                changed[sk] = model
        puts = [
            {"PutRequest": {"Item": self.item(f"SESSION#{session_id}", sk, fields)}}
            for sk, fields in changed.items()
        ]
        for start in range(0, len(puts), 25):
            self.client.batch_write_item(RequestItems={TABLE: puts[start : start + 25]})
        return self._settings(items)

    def _owned(self, user_id, session_id):
        key = {"pk": self.value(f"SESSION#{session_id}"), "sk": self.value("SESSION")}
        found = self.client.get_item(TableName=TABLE, Key=key, ConsistentRead=True).get("Item")
        session = self.fields(found) if found else {}
        return session if session.get("user_id") == user_id else None

    def _by_id(self, id_):
        """Reads the index, because an id alone does not give the key."""
        found = self.client.query(
            TableName=TABLE,
            IndexName="by_id",
            KeyConditionExpression="id = :id",
            ExpressionAttributeValues={":id": self.value(id_)},
        )
        [item] = found["Items"]
        return self.sk(item), self.fields(item)

    def _put(self, pk, sk, fields):
        self.client.put_item(TableName=TABLE, Item=self.item(pk, sk, fields))

    def get_settings(self, user_id, session_id):
        if self._owned(user_id, session_id):
            items = self._session_items(session_id, "SETTING") | self._session_items(session_id, "LINK#")
            return self._settings(items)
        return None

    def list_models(self, user_id, session_id):
        if self._owned(user_id, session_id):
            return list(self._session_items(session_id, "MODEL#").values())
        return None

    def create_session(self, session, settings, models):
        pk = f"SESSION#{session['session_id']}"
        self.client.get_item(
            TableName=TABLE, Key={"pk": self.value("CLASS#1"), "sk": self.value("CLASS")}, ConsistentRead=True
        )
        items = {"SESSION": session, "SETTING": settings}
        items |= {f"MODEL#{each['session_model_id']}": each for each in models}
        puts = [{"PutRequest": {"Item": self.item(pk, sk, fields)}} for sk, fields in items.items()]
        self.client.batch_write_item(RequestItems={TABLE: puts})

    def delete_session(self, user_id, session_id):
        keys = [
            {"pk": self.value(f"SESSION#{session_id}"), "sk": self.value(sk)}
            for sk in self._session_items(session_id)
        ]
        for start in range(0, len(keys), 25):
            deletes = [{"DeleteRequest": {"Key": key}} for key in keys[start : start + 25]]
            self.client.batch_write_item(RequestItems={TABLE: deletes})

    def get_response(self, user_id, response_id):
        _, response = self._by_id(response_id)
        return response if self._owned(user_id, response["session_id"]) else None

    def update_response(self, user_id, response_id, changes):
        sk, response = self._by_id(response_id)
        if self._owned(user_id, response["session_id"]):
            self._put(f"SESSION#{response['session_id']}", sk, response | changes)

    def delete_response(self, user_id, response_id):
        sk, response = self._by_id(response_id)
        if self._owned(user_id, response["session_id"]):
            key = {"pk": self.value(f"SESSION#{response['session_id']}"), "sk": self.value(sk)}
            self.client.delete_item(TableName=TABLE, Key=key)

    def add_response(self, user_id, session_id, response):
        session = self._owned(user_id, session_id)
        self._session_items(session_id, f"MODEL#{response['session_model_id']}")
        self._put(f"SESSION#{session_id}", f"RESPONSE#{response['id']:016d}", response)
        self._put(f"SESSION#{session_id}", "SESSION", session | {"updated_at": now()})

    def get_example(self, example_id):
        return self._examples([example_id])[example_id]

    def update_example(self, example_id, changes):
        self._put(f"EXAMPLE#{example_id}", "EXAMPLE", self.get_example(example_id) | changes)

    def create_example(self, example):
        self._put(f"EXAMPLE#{example['example_id']}", "EXAMPLE", example)


class ResourceStore(Store):
    """A store over the client of `boto3.resource`, which does the same conversions itself."""

    @staticmethod
    def value(value):
        return value

    @staticmethod
    def fields(item):
        return {name: plain(value) for name, value in item.items() if name not in ("pk", "sk")}

    @staticmethod
    def item(pk, sk, fields):
        return {"pk": pk, "sk": sk, **native(fields)}

    @staticmethod
    def sk(item):
        return item["sk"]
