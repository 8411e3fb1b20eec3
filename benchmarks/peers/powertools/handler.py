"""Powertools: its resolver with validation, Logger, Tracer, and a boto3 resource."""

import os

import boto3
from aws_lambda_powertools import Logger, Tracer
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from bearer import user_of
from naive import ResourceStore
from schemas import Page, Session, SessionChanges, Settings, SettingsChanges

logger = Logger()
tracer = Tracer()
app = APIGatewayHttpResolver(enable_validation=True)
store = ResourceStore(boto3.resource("dynamodb", region_name=os.environ["AWS_REGION"]).meta.client)


def caller():
    return user_of(app.current_event.headers["authorization"])


def found(model, value):
    if value is None:
        raise NotFoundError("session not found")
    return model.model_validate(value)


@app.get("/user/practice/sessions")
@tracer.capture_method
def list_sessions() -> Page:
    return Page.model_validate(store.list_sessions(caller(), 50))


@app.get("/user/practice/sessions/<session_id>")
@tracer.capture_method
def get_session(session_id: int) -> Session:
    return found(Session, store.get_session(caller(), session_id))


@app.patch("/user/practice/sessions/<session_id>")
@tracer.capture_method
def update_session(session_id: int, changes: SessionChanges) -> Session:
    sent = changes.model_dump(exclude_unset=True)
    return found(Session, store.update_session(caller(), session_id, sent))


@app.patch("/user/practice/sessions/<session_id>/settings")
@tracer.capture_method
def update_settings(session_id: int, changes: SettingsChanges) -> Settings:
    sent = changes.model_dump(exclude_unset=True)
    return found(Settings, store.update_settings(caller(), session_id, sent))


@logger.inject_lambda_context
@tracer.capture_lambda_handler(capture_response=False)
def lambda_handler(event, context):
    return app.resolve(event, context)
