"""The routes of an HTTP API, made one by one: the emulator takes its `Body`, and makes nothing of it."""

import re
from collections.abc import Callable, Mapping
from typing import Any

METHODS = ("get", "post", "put", "patch", "delete", "options", "head")
ANY = "x-amazon-apigateway-any-method"
CORS = {
    "allowOrigins": "AllowOrigins",
    "allowMethods": "AllowMethods",
    "allowHeaders": "AllowHeaders",
    "exposeHeaders": "ExposeHeaders",
    "maxAge": "MaxAge",
    "allowCredentials": "AllowCredentials",
}


def make_routes(
    client: Any,
    api_id: str,
    body: Mapping[str, Any],
    physical: Callable[[str], str],
    parameters: Mapping[str, str],
) -> set[str]:
    """What `Body` describes, and the routes' keys. `physical` gives the ARN of an alias by its logical id."""
    existing = {each["RouteKey"]: each for each in client.get_routes(ApiId=api_id)["Items"]}
    keys = set()
    for path, operations in body["paths"].items():
        for method in {*METHODS, ANY} & set(operations):
            key = (
                "$default"
                if path.lstrip("/") == "$default"
                else f"{'ANY' if method == ANY else method.upper()} {path}"
            )
            keys.add(key)
            if key not in existing:
                _make(client, api_id, key, operations[method]["x-amazon-apigateway-integration"], physical)
    for key in set(existing) - keys:
        client.delete_route(ApiId=api_id, RouteId=existing[key]["RouteId"])
    if cors := body.get("x-amazon-apigateway-cors"):
        given = {CORS[name]: _value(value, parameters) for name, value in cors.items()}
        client.update_api(ApiId=api_id, CorsConfiguration=given)
    return keys


def _make(
    client: Any, api_id: str, key: str, described: Mapping[str, Any], physical: Callable[[str], str]
) -> None:
    [alias] = re.findall(r"functions/\$\{(\w+)\}/invocations", described["uri"]["Fn::Sub"])
    integration = client.create_integration(
        ApiId=api_id,
        IntegrationType="AWS_PROXY",
        IntegrationMethod=described["httpMethod"],
        IntegrationUri=physical(alias),
        PayloadFormatVersion=described["payloadFormatVersion"],
    )
    client.create_route(ApiId=api_id, RouteKey=key, Target=f"integrations/{integration['IntegrationId']}")


def _value(value: Any, parameters: Mapping[str, str]) -> Any:
    match value:
        case {"Fn::Split": [str(separator), {"Ref": name}]}:
            return parameters[name].split(separator)
        case {"Ref": name}:
            return parameters[name]
    return value
