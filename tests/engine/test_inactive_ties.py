"""Ties to and of components that are switched off: one rule in every optimizer, whether by the
model, by a flag or by a map.
"""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.special import fdtri

from xfit import Model
from xfit.components import GaussianHF, Offset

X = np.linspace(5.0, 15.0, 200)

#: One of each family, and the two that solve linear problems with bounds and with a penalty.
OPTIMIZERS = ("lm", "varpro", "trf", "leastsq", "L-BFGS-B", "Nelder-Mead", "lstsq", "nnls", "ridge")


def lines() -> Model:
    """An offset and two lines, whose heights are what is fitted besides; the second follows the
    first through a third, hidden one.
    """
    m = Model(
        [
            Offset(name="b"),
            GaussianHF(name="Ka", centre=8, fwhm=0.5),
            Offset(name="via"),
            GaussianHF(name="Kb", centre=10, fwhm=0.5),
        ]
    )
    m.set_parameters_not_free(["Ka", "Kb"], ["centre", "fwhm"])
    m["via"].active = False
    m["via.offset"].tie("2*Ka.height")
    m["Kb.height"].tie("0.07*via.offset")
    return m


def shape(centre: float) -> np.ndarray:
    return np.exp(-4 * np.log(2) * ((X - centre) / 0.5) ** 2)


def data(first: np.ndarray) -> xr.DataArray:
    """Spectra of an offset of 1, a first line of the heights given and a second one of 14, with a little noise."""
    noise = np.random.default_rng(5).normal(0, 0.05, (first.size, X.size))
    return xr.DataArray(1 + first[:, None] * shape(8) + 14 * shape(10) + noise, dims=("pixel", "x"), coords={"x": X})


