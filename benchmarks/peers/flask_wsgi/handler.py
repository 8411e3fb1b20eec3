"""Flask behind apig-wsgi. It validates nothing."""

import os

import boto3
from apig_wsgi import make_lambda_handler
from bearer import user_of
from flask import Flask, abort, request
from naive import Store

app = Flask("practice")
store = Store(boto3.client("dynamodb", region_name=os.environ["AWS_REGION"]))


def caller():
    return user_of(request.headers["authorization"])


def found(value):
    return abort(404) if value is None else value


@app.get("/user/practice/sessions")
def list_sessions():
    return store.list_sessions(caller(), 50)


@app.get("/user/practice/sessions/<int:session_id>")
def get_session(session_id):
    return found(store.get_session(caller(), session_id))


@app.patch("/user/practice/sessions/<int:session_id>")
def update_session(session_id):
    return found(store.update_session(caller(), session_id, request.get_json()))


@app.patch("/user/practice/sessions/<int:session_id>/settings")
def update_settings(session_id):
    return found(store.update_settings(caller(), session_id, request.get_json()))


lambda_handler = make_lambda_handler(app.wsgi_app)
