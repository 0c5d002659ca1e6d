"""Parameters are off by as much as their errors say, and not to one side: of every component, and in a seeded small
part of `ci/calibration`.

Components are fitted to counted events: 2,000 spectra of each component, with Poisson noise about a truth, are fitted;
a pull is what a parameter is off by, over its error. The mean of 2,000 pulls is known to 0.022 and their spread to
0.016: to 0.1 is four and a half, and six, of these. Weights are those of the true expectation: weights from the counts
themselves would pull every fit down, which is not the component's doing. The counts are so many that curvature, of
order one over the signal to noise ratio of a parameter, is below that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xfit
from ci.simulations.calibrate import PAGE, explained, faults, run
from ci.simulations.pulls import Outcome, of_fit
from ci.simulations.settings import REASONS, SETTINGS
from tests.support.library import CASES
from xfit.engine.block.fit_block import evaluate_block
from xfit.engine.codegen.program import Program

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
    for found in of_fit(fit, {p.full_name: p.value for p in component.free_parameters}):
        assert found.share == 1, found.parameter
        assert abs(found.mean) < 0.1, (found.parameter, found.mean)
        assert abs(found.width - 1) < 0.1, (found.parameter, found.width)
    # The mean of chi-squared is known to the root of two degrees of freedom over that of the number of fits.
    assert abs(float((fit["chisq"] - fit["dof"]).mean())) < 5 * np.sqrt(2 * fit["dof"].values[0] / N)


#: Settings of the harness, one or two of each kind, in which errors hold, or are further off than 1,000 pixels could
#: hide.
SMALL = [
    "known variance of each channel",
    "no variance, scaled",
    "no variance, scaled, 9 channels",
    '`loss="poisson"`, 3 per channel',
    '`variance="poisson"`, 3 per channel',
    '`variance="poisson", reweight=True`, 30 per channel',
    "huber, normal noise",
    "cauchy, 10 % of the noise ten times as wide",
    "a loss of one's own, normal noise",
    "half an error away, all pixels",
    "linear ties",
    "width fixed 10 % too small",
    "binned counts, channels of sigma",
    "a third masked",
    "a third NaN",
    "through a response",
    "1.5 errors high, position and width fixed",
    "`select`, line 20 errors high",
    "`select`, line 3 errors high",
    "profile, 3 counts per channel",
    "bootstrap, known variance",
    "varpro",
]
ALL = {name: setting for settings in SETTINGS.values() for name, setting in settings.items()}


@pytest.mark.parametrize("name", SMALL)
def test_errors_hold_or_it_is_known_why_not(name: str) -> None:
    """As `Outcome.holds` has it: to 2 % of coverage, 0.1 in mean and width of pulls, and three
    standard deviations by chance.
    """
    setting = ALL[name]
    assert faults(setting, run(setting, min(setting.n, 300 if name.startswith("bootstrap") else 1000))) == []


def test_the_page_has_every_setting_and_the_reasons_that_it_names() -> None:
    """docs/calibration.md is written by ``ci/calibration --write``."""
    page = PAGE.read_text(encoding="utf-8")
    missing = [name for name in ALL if f"| {name}" not in page]
    assert not missing, "run: ci/calibration --write"
    named = {why for setting in ALL.values() for why in setting.exceptions.values()}
    assert named == set(REASONS)
    assert all(f"{explained(why)}\n" in page for why in named)


def test_what_does_not_hold_is_seen() -> None:
    """Of normal pulls, errors that are a quarter too small or values that are off by a third of their
    errors; and a reason without need.
    """
    pulls = np.random.default_rng(0).normal(size=4000)

    def found(values: np.ndarray, name: str = "p") -> Outcome:
        return Outcome(name, abs(values) <= 1, values)

    assert found(pulls).holds
    assert not found(pulls * 1.25).holds
    assert not found(pulls / 1.25).holds
    assert not found(pulls + 1 / 3).holds
    assert not Outcome("p", np.arange(4000) < 2500).holds
    plain, excused = ALL["known variance"], ALL["noise smoothed over 3 channels"]
    assert faults(plain, [found(pulls)]) == faults(excused, [found(1.7 * pulls)]) == []
    assert faults(plain, [found(pulls * 1.25)]) == ["p does not hold"]
    assert faults(excused, [found(pulls)]) == ["every parameter holds in spite of 'correlated'"]
