"""Components of your own, of every kind, fitted on a cluster of worker processes.

A line on a background, four times: by a formula, by a function, by a function with its gradient, and by a class with an
estimator. Everything is defined in this script, from where it travels to the workers.
"""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from dask.distributed import Client, LocalCluster
from numba import njit

import xfit
from xfit import Component, Derived, Estimator, Spec
from xfit.components import Expression

#: A number that functions refer to travels with them.
STEEPNESS = 1.5


@njit
def decay(z: float) -> float:
    """A function that others call must be compiled by numba."""
    return math.exp(-STEEPNESS * z)


@xfit.component(linear=("height",))
def tail(x, height=10.0, start=2.0, length=3.0):  # numba infers the types
    """Exponential tail; derivatives are taken by differences."""
    return height * decay((x - start) / length) if x > start else 0.0


def sech_gradient(x, height, centre, width):
    """Derivatives with respect to height, centre and width."""
    t = (x - centre) / width
    s = 1 / math.cosh(t)
    slope = height * s * math.tanh(t) / width
    return s, slope, slope * t


@xfit.component(gradient=sech_gradient, linear=("height",))
def sech(x, height=20.0, centre=8.0, width=1.0):
    """Hyperbolic secant, the pulse of a mode-locked laser."""
    return height / math.cosh((x - centre) / width)


def estimate_triangle(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> dict[str, np.ndarray]:
    """Estimate all pixels of a chunk at once: y has a row for each."""
    level = np.nanmin(y, axis=1)
    above = y - level[:, None]
    total = np.nansum(above * width, axis=1)
    height = np.nanmax(above, axis=1)
    centre = np.nansum(above * width * x, axis=1) / total
    return {"height": height, "centre": centre, "base": 2 * total / height}


class Triangle(Component):
    """Triangle by its height, centre and base."""

    formula = "height*maximum(0, 1 - 2*abs(x - centre)/base)"
    specs = {
        "height": Spec(1.0, min=0.0, linear=True, dimension={"data": 1.0}, description="height"),
        "centre": Spec(0.0, dimension={"x": 1.0}, description="position of the maximum"),
        "base": Spec(1.0, min=0.0, dimension={"x": 1.0}, description="width at the foot"),
    }
    derived = {"area": Derived("height*base/2", {"data": 1.0, "x": 1.0}, "area")}
    position = "centre"
    estimator = Estimator(estimate_triangle, channels=3)


def data(curve: str, shape: tuple[int, int] = (8, 12), seed: int = 0) -> xr.DataArray:
    """Noisy spectra, in chunks."""
    random = np.random.default_rng(seed)
    x = np.linspace(0, 16, 160)
    height = random.uniform(20, 60, (*shape, 1))
    centre = random.uniform(7, 9, (*shape, 1))
    width = random.uniform(0.8, 1.2, (*shape, 1))
    t = (x - centre) / width
    lines = {
        "gauss": np.exp(-(t**2)),
        "sech": 1 / np.cosh(t),
        "triangle": np.maximum(0, 1 - np.abs(t) / 2),
        "tail": np.where(x > 2, np.exp(-STEEPNESS * (x - 2) / (3 * width)), 0.0),
    }
    noisy = height * lines[curve] + random.normal(0, 0.5, (*shape, x.size))
    return xr.DataArray(noisy, dims=("y", "x_", "energy"), coords={"energy": x}).chunk(y=4, x_=6)


def models() -> dict[str, tuple[xfit.Model, object]]:
    """A model for each curve, and where its fits start."""
    gauss = Expression("h*exp(-((x - c)/w)**2)", name="gauss", position="c", h=30, c=8, w=1)
    start = {"value": 2.0, "free": False}
    return {
        "gauss": (xfit.Model([gauss]), None),
        "tail": (xfit.Model([tail(name="tail", start=start)]), None),
        "sech": (xfit.Model([sech(name="sech")]), None),
        "triangle": (xfit.Model([Triangle(name="triangle")]), "estimate"),
    }


def main() -> None:
    """Fit everything on two worker processes, and print what was found."""
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None)
    with cluster, Client(cluster) as client:
        for name, (model, start) in models().items():
            lazy = data(name).fit.multifit(model, start=start)
            result = lazy.compute()
            done = float((result["status"] == 1).mean())
            same = bool(result["value"].equals(lazy["value"].compute(scheduler="threads")))
            print(f"{name}: {done:.0%} converged, the same on threads: {same}")
            print(result.fit.report())
        print(f"workers: {len(client.scheduler_info()['workers'])}")


if __name__ == "__main__":
    main()
