"""`da.fit.curvefit` against xarray's own `da.curvefit`: the scenarios of xarray's tests and what users do besides.

Coefficients are compared to 1e-6: SciPy stops where a step or a decrease is below 1e-8, which leaves about 1e-7 of a
parameter, as its derivatives are differences. Covariances are compared to 1e-4 for the same reason: they follow from
these derivatives.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import special
from scipy.optimize import curve_fit

import xfit  # noqa: F401 - registers the accessor
from xfit.formulas.tracing import traced_formula


def decay(t, n0, tau=1):
    return n0 * np.exp(-t / tau)


def sine(t, a, f, p):
    return a * np.sin(2 * np.pi * (f * t + p))


def straight(x, a, b):
    return a * x + b


def spot(X, height, x0, y0, width):
    x, y = X
    return height * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * width**2))


def polynomial(x, *coefficients):
    value = 0.0 * x
    for c in coefficients:
        value = value * x + c
    return value


def edge(x, height, centre, width):
    return height * special.erfc((centre - x) / width)


def ramp(x, knee, slope):
    return np.where(x > knee, slope * (x - knee), 0.0)


def decides(x, a, b):
    # No formula, for it decides; numba compiles it.
    if a > 0:
        return a * np.exp(-x / b)
    return a - b * x


def noisy(clean: np.ndarray, seed: int = 0) -> np.ndarray:
    return clean + np.random.default_rng(seed).normal(0, 0.02 * np.abs(clean).max(), clean.shape)


T = np.linspace(0, 5, 40)


def decays() -> xr.DataArray:
    """Three noisy decays over ``x``, with what coordinates may come along."""
    y = noisy(np.stack([decay(T, 3, 3), decay(T, 5, 2), decay(T, 4, 1)]))
    coords = {"t": ("t", T, {"units": "s"}), "x": [0, 1, 2], "label": ("x", list("abc")), "run": 7, "t2": ("t", 2 * T)}
    return xr.DataArray(y, dims=("x", "t"), coords=coords, name="signal", attrs={"units": "counts"})


def with_gaps() -> xr.DataArray:
    """One decay with a gap, one whole, and nothing else."""
    da = decays()
    da[0, 3] = np.nan
    da[2] = np.nan
    return da


def two_sines() -> xr.DataArray:
    t = np.arange(0, 2, 0.02)
    y = noisy(np.stack([sine(t, 1.0, 2, 0), sine(t, 1.0, 2, 0)]))
    return xr.DataArray(y, coords={"x": [0, 1], "t": t})


def images() -> xr.DataArray:
    x, y = np.linspace(-2, 2, 12), np.linspace(-3, 3, 10)
    grid = np.meshgrid(x, y, indexing="ij")
    stack = np.stack([spot(grid, h, 0.3, -0.4, 0.8) for h in (1.0, 2.0)])
    return xr.DataArray(noisy(stack), dims=("frame", "x", "y"), coords={"x": x, "y": y})


def over_x(*values: float) -> xr.DataArray:
    return xr.DataArray(list(values), dims="x", coords={"x": range(len(values))})


Case = tuple[Callable[[], xr.DataArray], dict[str, Any]]
CASES: dict[str, Case] = {
    # What xarray's own tests have: a start and bounds for some parameters, gaps, an empty pixel.
    "gaps": (with_gaps, {"coords": "t", "func": decay, "p0": {"n0": 4}, "bounds": {"tau": (0.5, 6)}}),
    "coordinate array": (lambda: decays(), {"coords": [decays().t], "func": decay}),
    "reduced": (decays, {"coords": "t", "func": decay, "reduce_dims": "x"}),
    "start maps": (
        two_sines,
        {"coords": "t", "func": sine, "p0": {"a": over_x(1, -1), "p": over_x(0, 0.5), "f": 2}},
    ),
    "bound maps": (
        two_sines,
        {"coords": "t", "func": sine, "p0": {"f": 2, "p": 0.25}, "bounds": {"a": (over_x(0, -2), over_x(2, 0))}},
    ),
    "a number and a map": (
        two_sines,
        {"coords": "t", "func": sine, "p0": {"f": 2, "p": 0.25}, "bounds": {"a": (-2, over_x(2, 0))}},
    ),
    "ufunc": (
        lambda: xr.DataArray(noisy(np.power(T, 1.7)), coords={"t": T}),
        {"coords": "t", "func": np.power, "param_names": ["a"]},
    ),
    # And more.
    "default moved inside": (
        decays,
        {"coords": "t", "func": decay, "bounds": {"tau": (1.5, np.inf), "n0": (-np.inf, 9)}},
    ),
    "other coordinate": (decays, {"coords": "t2", "func": decay, "reduce_dims": "t"}),
    "two coordinates": (images, {"coords": ["x", "y"], "func": spot}),
    "two and a reduced": (images, {"coords": ["x", "y"], "func": spot, "reduce_dims": ["frame"]}),
    "any number": (decays, {"coords": "t", "func": polynomial, "param_names": ["a", "b", "c"]}),
    "special function": (
        lambda: xr.DataArray(noisy(edge(T, 2.0, 2.2, 0.7)), coords={"t": T}),
        {"coords": "t", "func": edge, "p0": {"centre": 2}},
    ),
    "where": (
        lambda: xr.DataArray(noisy(ramp(T, 1.3, 2.0)), coords={"t": T}),
        {"coords": "t", "func": ramp, "p0": {"knee": 1.1}},
    ),
    "as it is": (decays, {"coords": "t", "func": decides}),
    "sigma": (decays, {"coords": "t", "func": decay, "kwargs": {"sigma": 0.1 + T / 20, "absolute_sigma": True}}),
    "unit sigma": (decays, {"coords": "t", "func": decay, "kwargs": {"absolute_sigma": True}}),
    "one sigma": (decays, {"coords": "t", "func": decay, "kwargs": {"sigma": np.full(T.size, 3.0)}}),
    "trf": (decays, {"coords": "t", "func": decay, "kwargs": {"method": "trf"}}),
    "dogbox": (decays, {"coords": "t", "func": decay, "bounds": {"n0": (0, 9)}, "kwargs": {"method": "dogbox"}}),
    "at a bound": (decays, {"coords": "t", "func": decay, "bounds": {"tau": (0.5, 1.8)}}),
    "parameters alike": (decays, {"coords": "t", "func": lambda t, a, b: (a + b) * np.exp(-t)}),
    "no freedom": (lambda: decays()[:, :2], {"coords": "t", "func": straight}),
    "integers": (lambda: (100 * decays()).round().astype(int), {"coords": "t", "func": decay, "p0": {"n0": 300}}),
}


def compare(found: xr.Dataset, wanted: xr.Dataset) -> None:
    """The same schema, and the same numbers to the precision of SciPy's."""
    assert set(found.variables) == set(wanted.variables)
    for name in wanted.variables:
        assert found[name].dims == wanted[name].dims, name
        assert found[name].attrs == wanted[name].attrs, name
    for name in wanted.coords:
        xr.testing.assert_equal(found[name], wanted[name])
    assert found.attrs == wanted.attrs
    mine, theirs = found.curvefit_coefficients, wanted.curvefit_coefficients
    error = np.sqrt(np.abs(np.diagonal(wanted.curvefit_covariance.values, axis1=-2, axis2=-1)))
    # SciPy stops where the sum of squares falls by less than 1e-8 of itself: that may be 6e-4 of an error, for 40
    # channels.
    error = np.where(np.isfinite(error), error, 0.0)
    assert (np.isnan(mine.values) == np.isnan(theirs.values)).all()
    distance = np.nan_to_num(np.abs(mine.values - theirs.values))
    assert (distance <= np.nan_to_num(1e-6 * np.abs(theirs.values)) + 1e-3 * error).all(), distance
    matrix = np.nan_to_num(np.abs(wanted.curvefit_covariance.values), posinf=0.0)
    scale = np.sqrt(np.diagonal(matrix, axis1=-2, axis2=-1))
    scale = scale[..., :, None] * scale[..., None, :]
    a, b = found.curvefit_covariance.values, wanted.curvefit_covariance.values
    assert (np.isfinite(a) == np.isfinite(b)).all()
    known = np.isfinite(b)
    assert (np.abs(a[known] - b[known]) <= 1e-4 * scale[known]).all()


