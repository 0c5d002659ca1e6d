"""Coverage: of 5,000 simulated spectra, intervals of 68.3 % hold the truth in 66.5 to 70 %."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xfit
from tests.support.builders import gaussian
from xfit.components import Gaussian, Offset

N = 5000


def share(y: np.ndarray, x: np.ndarray, truth: dict[str, float], **options) -> np.ndarray:
    """Percentage of the fits whose value plus and minus its error holds the truth, for each parameter."""
    start = {"A": truth["A"] * 1.1, "centre": truth["centre"] + 0.3 * truth["sigma"], "sigma": truth["sigma"] * 0.9}
    model = xfit.Model([Gaussian(name="g", **start), Offset(name="o", offset=0.9 * truth["offset"])])
    da = xr.DataArray(y, dims=("pixel", "x"), coords={"x": x})
    fit = da.fit.multifit(model, **options)
    assert (fit["status"] == 1).mean() > 0.999
    held = abs(fit["value"] - np.array(list(truth.values()))) < fit["stderr"]
    return 100 * held.mean("pixel").values


def test_least_squares_with_known_variance() -> None:
    truth = {"A": 180.0, "centre": 40.0, "sigma": 6.0, "offset": 3.0}
    x = np.arange(80.0)
    mean = gaussian(x, 180, 40, 6) + 3
    y = mean + 2 * np.random.default_rng(1).normal(size=(N, 80))
    found = share(y, x, truth, variance=4.0, scale_covariance=False)
    assert (found > 66.5).all()
    assert (found < 70.0).all()


def test_poisson_at_three_counts_per_channel() -> None:
    truth = {"A": 350.0, "centre": 128.0, "sigma": 14.0, "offset": 1.6}
    x = np.arange(256.0)
    mean = gaussian(x, 350, 128, 14) + 1.6
    assert mean.mean() == pytest.approx(3.0, abs=0.05)
    y = np.random.default_rng(1).poisson(mean, (N, 256)).astype(float)
    found = share(y, x, truth, loss="poisson")
    assert (found > 66.5).all()
    assert (found < 70.0).all()


@pytest.mark.parametrize(("loss", "scale"), [("huber", 1.345), ("cauchy", 2.0)])
def test_robust_losses_with_five_percent_of_outliers(loss, scale) -> None:
    truth = {"A": 180.0, "centre": 40.0, "sigma": 6.0, "offset": 3.0}
    x = np.arange(80.0)
    random = np.random.default_rng(1)
    y = gaussian(x, 180, 40, 6) + 3 + 2 * random.normal(size=(N, 80))
    y += (random.random((N, 80)) < 0.05) * random.choice([-20, 20], (N, 80))
    found = share(y, x, truth, variance=4.0, loss=loss, loss_scale=scale)
    assert (found > 66.5).all()
    assert (found < 70.0).all()