def expected(y: np.ndarray, shapes: list[np.ndarray], alpha: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients and covariance of a linear fit by the normal equations, errors scaled by the reduced chi-squared."""
    a = np.stack(shapes, axis=1)
    inverse = np.linalg.inv(a.T @ a + alpha * np.eye(a.shape[1]))
    best = inverse @ a.T @ y
    scale = ((y - a @ best) ** 2).sum() / (y.size - best.size)
    return best, inverse @ a.T @ a @ inverse * scale


@pytest.mark.parametrize("how", ["model", "flag", "map"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_tie_to_a_component_that_is_off_is_fitted_and_shown_by_the_tied_parameter_alone(optimizer, how):
    count = 2 if optimizer == "Nelder-Mead" else 10
    on = np.arange(count) % 2 == 0
    da = data(np.where(on & (how == "map"), 100.0, 0.0))
    m = lines()
    options = {"optimizer": optimizer, "covariance": True}
    if how == "model":
        m["Ka"].active = False
    else:
        options["active"] = {"Ka": False if how == "flag" else xr.DataArray(on, dims="pixel")}
    options |= {"alpha": 1e-3} if optimizer == "ridge" else {}
    fit = da.fit.multifit(m, **options)
    assert (fit.status == 1).all()
    off = fit.isel(pixel=1)
    for name in ("Ka.height", "Ka.centre", "via.offset"):
        assert np.isnan(off.fit[name]), name
        assert np.isnan(off.fit.stderr(name)), name
        assert off.covariance.sel(param=name).isnull().all()
        assert off.covariance.sel(param_=name).isnull().all()
    # What is fitted is the height of the hidden line, 0.14 times which is that of the second.
    best, covariance = expected(
        da.isel(pixel=1).values, [np.ones_like(X), 0.14 * shape(10)], 1e-3 if optimizer == "ridge" else 0
    )
    # Searches end within their own tolerances, of the loss; errors of Gauss and Newton are as good as the point.
    rtol = {"Nelder-Mead": 1e-4, "L-BFGS-B": 1e-4}.get(optimizer, 1e-6)
    np.testing.assert_allclose([off.fit["b.offset"], off.fit["Kb.height"]], best * [1, 0.14], rtol=rtol)
    errors = np.sqrt(np.diag(covariance)) * [1, 0.14]
    np.testing.assert_allclose([off.fit.stderr("b.offset"), off.fit.stderr("Kb.height")], errors, rtol=1e-3)
    np.testing.assert_allclose(
        off.covariance.sel(param="b.offset", param_="Kb.height"), 0.14 * covariance[0, 1], rtol=1e-3
    )
    assert int(off.dof) == X.size - 2
    # What is asked of the result counts as the fit did, and leaves the line out of the curve.
    again = fit.fit.statistics(da)
    np.testing.assert_array_equal(again.dof, fit.dof)
    np.testing.assert_allclose(again.chisq, fit.chisq, rtol=1e-9)
    assert "2 free parameters" in str(fit.fit.report(pixel=1))
    if how == "map":
        both = fit.isel(pixel=0)
        best, _ = expected(
            da.isel(pixel=0).values, [np.ones_like(X), shape(8) + 0.14 * shape(10)], 1e-3 if optimizer == "ridge" else 0
        )
        np.testing.assert_allclose(
            [both.fit["Ka.height"], both.fit["Kb.height"]], best[1] * np.array([1, 0.14]), rtol=rtol
        )
        assert both.fit.stderr("Ka.height") > 0


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_tied_parameter_of_a_component_that_is_off_has_neither_value_nor_error(optimizer):
    da = data(np.full(2 if optimizer == "Nelder-Mead" else 9, 100.0))
    m = lines()
    m["Kb.height"].untie()
    m["via.offset"].tie("Ka.height*b.offset" if optimizer not in ("lstsq", "nnls", "ridge") else "3*Ka.height")
    without = lines()
    without["Kb.height"].untie()
    without.remove("via")
    fit, same = (da.fit.multifit(each, optimizer=optimizer) for each in (m, without))
    assert np.isnan(fit.fit["via.offset"]).all()
    assert np.isnan(fit.fit.stderr("via.offset")).all()
    kept = fit.sel(param=[p.full_name for p in without.parameters])
    # Steps may be others, for an amplitude that a tie follows is not projected out; searches end within their own
    # tolerances.
    rtol = 1e-3 if optimizer in ("Nelder-Mead", "L-BFGS-B") else 1e-6
    for name in ("value", "stderr", "dof", "chisq"):
        np.testing.assert_allclose(kept[name], same[name], rtol=rtol, err_msg=name)


def test_what_ties_need_counts_before_the_fit():
    m = lines()
    m["Ka"].active = False
    m["b.offset"].free = False
    da = data(np.zeros(2))
    # The hidden height is the only parameter that is left.
    assert int(da.fit.multifit(m).dof[0]) == X.size - 1
    m["Ka.height"].set(value=5.0, min=6.0)
    with pytest.raises(ValueError, match=r"Ka.height: the start value 5.0 is outside of its bounds"):
        da.fit.multifit(m)
    m["Ka.height"].set(value=6.5, free=False)
    with pytest.raises(ValueError, match="no free parameter"):
        da.fit.multifit(m)


def test_intervals_with_a_hidden_parameter():
    da = data(np.zeros(9))
    m = lines()
    m["Ka"].active = False
    fit = da.fit.multifit(m)
    ends = fit.fit.conf_interval(da)
    assert list(ends.param.values) == ["b.offset"]
    # Of a linear problem the profile is a parabola: the ends lie the root of the quantile of F times the standard error
    # away.
    reach = np.sqrt(fdtri(1, X.size - 2, float(ends.level))) * fit.fit.stderr("b.offset")
    best = fit.fit["b.offset"]
    np.testing.assert_allclose(ends.lower.isel(param=0), best - reach, rtol=1e-6)
    np.testing.assert_allclose(ends.upper.isel(param=0), best + reach, rtol=1e-6)


def test_samfire_keeps_the_rule():
    on = np.arange(12) % 2 == 0
    da = data(np.where(on, 100.0, 0.0))
    m = lines()
    active = {"Ka": xr.DataArray(on, dims="pixel")}
    fit = da.fit.samfire(m, seeds={"pixel": [0]}, active=active).compute()
    plain = da.fit.multifit(m, active=active)
    np.testing.assert_array_equal(fit.value.isnull(), plain.value.isnull())
    np.testing.assert_array_equal(fit.stderr.isnull(), plain.stderr.isnull())
    # Both stop within a tolerance of the minimum.
    np.testing.assert_allclose(fit.fit["Kb.height"], plain.fit["Kb.height"], rtol=1e-6)
