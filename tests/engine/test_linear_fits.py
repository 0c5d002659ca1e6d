"""Linear fits: against NumPy, SciPy's nnls and lsq_linear, scikit-learn's formula of ridge
regression, and the iterating engine.
"""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import lsq_linear, nnls

import xfit
from tests.support.builders import assert_same_bits, statuses
from xfit.components import Expression, Gaussian, GaussianHF, Offset, Polynomial, Voigt

X = np.linspace(0, 10, 150)
CENTRES, WIDTHS = (1.0, 2.2, 3.1, 5.5, 8.0), (0.5, 0.6, 0.4, 0.9, 0.7)


def model(n: int = 5, order: int = 1) -> xfit.Model:
    """Peaks of given shape on a polynomial: linear in all that is free."""
    peaks = [GaussianHF(name=f"h{k}", height=1.0, centre=CENTRES[k], fwhm=WIDTHS[k]) for k in range(n)]
    for peak in peaks:
        peak.centre.free = peak.fwhm.free = False
    return xfit.Model([*peaks, Polynomial(order, name="p")])


def free_names(m: xfit.Model) -> list[str]:
    return [p.full_name for p in m.free_parameters]


def design(n: int = 5, order: int = 1) -> np.ndarray:
    """The same as columns."""
    peaks = [np.exp(-4 * np.log(2) * ((X - c) / w) ** 2) for c, w in zip(CENTRES[:n], WIDTHS[:n], strict=True)]
    return np.stack([*peaks, *(X**k for k in range(order + 1))], axis=1)


def data(n: int = 9, seed: int = 0, dtype: str = "float64") -> xr.DataArray:
    random = np.random.default_rng(seed)
    heights = random.uniform(5, 50, (n, 5))
    y = heights @ design()[:, :5].T + 20 + 1.5 * X
    return xr.DataArray(random.poisson(y).astype(dtype), dims=("pixel", "x"), coords={"x": X})


def variances(da: xr.DataArray) -> xr.DataArray:
    return xr.ones_like(da, dtype=float) * (1 + np.random.default_rng(1).random(da.shape) * 10)


def close(fit: xr.Dataset, other: xr.Dataset, rtol: float = 1e-8) -> None:
    """Compare all that two fits have in common; evaluations are counted in different ways."""
    for name in ("value", "stderr", "chisq", "red_chisq", "aicc", "bic", "covariance", "pair_covariance"):
        if name in fit and name in other:
            np.testing.assert_allclose(fit[name], other[name], rtol=rtol, atol=1e-9, err_msg=name)
    for name in ("dof", "status", "at_bound"):
        np.testing.assert_array_equal(fit[name], other[name], err_msg=name)


@pytest.mark.parametrize("dtype", ["float64", "float32", "uint16"])
def test_against_numpy(dtype) -> None:
    da = data(dtype=dtype)
    fit = da.fit.multifit(model(), optimizer="lstsq", bounded=False, covariance=True)
    a = design()
    solution = np.linalg.lstsq(a, da.values.T.astype(float), rcond=None)[0].T
    names = free_names(model())
    np.testing.assert_allclose(fit["value"].sel(param=names), solution, rtol=1e-9)
    chisq = ((da.values - solution @ a.T) ** 2).sum(1)
    np.testing.assert_allclose(fit["chisq"], chisq, rtol=1e-10)
    covariance = np.linalg.inv(a.T @ a) * (chisq / (X.size - 7))[:, None, None]
    np.testing.assert_allclose(fit["covariance"].sel(param=names, param_=names), covariance, rtol=1e-8)
    assert (fit["nfev"] == 1).all()


