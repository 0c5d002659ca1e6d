"""The best of several models in each pixel; tests of nested ones; a component fitted by itself."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import stats

import xfit
from tests.support.builders import assert_same_bits
from xfit.components import Gaussian, Lorentzian, Offset

X = np.linspace(0, 20, 120)


def data(peaks: list[int], seed: int = 0, noise: float = 1.0) -> xr.DataArray:
    """Spectra with none, one or two peaks over a constant."""
    y = np.random.default_rng(seed).normal(5, noise, (len(peaks), X.size))
    for i, n in enumerate(peaks):
        for centre in (6.0, 13.0)[:n]:
            y[i] += 12 * np.exp(-((X - centre) ** 2) / 2)
    return xr.DataArray(y, dims=("pixel", "x"), coords={"x": X}, attrs={"units": "counts"})


def models() -> dict[str, xfit.Model]:
    def peak(name: str, centre: float) -> Gaussian:
        return Gaussian(name=name, A=20, centre=centre, sigma=1.2)

    return {
        "none": xfit.Model([Offset(name="bg", offset=4)]),
        "one": xfit.Model([Offset(name="bg", offset=4), peak("first", 6.3)]),
        "two": xfit.Model([Offset(name="bg", offset=4), peak("first", 6.3), peak("second", 12.7)]),
    }


@pytest.mark.parametrize("criterion", ["aicc", "bic", "aic"])
@pytest.mark.parametrize("options", [{}, {"variance": 1.0, "scale_covariance": False}])
def test_the_right_number_of_peaks(criterion, options) -> None:
    peaks = [0, 1, 2, 2, 1, 0]
    da = data(peaks)
    result = da.fit.select(models(), criterion=criterion, **options)
    alone = [da.fit.multifit(m, **options) for m in models().values()]
    values = np.array([fit[criterion].where(fit["status"] == 1, np.inf) for fit in alone])
    chosen = result["selected"].values.tolist()
    assert chosen == values.argmin(0).tolist()
    # Chance may add a peak, more so by Akaike's criteria, but takes none away.
    assert all(found >= n for found, n in zip(chosen, peaks, strict=True))
    assert sum(found == n for found, n in zip(chosen, peaks, strict=True)) >= 4
    assert result["selected"].attrs["flag_meanings"] == "none none one two"
    np.testing.assert_array_equal(result["criterion"].fillna(np.inf), values)
    for i, n in enumerate(chosen):
        names = alone[n]["param"].values
        np.testing.assert_array_equal(result["value"].sel(param=names)[i], alone[n]["value"][i])
        np.testing.assert_array_equal(result["stderr"].sel(param=names)[i], alone[n]["stderr"][i])
        assert float(result["chisq"][i]) == float(alone[n]["chisq"][i])
        assert int(result["dof"][i]) == int(alone[n]["dof"][i])
        assert int(result["value"][i].notnull().sum()) == len(names)


def test_the_result_is_a_whole_one() -> None:
    """Curves, derived quantities with errors, units, reports, JSON: of the model that was chosen in each pixel."""
    da = data([0, 1, 2], seed=5, noise=0.5)
    result = da.fit.select(models(), criterion="bic")
    assert result["selected"].values.tolist() == [0, 1, 2]
    best = [da.fit.multifit(m) for m in models().values()]
    for i in range(3):
        np.testing.assert_allclose(result.fit.evaluate()[i], best[i].fit.evaluate()[i], rtol=1e-12)
    assert result.fit["first.fwhm"].isnull().values.tolist() == [True, False, False]
    np.testing.assert_array_equal(result.fit.stderr("first.fwhm")[1], best[1].fit.stderr("first.fwhm")[1])
    assert result.fit["first.height"].attrs["units"] == "counts"
    assert [c.name for c in result.fit.model] == ["bg", "first", "second"]
    assert "second.A" in result.fit.report()
    with_matrix = da.fit.select(models(), criterion="bic", covariance=True)
    np.testing.assert_allclose(with_matrix["stderr"], result["stderr"], rtol=1e-12)
    assert with_matrix.fit.report(pixel=2).count("±") >= 7


def test_lazily() -> None:
    da = data([0, 1, 2, 1, 0])
    lazy = da.chunk(pixel=2).fit.select(models())
    assert lazy["value"].chunks is not None
    assert_same_bits(lazy.compute(), da.fit.select(models()))


def test_where_nothing_converges() -> None:
    da = data([1, 1])
    da[0] = np.nan
    result = da.fit.select(models())
    assert result["selected"].values.tolist() == [-1, 1]
    assert int(result["status"][0]) == 5


def test_counts() -> None:
    y = np.random.default_rng(0).poisson(2 + 10 * np.exp(-((X - 6) ** 2) / 2), (3, X.size)).astype(float)
    da = xr.DataArray(y, dims=("pixel", "x"), coords={"x": X})
    result = da.fit.select(models(), criterion="bic", loss="poisson", start={"second.centre": 13.0})
    assert result["selected"].values.tolist() == [1, 1, 1]


def test_refusals() -> None:
    da, given = data([1]), models()
    other = xfit.Model([Offset(name="bg"), Lorentzian(name="first")])
    for candidates, options, words in [
        ([given["one"], other], {}, "different components called 'first'"),
        ([given["one"]], {}, "nothing to choose"),
        (given, {"criterion": "chisq"}, "criterion='chisq'"),
        (given, {"loss": "huber"}, "no likelihood"),
    ]:
        with pytest.raises(ValueError, match=words):
            da.fit.select(candidates, **options)
    with pytest.raises(TypeError, match="list of models"):
        da.fit.select(given["one"])


def test_the_f_test() -> None:
    """Its formula, and that under the simple model p-values are uniform."""
    da = data([0] * 600)
    simple, full = da.fit.multifit(models()["none"]), da.fit.multifit(fixed_shape())
    found = xfit.compare_nested(simple, full)
    assert found.attrs["test"] == "F-test"
    f = (simple["chisq"] - full["chisq"]) / (full["chisq"] / full["dof"])
    np.testing.assert_allclose(found["statistic"], f, rtol=1e-9)
    np.testing.assert_allclose(found["p_value"], stats.f.sf(f, 1, full["dof"]), rtol=1e-9)
    assert stats.kstest(found["p_value"].values, "uniform").pvalue > 1e-3


def fixed_shape() -> xfit.Model:
    """A peak whose area alone is free, and may be negative: the simple model plus one linear parameter."""
    peak = Gaussian(name="first", A=1.0, centre=6.0, sigma=1.0)
    peak.centre.free = peak.sigma.free = False
    peak.A.set(min=None)
    return xfit.Model([Offset(name="bg", offset=4), peak])


def test_the_likelihood_ratio_test() -> None:
    da = data([0] * 600)
    options = {"variance": 1.0, "scale_covariance": False}
    simple, full = da.fit.multifit(models()["none"], **options), da.fit.multifit(fixed_shape(), **options)
    found = xfit.compare_nested(simple, full)
    assert found.attrs["test"] == "likelihood-ratio test"
    np.testing.assert_allclose(found["p_value"], stats.chi2.sf(simple["chisq"] - full["chisq"], 1), rtol=1e-7)
    assert stats.kstest(found["p_value"].values, "uniform").pvalue > 1e-3
    with pytest.raises(ValueError, match="simpler one first"):
        xfit.compare_nested(full, simple)
    with pytest.raises(ValueError, match="differ in scale_covariance"):
        xfit.compare_nested(da.fit.multifit(models()["none"]), full)


def test_a_component_by_itself() -> None:
    """In a range, the others fixed or left out; values become those of the model, of a spectrum."""
    da = data([2], noise=0.1)[0]
    m = models()["two"]
    m["bg.offset"].value = 5.0
    fit = da.fit.component(m, "second", (10, 16))
    assert m["second.centre"].value == pytest.approx(13.0, abs=0.02)
    assert m["first.centre"].value == 6.3
    assert m["first.centre"].free
    assert int(fit["dof"]) == int(((X >= 10) & (X <= 16)).sum()) - 3
    alone = models()["two"]
    alone["bg.offset"].value = 5.0
    (da - 5).fit.component(alone, "second", (10, 16), alone=True, estimate=False)
    assert alone["second.centre"].value == pytest.approx(13.0, abs=0.02)
    assert alone["first"].active
    whole = data([2, 2], noise=0.1)
    maps = whole.fit.component(m, "first", (3, 9))
    np.testing.assert_allclose(maps.fit["first.centre"], 6.0, atol=0.05)
    assert (whole.fit.multifit(m, start=maps)["status"] == 1).all()
    with pytest.raises(KeyError):
        da.fit.component(m, "third")
    m["bg"].offset.free = False
    with pytest.raises(ValueError, match="no free parameter"):
        da.fit.component(m, "bg")
