"""Order of the tests: what takes longest begins first, or one process would be busy with it when all others are done. And a browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.pages import CHROMIUM

#: Files that compile the engine several times over.
LONG = ("test_cache.py",)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; otherwise the order stays."""
    items.sort(key=lambda item: item.path.name not in LONG)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A browser for all tests that need one."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()
