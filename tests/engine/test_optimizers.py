"""Every optimizer: the same minimum, the same errors; what it can't do is refused."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xfit
from tests.support.builders import assert_same_bits, peak_map, statuses, two_peaks
from tests.support.hyperspy_cases import CASES, EXACT, data_of, model_of
from xfit.components import Gaussian, Offset, PowerLaw
from xfit.engine.block import optimizers
from xfit.engine.block.optimizers import _KNOWN, optimizer_of
from xfit.engine.block.options import FitOptions
from xfit.engine.block.prepared_fit import limits_of
from xfit.engine.codegen.loss_kernels import load_loss
from xfit.engine.losses import loss_of
from xfit.engine.pixel.rows import Limits

OTHERS = [o.name for o in _KNOWN if o.engine not in ("kernel", "linear")]
X = np.linspace(-5, 5, 80)


def spectrum(n: int = 3, seed: int = 0) -> xr.DataArray:
    mean = 4 + 48 * np.exp(-((X - 0.1) ** 2) / 2)
    y = np.random.default_rng(seed).poisson(mean, (n, X.size)).astype(float)
    return xr.DataArray(y, dims=("pixel", "x"), coords={"x": X})


def model() -> xfit.Model:
    """One peak, every parameter bounded on both sides."""
    m = xfit.Model([Gaussian(name="g", A=90.0, centre=0.4, sigma=1.3), Offset(name="o", offset=3.0)])
    m["g.A"].set(min=1, max=500)
    m["g.centre"].set(min=-3, max=3)
    m["g.sigma"].set(min=0.2, max=4)
    m["o.offset"].set(min=0.1, max=20)
    return m


@pytest.mark.parametrize("loss", ["ls", "poisson", "huber", "cauchy"])
@pytest.mark.parametrize("name", OTHERS)
def test_all_agree(name, loss) -> None:
    """With `lm`: parameters to 1e-5 of their errors or better, errors likewise."""
    optimizer = optimizer_of(name)
    if loss not in optimizer.losses:
        pytest.skip("this pair is refused, as another test shows")
    da = spectrum()
    # Beyond the scale a Cauchy loss bends down, and there may be more than one minimum.
    scale = 10.0 if loss in ("huber", "cauchy") else 1.0
    expected = da.fit.multifit(model(), loss=loss, loss_scale=scale)
    fit = da.fit.multifit(model(), loss=loss, loss_scale=scale, optimizer=name, bounded=optimizer.bounds != "no")
    assert statuses(fit) == ["converged"] * 3
    # Methods without derivatives see the loss alone, whose rounding hides a distance of 1e-7 of an error.
    close = 1e-5 if optimizer.gradient != "no" or optimizer.scope == "global" else 1e-4
    assert float((abs(fit["value"] - expected["value"]) / expected["stderr"]).max()) < close
    np.testing.assert_allclose(fit["stderr"], expected["stderr"], rtol=1e-4)
    np.testing.assert_allclose(fit["loss"], expected["loss"], rtol=1e-9)
    np.testing.assert_allclose(fit["red_chisq"], expected["red_chisq"], rtol=1e-5)
    assert (fit["nfev"] > 0).all()


FOLLOWING = [n for n in OTHERS if optimizer_of(n).scope == "local" and optimizer_of(n).gradient != "no"]
FITS = [c for c in CASES if c not in EXACT and not c.startswith("lstsq")]


def problem_of(case: str) -> tuple[xr.DataArray, xfit.Model, tuple[str, ...], dict]:
    """Data, model, signal dimensions and options of a fit that HyperSpy made."""
    given = CASES[case]
    da, dims = data_of(given), ("y", "x")[-len(given["axes"]) :]
    options = {"binned": given["axes"][0]["binned"]}
    if given["variance"] is not None:
        variance = np.array(given["variance"], float)
        options["variance"] = (
            float(variance) if not variance.ndim else xr.DataArray(variance, dims=da.dims[-variance.ndim :])
        )
    if given["channel_mask"] is not None:
        options["where"] = xr.DataArray(np.array(given["channel_mask"]), dims=dims)
    return da, model_of(given), dims, options


def assert_same_minimum(fit: xr.Dataset, expected: xr.Dataset, close: float) -> None:
    """Parameters to a part of their errors, and the loss."""
    # At a bound there is no error to measure by; the scale of one is for positions that are zero.
    scale = expected["stderr"].fillna(1e-5 * abs(expected["value"]) + 1e-9) + 1e-5 * abs(expected["value"])
    assert float((abs(fit["value"] - expected["value"]) / scale).max()) < close
    np.testing.assert_allclose(fit["loss"], expected["loss"], rtol=1e-6)


@pytest.mark.parametrize("name", FOLLOWING)
@pytest.mark.parametrize("case", FITS)
def test_fits_that_hyperspy_made(case, name) -> None:
    """Every optimizer that follows derivatives, on the fits that HyperSpy made: at the optimum that `lm`
    finds, to 1e-5 of the errors.
    """
    bounded, optimizer = CASES[case]["fit"].get("bounded", False), optimizer_of(name)
    if bounded and optimizer.bounds == "no":
        pytest.skip("this optimizer keeps no bounds")
    da, m, dims, options = problem_of(case)
    options["bounded"] = bounded
    expected = da.fit.multifit(m, dims, **options)
    fit = da.fit.multifit(m, dims, optimizer=name, max_nfev=3000, **options)
    assert (fit["status"] == 1).all(), statuses(fit)
    if not bounded and float(fit["value"].min()) * float(expected["value"].min()) < 0:
        # A Gaussian of negative area and width is the same curve.
        fit = fit.assign(value=abs(fit["value"]))
    # Where it is next to bounds, an interior point is a little off in what has none, by less than 1e-6 of its value.
    assert_same_minimum(fit, expected, 1e-4 if bounded and name == "trust-constr" else 1e-5)


@pytest.mark.parametrize("name", [n for n in OTHERS if n not in FOLLOWING])
@pytest.mark.parametrize("case", FITS)
def test_fits_that_hyperspy_made_without_derivatives(case, name) -> None:
    """Every other optimizer likewise, the global ones within ten errors of the optimum."""
    da, m, dims, options = problem_of(case)
    first = {d: 0 for d in da.dims if d not in dims}
    one = da.isel(first)
    options = {
        k: v.isel(first, missing_dims="ignore") if isinstance(v, xr.DataArray) else v for k, v in options.items()
    }
    kept = CASES[case]["fit"].get("bounded", False)
    expected = one.fit(m, dims, bounded=kept, **options)
    everywhere = optimizer_of(name).scope == "global"
    for p in m.free_parameters if everywhere else ():
        value, error = float(expected.fit[p.full_name]), float(expected.fit.stderr(p.full_name))
        reach = 10 * error if np.isfinite(error) else 0.1 * abs(value) + 0.1
        low = max(value - reach, p.min if kept and p.min is not None else -np.inf)
        high = min(value + reach, p.max if kept and p.max is not None else np.inf)
        p.set(value=min(max(p.value, low), high), min=low, max=high)
    fit = one.fit(m, dims, optimizer=name, bounded=kept or everywhere, **options)
    assert int(fit["status"]) == 1, fit.attrs["message"]
    assert_same_minimum(fit, expected, 1e-5)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("Differential Evolution", "differential_evolution"),
        ("Dual Annealing", "dual_annealing"),
        ("SHGO", "shgo"),
        ("leastsq", "lm"),
        ("ols", "lstsq"),
        ("ridge_regression", "ridge"),
        ("l-bfgs-b", "L-BFGS-B"),
        ("nelder", "Nelder-Mead"),
        ("least_squares", "trf"),
    ],
)
def test_names_of_other_programs(theirs, ours) -> None:
    assert optimizer_of(theirs).name == ours


def test_the_table_of_optimizers(capsys) -> None:
    xfit.optimizers()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["optimizer", "bounds", "gradients", "errors", "losses", "scope"]
    assert len(lines) == 2 + len(_KNOWN)
    assert next(line for line in lines if line.startswith("BFGS")).split()[1:5] == ["no", "yes", "yes", "all"]


def test_global_optimizers_find_what_local_ones_miss() -> None:
    """A narrow peak far from the start."""
    y = 1 + 30 * np.exp(-((X - 3.5) ** 2) / (2 * 0.15**2)) + np.random.default_rng(0).normal(0, 0.3, X.size)
    da = xr.DataArray(y, dims="x", coords={"x": X})
    m = xfit.Model([Gaussian(name="g", A=5, centre=-3, sigma=0.3), Offset(name="o", offset=1.0)])
    for name, low, high in [("g.A", 0, 50), ("g.centre", -5, 5), ("g.sigma", 0.05, 1), ("o.offset", -5, 5)]:
        m[name].set(min=low, max=high)
    assert abs(float(da.fit(m).fit["g.centre"]) - 3.5) > 1
    for name, options in [
        ("differential_evolution", {"seed": 3}),
        ("dual_annealing", {"seed": 3, "maxiter": 300}),
        ("direct", {"maxiter": 3000, "maxfun": 20000}),
    ]:
        fit = da.fit(m, optimizer=name, **options)
        assert float(fit.fit["g.centre"]) == pytest.approx(3.5, abs=0.01), name
        assert fit.identical(da.fit(m, optimizer=name, **options))
    several = da.fit(m, starts=40)
    assert float(several.fit["g.centre"]) == pytest.approx(3.5, abs=0.01)


def test_several_starts() -> None:
    """Around the given start or between the bounds; never worse than one, and the same for every pixel however cut."""
    da = spectrum(12)
    m = model()
    m["g.centre"].value = 2.9
    m["g.sigma"].value = 0.25
    once = da.fit.multifit(m)
    often = da.fit.multifit(m, starts=8)
    around = da.fit.multifit(m, starts=8, spread={"g.centre": 4.0}, bounded=False)
    reference = da.fit.multifit(model())
    assert (often["loss"] <= once["loss"] * (1 + 1e-12)).all()
    np.testing.assert_allclose(often["loss"], reference["loss"], rtol=1e-9)
    np.testing.assert_allclose(around["loss"], reference["loss"], rtol=1e-9)
    np.testing.assert_allclose(often["stderr"], reference["stderr"], rtol=1e-5)
    assert (often["nfev"] > 4 * reference["nfev"]).all()
    assert_same_bits(da.chunk(pixel=5).fit.multifit(m, starts=8).compute(), often)
    assert often.attrs["xfit_starts"] == 8


@pytest.mark.parametrize("path", ["serpentine", "flyback"])
def test_paths(path) -> None:
    """A peak that drifts out of reach of the first start: each pixel begins where the one before it ended."""
    y, x = np.mgrid[:5, :6]
    # From pixel to pixel along the path by less than two widths, in all by many.
    centre = 20.0 + 4 * x + 3 * y if path == "serpentine" else 20.0 + 3.0 * (6 * y + x)
    e = np.arange(120.0)
    values = 1 + 40 * np.exp(-((e - centre[..., None]) ** 2) / (2 * 2.0**2))
    values += np.random.default_rng(0).normal(0, 0.3, values.shape)
    da = xr.DataArray(values, dims=("y", "x", "energy"), coords={"energy": e})
    m = xfit.Model([Gaussian(name="g", A=150, centre=20, sigma=2.5), Offset(name="o", offset=1.0)])
    independent = da.fit.multifit(m)
    along = da.fit.multifit(m, path=path)
    assert (abs(independent.fit["g.centre"] - centre) > 3).any()
    np.testing.assert_allclose(along.fit["g.centre"], centre, atol=0.2)
    assert along.attrs["xfit_path"] == path
    # By SciPy's optimizers as well; in a chunk, the path begins anew.
    np.testing.assert_allclose(da.fit.multifit(m, path=path, optimizer="trf").fit["g.centre"], centre, atol=0.2)
    chunked = da.chunk(y=2).fit.multifit(m, path=path).compute()
    assert_same_bits(chunked.isel(y=slice(2)), along.isel(y=slice(2)))


def test_a_bad_pixel_does_not_spoil_the_path() -> None:
    da = spectrum(6)
    da[2] = np.nan
    along, apart = da.fit.multifit(model(), path="flyback"), da.fit.multifit(model())
    assert statuses(along) == ["converged"] * 2 + ["bad_data"] + ["converged"] * 3
    np.testing.assert_allclose(along["value"], apart["value"], rtol=1e-5)


def test_serpentine_order() -> None:
    from xfit.fitting.running.map_blocks import serpentine

    assert serpentine((2, 3)).tolist() == [0, 1, 2, 5, 4, 3]
    assert serpentine((2, 2, 2)).tolist() == [0, 1, 3, 2, 6, 7, 5, 4]
    for shape in [(4,), (3, 5), (3, 4, 5)]:
        order = serpentine(shape)
        assert sorted(order) == list(range(order.size))
        steps = np.abs(np.diff(np.array(np.unravel_index(order, shape)), axis=1)).sum(0)
        assert (steps == 1).all()


def test_bounds_as_maps() -> None:
    da = spectrum(4)
    low = xr.DataArray([-1.0, 0.3, np.nan, 0.3], dims="pixel")
    fit = da.fit.multifit(model(), bounds={"g.centre": (low, 2.0), "o.offset": (None, None)})
    free = da.fit.multifit(model())
    assert fit["at_bound"].sel(param="g.centre").values.tolist() == [0, -1, 0, -1]
    np.testing.assert_allclose(fit.fit["g.centre"][[1, 3]], 0.3)
    np.testing.assert_allclose(fit["value"][[0, 2]], free["value"][[0, 2]], rtol=1e-6)
    assert fit["stderr"].sel(param="g.centre").isnull().values.tolist() == [False, True, False, True]
    lazy = da.chunk(pixel=1).fit.multifit(model(), bounds={"g.centre": (low, 2.0), "o.offset": (None, None)})
    assert_same_bits(lazy.compute(), fit)
    trf = da.fit.multifit(model(), bounds={"g.centre": (low, 2.0)}, optimizer="L-BFGS-B")
    np.testing.assert_allclose(trf["value"], fit["value"], rtol=1e-5)


def test_varpro_needs_no_amplitudes() -> None:
    """Amplitudes that are wrong by orders of magnitude, or zero, make no difference."""
    da = peak_map()
    expected = da.fit.multifit(two_peaks())
    for amplitude in (0.0, 1e-6, 1e7):
        wrong = two_peaks(**{"left.A": amplitude, "right.A": amplitude})
        fit = da.fit.multifit(wrong, optimizer="varpro")
        assert (fit["status"] == 1).all()
        np.testing.assert_allclose(fit["value"], expected["value"], rtol=1e-6)
        np.testing.assert_allclose(fit["stderr"], expected["stderr"], rtol=1e-6)


def test_varpro_with_bounds_ties_and_other_shapes() -> None:
    """Amplitudes held at bounds; tied ones; a power law, whose amplitude spans orders of magnitude."""
    da = peak_map()
    bounded = two_peaks()
    bounded["left.A"].set(max=30.0, value=29.0)
    tied = two_peaks()
    tied["right.A"].tie("0.6 * left.A")
    for m in (bounded, tied):
        one, other = da.fit.multifit(m, optimizer="varpro"), da.fit.multifit(m)
        np.testing.assert_allclose(one["value"], other["value"], rtol=1e-5)
        np.testing.assert_allclose(one["loss"], other["loss"], rtol=1e-9)
    x = np.linspace(200, 1200, 300)
    random = np.random.default_rng(0)
    y = random.poisson(4e10 * x**-3.0, (20, 300)).astype(float)
    far = xfit.Model([PowerLaw(name="p", A=1e6, r=2.0)])
    fit = xr.DataArray(y, dims=("pixel", "x"), coords={"x": x}).fit.multifit(far, optimizer="varpro")
    assert (fit["status"] == 1).all()
    np.testing.assert_allclose(fit.fit["p.r"], 3.0, atol=0.2)


def test_finite_differences() -> None:
    da = spectrum()
    exact = da.fit.multifit(model(), optimizer="trf")
    for grad in ("2-point", "3-point"):
        fit = da.fit.multifit(model(), optimizer="trf", grad=grad)
        np.testing.assert_allclose(fit["value"], exact["value"], rtol=1e-4, atol=1e-5)
        assert (fit["nfev"] > exact["nfev"]).all()


def test_lazily() -> None:
    da = spectrum(6)
    fit = da.chunk(pixel=2).fit.multifit(model(), optimizer="L-BFGS-B", loss="poisson")
    assert fit["value"].chunks is not None
    assert_same_bits(fit.compute(), da.fit.multifit(model(), optimizer="L-BFGS-B", loss="poisson"))


def test_a_fit_that_is_cut_short_says_so() -> None:
    da = spectrum(1)
    assert statuses(da.fit.multifit(model(), optimizer="BFGS", bounded=False, maxiter=1)) == ["max_nfev"]
    assert statuses(da.fit.multifit(model(), optimizer="trf", max_nfev=2)) == ["max_nfev"]
    assert statuses(da.fit.multifit(model(), optimizer="Nelder-Mead", maxfev=10)) == ["max_nfev"]
    stuck = da.fit.multifit(model(), optimizer="L-BFGS-B", ftol=0.5)
    assert statuses(stuck) == ["stalled"]
    assert stuck["value"].notnull().all()
    assert stuck["stderr"].isnull().all()


def test_bad_pixels_do_not_stop_the_others() -> None:
    da = spectrum(4)
    da[1] = np.nan
    fit = da.fit.multifit(model(), optimizer="trf")
    assert statuses(fit) == ["converged", "bad_data", "converged", "converged"]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"optimizer": "newtoon"}, ValueError, "unknown optimizer"),
        ({"optimizer": "BFGS"}, ValueError, "can't keep bounds"),
        ({"optimizer": "shgo", "bounded": False}, ValueError, "finite bounds"),
        ({"optimizer": "trf", "loss": "poisson"}, ValueError, "can't minimise loss 'poisson'"),
        ({"optimizer": "varpro", "loss": "huber"}, ValueError, "can't minimise"),
        ({"optimizer": "lm", "maxiter": 5}, TypeError, "maxiter"),
        ({"optimiser": "trf"}, TypeError, r"unknown option.*did you mean optimizer\?"),
        ({"varience": 2.0}, TypeError, r"did you mean variance\?"),
        ({"optimizer": "L-BFGS-B", "maxitre": 5}, TypeError, "maxitre"),
        ({"optimizer": "differential_evolution", "popsiz": 5}, TypeError, "popsize"),
        ({"optimizer": "trf", "jac": "2-point"}, TypeError, "jac"),
        ({"optimizer": "lm", "grad": "2-point"}, ValueError, "exact"),
        ({"optimizer": "trf", "grad": "4-point"}, ValueError, "grad="),
        ({"starts": 0}, ValueError, "starts=0"),
        ({"starts": 3, "optimizer": "trf"}, ValueError, "starts=3"),
        ({"starts": 3, "bounded": False}, ValueError, "spread="),
        ({"spread": {"g.centre": 1.0}}, ValueError, "starts=n"),
        ({"starts": 3, "spread": {"g.center": 1.0}}, ValueError, "g.center"),
        ({"path": "spiral"}, ValueError, "path='spiral'"),
        ({"bounds": {"g.center": (0, 1)}}, ValueError, "g.center"),
        ({"bounds": {"g.centre": (1, 0)}}, ValueError, "below max"),
        ({"bounds": {"g.centre": 1}}, TypeError, "pair"),
    ],
)
def test_refusals(options, error, words) -> None:
    with pytest.raises(error, match=words):
        spectrum(1).fit.multifit(model(), **options)


def test_a_function_of_scipy_that_searches_a_box_needs_a_line_of_the_table(monkeypatch) -> None:
    """As `scipy.optimize.brute` does, which calls the box otherwise, and returns nothing but the place."""
    monkeypatch.setitem(optimizers._BY_NAME, "brute", optimizers._global("brute", "a grid"))
    x = np.linspace(-5.0, 5.0, 60)
    da = xr.DataArray(3 * np.exp(-((x - 0.7) ** 2)) + 0.5, dims="x", coords={"x": x})
    model = xfit.Model([xfit.components.Expression("h*exp(-(x-c)**2)+b", name="e", h=1.0, c=0.0, b=0.0)])
    for name in "hcb":
        model[f"e.{name}"].set(min=-5, max=5)
    fit = da.fit.multifit(model, optimizer="brute", Ns=9)
    assert list(fit.param.values) == ["e.b", "e.c", "e.h"]
    np.testing.assert_allclose(fit["value"], [0.5, 0.7, 3.0], rtol=1e-6)
    with pytest.raises(TypeError, match="ranges"):
        da.fit.multifit(model, optimizer="brute", ranges=((0, 1),) * 3)


@pytest.mark.parametrize(
    "options",
    [
        {"tolerance": 1},
        {"tolerance": np.float32(1e-6), "max_nfev": np.int32(100)},
        {"scale_covariance": np.bool_(True)},
    ],
)
def test_numbers_of_any_type_are_of_one_in_compiled_code(options) -> None:
    """For those of others numba would compile the engine once more, for minutes."""
    taken = limits_of(FitOptions(**options), np.zeros(3, np.int64))
    usual = limits_of(FitOptions(), np.zeros(3, np.int64))
    kinds = [type(getattr(taken, name)) for name in Limits._fields]
    assert kinds == [type(getattr(usual, name)) for name in Limits._fields]
    assert taken.tolerance == float(options.get("tolerance", usual.tolerance))


@pytest.mark.parametrize("loss", [loss_of("huber", 2), loss_of("ls", 1)])
def test_numbers_of_losses_are_floats(loss) -> None:
    compiled = load_loss(loss)
    kinds = [type(getattr(compiled, name)) for name in compiled._fields]
    assert kinds == [int, float, float, float, float, bool, int]
