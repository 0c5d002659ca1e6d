"""Order of the tests: what takes longest begins first, or one process would be busy with it when all others are done. A browser, and the engine without pixels side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.pages import CHROMIUM
from xfit.engine.codegen.program import LoadedProgram
from xfit.engine.pixel.evaluate import Structure

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


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Switch pixels side by side off."""
    original = LoadedProgram.structure_side_by_side

    def structure(self: LoadedProgram, active: Any, whole: Any) -> Structure:
        found = original(self, active, whole)
        return found._replace(address=found.address[:0])

    def switch() -> None:
        monkeypatch.setattr(LoadedProgram, "structure_side_by_side", structure)

    return switch