@pytest.mark.parametrize("lazy", [False, True], ids=["numpy", "dask"])
@pytest.mark.parametrize("name", CASES)
def test_is_xarrays(name: str, lazy: bool) -> None:
    make, given = CASES[name]
    da = make()
    with warnings.catch_warnings():
        # SciPy says where it can't estimate a covariance, and xfit where a case is SciPy's; the next test is about
        # that.
        warnings.simplefilter("ignore")
        wanted = da.curvefit(**given)
        pixels = {d: 1 for d in da.dims[:-1]} if name not in ("reduced", "two coordinates", "two and a reduced") else -1
        found = (da.chunk(pixels) if lazy else da).fit.curvefit(**given)
        if lazy and da.ndim > 1:
            assert all(found[v].chunks is not None for v in found.data_vars)
        found = found.compute()
    compare(found, wanted)


def helper(x: Any) -> Any:
    return len(np.atleast_1d(x))


REASONS: dict[str, tuple[Callable[..., Any], dict[str, Any], str]] = {
    "option": (decay, {"kwargs": {"maxfev": 5000}}, "'maxfev', which only SciPy heeds"),
    "method": (lambda t, a, b: a * (t - t.mean()) + b, {}, "numba can't compile"),
    "helper": (lambda t, a, b: a * t / helper(t) + b, {}, "numba can't compile"),
    "all channels": (lambda t, a, b: a * (t - np.mean(t)) + b, {}, "for single coordinates"),
    "no function": (type("Line", (), {"__call__": lambda self, t, a, b: a * np.cumsum(t) + b})(), {}, "plain Python"),
    "covariance of the data": (decay, {"kwargs": {"sigma": np.eye(T.size)}}, "sigma has the shape"),
}


