"""Speed of what has no workload of its own: profile intervals against lmfit, non-negative fits
against SciPy, variable projection.

Run by ``ci/bench/run further``, or by hand; ``further.py profile`` takes one of them. One core; each figure is the
fastest of three.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import dask
import numpy as np
import xarray as xr
from scipy.optimize import nnls

import xfit
from xfit.components import Gaussian, GaussianHF, Offset, Polynomial


def fastest(work: Callable[[], object], times: int = 3) -> float:
    """Seconds of the fastest of several runs, after one that compiles."""
    work()
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return min(taken)


def say(what: str, ours: float, theirs: float, who: str) -> None:
    """Print a rate, a peer's, and their ratio."""
    print(f"{what:60s} {ours:12,.0f} /s   {who} {theirs:10,.1f} /s   ratio {ours / theirs:8.1f}", flush=True)


def profile() -> None:
    """Intervals of one standard deviation of all four parameters of a Gaussian over a constant, 128 channels."""
    from lmfit.models import ConstantModel, GaussianModel

    x = np.linspace(-5, 5, 128)
    y = np.random.default_rng(0).poisson(20 + 180 * np.exp(-(x**2) / 2), (2048, x.size)).astype(float)
    da = xr.DataArray(y, dims=("pixel", "x"), coords={"x": x})
    fit = da.fit.multifit(xfit.Model([Gaussian(name="g", A=400, centre=0.2, sigma=1.2), Offset(name="o", offset=15)]))
    ours = len(y) / fastest(lambda: fit.fit.conf_interval(da))
    model = GaussianModel() + ConstantModel()
    start = model.make_params(amplitude=400, center=0.2, sigma=1.2, c=15)
    results = [model.fit(row, start, x=x) for row in y[:10]]
    theirs = len(results) / fastest(lambda: [result.conf_interval(sigmas=[1]) for result in results], 1)
    say("profile intervals, 4 parameters, 128 channels", ours, theirs, "lmfit")


def nonnegative() -> None:
    """Nine amplitudes some of which are zero, 65,536 spectra of 1024 channels in single precision."""
    x = np.arange(1024) * 0.01
    centres, widths = np.linspace(0.8, 9.3, 9), np.linspace(0.4, 1.3, 9)
    design = np.exp(-4 * np.log(2) * ((x - centres[:, None]) / widths[:, None]) ** 2).T
    random = np.random.default_rng(0)
    truth = random.uniform(-20, 40, (8192, 9)).clip(min=0)
    y = truth @ design.T + random.normal(0, 5, (8192, 1024))
    peaks = [GaussianHF(name=f"h{k}", centre=c, fwhm=w) for k, (c, w) in enumerate(zip(centres, widths, strict=True))]
    for peak in peaks:
        peak.centre.free = peak.fwhm.free = False
    da = xr.DataArray(np.tile(y.astype(np.float32), (8, 1)), dims=("pixel", "x"), coords={"x": x})
    model = xfit.Model(peaks)
    fit = da[:300].fit.multifit(model, optimizer="nnls")
    y = da.values[:300].astype(float)
    expected = np.array([nnls(design, row)[0] for row in y])
    found = fit["value"].sel(param=[f"h{k}.height" for k in range(9)]).values
    assert abs(found - expected).max() < 1e-8 * abs(expected).max()
    ours = len(da) / fastest(lambda: da.fit.multifit(model, optimizer="nnls"))
    theirs = 300 / fastest(lambda: [nnls(design, row) for row in y])
    say(f"non-negative fits, {(expected == 0).mean():.0%} at zero", ours, theirs, "SciPy's nnls, a loop of")


def projection() -> None:
    """Two Gaussians on a line from starts three widths off: share of right answers and
    speed, by `lm` and by `varpro`.
    """
    x = np.arange(1024) * 0.01
    random = np.random.default_rng(0)
    n = 4096
    height = random.uniform(100, 1000, (n, 2))
    centre = np.array([3.5, 6.0]) + random.uniform(-0.1, 0.1, (n, 2))
    sigma = np.array([0.35, 0.55]) * random.uniform(0.9, 1.1, (n, 2))
    y = sum(
        height[:, k, None] * np.exp(-((x - centre[:, k, None]) ** 2) / (2 * sigma[:, k, None] ** 2)) for k in range(2)
    )
    da = xr.DataArray(random.poisson(y + 60 - 3 * x).astype(np.float32), dims=("pixel", "x"), coords={"x": x})
    peaks = [Gaussian(name=f"g{k}", A=300, centre=c, sigma=s) for k, (c, s) in enumerate(((3.5, 0.35), (6.0, 0.55)))]
    model = xfit.Model([*peaks, Polynomial(1, name="line", a0=50.0, a1=-2.0)])
    start = {
        f"g{k}.centre": xr.DataArray(centre[:, k] + 3 * sigma[:, k] * random.choice([-1, 1], n), dims="pixel")
        for k in range(2)
    }
    for name in ("lm", "varpro"):
        taken = fastest(lambda name=name: da.fit.multifit(model, start=start, optimizer=name))
        fit = da.fit.multifit(model, start=start, optimizer=name)
        found = np.sort(fit["value"].sel(param=["g0.centre", "g1.centre"]).values, axis=1)
        right = (abs(found - centre) < 0.1).all(1).mean()
        print(
            f"{name:8s} from 3 sigma off: right {right:7.2%}, {n / taken:10,.0f} fits/s, "
            f"{float(fit['nfev'].mean()):.1f} evaluations"
        )


def main() -> None:
    """Run what is asked for, or all."""
    works = {"profile": profile, "nonnegative": nonnegative, "projection": projection}
    with dask.config.set(scheduler="synchronous"):
        for name in sys.argv[1:] or works:
            works[name]()


if __name__ == "__main__":
    main()
