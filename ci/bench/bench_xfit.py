"""xfit in the harness of the peers' scripts: the same pixels, starts and score, fitted through the public surface.

Run by ``ci/bench/run``, or by hand with BENCH_WORK set: ``bench_xfit.py w1`` (one workload),
``bench_xfit.py w1:multifit`` (one case), ``--list``. Only ``fit`` is timed: from a DataArray in memory to parameters in
the data set's order, so that making the graph and the result is part of the time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "peers"))

import dask
import numpy as np
import xarray as xr
from common import case, main  # also limits the numerical libraries to one thread
from datagen import W3C, W3S

import xfit
from xfit.components import Expression, Gaussian, GaussianHF, Offset, Polynomial, PowerLaw

Dataset = Mapping[str, Any]
Fit = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, dict[str, int]]]
Convert = Callable[[np.ndarray], np.ndarray]

SQRT_2PI = np.sqrt(2 * np.pi)

#: Pixels in a dask chunk.
CHUNK = 512

GAUSSIAN_2D = "o + a*exp(-((x-x0)**2 + (y-y0)**2)/(2*s**2))"


def gaussian(name: str, height: float, centre: float, sigma: float) -> Gaussian:
    """Make a Gaussian by its height; xfit's has an area."""
    return Gaussian(name=name, A=height * sigma * SQRT_2PI, centre=centre, sigma=sigma)


def two_gaussians(d: Dataset) -> tuple[xfit.Model, list[str], Convert]:
    """W1: two Gaussians over a straight line, with bounds that `bounded=False` leaves out."""
    p = d["p0"]
    first, second = gaussian("g1", *p[:3]), gaussian("g2", *p[3:6])
    for peak in (first, second):
        peak.A.set(min=0)
        peak.centre.set(min=0, max=10.24)
        peak.sigma.set(min=0.02, max=5)
    model = xfit.Model([first, second, Polynomial(order=1, name="line", a0=p[6], a1=p[7])])
    names = ["g1.A", "g1.centre", "g1.sigma", "g2.A", "g2.centre", "g2.sigma", "line.a0", "line.a1"]

    def heights(values: np.ndarray) -> np.ndarray:
        values[:, 0] /= values[:, 2] * SQRT_2PI
        values[:, 3] /= values[:, 5] * SQRT_2PI
        return values

    return model, names, heights


def edge(d: Dataset) -> tuple[xfit.Model, list[str], Convert]:
    """W2: a Gaussian on a power law, all of them bounded; the area gets the bounds that HyperSpy's case has."""
    p, low, high = d["p0"], d["lo"], d["hi"]
    background, peak = PowerLaw(name="bg", A=p[0], r=p[1]), gaussian("g", *p[2:])
    background.A.set(min=low[0], max=high[0])
    background.r.set(min=low[1], max=high[1])
    peak.A.set(min=0, max=1e7)
    peak.centre.set(min=low[3], max=high[3])
    peak.sigma.set(min=low[4], max=high[4])

    def heights(values: np.ndarray) -> np.ndarray:
        values[:, 2] /= values[:, 4] * SQRT_2PI
        return values

    return xfit.Model([background, peak]), ["bg.A", "bg.r", "g.A", "g.centre", "g.sigma"], heights


def spot(d: Dataset) -> tuple[xfit.Model, list[str], Convert]:
    """W5: a round Gaussian over an offset, in two dimensions; starts come as maps."""
    return xfit.Model([Expression(GAUSSIAN_2D, name="g")]), [f"g.{name}" for name in d["names"]], lambda values: values


def lines(d: Dataset) -> tuple[xfit.Model, list[str], Convert]:
    """W3: six Gaussians of given shape on a parabola, linear in all that is free."""
    peaks = [
        GaussianHF(name=f"h{k}", centre=centre, fwhm=2 * np.sqrt(2 * np.log(2)) * sigma, height=d["p0"][k])
        for k, (centre, sigma) in enumerate(zip(W3C, W3S, strict=True))
    ]
    for peak in peaks:
        peak.centre.free = peak.fwhm.free = False
    names = [f"h{k}.height" for k in range(6)] + ["bg.a0", "bg.a1", "bg.a2"]
    return xfit.Model([*peaks, Polynomial(order=2, name="bg")]), names, lambda values: values


def counted(d: Dataset) -> tuple[xfit.Model, list[str], Convert]:
    """W4: a Gaussian over a constant, few counts."""
    p, low, high = d["p0"], d["lo"], d["hi"]
    peak, offset = gaussian("g", *p[:3]), Offset(name="o", offset=p[3])
    peak.A.set(min=low[0], max=1e5)
    peak.centre.set(min=low[1], max=high[1])
    peak.sigma.set(min=low[2], max=high[2])
    offset.offset.set(min=low[3], max=high[3])

    def heights(values: np.ndarray) -> np.ndarray:
        values[:, 0] /= values[:, 2] * SQRT_2PI
        return values

    return xfit.Model([peak, offset]), ["g.A", "g.centre", "g.sigma", "o.offset"], heights


MODELS = {"w1": two_gaussians, "w2": edge, "w3": lines, "w4": counted, "w5a": spot, "w5b": spot}


def runner(
    d: Dataset,
    *,
    bounded: bool = False,
    weighted: bool = False,
    scheduler: str | None = None,
    copies: int = 1,
    **further: Any,
) -> Fit:
    """Make the function that the harness times.

    Parameters
    ----------
    d : mapping
        A loaded data set.
    bounded : bool
        Whether the bounds are kept.
    weighted : bool
        Whether the variance is max(y, 1).
    scheduler : str, optional
        Cut the data into dask chunks and compute the lazy result on this scheduler; by default NumPy data.
    copies : int
        How often the pixels are fitted in one call: the data sets are so small that what a call costs besides fitting
        shows.
    **further
        Options of the fit: an optimizer, a loss.
    """
    model, names, convert = MODELS[d["w"]](d)
    n = d["x"].size
    two_d = d["w"].startswith("w5")
    dim: Any = ("y", "x") if two_d else "x"
    dims = ("p", "y", "x") if two_d else ("p", "x")
    coords = {"y": d["x"], "x": d["x"]} if two_d else {"x": d["x"]}

    @lru_cache(maxsize=1)
    def in_memory(key: bytes) -> tuple[xr.DataArray, dict[str, Any]]:
        """The data and options of a fit, which a user has at hand; made in the first of several
        calls, the fastest of which counts.
        """
        pixels = np.tile(np.frombuffer(key, np.int64), copies)
        da = xr.DataArray(d["Y"][pixels].reshape(-1, *[n] * (len(dims) - 1)), dims=dims, coords=coords)
        options: dict[str, Any] = {"bounded": bounded, **further}
        if d["p0"].ndim > 1:
            options["start"] = {name: xr.DataArray(d["P0"][pixels, k], dims="p") for k, name in enumerate(names)}
        if scheduler is not None:
            da = da.chunk(p=CHUNK)
        if weighted:
            options["variance"] = np.maximum(da, 1)
        return da, options

    def fit(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
        once = len(pixels)
        da, options = in_memory(pixels.astype(np.int64).tobytes())
        # NumPy data are fitted on all cores that the process may use: on the one it is pinned to.
        with dask.config.set(scheduler=scheduler, num_workers=2):
            result = da.fit.multifit(model, dim=dim, **options).compute()
        values = result.value.sel(param=names).transpose("p", "param").values.copy()
        good = result.status.values == converged(result.status)
        return convert(values)[:once], good[:once], {"copies": copies}

    return fit


def converged(status: xr.DataArray) -> int:
    """Code of a converged fit, as the flag attributes tell it."""
    return int(status.attrs["flag_values"][status.attrs["flag_meanings"].split().index("converged")])


@case(["w1", "w2", "w5a", "w5b"], "multifit", note="NumPy data, bounds off")
def _multifit(d: Dataset) -> Fit:
    return runner(d)


@case(["w1", "w5a", "w5b"], "multifit_map", note="NumPy data, the pixels ten times over in one call, bounds off")
def _multifit_map(d: Dataset) -> Fit:
    return runner(d, copies=10)


@case(["w1", "w2"], "multifit_b", note="NumPy data, bounds on")
def _multifit_bounded(d: Dataset) -> Fit:
    return runner(d, bounded=True)


@case("w1", "multifit_w", obj="w", note="NumPy data, bounds off, variance max(y, 1)")
def _multifit_weighted(d: Dataset) -> Fit:
    return runner(d, weighted=True)


@case(["w1", "w5b"], "multifit_dask", note=f"dask chunks of {CHUNK} pixels, synchronous scheduler, bounds off")
def _multifit_dask(d: Dataset) -> Fit:
    return runner(d, scheduler="synchronous")


@case("w2", "multifit_b_dask", note=f"dask chunks of {CHUNK} pixels, synchronous scheduler, bounds on")
def _multifit_bounded_dask(d: Dataset) -> Fit:
    return runner(d, bounded=True, scheduler="synchronous")


@case(["w1", "w5b"], "multifit_threads2", cores=2, note=f"dask chunks of {CHUNK} pixels, two threads on two cores")
def _multifit_threads(d: Dataset) -> Fit:
    return runner(d, scheduler="threads")


@case("w2", "multifit_b_threads2", cores=2, note=f"dask chunks of {CHUNK} pixels, two threads on two cores, bounds on")
def _multifit_bounded_threads(d: Dataset) -> Fit:
    return runner(d, bounded=True, scheduler="threads")


@case("w3", "lstsq_err", warm=64, note="errors and chi-squared; NumPy data")
def _linear(d: Dataset) -> Fit:
    return runner(d, optimizer="lstsq")


@case("w3", "lstsq_w", obj="w", n=16384, warm=64, note="variance max(y, 1) per pixel")
def _linear_weighted(d: Dataset) -> Fit:
    return runner(d, optimizer="lstsq", weighted=True)


@case("w3", "nnls", n=16384, warm=64, note="no parameter below zero")
def _nonnegative(d: Dataset) -> Fit:
    return runner(d, optimizer="nnls", bounded=True)


@case("w4", "poisson", obj="mle", note="NumPy data, bounds on, Cash's statistic")
def _poisson(d: Dataset) -> Fit:
    return runner(d, bounded=True, loss="poisson")


@case("w4", "poisson_map", obj="mle", note="the pixels ten times over in one call")
def _poisson_map(d: Dataset) -> Fit:
    return runner(d, bounded=True, loss="poisson", copies=10)


@case("w1", "varpro", note="NumPy data, bounds off, amplitudes projected out")
def _varpro(d: Dataset) -> Fit:
    return runner(d, optimizer="varpro")


if __name__ == "__main__":
    main("xfit")
