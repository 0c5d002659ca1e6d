"""Clients and workers of every kind: closed meanwhile, asynchronous, of other versions, without memory;
fits begun in tasks of workers.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import pickle
import pkgutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask
import dask.array
import numpy as np
import pytest
import xarray as xr
from distributed import Client, LocalCluster, get_client
from distributed.protocol.pickle import dumps, loads

import xfit
from tests.support.builders import assert_same_bits
from xfit.components import Gaussian, Offset
from xfit.engine.codegen import versions
from xfit.engine.codegen.versions import VersionError
from xfit.fitting.running import remote_errors as carried
from xfit.fitting.running.workers import ClusterError, Ready, make_ready
from xfit.fitting.stored.storage import StoreError

#: Seconds after which a test fails that would hang; a fit takes less than one, its compilation some ten.
GUARD = 60


def make(chunked: bool = True) -> xr.DataArray:
    x = np.linspace(0, 10, 100)
    counts = np.random.default_rng(0).poisson(5 + 60 * np.exp(-((x - 4) ** 2) / 2), (6, 7, 100))
    da = xr.DataArray(counts, dims=("y", "x", "e"), coords={"e": x})
    return da.chunk(y=2) if chunked else da


def model() -> xfit.Model:
    return xfit.Model([Gaussian(name="g", A=100, centre=4.5, sigma=1), Offset(name="o", offset=4)])


def begun(kind: str, store: Any = None, progress: Any = False, **options: Any) -> xr.Dataset:
    """A fit of each kind."""
    if kind == "stored":
        return make().fit.multifit(model(), store=store, progress=progress, **options)
    if kind == "lazy":
        return make().fit.multifit(model())
    return make().fit.samfire(model(), seeds=[(0, 0)], variance="poisson", progress=progress, **options)


def fitted(kind: str, store: Any = None, scheduler: str | None = None, **options: Any) -> xr.Dataset:
    """A fit of each kind, computed."""
    return begun(kind, store, **options).compute(scheduler=scheduler)


@pytest.fixture(scope="module")
def expected() -> dict[str, xr.Dataset]:
    return {"stored": make(False).fit.multifit(model()), "samfire": fitted("samfire")}


@pytest.fixture(scope="module")
def local() -> Iterator[LocalCluster]:
    """One worker process with one thread."""
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster


def assert_dask_works(store: Path, expected: dict[str, xr.Dataset]) -> None:
    """What a process does after a run: any computation, and each kind of fit."""
    assert dask.config.get("scheduler", None) is None
    assert float(dask.array.ones((4, 4), chunks=2).sum().compute()) == 16.0
    assert_same_bits(fitted("stored", str(store)), expected["stored"])
    assert_same_bits(fitted("lazy"), expected["stored"])


# --- clients that are closed, or of no use


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["stored", "samfire"])
@pytest.mark.parametrize("given", [True, False], ids=["given", "active"])
def test_a_client_that_is_closed_meanwhile(kind: str, given: bool, expected, local, tmp_path) -> None:
    """From another thread, as a time limit would: the fit says so, and the process goes
    on as if there had been none.
    """
    client = Client(local, set_as_default=not given)
    closing: list[threading.Thread] = []

    def close(snapshot: Any) -> None:
        if not closing:
            closing.append(threading.Thread(target=client.close))
            closing[0].start()
            closing[0].join(GUARD)

    with pytest.raises(ClusterError, match="was closed, or lost its scheduler, while the fit went on"):
        begun(kind, tmp_path / "lost.zarr", progress=close, client=client if given else None)
    assert client.status == "closed"
    assert_dask_works(tmp_path / "next.zarr", expected)


@pytest.mark.slow
def test_fits_that_end_in_another_order_than_they_began(expected, local, tmp_path) -> None:
    """Each thread has a client of its own, which is nobody's default; dask's configuration is that of all threads."""
    first, second = threading.Event(), threading.Event()

    def begin_first(snapshot: Any) -> None:
        first.set()
        assert second.wait(GUARD)

    def end_last(snapshot: Any) -> None:
        second.set()
        assert earlier.result(GUARD) is not None

    with (
        Client(local, set_as_default=False) as a,
        Client(local, set_as_default=False) as b,
        ThreadPoolExecutor(1) as pool,
    ):
        earlier = pool.submit(begun, "stored", tmp_path / "a.zarr", begin_first, client=a)
        assert first.wait(GUARD)
        later = begun("stored", tmp_path / "b.zarr", end_last, client=b)
    assert_same_bits(later.compute(), expected["stored"])
    assert_dask_works(tmp_path / "next.zarr", expected)


@pytest.mark.parametrize("kind", ["stored", "samfire"])
@pytest.mark.parametrize("raised", [ZeroDivisionError, KeyboardInterrupt])
def test_configuration_after_errors(kind: str, raised: type[BaseException], tmp_path) -> None:
    """An error of the user's own function, or an interruption."""

    def end(snapshot: Any) -> None:
        raise raised

    before = dask.config.get("scheduler", None)
    # SAMFire keeps what is done when it is interrupted.
    kept = kind == "samfire" and raised is KeyboardInterrupt
    with (
        LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        with nullcontext() if kept else pytest.raises(raised):
            begun(kind, tmp_path / "fit.zarr", progress=end, client=client)
        assert dask.config.get("scheduler", None) == before


@pytest.mark.parametrize("kind", ["stored", "samfire"])
def test_clients_of_no_use_are_refused(kind: str, tmp_path) -> None:
    store = str(tmp_path / "fit.zarr") if kind == "stored" else None
    with LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster:
        client = Client(cluster, set_as_default=False)
        client.close()
        with pytest.raises(ValueError, match=r"client Client-\S+ is closed; give one that is connected"):
            fitted(kind, store, client=client)
        with pytest.raises(TypeError, match=r"client must be a distributed\.Client, not LocalCluster; .*get_client"):
            fitted(kind, store, client=cluster)

        async def within() -> None:
            async with Client(cluster.scheduler_address, asynchronous=True, set_as_default=False) as asynchronous:
                with pytest.raises(ValueError, match=r"client Client-\S+ is asynchronous.*asyncio\.to_thread"):
                    fitted(kind, store, client=asynchronous)
                with pytest.raises(ValueError, match="is asynchronous"):
                    await asyncio.to_thread(fitted, kind, store, client=asynchronous)
            async with Client(cluster.scheduler_address, asynchronous=True):
                with pytest.raises(ValueError, match=r"the active client Client-\S+ is asynchronous"):
                    fitted(kind, store)

        # In a thread of its own: a browser of other tests has a loop running in this one.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, within()).result()
    assert not (tmp_path / "fit.zarr").exists()


# --- fits begun in tasks


def nested(kind: str, store: str | None, how: str) -> xr.Dataset:
    """A fit in a task, after dask has computed something there, so that the worker's client is the active one."""
    # Made before: while another task makes it, what is computed by dask itself finds none.
    get_client()
    assert float(make().mean().compute()) > 0
    if how == "task":
        return fitted(kind, store)
    with ThreadPoolExecutor(1) as pool:
        # What dask computes in such a thread waits for the task itself, unless it is told another scheduler.
        return pool.submit(fitted, kind, store, "threads").result()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "how"),
    [(kind, how) for kind in ("stored", "samfire") for how in ("task", "thread", "fresh")] + [("lazy", "task")],
)
def test_fits_begun_in_a_task_of_a_worker(kind: str, how: str, expected, local, tmp_path) -> None:
    """Of a worker whose only thread works on that task, or in a thread which the task has made."""
    store = str(tmp_path / "fit.zarr") if kind == "stored" else None
    with Client(local) as client:
        work = (fitted, kind, store) if how == "fresh" else (nested, kind, store, how)
        found = client.submit(*work, pure=False).result(timeout=GUARD)
        reference = expected["samfire" if kind == "samfire" else "stored"]
        np.testing.assert_array_equal(found["value"], reference["value"])
        # The worker takes tasks as before.
        assert client.submit(int, "1", pure=False).result(timeout=GUARD) == 1