@pytest.mark.parametrize("name", REASONS)
def test_what_scipy_fits_is_said(name: str) -> None:
    func, given, reason = REASONS[name]
    with pytest.warns(UserWarning, match=reason):
        found = decays().fit.curvefit("t", func, **given)
    # xarray's own numbers, to the bit.
    xr.testing.assert_identical(found, decays().curvefit("t", func, **given))


def test_coordinate_that_varies_over_the_map_is_scipys() -> None:
    da = decays()
    shifted = da.t + xr.DataArray([0.0, 0.1, 0.2], dims="x")
    with pytest.warns(UserWarning, match=r"varies along \['x'\]"):
        found = da.fit.curvefit(shifted, decay, reduce_dims="t")
    xr.testing.assert_identical(found, da.curvefit(shifted, decay, reduce_dims="t"))


@pytest.mark.parametrize("dtype", ["bool", "longdouble"])
def test_data_of_other_kinds_are_scipys(dtype: str) -> None:
    if dtype == "longdouble" and np.dtype(dtype).itemsize == 8:
        pytest.skip("the platform's long double is a double")
    da = (decays() > 1).astype(dtype) if dtype == "bool" else decays().astype(dtype)
    with pytest.warns(UserWarning, match=f"dtype {da.dtype}"):
        found = da.fit.curvefit("t", decay)
    xr.testing.assert_identical(found, da.curvefit("t", decay))


@pytest.mark.parametrize("lazy", [False, True], ids=["numpy", "dask"])
def test_errors_are_scipys(lazy: bool) -> None:
    """The nonsense of xarray's tests: a function that returns 0 once it has gone too far, and few calls."""

    def nonsense(x, a, b):
        return 0 if a > 10 else a * x + b

    da = xr.DataArray([[1, 3, 5], [0, 20, 40]], coords={"i": [1, 2], "x": [0.0, 1.0, 2.0]})
    da = da.chunk({"i": 1}) if lazy else da
    given = {"coords": "x", "func": nonsense, "kwargs": {"maxfev": 5}}
    with pytest.warns(UserWarning, match="maxfev"), pytest.raises(RuntimeError, match="reached maxfev"):
        da.fit.curvefit(**given).compute()
    with pytest.warns(UserWarning, match="maxfev"):
        fit = da.fit.curvefit(errors="ignore", **given).compute()
    np.testing.assert_allclose(fit.curvefit_coefficients, [[2.0, 1.0], [np.nan, np.nan]])


def test_pixels_that_do_not_converge_are_scipys_to_fail() -> None:
    """A decay cannot follow a rise within these bounds of its signs; what SciPy makes of it counts."""
    da = decays()
    da[1] = np.inf
    with pytest.raises(ValueError, match="infs or NaNs"):
        da.fit.curvefit("t", decay)
    with pytest.raises(ValueError, match="NaNs"):
        with_gaps().fit.curvefit("t", decay, skipna=False)


@pytest.mark.parametrize("bounds", [{}, {"tau": (0.5, 1.8)}], ids=["free", "at a bound"])
def test_sigma_goes_with_missing_data(bounds: dict[str, Any]) -> None:
    """Against SciPy with the channels left out; xarray has no answer. At a bound SciPy makes
    the fit, else the engine.
    """
    da, sigma = with_gaps(), 0.1 + T / 20
    given = {"sigma": sigma, "absolute_sigma": True}
    fit = da.fit.curvefit("t", decay, bounds=bounds, kwargs=given)
    limits = ((-np.inf, 0.5), (np.inf, 1.8)) if bounds else ((-np.inf, -np.inf), (np.inf, np.inf))
    for pixel in (0, 1):
        y = da.values[pixel]
        keep = ~np.isnan(y)
        values, matrix = curve_fit(
            decay, T[keep], y[keep], p0=(1, 1), sigma=sigma[keep], absolute_sigma=True, bounds=limits
        )
        np.testing.assert_allclose(fit.curvefit_coefficients[pixel], values, rtol=1e-6)
        np.testing.assert_allclose(fit.curvefit_covariance[pixel], matrix, rtol=2e-4)
    assert fit.curvefit_coefficients[2].isnull().all()


