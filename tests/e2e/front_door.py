"""A pytest plugin: of the whole suite only what speaks through the front door, and the tests of the emulators."""

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kept = [
        item
        for item in items
        if "send" in getattr(item, "fixturenames", ()) or item.get_closest_marker("e2e")
    ]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept
