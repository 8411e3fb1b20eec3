"""What must hold of a learner's items whatever happened to the functions that wrote them."""

import json
import zlib
from collections.abc import Mapping
from typing import Any

Items = Mapping[tuple[str, str], Any]


def broken(items: Items) -> list[str]:
    """Every rule that does not hold, in words; what a delete left behind counts only under sessions that stand."""
    by_sk = {sk: item for (_, sk), item in items.items()}
    sessions = {sk.split("#")[1] for sk in by_sk if sk.endswith("#5SESSION")}
    problems = [
        f"no {kind} of {each}" for each in sessions for kind in HEADS if f"SESSION#{each}#{kind}" not in by_sk
    ]
    problems += [
        f"{sk} without its session" for sk in by_sk if sk.endswith(HEADS) and sk.split("#")[1] not in sessions
    ]
    account = by_sk.get("ACCOUNT", {})
    examples = [sk for sk in by_sk if sk.startswith("EXAMPLE#")]
    for name, count in (("sessions", len(sessions)), ("examples", len(examples))):
        if int(account.get(name, {"N": "0"})["N"]) != count:
            problems.append(f"{count} {name}, counted {account.get(name)}")
    for sk, item in by_sk.items():
        if "parts" in item or "doc" in item or "z" in item:
            try:
                document(by_sk, sk)
            except (KeyError, ValueError, zlib.error) as error:
                problems.append(f"{sk} cannot be read: {error!r}")
    for session in sessions:
        problems += _of_session(by_sk, session)
    return problems + _of_usage(by_sk)


def _of_usage(by_sk: Mapping[str, Any]) -> list[str]:
    """Budgets hold what was used and what is reserved, and no turn that has ended is missing from what was used."""
    problems = []
    days = {sk.partition("#")[2]: item for sk, item in by_sk.items() if sk.startswith("USAGE#")}
    reserved = [item for sk, item in by_sk.items() if sk.startswith("RESERVED#")]
    for day in days.keys() | {item["day"]["S"] for item in reserved if int(item["turns"]["N"])}:
        numbers = {name: int(value["N"]) for name, value in days.get(day, {}).items() if "N" in value}

        def used(*kinds: str, numbers: Mapping[str, int] = numbers) -> int:
            return sum(
                value for name, value in numbers.items() if name.partition(":")[0] in kinds and ":" in name
            )

        held = [item for item in reserved if item["day"]["S"] == day]
        for name, spent in (
            ("turns", numbers.get("turns", 0)),
            ("tokens", used("prompt", "completion")),
            ("cost", used("cost")),
        ):
            expected = spent + sum(int(item[name]["N"]) for item in held)
            if numbers.get(f"budget_{name}", 0) != expected:
                problems.append(f"{day}: budget_{name} {numbers.get(f'budget_{name}')}, expected {expected}")
    ended: dict[tuple[str, str], list[int]] = {}
    for sk, item in by_sk.items():
        if "#1TURN#" not in sk or len(sk.split("#")) != 4 or "imported" in item or "outcome" not in item:
            continue
        turn = document(by_sk, sk)
        outcome = json.loads(item["outcome"]["S"])
        if item["status"]["S"] == "cancelled" and outcome["models"] == []:
            continue  # in the queue, or after its worker had died: no model is known to have been asked
        refused = {each["model_name"] for each in outcome["errors"] if each["code"] == "daily_budget_spent"}
        for asked in turn["asked"]:
            if asked["model_name"] in refused:
                continue
            figures = ended.setdefault((turn["created_at"][:10], asked["model_name"]), [0, 0])
            answer = f"{sk.partition('#1TURN#')[0]}#2RESPONSE#{asked['response_id']:016d}"
            figures[0] += 1
            figures[1] += "spent" in by_sk.get(answer, {})
    for (day, name), [turns, answers] in ended.items():
        counted = [
            int(days.get(day, {}).get(f"{kind}:{name}", {"N": "0"})["N"]) for kind in ("turns", "answers")
        ]
        if counted[0] < turns or counted[1] < answers:
            problems.append(f"{day}: {name} used {counted}, but {turns} turns with {answers} answers ended")
    return problems


