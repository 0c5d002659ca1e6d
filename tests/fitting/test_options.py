"""Options of fits: one list, taken by every call that fits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xfit
from xfit.components import Gaussian, Offset

X = np.linspace(0.0, 10.0, 41)


def model() -> xfit.Model:
    return xfit.Model([Gaussian(name="g", A=8.0, centre=4.5, sigma=1.2), Offset(name="o", offset=1.0)])


@pytest.fixture(scope="module")
def data() -> xr.DataArray:
    shift = np.linspace(-0.5, 0.5, 6)[:, None]
    values = 5 * np.exp(-((X - 5 - shift) ** 2) / 2) + 1
    return xr.DataArray(values, dims=("pixel", "x"), coords={"x": X, "pixel": np.arange(6)})


CALLS: dict[str, Callable[[xr.DataArray, dict[str, Any]], Any]] = {
    "fit": lambda da, options: da[0].fit(model(), **options),
    "multifit": lambda da, options: da.fit.multifit(model(), **options),
    "preview": lambda da, options: da.fit.preview(model(), n=3, **options),
    "explore": lambda da, options: da.fit.explore(model(), **options),
    "component": lambda da, options: da.fit.component(model(), "g", estimate=False, **options),
    "select": lambda da, options: da.fit.select({"one": model(), "two": xfit.Model([Offset(name="o")])}, **options),
    "samfire": lambda da, options: da.fit.samfire(
        model(), seeds=[(3,)], goodness=xfit.samfire.RedChisq(1e9), progress=False, **options
    ),
    "refit": lambda da, options: da.fit.multifit(model()).fit.refit(da, **options),
    "conf_interval": lambda da, options: da.fit.multifit(model()).fit.conf_interval(da, **options),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_misspelt_option_gets_the_same_answer(call: str, data: xr.DataArray) -> None:
    words = r"unknown option\(s\) \['tolerence'\] for optimizer 'lm', which has none; did you mean tolerance\?"
    with pytest.raises(TypeError, match=words):
        CALLS[call](data, {"tolerence": 1e-9})


@pytest.mark.parametrize("call", [name for name in CALLS if name not in ("samfire", "refit", "conf_interval")])
def test_options_of_an_optimizer_reach_it(call: str, data: xr.DataArray) -> None:
    CALLS[call](data, {"optimizer": "Powell", "maxiter": 9})
    with pytest.raises(TypeError, match=r"Unknown solver options: maxitre .optimizer .Powell.."):
        CALLS[call](data, {"optimizer": "Powell", "maxitre": 9})


def test_the_explorer_fits_with_them(data: xr.DataArray) -> None:
    explorer = data.fit.explore(model(), optimizer="Powell", maxiter=9)
    explorer.fit_all()
    assert explorer.result is not None
    expected = data.fit.multifit(model(), optimizer="Powell", maxiter=9)
    assert explorer.result.attrs["xfit_optimizer"] == expected.attrs["xfit_optimizer"] == "Powell"


def test_what_a_result_says_can_not_be_given_again(data: xr.DataArray) -> None:
    fit = data.fit.multifit(model())
    with pytest.raises(TypeError, match="tolerance can't be given: as in the fit that gave the result"):
        fit.fit.conf_interval(data, tolerance=1e-3)
