"""Amplitudes at their best values: fits from guesses of them that are far too small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

from xfit import Model
from xfit.components import Gaussian, PowerLaw
from xfit.engine.codegen.program import Program
from xfit.engine.math.layout import LINEAR, OTHER, SHAPED, STARTING

X = np.arange(680.0, 740.0, 0.5)


def white_lines(*, tied: bool, amplitude: float = 1.0) -> Model:
    """Two peaks on a power law, with guesses of their areas."""
    model = Model(
        [
            PowerLaw(name="bg", A=2e10, r=3.0),
            Gaussian(name="L3", A=amplitude, centre=708, sigma=2),
            Gaussian(name="L2", A=amplitude, centre=721, sigma=2),
        ]
    )
    if tied:
        model["L2"].centre.tie("L3.centre + 13")
    return model


@pytest.fixture(scope="module")
def counts() -> xr.DataArray:
    """Spectra of which a search from an area of one loses about every tenth, as the first
    step throws the peaks away.
    """
    random = np.random.default_rng(0)
    n = 200
    area = random.uniform(500, 4000, n)
    centre, sigma = random.normal(708, 0.4, n)[:, None], random.uniform(1.5, 2.5, n)[:, None]
    density = 2e10 * X**-3.0
    for place, share in ((0, np.ones(n)), (13, random.uniform(0.4, 0.6, n))):
        height = (area * share)[:, None] / (sigma * np.sqrt(2 * np.pi))
        density = density + height * np.exp(-(((X - centre - place) / sigma) ** 2) / 2)
    return xr.DataArray(random.poisson(density).astype(float), dims=("p", "energy"), coords={"energy": X})


CASES: dict[str, tuple[bool, dict[str, Any]]] = {
    "least squares": (False, {"variance": "poisson"}),
    "tied": (True, {"variance": "poisson"}),
    "projected": (False, {"variance": "poisson", "optimizer": "varpro"}),
    "tied and projected": (True, {"variance": "poisson", "optimizer": "varpro"}),
    "counts": (False, {"loss": "poisson"}),
    "counts, tied": (True, {"loss": "poisson"}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("amplitude", [1.0, 1e-6])
def test_amplitudes_may_be_mere_guesses(counts: xr.DataArray, case: str, amplitude: float) -> None:
    """All pixels find the minimum that they find from areas that are about right."""
    tied, options = CASES[case]
    found = counts.fit.multifit(white_lines(tied=tied, amplitude=amplitude), **options)
    expected = counts.fit.multifit(white_lines(tied=tied, amplitude=1500.0), **options)
    assert (found["status"] == 1).all()
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-8)


@pytest.mark.parametrize("case", ["tied", "counts"])
def test_side_by_side_they_begin_as_one_by_one(counts: xr.DataArray, case: str, one_by_one: Callable[[], None]) -> None:
    """The engine of one pixel takes the same decisions at the start."""
    tied, options = CASES[case]
    model = white_lines(tied=tied)
    together = counts.fit.multifit(model, max_nfev=2, **options)
    one_by_one()
    alone = counts.fit.multifit(model, max_nfev=2, **options)
    # Two evaluations: that of the start, and that with its amplitudes at their best values.
    np.testing.assert_allclose(together["value"], alone["value"], rtol=1e-9)
    assert (alone["nfev"] == 2).all()


def codes(model: Model) -> dict[str, int]:
    """What each free parameter is to the engine."""
    loaded = Program.from_model(model).load()
    free = [p.full_name for p in model.parameters if p.free and not p.is_tied]
    names = list(loaded.program.parameters)
    found = loaded.amplitudes(np.array([names.index(name) for name in free]))
    return dict(zip(free, found.tolist(), strict=True))


def test_what_a_tie_touches_is_left_out() -> None:
    """A centre that moves two peaks is no shape of either; areas and widths of both are, at the start."""
    plain, tied = codes(white_lines(tied=False)), codes(white_lines(tied=True))
    at = list(plain).index
    assert plain["L3.A"] == plain["bg.A"] == LINEAR
    assert plain["L3.centre"] == at("L3.A")
    at = list(tied).index
    assert tied["bg.A"] == LINEAR
    assert tied["bg.r"] == at("bg.A")
    assert tied["L3.A"] == tied["L2.A"] == STARTING
    assert tied["L3.sigma"] == SHAPED - at("L3.A")
    assert tied["L2.sigma"] == SHAPED - at("L2.A")
    assert tied["L3.centre"] == OTHER


def test_a_tied_area_is_no_amplitude_of_its_own() -> None:
    model = white_lines(tied=False)
    model["L2"].A.tie("0.5*L3.A")
    found = codes(model)
    assert found["L3.A"] == found["L3.centre"] == found["L2.sigma"] == OTHER