@pytest.mark.slow
def test_as_many_fits_in_tasks_as_there_are_threads(expected, tmp_path) -> None:
    """And more: all of them leave room for what they wait for."""
    with LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None) as cluster, Client(cluster) as client:
        futures = [
            client.submit(nested, "stored", str(tmp_path / f"fit{k}.zarr"), "task", pure=False) for k in range(6)
        ]
        for future in futures:
            found = future.result(timeout=GUARD)
            np.testing.assert_array_equal(found["value"], expected["stored"]["value"])


def test_fits_begun_in_threads_of_dask(expected, tmp_path) -> None:
    """Tasks of dask's own pool of threads, without any cluster."""
    jobs = [dask.delayed(fitted)("stored", str(tmp_path / f"fit{k}.zarr")) for k in range(4)]
    jobs += [dask.delayed(fitted)(kind) for kind in ("samfire", "lazy")]
    found = dask.compute(*jobs, scheduler="threads", num_workers=2)
    for k, each in enumerate(found):
        assert_same_bits(each, expected["samfire" if k == 4 else "stored"])


# --- versions


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["stored", "samfire", "lazy", "curves", "curvefit"])
def test_workers_of_another_version_are_refused(kind: str, local, tmp_path, monkeypatch) -> None:
    """Whatever they were to work on; the versions of both sides are named."""
    calls: dict[str, Callable[[], Any]] = {
        "stored": lambda: fitted("stored", str(tmp_path / "fit.zarr")),
        "samfire": lambda: fitted("samfire"),
        "lazy": lambda: fitted("lazy"),
        "curves": lambda: make(False).fit.multifit(model()).chunk(y=2).fit.evaluate().compute(),
        "curvefit": lambda: make().fit.curvefit("e", lambda e, a, c=4.0: a * np.exp(-((e - c) ** 2) / 2)).compute(),
    }
    client = Client(local)
    # A worker heeds a plugin of one name once.
    monkeypatch.setattr(Ready, "idempotent", False)
    for differing in ({"xfit": "0.0.9 (sources abcdef00)"}, {"numba": "0.1"}, {"Python": "2.7"}):
        (name, version), *_ = differing.items()
        other = {**versions.versions(), **differing}
        monkeypatch.setattr("xfit.engine.codegen.program.versions", lambda other=other: other)
        monkeypatch.setattr("xfit.fitting.running.workers.versions", lambda other=other: other)
        with pytest.raises(VersionError) as caught:
            calls[kind]()
        assert f"has {name} {versions.versions()[name]}" in str(caught.value)
        assert f"comes from {name} {version}; install the same versions on" in str(caught.value)
        # Its traceback has the futures, by which the scheduler would know the next call of the same name to have
        # failed.
        del caught
        gc.collect()
    client.close()
    assert not (tmp_path / "fit.zarr").exists()