@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize("weights", ["none", "number", "channels", "pixels", "poisson"])
@pytest.mark.parametrize("mask", ["none", "channels", "pixels", "nan"])
def test_against_the_iterating_engine(weights, mask, bounded) -> None:
    """Weights, masks and bounds of every kind: values, errors, covariances, statistics."""
    da = data()
    options = {"bounded": bounded, "covariance": True}
    if weights != "none":
        variance = variances(da)
        options["variance"] = {"number": 3.0, "channels": variance[0], "pixels": variance, "poisson": "poisson"}[
            weights
        ]
    if mask == "channels":
        options["where"] = xr.DataArray(X > 0.7, dims="x")
    elif mask == "pixels":
        options["where"] = xr.DataArray(np.random.default_rng(3).random(da.shape) > 0.2, dims=da.dims)
    elif mask == "nan":
        da[::2, 7] = np.nan
        da[4] = np.nan
    m = model()
    if bounded:
        m["h1.height"].set(min=0, max=20, value=5)
        m["p.a1"].set(min=2.0, value=3.0)
    fit = da.fit.multifit(m, optimizer="lstsq", **options)
    close(fit, da.fit.multifit(m, **options))
    if bounded:
        assert (fit["at_bound"] != 0).any()
    lazy = da.chunk(pixel=4).fit.multifit(m, optimizer="lstsq", **options)
    assert_same_bits(lazy.compute(), fit)


def test_nnls_against_scipy() -> None:
    da = data(60) - 60
    da = da + np.random.default_rng(0).normal(0, 30, da.shape)
    fit = da.fit.multifit(model(), optimizer="nnls")
    expected = np.array([nnls(design(), y)[0] for y in da.values])
    found = fit["value"].sel(param=free_names(model())).values
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8 * abs(expected).max())
    assert 0.05 < (expected == 0).mean() < 0.95
    assert ((found == 0) == (fit["at_bound"].sel(param=free_names(model())).values == -1)).all()


def test_bounds_on_both_sides_against_scipy() -> None:
    da = data(40)
    m = model()
    low, high = np.full(7, -np.inf), np.full(7, np.inf)
    for k, name in enumerate(free_names(m)):
        low[k], high[k] = (10.0, 30.0) if k < 5 else (-1.0, 18.0)
        m[name].set(value=float(np.mean([low[k], high[k]])), min=low[k], max=high[k])
    fit = da.fit.multifit(m, optimizer="lstsq")
    found = fit["value"].sel(param=free_names(m)).values
    for y, p in zip(da.values, found, strict=True):
        expected = lsq_linear(design(), y, (low, high), tol=1e-14, method="bvls").x
        np.testing.assert_allclose(p, expected, rtol=1e-7, atol=1e-7)


def test_ridge_and_its_bias() -> None:
    """The formula of ridge regression; the bias is what averages over many data sets show."""
    da = data(8)
    alpha = 7.0
    fit = da.fit.multifit(model(), optimizer="ridge", alpha=alpha, bounded=False, covariance=True)
    a = design()
    matrix = a.T @ a + alpha * np.eye(7)
    solution = np.linalg.solve(matrix, a.T @ da.values.T).T
    names = free_names(model())
    np.testing.assert_allclose(fit["value"].sel(param=names), solution, rtol=1e-9)
    inverse = np.linalg.inv(matrix)
    spread = inverse @ (a.T @ a) @ inverse
    np.testing.assert_allclose(
        fit["covariance"].sel(param=names, param_=names), spread * fit["red_chisq"].values[:, None, None], rtol=1e-8
    )
    np.testing.assert_allclose(fit["bias"].sel(param=names), -alpha * solution @ np.linalg.inv(a.T @ a), rtol=1e-7)
    assert fit.attrs["xfit_alpha"] == alpha
    # The bias itself, from the truth: estimates are on average off by it, and by nothing else.
    truth = np.array([10.0, 20, 30, 15, 12, 20, 1.5])
    random = np.random.default_rng(2)
    many = xr.DataArray(a @ truth + random.normal(0, 2, (4000, X.size)), dims=("pixel", "x"), coords={"x": X})
    fits = many.fit.multifit(model(), optimizer="ridge", alpha=alpha, bounded=False)
    off = (fits["value"].sel(param=names).mean("pixel") - truth).values
    exact = -alpha * inverse @ truth
    error = np.sqrt(np.diag(spread) * 4 / 4000)
    assert (abs(off - exact) < 5 * error).all()
    assert (abs(exact) > 20 * error).any()
    # The estimated bias is right on average, too.
    estimated = fits["bias"].sel(param=names)
    assert (abs(estimated.mean("pixel") - exact) < 5 * estimated.std("pixel") / np.sqrt(4000)).all()