HEADS = ("3MODELS", "4SETTINGS", "5SESSION")


def document(by_sk: Mapping[str, Any], sk: str) -> Any:
    item = by_sk[sk]
    if "doc" in item:
        return json.loads(item["doc"]["S"])
    if "z" in item:
        return json.loads(zlib.decompress(item["z"]["B"])) if "v" in item else None
    names = [f"{sk}#{int(item['v']['N']):08d}#{part:02d}" for part in range(int(item["parts"]["N"]))]
    return json.loads(zlib.decompress(b"".join(by_sk[name]["z"]["B"] for name in names)))


def _of_session(by_sk: Mapping[str, Any], session: str) -> list[str]:
    prefix = f"SESSION#{session}#"
    problems = []
    models_item, models = by_sk[prefix + "3MODELS"], document(by_sk, prefix + "3MODELS")
    ids = [model["session_model_id"] for model in models["models"]]
    if sorted(set(ids)) != ids or len({model["model_name"] for model in models["models"]}) != len(ids):
        problems.append(f"{prefix}: models {ids}")
    if (models["primary_id"] in ids) != bool(ids):
        problems.append(f"{prefix}: primary {models['primary_id']} of {ids}")
    if sorted(map(int, models_item.get("live", {"NS": []})["NS"])) != ids:
        problems.append(f"{prefix}: live {models_item.get('live')} of {ids}")
    settings_item, settings = by_sk[prefix + "4SETTINGS"], document(by_sk, prefix + "4SETTINGS")
    linked = sorted(link["example_id"] for link in settings["links"])
    if sorted(map(int, settings_item.get("examples", {"NS": []})["NS"])) != linked:
        problems.append(f"{prefix}: links {linked}, indexed {settings_item.get('examples')}")
    if ("linking" in settings_item) != bool(linked):
        problems.append(f"{prefix}: linking {settings_item.get('linking')}")
    next_id, moments = int(models_item["next_id"]["N"]), []
    wholes = set()
    for sk, item in by_sk.items():
        if not sk.startswith(prefix + "2RESPONSE#") or len(sk.split("#")) != 4:
            continue
        wholes.add(sk)
        response_id = int(sk.split("#")[3])
        if not int(session) < response_id < next_id:
            problems.append(f"{sk}: next id {next_id}")
        if "of_model" in item:
            response = document(by_sk, sk)
            moments.append((response_id, response["created_at"]))
            if response["response_id"] != response_id:
                problems.append(f"{sk}: id {response['response_id']}")
    in_order = [moment for _, moment in sorted(moments)]
    if in_order != sorted(in_order):
        problems.append(f"{prefix}: responses out of the order of time")
    problems += _of_turns(by_sk, prefix)
    parts = [sk for sk in by_sk if sk.startswith(prefix + "2RESPONSE#") and len(sk.split("#")) > 4]
    problems += [f"{sk}: a part of nothing" for sk in parts if "#".join(sk.split("#")[:4]) not in wholes]
    return problems


def _of_turns(by_sk: Mapping[str, Any], prefix: str) -> list[str]:
    """A turn that has ended has no place without an answer, and nothing that its runner needed."""
    problems = []
    places = {
        item["turn"]["N"]
        for sk, item in by_sk.items()
        if sk.startswith(prefix + "2RESPONSE#") and item.get("v", {}).get("N") == "0"
    }
    for sk, item in by_sk.items():
        if not sk.startswith(prefix + "1TURN#") or len(sk.split("#")) != 4:
            continue
        left = {"until", "lost", "failed", "cancelled"} & item.keys()
        if item["status"]["S"] in ("done", "failed", "cancelled"):
            if left or str(int(sk.split("#")[3])) in places:
                problems.append(f"{sk}: has ended with {sorted(left)} or places left")
        elif not {"until", "lost"} <= left:
            problems.append(f"{sk}: under way with {sorted(left)}")
    return problems
