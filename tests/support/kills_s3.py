"""Kills at requests to an S3 server: a process that is ended before or after each that changes something, and
what comes of what it leaves.

Run as ``python -m tests.support.kills_s3 ENDPOINT KIND=STEP ...``, in a process of its own, for each kill is of a fork.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import dask
import fsspec
import numpy as np
import xarray as xr
from aiobotocore.client import AioBaseClient

import xfit
from tests.support.builders import assert_same_bits, two_peaks
from tests.support.checkpoint_runs import data as peaks
from tests.support.opened import open_array
from tests.support.signal_models import fit_of
from tests.support.signal_models import signal as counts
from tests.support.two_runs import data, first, is_result, second
from xfit.components import Gaussian, Offset
from xfit.fitting.stored.check import check
from xfit.samfire.checkpoint import Checkpoints

#: Requests that change something.
_CHANGES = ("Put", "Delete", "Copy", "Create", "Upload", "Complete")

#: Where that lies which is there before.
_OLD = "s3://bucket/old"


def _mortal(moment: int) -> None:
    """Have this process end at a moment: before its first change, after that, before its second, and so on."""
    plain = AioBaseClient._make_api_call
    left = moment

    def count() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    async def call(self: Any, name: str, arguments: Any) -> Any:
        if not name.startswith(_CHANGES):
            return await plain(self, name, arguments)
        count()
        found = await plain(self, name, arguments)
        count()
        return found

    AioBaseClient._make_api_call = call


def _killed(act: Callable[[], object], moment: int) -> bool:
    """Whether a call in a process of its own was killed at a moment."""
    child = os.fork()
    if not child:
        try:
            _mortal(moment)
            act()
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL), code
    return code != 0


class Trial:
    """What is killed, and what has to hold afterwards.

    Parameters
    ----------
    options : dict
        Of the server.
    """

    def __init__(self, options: dict[str, str]) -> None:
        self.options = options
        self.files = fsspec.filesystem("s3", **options)
        self.seen: list[str] = []

    def kill(self, kind: str, step: int) -> dict[str, Any]:
        """Kill at every so many-th moment; return what was seen after each kill, and the number of
        moments up to the first without.
        """
        if self.files.exists(_OLD):
            self.files.rm(_OLD, recursive=True)
        self._prepare()
        for number in itertools.count(step - 1, step):
            place = f"s3://bucket/{kind}/{number}"
            if self.files.exists(_OLD):
                self._copy(_OLD, place)
            if not _killed(partial(self._act, place), number):
                return {"seen": self.seen, "moments": number}
            self._hold(place)
        raise AssertionError

    def _prepare(self) -> None:
        """Make what is there before."""
        raise NotImplementedError

    def _act(self, place: str) -> None:
        """Do what is killed."""
        raise NotImplementedError

    def _hold(self, place: str) -> None:
        """Look at what is there, go on, and look at what comes of it."""
        raise NotImplementedError

    def _copy(self, place: str, to: str) -> None:
        for name in self.files.find(place):
            self.files.pipe_file(to + name.removeprefix(place.removeprefix("s3://")), self.files.cat_file(name))


class FirstRun(Trial):
    """A first run, which resume=True goes on with."""

    def _prepare(self) -> None:
        self.one = data().fit.multifit(two_peaks()).compute()

    def _act(self, place: str) -> None:
        first(f"{place}/fit.zarr", storage_options=self.options)

    def _hold(self, place: str) -> None:
        store = f"{place}/fit.zarr"
        assert_same_bits(first(store, storage_options=self.options, resume=True).compute(), self.one)
        assert check(store, self.options) == []
        self.seen.append("run")


class Overwritten(Trial):
    """A run that replaces another: a plain reader has the one or the other."""

    def _prepare(self) -> None:
        self.one = data().fit.multifit(two_peaks()).compute()
        self.other = data().fit.multifit(two_peaks(), variance=0.04, covariance=True).compute()
        first("s3://bucket/old/fit.zarr", storage_options=self.options)

    def _act(self, place: str) -> None:
        second(f"{place}/fit.zarr", storage_options=self.options, overwrite=True)

    def _hold(self, place: str) -> None:
        store = f"{place}/fit.zarr"
        seen = xr.open_zarr(store, storage_options=self.options)
        is_new = is_result(seen, self.other)
        assert is_new or is_result(seen, self.one)
        self.seen.append("new" if is_new else "old")
        if is_new or self.files.exists(f"{store}/marks/run-b/zarr.json"):
            run, expected = second, self.other
        else:
            # Nothing there says yet that it was to be replaced.
            run, expected = first, self.one
        run(store, storage_options=self.options, resume=True)
        for consolidated in (True, False):
            assert is_result(xr.open_zarr(store, storage_options=self.options, consolidated=consolidated), expected)
        assert check(store, self.options) == []


class Models(Trial):
    """Models beside a signal: whole or not there."""

    def __init__(self, options: dict[str, str], what: str) -> None:
        super().__init__(options)
        self.what = what

    def _prepare(self) -> None:
        self.old, self.new = fit_of(4.0), fit_of(4.5)
        counts().to_dataset().to_zarr("s3://bucket/old/map.zarr", storage_options=self.options, consolidated=False)
        if self.what != "store":
            xfit.models("s3://bucket/old/map.zarr", self.options).store(self.old, "a")

    def _act(self, place: str) -> None:
        kept = xfit.models(f"{place}/map.zarr", self.options)
        if self.what == "remove":
            kept.remove("a")
        else:
            kept.store(self.new, "a", overwrite=self.what == "replace")

    def _hold(self, place: str) -> None:
        kept = xfit.models(f"{place}/map.zarr", self.options)
        assert kept.damaged == {}
        if "a" in kept:
            found = kept.restore("a").compute()
            self.seen.append("new" if found.attrs["xfit_model"] == self.new.attrs["xfit_model"] else "old")
            assert_same_bits(found, self.new if self.seen[-1] == "new" else self.old)
        else:
            self.seen.append("none")
        kept.store(self.new, "a", overwrite=True)
        assert kept.unfinished == ()
        assert_same_bits(kept.restore("a").compute(), self.new)


class Saved(Trial):
    """What is saved over another: the old, the new, or nothing, with the new whole beside its place."""

    def _prepare(self) -> None:
        self.data = data().compute()
        xfit.save(self.data, "s3://bucket/old/map.zarr", storage_options=self.options)

    def _act(self, place: str) -> None:
        xfit.save(2 * self.data, f"{place}/map.zarr", storage_options=self.options, overwrite=True)

    def _values(self, place: str) -> np.ndarray:
        found: np.ndarray = open_array(place, storage_options=self.options).values
        return found

    def _hold(self, place: str) -> None:
        self.files.invalidate_cache()
        beside = [f"s3://{each}" for each in self.files.ls(place, detail=False) if ".partial" in each]
        if self.files.exists(f"{place}/map.zarr/zarr.json"):
            found = self._values(f"{place}/map.zarr")
            self.seen.append("old" if np.array_equal(found, self.data) else "new")
        else:
            found = self._values(beside[0])
            self.seen.append("beside")
        np.testing.assert_array_equal(found, self.data if self.seen[-1] == "old" else 2 * self.data)
        self._act(place)
        np.testing.assert_array_equal(self._values(f"{place}/map.zarr"), 2 * self.data)


class Seeds(Trial):
    """SAMFire: the same call goes on, and each checkpoint that is there is whole."""

    def _prepare(self) -> None:
        self.fit = self._run(None)

    def _run(self, store: str | None) -> xr.Dataset:
        model = xfit.Model([Gaussian(name="g", A=90, centre=8, sigma=2), Offset(name="o", offset=4)])
        how: dict[str, Any] = {"seeds": [(0,)], "variance": 1 / 64, "progress": False}
        if store is not None:
            how |= {"store": store, "storage_options": self.options}
        found: xr.Dataset = peaks().chunk(x=2).fit.samfire(model, **how).compute()
        return found

    def _act(self, place: str) -> None:
        self._run(f"{place}/run")

    def _hold(self, place: str) -> None:
        kept = Checkpoints(f"{place}/run", self.options)
        for visit in kept.known():
            kept.read(visit)
        assert kept.foreign() is None
        assert_same_bits(self._run(f"{place}/run"), self.fit)
        self.seen.append("run")


KINDS: dict[str, Callable[[dict[str, str]], Trial]] = {
    "first": FirstRun,
    "overwrite": Overwritten,
    "store": lambda options: Models(options, "store"),
    "replace": lambda options: Models(options, "replace"),
    "remove": lambda options: Models(options, "remove"),
    "save": Saved,
    "seeds": Seeds,
}


def main(endpoint: str, words: list[str]) -> None:
    """Print what was seen of each kind."""
    options = {"key": "anyone", "secret": "anything", "endpoint_url": endpoint}
    asked = dict(word.split("=") for word in words)
    print(json.dumps({kind: KINDS[kind](options).kill(kind, int(step)) for kind, step in asked.items()}))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    # A child has none of dask's threads.
    with dask.config.set(num_workers=1, scheduler="synchronous"):
        main(sys.argv[1], sys.argv[2:])
