"""A pytest plugin: of the whole suite only what speaks through the front door, and the tests of the emulators."""

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kept = [item for item in items if item.get_closest_marker("e2e") or speaks_through_the_front_door(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def speaks_through_the_front_door(item: pytest.Item) -> bool:
    """And changes nothing of the functions, which are in other processes here."""
    fixtures = getattr(item, "fixturenames", ())
    return "send" in fixtures and "stack" not in fixtures and "monkeypatch" not in fixtures
