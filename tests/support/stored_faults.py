"""Stores that are written under faults."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dask
import pytest
from zarr.storage import WrapperStore

from xfit.fitting.stored.storage import StoreError


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Writes in the same order each time."""
    with dask.config.set(num_workers=1):
        yield


class Killed(BaseException):
    """What stands for the end of the process."""


class Mortal(WrapperStore):
    """A store that nothing is written to any more from a certain write or deletion on."""

    left = 1 << 60

    def _count(self) -> None:
        Mortal.left -= 1
        if Mortal.left < 0:
            raise Killed

    async def set(self, *args: Any, **kwargs: Any) -> None:  # noqa: D102
        self._count()
        await super().set(*args, **kwargs)

    async def delete(self, *args: Any, **kwargs: Any) -> None:  # noqa: D102
        self._count()
        await super().delete(*args, **kwargs)


def killed(run: Any, store: Any, after: int, **options: Any) -> bool:
    """Whether a run was killed after so many writes."""
    Mortal.left = after
    try:
        run(store, **options)
    except (Killed, StoreError):
        return True
    finally:
        left, Mortal.left = Mortal.left, 1 << 60
    assert left >= 0
    return False
