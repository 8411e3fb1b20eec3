"""template.yaml, the folders of functions/, their handlers and their events tell one story."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local.intrinsics import parse
from practice.caller import Caller
from practice.http.endpoint import Endpoint
from tests.support.lists import assert_complete
from tools.asyncapi import SENT, action_of
from tools.expansion import deployed
from tools.openapi import load_handler

ROOT = Path(__file__).parents[2]
RESOURCES: Mapping[str, Any] = parse((ROOT / "template.yaml").read_text())["Resources"]
DEPLOYED = {
    resource["Properties"]["CodeUri"].split("/")[1]: {"name": name, **resource["Properties"]}
    for name, resource in RESOURCES.items()
    if resource["Type"] == "AWS::Serverless::Function"
}
MAPPED = {
    each["Properties"]["FunctionName"]["Ref"].removesuffix(".Alias")
    for each in RESOURCES.values()
    if each["Type"] == "AWS::Lambda::EventSourceMapping"
}
"""The functions that read a queue or the stream."""
EXPANDED = deployed({}).resources
LIVE = {
    RESOURCES[function]["Properties"]["CodeUri"].split("/")[1]: route["Properties"]["RouteKey"]
    for route in EXPANDED.values()
    if route["Type"] == "AWS::ApiGatewayV2::Route"
    for integration in [EXPANDED[route["Properties"]["Target"].removeprefix("integrations/")]]
    for function in re.findall(r"/(\w+)Aliaslive/", integration["Properties"]["IntegrationUri"])
}
"""The route of the WebSocket API that each function of it answers."""
HANDLERS = {
    folder.name: load_handler(folder)
    for folder in sorted((ROOT / "functions").iterdir())
    if (folder / "handler.py").exists()
}
ENDPOINTS = {name: handler for name, handler in HANDLERS.items() if isinstance(handler, Endpoint)}


def routes_of(function: Mapping[str, Any]) -> list[str]:
    """As the template declares them."""
    declared = [event for event in function.get("Events", {}).values() if event["Type"] == "HttpApi"]
    return [
        f"{properties['Method']} {properties['Path']}" if "Path" in properties else "$default"
        for properties in (event["Properties"] for event in declared)
    ]


def route_of(endpoint: Endpoint) -> str:
    return f"{endpoint.method} {endpoint.path}".strip()


def test_every_folder_is_deployed_and_everything_deployed_has_a_folder() -> None:
    assert_complete(
        DEPLOYED, HANDLERS, "template.yaml, as AWS::Serverless::Function with CodeUri functions/<name>/"
    )


def test_the_routes_of_the_template_are_the_routes_of_the_code() -> None:
    declared = {name: routes_of(function) for name, function in DEPLOYED.items() if routes_of(function)}

    for name, endpoint in ENDPOINTS.items():
        route = route_of(endpoint)
        assert declared.get(name) == [route], f"give {name} the event HttpApi of {route} in template.yaml"
    assert_complete(declared, ENDPOINTS, "the functions with a route in template.yaml")


def test_every_function_without_a_route_has_another_trigger() -> None:
    for name in HANDLERS.keys() - ENDPOINTS.keys() - LIVE.keys():
        function = DEPLOYED[name]
        triggers = [event["Type"] for event in function.get("Events", {}).values()]
        is_mapped = function["name"] in MAPPED
        assert triggers or is_mapped, (
            f"give {name} an EventSourceMapping or an event EventBridgeRule in template.yaml"
        )
        assert "HttpApi" not in triggers, name


def test_a_function_asks_for_a_token_unless_its_route_is_open_to_all() -> None:
    asking = {name for name, endpoint in ENDPOINTS.items() if endpoint.takes_a(Caller)}

    assert ENDPOINTS.keys() - asking == {"openapi", "default"}


def test_just_the_functions_that_ask_for_a_token_may_read_its_secret() -> None:
    for name, handler in HANDLERS.items():
        policies = DEPLOYED[name].get("Policies", [])
        asks = name == "live_connect" or (isinstance(handler, Endpoint) and handler.takes_a(Caller))

        change = "give" if asks else "do not give"
        caller = {"Fn::GetAtt": ["Grants", "Outputs.Caller"]}
        assert (caller in policies) is asks, f"{change} {name} Grants.Outputs.Caller in template.yaml"


def test_an_operation_is_called_as_its_folder_is() -> None:
    assert {name: endpoint.name for name, endpoint in ENDPOINTS.items()} == {name: name for name in ENDPOINTS}


def test_a_handler_takes_the_ids_of_its_path() -> None:
    for name, endpoint in ENDPOINTS.items():
        named = tuple(part[1:-1] for part in endpoint.path.split("/") if part.startswith("{"))
        assert endpoint.path_parameters == named, name


def test_a_handler_has_its_route_in_its_first_line_and_a_docstring() -> None:
    for name, endpoint in ENDPOINTS.items():
        first = (ROOT / "functions" / name / "handler.py").read_text().partition("\n")[0]

        assert first.startswith(f'"""{route_of(endpoint)}'), f"begin {name}/handler.py with its route"
        assert endpoint.__doc__, f"give the handler of {name} a docstring: it is the operation's description"


def test_a_handler_of_events_is_called_in_the_log_as_its_folder_is() -> None:
    for name in HANDLERS.keys() - ENDPOINTS.keys() - LIVE.keys():
        assert f'@logged_event("{name}")\n' in (ROOT / "functions" / name / "handler.py").read_text()


def test_every_action_of_a_live_message_has_its_function() -> None:
    actions = {action_of(model) for model in SENT} - {"ping"}

    assert {
        f"live_{action.strip('$')}": action for action in {*actions, "$connect", "$disconnect", "$default"}
    } == LIVE
    for name, route in LIVE.items():
        assert (ROOT / "functions" / name / "handler.py").read_text().startswith(f'"""{route}: ')


def test_handlers_are_short() -> None:
    for name in HANDLERS:
        assert len((ROOT / "functions" / name / "handler.py").read_text().splitlines()) <= 50, name


def test_every_function_has_an_event_by_its_name_and_a_route_comes_in_it() -> None:
    for name in HANDLERS:
        events = [*(ROOT / "events").glob(f"{name}.json"), *(ROOT / "events").glob(f"{name}.*.json")]
        assert events, f"add events/{name}.json, as its trigger delivers it"
        for event in events if name in LIVE else ():
            assert json.loads(event.read_text())["requestContext"]["routeKey"] == LIVE[name], event.name
        for event in events if name in ENDPOINTS else ():
            assert json.loads(event.read_text())["routeKey"] == route_of(ENDPOINTS[name]), event.name