def test_designs_that_differ_from_pixel_to_pixel() -> None:
    """Fixed parameters with maps, components that are switched off, and a penalty with them."""
    da = data()
    centre = xr.DataArray(2.2 + 0.1 * np.random.default_rng(0).normal(size=9), dims="pixel")
    active = {"h3": xr.DataArray(np.arange(9) % 2 == 0, dims="pixel")}
    for options in (
        {"start": {"h1.centre": centre}},
        {"active": active},
        {"start": {"h1.centre": centre}, "active": active},
    ):
        close(da.fit.multifit(model(), optimizer="lstsq", **options), da.fit.multifit(model(), **options))
    shared = da.fit.multifit(model(), optimizer="ridge", alpha=5.0)
    apart = da.fit.multifit(
        model(), optimizer="ridge", alpha=5.0, start={"h1.centre": xr.full_like(centre, CENTRES[1])}
    )
    for name in ("value", "stderr", "chisq", "bias"):
        np.testing.assert_allclose(shared[name], apart[name], rtol=1e-8, atol=1e-12, err_msg=name)


def test_ties() -> None:
    """Scaled, shifted and to a fixed parameter; errors follow."""
    da = data()
    m = model()
    m["h1.height"].tie("0.5 * h0.height + 3")
    m["h2.height"].tie("h3.height - p.a0")
    m["h4.height"].tie("h4.fwhm * 20")
    fit = da.fit.multifit(m, optimizer="lstsq", covariance=True)
    close(fit, da.fit.multifit(m, covariance=True), rtol=1e-7)
    np.testing.assert_allclose(fit.fit.stderr("h1.height"), 0.5 * fit.fit.stderr("h0.height"), rtol=1e-12)
    assert fit.fit.stderr("h4.height").isnull().all()


def test_ill_conditioned_designs() -> None:
    """Powers of large numbers: normal equations would lose all digits."""
    x = np.linspace(1000, 1010, 200)
    y = 3 + 0.2 * (x - 1005) + 0.01 * (x - 1005) ** 2 + np.random.default_rng(0).normal(0, 0.1, (4, 200))
    da = xr.DataArray(y, dims=("pixel", "x"), coords={"x": x})
    m = xfit.Model([Polynomial(2, name="p")])
    fit = da.fit.multifit(m, optimizer="lstsq")
    weighted = da.fit.multifit(m, optimizer="lstsq", variance=xr.ones_like(da) * 2)
    expected = np.polynomial.Polynomial.fit(x, y[0], 2)
    for found in (fit, weighted):
        assert statuses(found) == ["converged"] * 4
        curve = found.fit.evaluate()[0]
        np.testing.assert_allclose(curve, expected(x), atol=1e-5)


def test_columns_that_depend_on_each_other() -> None:
    m = xfit.Model([Polynomial(1, name="p"), Offset(name="q")])
    fit = data(3).fit.multifit(m, optimizer="lstsq")
    assert statuses(fit) == ["singular"] * 3
    assert fit["stderr"].isnull().all()


