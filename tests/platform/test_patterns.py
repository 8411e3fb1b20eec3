"""Every regular expression of the project takes linear time, whatever the text: `recheck` searches for one that does not."""

import ast
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("layers/practice/practice", "functions", "local", "clients/python", "tools")
ANCHORED = {"match", "fullmatch"}
SEARCHING = {"search", "findall", "finditer", "sub", "subn", "split"}

NOT_LITERAL = {
    "layers/practice/practice/http/contract.py": "a route's path, escaped, with [^/]+ between slashes",
    "layers/practice/practice/turns/providers/openai.py": "the name of a parameter of ours, between quotes",
    "local/gateway.py": "a route's path and an origin of the template, escaped",
    "tools/rehearse/drive.py": "a route's path, with [^/]+ between slashes",
    "tools/deploy.py": "the AllowedPattern of a parameter, for the value that its operator gives",
}
"""Patterns that are made when they are needed, of what is ours."""


class Pattern(NamedTuple):
    place: str
    source: str
    flags: str


def patterns() -> Iterator[Pattern]:
    for folder in FOLDERS:
        for file in sorted((ROOT / folder).rglob("*.py")):
            yield from patterns_in(file.relative_to(ROOT).as_posix(), ast.parse(file.read_text()))


def patterns_in(place: str, tree: ast.Module) -> Iterator[Pattern]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        where = f"{place}:{node.lineno}"
        for keyword in node.keywords:
            if keyword.arg == "pattern" and isinstance(keyword.value, ast.Constant):
                yield Pattern(where, str(keyword.value.value), "")
        function = node.func
        if not (isinstance(function, ast.Attribute) and ast.unparse(function.value) == "re"):
            continue
        if function.attr not in {"compile", *ANCHORED, *SEARCHING}:
            continue
        source = literal(node.args[0])
        if source is None:
            assert place in NOT_LITERAL, f"{where}: say in NOT_LITERAL what this pattern is made of"
            continue
        used = {function.attr} if function.attr != "compile" else uses_of(tree, node)
        yield Pattern(where, in_javascript(source, used), flags_of(node))


def literal(node: ast.expr) -> str | None:
    """Of an f-string what is inserted counts as a letter: only escaped texts are."""
    if isinstance(node, ast.Constant):
        return node.value.decode("latin-1") if isinstance(node.value, bytes) else str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)
    return None


def uses_of(tree: ast.Module, compiled: ast.Call) -> set[str]:
    """How the name is used that a pattern is assigned to; another module may search."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is compiled:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            name = ast.unparse(target)
            return {
                each.attr
                for each in ast.walk(tree)
                if isinstance(each, ast.Attribute) and ast.unparse(each.value) == name
            } or SEARCHING
    return SEARCHING


def in_javascript(source: str, used: set[str]) -> str:
    source = source.removeprefix("(?m)").replace("(?P<", "(?<").replace(r"\A", "^").replace(r"\Z", "$")
    return source if used & SEARCHING or not used <= ANCHORED else f"^(?:{source})$"


def flags_of(node: ast.Call) -> str:
    named = {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)}
    if isinstance(source := node.args[0], ast.Constant) and str(source.value).startswith("(?m)"):
        named.add("MULTILINE")
    letters = {"IGNORECASE": "i", "DOTALL": "s", "MULTILINE": "m"}
    return "".join(letter for name, letter in letters.items() if name in named)


CHECK = """
import recheck from "recheck";
let text = "";
for await (const chunk of process.stdin) text += chunk;
const found = [];
for (const [place, source, flags] of JSON.parse(text)) {
  const { status, complexity, attack, error } = await recheck.check(source, flags, { seed: 1, timeout: null });
  found.push({ place, source, status, complexity: complexity?.summary, attack: attack?.pattern, error });
}
console.log(JSON.stringify(found));
process.exit(0);
"""


def judged(found: list[Pattern]) -> list[dict[str, str]]:
    done = subprocess.run(
        ["node", "--input-type=module", "-e", CHECK],
        input=json.dumps(found),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    judgements: list[dict[str, str]] = json.loads(done.stdout)
    return judgements


needs_recheck = pytest.mark.skipif(
    not (ROOT / "node_modules" / "recheck").exists(), reason="needs the packages of npm"
)


@needs_recheck
def test_no_pattern_takes_more_than_linear_time() -> None:
    found = list(patterns())

    assert len(found) > 20
    assert [each for each in judged(found) if each["status"] != "safe"] == []


@needs_recheck
def test_the_checker_finds_a_pattern_that_starts_again_at_each_digit() -> None:
    [slow, fast] = judged([Pattern("slow", r"\d+NaN", ""), Pattern("fast", r"^\d+NaN", "")])

    assert (slow["status"], fast["status"]) == ("vulnerable", "safe")


def test_patterns_are_found_with_how_they_are_used() -> None:
    tree = ast.parse('import re\nA = re.compile("a+b")\nA.fullmatch("")\nre.search("a+b", "", re.DOTALL)')

    assert [tuple(each) for each in patterns_in("x", tree)] == [
        ("x:2", "^(?:a+b)$", ""),
        ("x:4", "a+b", "s"),
    ]
    assert re.fullmatch(literal(ast.parse('rf"{x}+"', mode="eval").body) or "", "xx")