def test_what_is_pickled_says_its_versions(monkeypatch) -> None:
    from xfit.engine.codegen.program import Program

    program = Program.from_model(model())
    assert pickle.loads(pickle.dumps(program)) == program
    monkeypatch.setattr(
        "xfit.engine.codegen.program.versions", lambda: {"xfit": "9", "numba": "8", "Python": "7", "new": "6"}
    )
    sent = pickle.dumps(program)
    monkeypatch.undo()
    arrived = pickle.loads(sent)
    assert arrived == program
    # Passed on as it came.
    with pytest.raises(
        VersionError,
        match=(
            r"process \d+ on .* has xfit .*, numba .*, Python .*, new unknown, and the fit comes from xfit 9, "
            r"numba 8, Python 7, new 6;"
        ),
    ):
        pickle.loads(pickle.dumps(arrived)).load()


# --- workers that end while they are made ready


def test_workers_that_end_while_they_are_made_ready(monkeypatch) -> None:
    """One that is replaced is made ready; when all end again and again, it is said why."""
    from distributed.comm import CommClosedError

    from xfit.engine.codegen.program import Program

    monkeypatch.setattr("xfit.fitting.running.workers._BETWEEN", 0.0)

    class Lost:
        """A client whose workers end so often."""

        def __init__(self, times: int) -> None:
            self.left = times
            self.plugins: list[Ready] = []

        def register_plugin(self, plugin: Ready) -> None:
            if self.left:
                self.left -= 1
                raise CommClosedError("in <TCP>: Stream is closed")
            self.plugins.append(plugin)

        scheduler = SimpleNamespace(identity=None)

        def sync(self, function: Any, n_workers: int) -> dict[str, Any]:
            return {"workers": {"a": {"memory_limit": 2**27}, "b": {"memory_limit": 2**28}}}

    program = Program.from_model(model())
    make_ready(once := Lost(2), program, "fit")
    assert len(once.plugins) == 1
    with pytest.raises(ClusterError, match=r"their limit is 128\.00 MiB to 256\.00 MiB; their logs say"):
        make_ready(Lost(3), program, "fit")


