"""`xfit.from_lmfit` against lmfit: values of all models, fits, ties, bounds, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

import xfit
from xfit.engine.block.fit_block import evaluate_block
from xfit.engine.codegen.program import Program

lmfit = pytest.importorskip("lmfit")
from lmfit import models  # noqa: E402

X = np.linspace(0.3, 9.7, 95)

#: Models by name, with values that are not the defaults.
CASES: dict[str, tuple[Any, dict[str, float]]] = {
    "constant": (models.ConstantModel(), {"c": 2.5}),
    "linear": (models.LinearModel(), {"slope": 2.0, "intercept": -1.0}),
    "quadratic": (models.QuadraticModel(), {"a": 0.3, "b": -1, "c": 2}),
    "polynomial 0": (models.PolynomialModel(degree=0), {"c0": 3}),
    "polynomial 7": (models.PolynomialModel(degree=7), {f"c{k}": (-0.3) ** k for k in range(8)}),
    "sine": (models.SineModel(), {"amplitude": 2, "frequency": 1.7, "shift": 0.4}),
    "gaussian": (models.GaussianModel(), {"amplitude": 3, "center": 4, "sigma": 0.8}),
    "lorentzian": (models.LorentzianModel(), {"amplitude": 3, "center": 4, "sigma": 0.8}),
    "split": (models.SplitLorentzianModel(), {"amplitude": 3, "center": 4, "sigma": 0.8, "sigma_r": 1.7}),
    "voigt": (models.VoigtModel(), {"amplitude": 3, "center": 4, "sigma": 0.8}),
    "pseudo-voigt": (models.PseudoVoigtModel(), {"amplitude": 3, "center": 4, "sigma": 0.8, "fraction": 0.3}),
    "moffat": (models.MoffatModel(), {"amplitude": 3, "center": 4, "sigma": 0.8, "beta": 1.7}),
    "pearson4": (models.Pearson4Model(), {"amplitude": 3, "center": 4, "sigma": 0.8, "expon": 1.7, "skew": -2.3}),
    "pearson4, large": (models.Pearson4Model(), {"amplitude": 3, "center": 4, "sigma": 2.8, "expon": 600, "skew": 90}),
    "pearson7": (models.Pearson7Model(), {"amplitude": 3, "center": 4, "sigma": 0.8, "expon": 1.7}),
    "student": (models.StudentsTModel(), {"amplitude": 3, "center": 4, "sigma": 2.2}),
    "breit-wigner": (models.BreitWignerModel(), {"amplitude": 3, "center": 4, "sigma": 0.8, "q": 1.4}),
    "lognormal": (models.LognormalModel(), {"amplitude": 3, "center": 1.1, "sigma": 0.6}),
    "damped": (models.DampedOscillatorModel(), {"amplitude": 3, "center": 4, "sigma": 0.2}),
    "dho": (models.DampedHarmonicOscillatorModel(), {"amplitude": 3, "center": 4, "sigma": 0.5, "gamma": 2.0}),
    "exp-gaussian": (models.ExponentialGaussianModel(), {"amplitude": 3, "center": 4, "sigma": 0.8, "gamma": 0.9}),
    "skewed gaussian": (models.SkewedGaussianModel(), {"amplitude": 3, "center": 4, "sigma": 0.8, "gamma": -1.3}),
    "skewed voigt": (models.SkewedVoigtModel(), {"amplitude": 3, "center": 4, "sigma": 0.8, "skew": 1.3}),
    **{
        form: (models.ThermalDistributionModel(form=form), {"amplitude": 1.5, "center": -1, "kt": 2.0})
        for form in models.ThermalDistributionModel.valid_forms
    },
    "Bose": (models.BoseModel(), {"amplitude": 1.5, "center": -1, "kt": 2.0}),
    "Fermi": (models.FermiModel(), {"amplitude": 1.5, "center": 3, "kt": 2.0}),
    "doniach": (models.DoniachModel(), {"amplitude": 3, "center": 4, "sigma": 0.8, "gamma": 0.2}),
    "power law": (models.PowerLawModel(), {"amplitude": 3, "exponent": -1.6}),
    "exponential": (models.ExponentialModel(), {"amplitude": 3, "decay": 1.6}),
    **{
        f"step {form}": (models.StepModel(form=form), {"amplitude": 3, "center": 4, "sigma": -0.8})
        for form in models.StepModel.valid_forms
    },
    **{
        f"rectangle {form}": (
            models.RectangleModel(form=form),
            {"amplitude": 3, "center1": 3, "sigma1": 0.8, "center2": 7, "sigma2": 0.3},
        )
        for form in models.RectangleModel.valid_forms
    },
    "expression": (
        models.ExpressionModel("off + amp*exp(-x/x0)*sin(x*phase)"),
        {"off": 1, "amp": 2, "x0": 3, "phase": 4},
    ),
    "own function": (lmfit.Model(lambda t, a, b=2: a * np.exp(-(t**2) / b), name="own"), {"a": 2, "b": 7}),
    "a line shape as a function": (
        lmfit.Model(lmfit.lineshapes.expsine),
        {"amplitude": 2, "frequency": 3, "decay": 0.2},
    ),
    "sum": (
        models.GaussianModel(prefix="g_") + models.VoigtModel(prefix="v_") + models.ConstantModel(),
        {"g_amplitude": 2, "g_center": 3, "v_center": 6, "v_sigma": 0.4, "c": 0.2},
    ),
}


def value(model: xfit.Model, **coordinates: np.ndarray) -> np.ndarray:
    """Values of a model, from the engine."""
    program = Program.from_model(model)
    values = np.array([[p.value for p in model.parameters]])
    return evaluate_block(program, values, {k: np.ascontiguousarray(v, np.float64) for k, v in coordinates.items()})[0]


@pytest.mark.parametrize("name", CASES)
def test_has_lmfits_values(name: str) -> None:
    theirs, given = CASES[name]
    params = theirs.make_params(**given)
    mine = value(xfit.from_lmfit(theirs, params), x=X)
    # lmfit's function changes its x in one case.
    wanted = np.broadcast_to(theirs.eval(params, **{theirs.independent_vars[0]: X.copy()}), X.shape)
    # 1e-9 of each value, or 1e-13 of the largest, where terms cancel: of sums, logarithms of gamma functions, and
    # wings.
    np.testing.assert_allclose(mine, wanted, rtol=1e-9, atol=1e-13 * np.abs(wanted).max())


def test_special_places() -> None:
    """Zero in the oscillator, x below zero in the logarithm."""
    x = np.array([-1.0, 0.0, 1e-9, 0.5])
    for theirs in (models.DampedHarmonicOscillatorModel(), models.LognormalModel()):
        params = theirs.make_params(center=2.0, sigma=0.7)
        np.testing.assert_allclose(
            value(xfit.from_lmfit(theirs, params), x=x), theirs.eval(params, x=x.copy()), rtol=1e-9
        )


def test_gaussian_of_two_coordinates() -> None:
    theirs = models.Gaussian2dModel(prefix="spot_")
    params = theirs.make_params(amplitude=3, centerx=1, centery=-1, sigmax=0.7, sigmay=1.4)
    x, y = np.meshgrid(np.linspace(-2, 3, 12), np.linspace(-3, 2, 9))
    model = xfit.from_lmfit(theirs, params)
    wanted = theirs.eval(params, x=x, y=y)
    np.testing.assert_allclose(value(model, x=x.ravel(), y=y.ravel()), wanted.ravel(), rtol=1e-9)
    assert model["spot"].signal_dimension == 2


def compare_fits(theirs: Any, params: Any, y: np.ndarray) -> xfit.Model:
    """Fit by both: values to 1e-3 of the errors, errors to 1e-3."""
    wanted = theirs.fit(y, params, x=X)
    model = xfit.from_lmfit(theirs, params)
    fit = xr.DataArray(y, dims="x", coords={"x": X}).fit(model)
    assert fit.status == 1
    assert fit.dof == wanted.nfree
    # lmfit stops where the sum of squares falls by 1.5e-8 of itself: sqrt(95 * 1.5e-8) is about 1e-3 of an error at
    # worst.
    np.testing.assert_allclose(fit.chisq, wanted.chisqr, rtol=1e-6)
    for component in model:
        prefix = component.name + "_" if component.name + "_" in theirs.name else ""
        for p in component.parameters:
            other = wanted.params[prefix + p.name]
            if not other.vary and not other.expr:
                continue
            error = fit.stderr.sel(param=p.full_name).item()
            assert abs(fit.value.sel(param=p.full_name).item() - other.value) < 1e-3 * other.stderr, p.full_name
            # lmfit's come from differences of its derivatives, exact to 1e-4 or so.
            assert error == pytest.approx(other.stderr, rel=1e-3), p.full_name
    return model


def noisy(theirs: Any, params: Any) -> np.ndarray:
    y = theirs.eval(params, x=X)
    return y + np.random.default_rng(1).normal(0, 0.02 * np.abs(y).max(), X.size)


def test_fits_of_a_sum_agree() -> None:
    theirs = models.GaussianModel(prefix="a_") + models.LorentzianModel(prefix="b_") + models.LinearModel(prefix="l_")
    truth = theirs.make_params(
        a_amplitude=4, a_center=3, a_sigma=0.6, b_amplitude=5, b_center=6.5, b_sigma=0.5, l_slope=0.1, l_intercept=1
    )
    params = theirs.make_params(
        a_amplitude=3, a_center=2.8, a_sigma=0.8, b_amplitude=4, b_center=6.8, b_sigma=0.7, l_slope=0, l_intercept=0
    )
    model = compare_fits(theirs, params, noisy(theirs, truth))
    # Derived parameters are left out.
    assert [p.full_name for p in model["a"]] == ["a.amplitude", "a.center", "a.sigma"]
    assert model["a.sigma"].min == 0


def test_ties_and_fixed_parameters() -> None:
    theirs = models.GaussianModel(prefix="a_") + models.GaussianModel(prefix="b_") + models.ConstantModel(prefix="o_")
    params = theirs.make_params(a_amplitude=4, a_center=3, a_sigma=0.6, b_amplitude=2, b_center=6, b_sigma=0.6, o_c=1)
    y = noisy(theirs, params)
    params["b_sigma"].set(expr="1.1*a_sigma")
    params["b_center"].set(expr="a_center + shift + a_fwhm - a_fwhm")
    params.add("shift", value=3.0, vary=False)
    params["b_amplitude"].set(expr="max(0.1, a_amplitude/2)")
    params["o_c"].set(value=1.0, vary=False)
    model = compare_fits(theirs, params, y)
    assert model["b.sigma"].is_tied
    assert not model["o.c"].free
    # lmfit's own tie of its Voigt profile.
    voigt = xfit.from_lmfit(models.VoigtModel())
    assert voigt["voigt.gamma"].tie_formula == "voigt.sigma"
    assert xfit.Model.from_json(model.to_json()) == model


def test_bounds_hold() -> None:
    theirs = models.PseudoVoigtModel(prefix="p_") + models.ExponentialModel(prefix="e_")
    params = theirs.make_params(p_amplitude=4, p_center=3, p_sigma=0.6, p_fraction=0.4, e_amplitude=2, e_decay=5)
    y = noisy(theirs, params)
    params["e_decay"].set(min=2, max=20)
    params["p_center"].set(value=2.8, min=2.5, max=3.5)
    model = compare_fits(theirs, params, y)
    assert (model["p.center"].min, model["p.center"].max) == (2.5, 3.5)
    assert (model["p.fraction"].min, model["p.fraction"].max) == (0, 1)


def test_results_give_their_values() -> None:
    theirs = models.GaussianModel()
    y = noisy(theirs, theirs.make_params(amplitude=3, center=4, sigma=0.8))
    result = theirs.fit(y, theirs.guess(y, X), x=X)
    model = xfit.from_lmfit(result)
    assert model["gaussian.center"].value == result.params["center"].value


def decided(x: Any, a: float = 1.0) -> Any:
    return a * x if a > 0 else x


def spline() -> Any:
    return models.SplineModel(xknots=np.arange(5.0))


REFUSED: dict[str, tuple[Any, str]] = {
    "product": (lambda: models.GaussianModel(prefix="g_") * models.LinearModel(), "combined by 'mul'.*as one formula"),
    "complex": (lambda: models.ComplexConstantModel(), "ComplexConstantModel has no counterpart"),
    "spline": (spline, "SplineModel has no counterpart"),
    "own": (lambda: lmfit.Model(decided), "decided.*is no formula.*@xfit.component"),
    "Euler": (lambda: models.ExpressionModel("a*e**(-x)"), "Euler"),
    "line shape in an expression": (
        lambda: models.ExpressionModel("gaussian(x, a, b, c)"),
        "calls 'gaussian'",
    ),
}


@pytest.mark.filterwarnings("error:formula")
@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_counterpart_is_named(name: str) -> None:
    make, words = REFUSED[name]
    theirs = make()
    with pytest.raises(ValueError, match=words):
        xfit.from_lmfit(theirs, theirs.make_params(**dict.fromkeys(theirs.param_names, 1.0)))


def test_parameters_that_can_not_be_kept_are_named() -> None:
    theirs = models.GaussianModel(prefix="a_")
    params = theirs.make_params()
    params.add("free_one", value=1.0)
    params["a_sigma"].set(expr="2*free_one")
    with pytest.raises(ValueError, match="'free_one', a parameter that is fitted but in no part"):
        xfit.from_lmfit(theirs, params)
    params = theirs.make_params()
    params["a_sigma"].set(expr="a_center if a_center > 1 else 1")
    with pytest.raises(ValueError, match="a_sigma has the expr"):
        xfit.from_lmfit(theirs, params)
    with pytest.raises(ValueError, match=r"params lacks \['a_amplitude'"):
        xfit.from_lmfit(theirs, lmfit.Parameters())
    with pytest.raises(TypeError, match=r"lmfit\.Model or a ModelResult"):
        xfit.from_lmfit(3)
    with pytest.raises(TypeError, match=r"lmfit\.Parameters"):
        xfit.from_lmfit(theirs, {"a_sigma": 1})
    unset = lmfit.Model(lambda x, a: a * x, name="line")
    with pytest.raises(ValueError, match="a has no value"):
        xfit.from_lmfit(unset)


@pytest.mark.parametrize("name", ["E", "pi", "e", "I"])
def test_functions_keep_the_names_of_their_arguments(name: str) -> None:
    """A parameter of a function, or of a formula, that is called as a constant is in formulas is that parameter."""
    scope: dict[str, Any] = {}
    exec(f"def curve(x, {name}, b): return {name}*x + np.deg2rad(b)", {"np": np}, scope)
    theirs = lmfit.Model(scope["curve"])
    params = theirs.make_params(**{name: 2.0, "b": 90.0})
    ours = xfit.from_lmfit(theirs, params)
    assert [p.name for p in ours.parameters] == sorted([name, "b"])
    np.testing.assert_allclose(value(ours, x=X), theirs.eval(params, x=X), rtol=1e-14)


def test_ties_to_parameters_called_as_constants() -> None:
    """In an expr of lmfit's E is the parameter E, where there is one."""
    theirs = models.ExpressionModel("E*x + b")
    params = theirs.make_params(E=2.0, b=1.0)
    params["b"].set(expr="3*E")
    ours = xfit.from_lmfit(theirs, params)
    assert [p.value for p in ours.parameters] == [2.0, 6.0]


def test_chains_of_expressions_that_are_in_no_component_are_bounded() -> None:
    def made(n: int) -> tuple[Any, Any]:
        theirs = lmfit.models.GaussianModel(prefix="g_") + lmfit.models.ConstantModel(prefix="c_")
        params = theirs.make_params(g_amplitude=2.0, g_center=0.1, g_sigma=1.0)
        params.add("h0", expr="0.1*g_center")
        for k in range(1, n):
            params.add(f"h{k}", expr=f"h{k - 1} + 0.1*h{k - 1}**2")
        params["c_c"].expr = f"h{n - 1}"
        return theirs, params

    theirs, params = made(6)
    # Both are a few roundings from the exact value.
    assert xfit.from_lmfit(theirs, params)["c.c"].value == pytest.approx(params["c_c"].value, rel=1e-12)
    with pytest.raises(
        ValueError, match=r"h\d+ has the expr '.*', which has \d+ parts with h\d+ written out, 2000 are possible"
    ):
        xfit.from_lmfit(*made(30))
