"""Parameters of every component from counted events: off by as much as their errors say, and not to one side.

2,000 spectra of each component, with Poisson noise about a truth, are fitted; a pull is what a parameter is off by, over its error. The
mean of 2,000 pulls is known to 0.022 and their spread to 0.016: to 0.1 is four and a half, and six, of these. Weights are those
of the true expectation: weights from the counts themselves would pull every fit down, which is not the component's doing. The counts
are so many that curvature, of order one over the signal to noise ratio of a parameter, is below that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xfit
from tests.library import CASES
from xfit.block import evaluate_block
from xfit.compile.program import Program

N = 2000
#: Where a case's truth is not one that counts can tell: too close to where a parameter means nothing, or to a bound.
TRUTH: dict[str, Mapping[str, float]] = {
    "SkewNormal": {"shape": 3.0},
    "ExponentiallyModifiedGaussian": {"tau": 1.8, "sigma": 0.6},
    "Logistic": {"c": 1.5},
    # In counts of 1e5.
    "Bleasdale": {"a": 1.5e-10, "b": 0.7e-10, "c": 2.0},
}
#: What is fitted, where not all of it can be told at once.
FREE: dict[str, tuple[str, ...]] = {
    "PESVoigt with splitting": ("area", "centre", "FWHM", "gamma"),
    "EELSCLEdge": ("intensity",),
    "DoublePowerLaw": ("A", "r", "shift"),
}


def expectation(name: str) -> tuple[Any, xr.DataArray]:
    """The component with an amplitude for enough counts, and its curve or image."""
    case = CASES[name]
    component = case.component(**TRUTH.get(name, {}))
    if name in FREE:
        component.set_parameters_not_free()
        component.set_parameters_free(FREE[name])
    axes = {"x": np.linspace(*case.x, 300)}
    if len(component.coordinates) == 2:
        axes = {"y": np.linspace(*case.x, 24), "x": np.linspace(*case.x, 25)}
    grid = dict(zip(axes, np.meshgrid(*axes.values(), indexing="ij"), strict=True))
    program = Program.from_model(xfit.Model([component.copy()]))

    def curve() -> np.ndarray:
        at = {key: np.ascontiguousarray(values.ravel()) for key, values in grid.items()}
        return evaluate_block(program, np.array([[p.value for p in component]]), at)[0]

    scale = 2e5 / (np.ptp(curve()) or np.abs(curve()).max())
    for p in component.parameters:
        if p.linear and p.name != "b":
            p.set(value=p.value * scale, min=None)
    return component, xr.DataArray(curve().reshape(grid["x"].shape), dims=tuple(axes), coords=axes)


@pytest.mark.parametrize("name", CASES)
def test_pulls(name: str) -> None:
    component, curve = expectation(name)
    random = np.random.default_rng(17)
    # A known constant, as a detector's background, where the component itself comes near zero.
    lift = max(0.0, 2000 - float(curve.min()))
    mean = curve + lift
    counts = random.poisson(mean.values, (N, *mean.shape))
    da = xr.DataArray((counts - lift).astype(float), dims=("copy", *mean.dims), coords=curve.coords)
    fit = da.fit.multifit(xfit.Model([component]), variance=mean, scale_covariance=False)
    assert (fit["status"] == 1).all()
    for p in component.free_parameters:
        pull = ((fit.fit[p.full_name] - p.value) / fit.fit.stderr(p.full_name)).values
        assert np.isfinite(pull).all(), p.name
        assert abs(pull.mean()) < 0.1, (p.name, pull.mean())
        assert abs(pull.std() - 1) < 0.1, (p.name, pull.std())
    # The mean of chi-squared is known to the root of two degrees of freedom over that of the number of fits.
    assert abs(float((fit["chisq"] - fit["dof"]).mean())) < 5 * np.sqrt(2 * fit["dof"].values[0] / N)