# --- errors that arrive


def exceptions() -> list[type[BaseException]]:
    """All classes of exceptions and warnings that xfit defines."""
    found = {}
    for module in pkgutil.walk_packages(xfit.__path__, "xfit."):
        if module.name.endswith("__main__"):
            continue
        try:
            members = vars(importlib.import_module(module.name)).values()
        except ImportError:
            # A module of an extra that is not installed.
            continue
        for each in members:
            if isinstance(each, type) and issubclass(each, BaseException) and each.__module__.startswith("xfit."):
                found[f"{each.__module__}.{each.__qualname__}"] = each
    return [found[name] for name in sorted(found)]


@pytest.mark.parametrize("kind", exceptions(), ids=lambda kind: kind.__qualname__)
def test_exceptions_are_pickled_as_themselves(kind: type[BaseException]) -> None:
    """With their words, what they were raised from, and what else they hold; as `pickle` and as distributed do it."""
    error = kind("words")
    error.__dict__["place"] = 3
    for there in (pickle.loads(pickle.dumps(error)), loads(dumps(error))):
        assert type(there) is kind
        assert str(there) == str(error)
        assert there.args == error.args
        assert vars(there)["place"] == 3


def test_all_exceptions_are_found() -> None:
    names = {kind.__name__ for kind in exceptions()}
    assert {"StoreError", "StoredRunError", "ClusterError", "VersionError", "FormulaError", "ModelFormatError"} <= names


class Unportable(Exception):
    """As some storage libraries have them: it can't be unpickled."""

    def __init__(self, code: int, *, request: Any) -> None:
        super().__init__(f"code {code}")
        self.request = request


def failing() -> None:
    try:
        raise Unportable(500, request=threading.Lock())
    except Unportable as error:
        raise StoreError(f"chunk 3 could not be written: {error}") from error


def test_an_error_of_ours_with_a_cause_that_can_not_be_pickled(local) -> None:
    """It arrives as itself, without that cause."""
    with pytest.raises(StoreError, match="code 500") as here:
        carried.carried(failing)
    assert here.value.__cause__ is None
    with Client(local) as client, pytest.raises(StoreError, match="chunk 3 could not be written: code 500"):
        client.submit(carried.carried, failing, pure=False).result(timeout=GUARD)

    def plain() -> None:
        try:
            raise OSError(28, "No space left on device")
        except OSError as error:
            raise StoreError("not written") from error

    with pytest.raises(StoreError) as kept:
        carried.carried(plain)
    assert isinstance(kept.value.__cause__, OSError)
