"""A bare handler: json, a boto3 client, its TypeDeserializer. No token, no validation, no log."""

import json
import os

import boto3
from naive import Store

store = Store(boto3.client("dynamodb", region_name=os.environ["AWS_REGION"]))


def lambda_handler(event, context):
    user_id = int(os.environ["USER_ID"])
    method, _, path = event["routeKey"].partition(" ")
    session_id = int(event.get("pathParameters", {}).get("session_id", 0))
    if method == "GET" and path.endswith("/sessions"):
        return answer(store.list_sessions(user_id, 50))
    if method == "GET":
        return answer(store.get_session(user_id, session_id))
    body = json.loads(event["body"])
    if path.endswith("/settings"):
        return answer(store.update_settings(user_id, session_id, body))
    return answer(store.update_session(user_id, session_id, body))


def answer(value):
    if value is None:
        return {"statusCode": 404, "body": json.dumps({"detail": "session not found"})}
    return {
        "statusCode": 200,
        "headers": {"content-type": "application/json"},
        "body": json.dumps(value),
    }
