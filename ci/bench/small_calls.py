"""What a small call costs, beside the fits themselves and in all, and what SciPy's and lmfit's
cost: an action of `measured.py`.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import numpy as np
import xarray as xr

import xfit
from xfit.engine.block import fit_block
from xfit.fitting.running import map_blocks

#: Times that each call is made; the shortest counts.
_REPEATS = 20

#: Pixels along each side of the chunks, and chunks of the two maps whose difference is what a chunk costs.
_SIDE, _FEW, _MANY = 16, 4, 20

Times = dict[str, dict[str, float]]


class _Within:
    """Seconds of the processor that compiled fits take, of all threads."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._lock = threading.Lock()

    def watched(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function whose time is counted."""

        def call(*arguments: Any) -> Any:
            began = time.thread_time()
            try:
                return function(*arguments)
            finally:
                with self._lock:
                    self.seconds += time.thread_time() - began

        return call


@contextmanager
def _watching() -> Iterator[_Within]:
    """Count the time of compiled fits."""
    within, plain = _Within(), fit_block.fit_pixels
    fit_block.fit_pixels = within.watched(plain)
    try:
        yield within
    finally:
        fit_block.fit_pixels = plain


@contextmanager
def _fitting_nothing() -> Iterator[None]:
    """Have tasks return rows of the right size at once."""

    def rows(data: np.ndarray, *_: Any, fit_spec: Any, **__: Any) -> np.ndarray:
        return np.zeros((*data.shape[: len(fit_spec.navigation)], fit_spec.width))

    plain, map_blocks.fit_nd = map_blocks.fit_nd, rows
    try:
        yield
    finally:
        map_blocks.fit_nd = plain


def _spectra(*shape: int, channels: int = 1000) -> xr.DataArray:
    """Noisy spectra of two Gaussians over a line."""
    x = np.linspace(0, 10, channels)
    y = 250 * np.exp(-((x - 3.5) ** 2) / 0.245) + 300 * np.exp(-((x - 6) ** 2) / 0.605) + 60 - 3 * x
    values = np.random.default_rng(1).poisson(np.broadcast_to(y, (*shape, channels))).astype(float)
    return xr.DataArray(values, dims=(*["row", "column"][: len(shape)], "x"), coords={"x": x})


def small_calls(model: xfit.Model) -> Times:
    """Milliseconds of the processor that calls take in all, and beside the compiled fits of theirs.

    Parameters
    ----------
    model : Model
        Two Gaussians "g1" and "g2" over a polynomial "line".
    """
    spectrum, square = _spectra(), _spectra(32, 32)
    of_square = square.fit.multifit(model)
    chunked = _spectra(_SIDE, _SIDE * _MANY, channels=100).chunk(row=_SIDE, column=_SIDE)
    few, many = chunked[:, : _SIDE * _FEW], chunked
    found: Times = {}
    with dask.config.set(scheduler="synchronous"), tempfile.TemporaryDirectory() as folder, _watching() as within:

        def clocked(call: Callable[[], Any]) -> tuple[float, float]:
            within.seconds, began = 0.0, time.process_time()
            call()
            taken = time.process_time() - began
            return 1e3 * taken, 1e3 * (taken - within.seconds)

        def add(name: str, calls: list[Callable[[], Any]], divisor: float = 1.0) -> None:
            """Of one call; or of the difference of two, of which the second has more chunks."""
            turns = np.array([[clocked(call) for call in calls] for _ in range(_REPEATS)]).min(axis=0)
            total, beside = (turns[-1] - (turns[0] if len(calls) > 1 else 0.0)) / divisor
            found[name] = {"total": float(total), "beside": float(beside)}

        stores = iter(range(10**6))

        def into_store(da: xr.DataArray) -> Callable[[], Any]:
            return lambda: da.fit.multifit(model, store=Path(folder) / f"{next(stores)}.zarr", progress=False)

        lazy = [part.fit.multifit(model) for part in (few, many)]
        add("one spectrum of 1,000 channels, da.fit(model)", [lambda: spectrum.fit(model)])
        add("a map of 32 x 32 such spectra", [lambda: square.fit.multifit(model)])
        add("preview of that map", [lambda: square.fit.preview(model)])
        add("refit of that map, of no pixel", [lambda: of_square.fit.refit(square)])
        add(
            f"a dask chunk of {_SIDE} x {_SIDE} spectra of 100 channels",
            [lazy[0].compute, lazy[1].compute],
            _MANY - _FEW,
        )
        with _fitting_nothing():
            add("  of which dask, with tasks that fit nothing", [lazy[0].compute, lazy[1].compute], _MANY - _FEW)
        add("a chunk of a stored run of these", [into_store(few), into_store(many)], _MANY - _FEW)
        for name, call in _peers(model, spectrum.x.values, spectrum.values):
            add(f"one spectrum of 1,000 channels, {name}", [call])
    return found


def _peers(model: xfit.Model, x: np.ndarray, y: np.ndarray) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The same fit by others, as far as they are installed."""
    from scipy.optimize import curve_fit

    start = [parameter.value for component in model for parameter in component.parameters]

    def function(x: np.ndarray, *p: float) -> np.ndarray:
        peaks = (
            p[k] / (p[k + 2] * np.sqrt(2 * np.pi)) * np.exp(-((x - p[k + 1]) ** 2) / (2 * p[k + 2] ** 2))
            for k in (0, 3)
        )
        return np.asarray(sum(peaks) + p[6] + p[7] * x)

    yield "scipy.optimize.curve_fit", lambda: curve_fit(function, x, y, start)
    try:
        from lmfit.models import GaussianModel, LinearModel
    except ImportError:
        return
    theirs = GaussianModel(prefix="g1_") + GaussianModel(prefix="g2_") + LinearModel()
    names = [f"{prefix}{name}" for prefix in ("g1_", "g2_") for name in ("amplitude", "center", "sigma")]
    given = theirs.make_params(**dict(zip([*names, "intercept", "slope"], start, strict=True)))
    yield "lmfit", lambda: theirs.fit(y, given, x=x)