def test_what_is_not_linear_is_refused() -> None:
    """By name, jointly: of `a*b*x` one factor alone, of a Voigt line the area, through ties too."""
    da = data(2)
    bent = model()
    bent["h0.centre"].free = True
    product = xfit.Model([Expression("a*b*x + c", name="e")])
    squared = model()
    squared["h1.height"].tie("h0.height**2")
    through = model()
    through["h1.centre"].tie("h0.height")
    for m, words in [(bent, "h0.centre"), (product, "e.b"), (squared, "h1.height"), (through, "h1.centre")]:
        with pytest.raises(ValueError, match=words):
            da.fit.multifit(m, optimizer="lstsq")
    one = Voigt(name="v")
    for name in ("centre", "gamma", "sigma"):
        one[name].free = False
    assert statuses(da.fit.multifit(xfit.Model([one]), optimizer="lstsq")) == ["converged"] * 2


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"optimizer": "lstsq", "alpha": 1.0}, TypeError, "alpha"),
        ({"optimizer": "ridge", "alpha": -1.0}, ValueError, "alpha=-1.0"),
        ({"optimizer": "ridge", "solver": "svd"}, TypeError, "solver"),
        ({"optimizer": "lstsq", "loss": "huber"}, ValueError, "can't minimise"),
        ({"optimizer": "lstsq", "path": "flyback"}, ValueError, "path="),
    ],
)
def test_refusals(options, error, words) -> None:
    with pytest.raises(error, match=words):
        data(1).fit.multifit(model(), **options)


def test_bad_pixels() -> None:
    da = data(5)
    da[1] = np.nan
    variance = variances(da)
    variance[2, 5] = 0.0
    where = xr.DataArray(np.arange(5) != 3, dims="pixel")
    fit = da.chunk().fit.multifit(model(), optimizer="lstsq", variance=variance.chunk(), where=where)
    assert statuses(fit) == ["converged", "bad_data", "bad_variance", "masked", "converged"]


def test_gaussians_with_one_free_amplitude_in_two_dimensions() -> None:
    from xfit.components import Gaussian2D

    y, x = np.mgrid[:12, :14].astype(float)
    spots = [
        Gaussian2D(name=f"s{k}", A=1.0, centre_x=4 + 6 * k, centre_y=6, sigma_x=1.5, sigma_y=1.2) for k in range(2)
    ]
    for spot in spots:
        for p in spot.parameters:
            p.free = p.name == "A"
    shapes = [np.exp(-((x - 4 - 6 * k) ** 2) / 4.5 - (y - 6) ** 2 / 2.88) / (2 * np.pi * 1.8) for k in range(2)]
    images = np.stack([3 * shapes[0] + 5 * shapes[1], 7 * shapes[0]])
    fit = xr.DataArray(images, dims=("n", "y", "x")).fit.multifit(xfit.Model(spots), optimizer="lstsq")
    np.testing.assert_allclose(fit["value"].sel(param=["s0.A", "s1.A"]), [[3, 5], [7, 0]], atol=1e-10)


def test_one_free_parameter_and_gaussian_areas() -> None:
    g = Gaussian(name="g", A=1.0, centre=5.0, sigma=0.5)
    g.centre.free = g.sigma.free = False
    m, da = xfit.Model([g]), data(3)
    close(da.fit.multifit(m, optimizer="lstsq", bounded=False), da.fit.multifit(m, bounded=False))


def test_convolved_components_that_are_switched_off() -> None:
    """Where nothing of a component is free, whether it takes part still makes another design."""
    response = xr.DataArray([0.25, 0.5, 0.25], dims="x", coords={"x": (X[1] - X[0]) * np.arange(-1, 2)})
    m = xfit.Model(
        [
            GaussianHF(name="fixed", height=20.0, centre=3.0, fwhm=1.0),
            GaussianHF(name="g", height=1.0, centre=6.0, fwhm=1.0),
        ],
        response=response,
    )
    for component in m:
        for p in component.parameters:
            p.free = False
    m["g.height"].free = True
    da = data(6)
    active = {"fixed": xr.DataArray(np.arange(6) % 2 == 0, dims="pixel")}
    close(da.fit.multifit(m, optimizer="lstsq", active=active), da.fit.multifit(m, active=active))
