"""Order of the tests: what takes longest begins first, or one process would be busy with it when all others are done."""

from __future__ import annotations

import pytest

#: Files that compile the engine several times over.
LONG = ("test_cache.py",)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; otherwise the order stays."""
    items.sort(key=lambda item: item.path.name not in LONG)
