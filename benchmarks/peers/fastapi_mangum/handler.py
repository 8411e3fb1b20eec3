"""FastAPI behind Mangum. The endpoints are coroutines, which avoids the thread pool."""

import os
from typing import Annotated

import boto3
from bearer import user_of
from fastapi import Depends, FastAPI, Header, HTTPException
from mangum import Mangum
from naive import Store
from schemas import Page, Session, SessionChanges, Settings, SettingsChanges

app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
store = Store(boto3.client("dynamodb", region_name=os.environ["AWS_REGION"]))


async def caller(authorization: Annotated[str, Header()]) -> int:
    return user_of(authorization)


Caller = Annotated[int, Depends(caller)]


def found(value):
    if value is None:
        raise HTTPException(404, "session not found")
    return value


@app.get("/user/practice/sessions")
async def list_sessions(user_id: Caller) -> Page:
    return store.list_sessions(user_id, 50)


@app.get("/user/practice/sessions/{session_id}")
async def get_session(user_id: Caller, session_id: int) -> Session:
    return found(store.get_session(user_id, session_id))


@app.patch("/user/practice/sessions/{session_id}")
async def update_session(user_id: Caller, session_id: int, changes: SessionChanges) -> Session:
    return found(store.update_session(user_id, session_id, changes.model_dump(exclude_unset=True)))


@app.patch("/user/practice/sessions/{session_id}/settings")
async def update_settings(user_id: Caller, session_id: int, changes: SettingsChanges) -> Settings:
    return found(store.update_settings(user_id, session_id, changes.model_dump(exclude_unset=True)))


lambda_handler = Mangum(app, lifespan="off")