def test_lazy_data_are_read_and_fitted_once() -> None:
    """Chunks read are counted: two variables come from one fit of each pixel."""
    reads = []

    def read(block: np.ndarray) -> np.ndarray:
        reads.append(block.shape)
        return block

    da = decays().chunk({"x": 1})
    da = da.copy(data=da.data.map_blocks(read, meta=np.empty((0, 0))))
    lazy = da.fit.curvefit("t", decay)
    assert not reads
    lazy.compute(scheduler="synchronous")
    assert reads == [(1, T.size)] * 3


@pytest.mark.parametrize("kwargs", [{}, {"maxfev": 5000}], ids=["compiled", "SciPy"])
def test_data_cut_along_the_fitted_dimension_are_rearranged(kwargs: dict[str, Any]) -> None:
    with pytest.warns(UserWarning, match="several chunks {'t': 4}"):
        lazy = decays().chunk({"x": 2, "t": 10}).fit.curvefit("t", decay, kwargs=kwargs)
    compare(lazy.compute(), decays().curvefit("t", decay))


def test_compiled_fits_call_the_function_a_few_times_only() -> None:
    calls = []

    def counted(t, n0, tau):
        calls.append(1)
        return n0 * np.exp(-t / tau)

    da = xr.concat([decays()] * 20, "y")
    da.fit.curvefit("t", counted)
    # Twice for its values, once for its formula; SciPy calls it about twenty times for each of the 60 pixels.
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"coords": "q"}, ValueError, "'q', which the data do not have"),
        ({"coords": "run"}, ValueError, "reduce_dims="),
        ({"reduce_dims": "q"}, ValueError, "no dimensions of the data"),
        ({"p0": {"taau": 1}}, ValueError, "did you mean 'tau'"),
        ({"p0": {"tau": "1"}}, TypeError, "a number or a DataArray"),
        (
            {"p0": {"tau": xr.DataArray([1, 2], dims="foo")}},
            ValueError,
            "Initial guess for 'tau' has unexpected dimensions",
        ),
        (
            {"bounds": {"tau": (0, xr.DataArray([1], dims="foo"))}},
            ValueError,
            "Upper bound for 'tau' has unexpected dim",
        ),
        ({"bounds": {"tau": 3}}, TypeError, r"a pair \(lower, upper\)"),
        ({"bounds": {"tau": (3, 2)}}, ValueError, "must be below"),
        ({"bounds": {"tau": (0, 2)}, "p0": {"tau": 3}}, ValueError, "outside of its bounds"),
        ({"errors": "warn"}, ValueError, "'raise' or 'ignore'"),
        ({"func": lambda t, *a: t}, ValueError, "param_names="),
        ({"func": 3}, TypeError, "callable"),
        ({"bounds": {"tau": (0, 2)}, "kwargs": {"method": "lm"}}, ValueError, "keeps no bounds"),
        ({"kwargs": {"method": "bfgs"}}, ValueError, "'lm', 'trf' or 'dogbox'"),
        ({"param_names": "tau"}, TypeError, "sequence of names"),
        ({"kwargs": {"p0": [3, 1], "maxfev": 50}}, TypeError, r"kwargs has \['p0'\].*its own arguments"),
        ({"kwargs": {"bounds": (0, 9)}}, TypeError, r"kwargs has \['bounds'\]"),
    ],
)
def test_wrong_arguments_are_named(given: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        decays().fit.curvefit(**{"coords": "t", "func": decay} | given)


def test_formulas_are_found() -> None:
    """What tracing makes of functions, against the formula that one would write."""
    import sympy

    from xfit.formulas.parser import parse

    def same(function: Callable[..., Any], text: str) -> bool:
        found = traced_formula(function, ("x0",), ("p0", "p1"))
        assert found is not None
        return sympy.simplify(parse(found) - parse(text)) == 0

    assert same(lambda x, a, b: np.float64(2) * a * np.exp(-(x**2.0) / b), "2*p0*exp(-x0**2/p1)")
    assert same(lambda x, a, b: np.square(x - a) / np.sqrt(b), "(x0 - p0)**2/sqrt(p1)")
    assert same(lambda x, a, b: np.zeros_like(x) + abs(x * a) + 1 / b, "abs(x0*p0) + 1/p1")
    assert (
        traced_formula(lambda x, a, b: np.where(x > a, b * x, 0), ("x0",), ("p0", "p1"))
        == "where(x0 > p0, (p1*x0), (0))"
    )
    for untraceable in (lambda x, a, b: a if x > b else b, lambda x, a, b: a * x.max() + b, lambda x, a, b: a * x):
        assert traced_formula(untraceable, ("x0",), ("p0", "p1")) is None
