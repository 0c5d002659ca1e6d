"""Narrow valleys that amplitudes and shapes form together, by every loss; sums of squares
that are large at the minimum.
"""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.support.builders import statuses
from xfit import Model
from xfit.components import Expression, Gaussian, PowerLaw


@pytest.fixture(scope="module")
def short_window() -> xr.DataArray:
    """Counts of a power law between 510 and 525 eV, where its area and its exponent can hardly be told apart."""
    energy = np.arange(510, 525, 0.5)
    counts = np.random.default_rng(0).poisson(3e9 * energy**-2.7, (60, energy.size)).astype(float)
    return xr.DataArray(counts, dims=("p", "energy"), coords={"energy": energy})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"loss": "poisson"},
        {"variance": "poisson", "reweight": True},
        *({"loss": loss, "variance": 150.0} for loss in ("huber", "soft_l1")),
    ],
    ids=str,
)
def test_a_power_law_in_a_short_window(short_window: xr.DataArray, options: dict[str, object]) -> None:
    """As the same law with an amplitude in the middle of the window, which is a problem of no difficulty."""
    fit = short_window.fit.multifit(Model([PowerLaw(name="b", A=1e9, r=2.5)]), **options)
    assert set(statuses(fit)) == {"converged"}
    easy = Expression("a*(x/517)**(-r)", name="b", a=140, r=2.5)
    easy.r.set(min=1, max=5)
    easy.a.set(min=0)
    expected = short_window.fit.multifit(Model([easy]), **options)
    # Fits end within 1e-6 standard errors, which are up to two here, and the valley's floor is flat.
    assert (fit.loss.values <= expected.loss.values * (1 + 1e-9)).all()
    np.testing.assert_allclose(fit.fit["b.r"].values, expected.fit["b.r"].values, atol=1e-3)


@pytest.fixture(scope="module")
def two_lines() -> tuple[xr.DataArray, Model]:
    """Two peaks on a power law, with areas of one in the model where the data have thousands."""
    random, x = np.random.default_rng(4), np.linspace(400.0, 700.0, 300)
    centres = np.array([500.0, 560.0]) + random.normal(0, 1.5, (30, 1, 2))
    peaks = 2000 / np.sqrt(2 * np.pi) / np.array([8, 10]) * np.exp(-0.5 * ((x[:, None] - centres) / [8, 10]) ** 2)
    counts = random.poisson(3e9 * x**-2.6 + peaks.sum(-1)).astype(float)
    model = Model(
        [
            PowerLaw(name="b", A=1, r=2),
            Gaussian(name="g", A=1, centre=498, sigma=10),
            Gaussian(name="h", A=1, centre=562, sigma=8),
        ]
    )
    return xr.DataArray(counts, dims=("p", "energy"), coords={"energy": x}), model


@pytest.mark.parametrize("loss", ["ls", "poisson", "huber", "soft_l1", "cauchy"])
def test_areas_of_one(two_lines: tuple[xr.DataArray, Model], loss: str) -> None:
    da, model = two_lines
    fit = da.fit.multifit(model, loss=loss)
    assert set(statuses(fit)) == {"converged"}
    known = model.copy()
    for name, value in {"A": 3e9, "r": 2.6}.items():
        known["b"][name].value = value
    for name, centre in {"g": 500, "h": 560}.items():
        known[name].A.value, known[name].centre.value = 2000, centre
    expected = da.fit.multifit(known, loss=loss)
    if loss == "cauchy":
        # Of its minima, which are many, that with both peaks.
        for name, centre in {"g": 500, "h": 560}.items():
            np.testing.assert_allclose(fit.fit[f"{name}.centre"].values, centre, atol=8)
    else:
        assert (fit.loss.values <= expected.loss.values * (1 + 1e-6)).all()
    # Cauchy's loss of one count, where the noise is ten, bends down in nearly all channels.
    assert float(fit.nfev.mean()) < (600 if loss == "cauchy" else 200)


def test_brown_and_dennis() -> None:
    """Sum of squares at the minimum by More, Garbow and Hillstrom (1981), number 16, doi:10.1145/355934.355936."""
    x = np.arange(1, 21) / 5.0
    da = xr.DataArray(np.zeros(20), dims="x", coords={"x": x})
    text = "(a + x*b - exp(x))**2 + (c + d*sin(x) - cos(x))**2"
    fit = da.fit(Model([Expression(text, name="m", a=25.0, b=5.0, c=-5.0, d=-1.0)]))
    assert statuses(fit) == ["converged"]
    assert float(fit.chisq) == pytest.approx(85822.2, abs=0.05)
