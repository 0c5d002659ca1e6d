"""HyperSpy's signals and models in xfit, held against HyperSpy itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import xfit
from tests.support.hyperspy_models import (
    C1,
    C2,
    EX,
    X,
    assert_same_fit,
    gaussians,
    maps,
    pattern,
    spectra,
)
from xfit import hyperspy as xh
from xfit.components import TYPES
from xfit.hyperspy.models import conversion_of


def noisy(m: Any, width: float = 0.5) -> None:
    """Put the model and noise into its signal's data, then move the starts."""
    curve = m._get_current_data(onlyactive=True)
    m.signal.data = curve + np.random.default_rng(3).normal(0, width, m.signal.data.shape)


def value_set(component: Any, **values: float) -> Any:
    for name, value in values.items():
        getattr(component, name).value = value
    return component


def sided(component: Any, **attributes: Any) -> Any:
    for name, value in attributes.items():
        setattr(component, name, value)
    return component


def with_shirley(component: Any) -> Any:
    component.shirley_background.active = True
    component.shirley_background.value = 0.02
    return component


#: Components by what is tested of them, away from defaults.
CASES: dict[str, Any] = {
    "Arctan": lambda: C1.Arctan(A=3, k=0.7, x0=9),
    "Doniach": lambda: C1.Doniach(A=5, centre=9, sigma=1.2, alpha=0.3),
    "Erf": lambda: C1.Erf(A=4, sigma=2, origin=8),
    "Exponential": lambda: C1.Exponential(A=7, tau=6),
    "Gaussian": lambda: C1.Gaussian(A=30, sigma=2, centre=9),
    "GaussianHF": lambda: C1.GaussianHF(height=5, fwhm=3, centre=9),
    "HeavisideStep": lambda: C1.HeavisideStep(A=4, n=9.2),
    "Logistic": lambda: C1.Logistic(a=4, b=1.5, c=0.6, origin=7),
    "Lorentzian": lambda: C1.Lorentzian(A=20, gamma=1.2, centre=9),
    "Offset": lambda: C1.Offset(offset=3),
    "Polynomial": lambda: C1.Polynomial(order=2, a0=3, a1=0.4, a2=-0.02),
    "Polynomial of order 10": lambda: C1.Polynomial(order=10, a00=3, a01=0.4, a10=1e-9),
    "PowerLaw": lambda: C1.PowerLaw(A=1e3, r=2.2, origin=-1, left_cutoff=3),
    "RC": lambda: C1.RC(Vmax=4, V0=1, tau=3),
    "ScalableFixedPattern": lambda: C1.ScalableFixedPattern(pattern(), yscale=4, xscale=1.05, shift=0.7),
    "pattern that is not interpolated": lambda: C1.ScalableFixedPattern(
        pattern().isig[:40], yscale=4, interpolate=False
    ),
    "SkewNormal": lambda: C1.SkewNormal(x0=8, A=9, scale=2, shape=3),
    "SplitVoigt": lambda: C1.SplitVoigt(A=10, sigma1=1.2, sigma2=2.4, fraction=0.3, centre=9),
    "Voigt": lambda: C1.Voigt(centre=9, area=20, gamma=0.6, sigma=1.1),
    "Expression": lambda: C1.Expression("h*exp(-4*ln(2)*u^2); u = (x-x0)/w", "line", position="x0", h=4, x0=9, w=3),
    "Expression with other names": lambda: C1.Expression(
        "a*_g/((x-kernel)^2 + _g**2)", "line", rename_pars={"_g": "gamma"}, a=4, gamma=2, kernel=9
    ),
    "DoublePowerLaw": lambda: value_set(EX.DoublePowerLaw(), A=1e3, r=2.0, origin=-30, shift=20, ratio=0.5),
    "EELSArctan": lambda: value_set(EX.EELSArctan(), A=3, k=0.8, x0=9),
    "PESCoreLineShape": lambda: value_set(EX.PESCoreLineShape(), A=5, FWHM=1.5, origin=9, ab=0.4),
    "PESCoreLineShape, Shirley": lambda: value_set(
        sided(EX.PESCoreLineShape(), Shirley=True), A=5, FWHM=1.5, origin=9, shirley=0.03
    ),
    "PESVoigt": lambda: value_set(EX.PESVoigt(), area=9, centre=9, FWHM=1.2, gamma=0.4, resolution=0.5),
    "PESVoigt, doublet": lambda: with_shirley(
        value_set(sided(EX.PESVoigt(), spin_orbit_splitting=True), area=9, centre=9, gamma=0.4)
    ),
    "SEE": lambda: value_set(EX.SEE(), A=900, Phi=2.2, B=3),
    "Vignetting": lambda: value_set(EX.Vignetting(), height=4, optical_center=9, period=3),
    "VolumePlasmonDrude": lambda: value_set(EX.VolumePlasmonDrude(), intensity=4, plasmon_energy=9, fwhm=2),
}


@pytest.mark.parametrize("binned", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_curves_are_those_of_hyperspy(name: str, binned: bool) -> None:
    """To 1e-9 of the largest value: HyperSpy's constants, such as 2.35482 in Doniach's, have more digits than that."""
    s = spectra()
    s.axes_manager[0].is_binned = binned
    m = s.create_model()
    m.append(CASES[name]())
    c = xh.convert(m)
    expected = m._get_current_data(onlyactive=True)
    np.testing.assert_allclose(c.evaluate(), expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())
    assert c.binned is binned
    theirs = {p.name: p for p in m[0].parameters}
    for link in c.links:
        ours, other = c.model.parameter(link.ours), theirs[link.theirs]
        assert ours.value == pytest.approx(other.value * link.scale)
        assert ours.free == other.free or not ours.linear


def test_every_component_has_a_case() -> None:
    kinds = {type(make()).__name__ for make in CASES.values()} | {"Bleasdale", "EELSCLEdge", "Gaussian2D"}
    theirs = {name for name in (*dir(C1), *dir(C2), *dir(EX)) if name[0].isupper()}
    assert theirs & set(TYPES) <= kinds
    assert theirs <= set(TYPES)


def test_components_that_only_numexpr_evaluates() -> None:
    """HyperSpy refuses to make Bleasdale without it, but files may have one."""
    numbers = {"a": 1.5, "b": 0.3, "c": 2.0}
    parameters = [
        {"_id_name": n, "value": v, "free": True, "_bounds": (None, None), "self": k, "_twins": []}
        for k, (n, v) in enumerate(numbers.items())
    ]
    item = {"_id_name": "Bleasdale", "name": "yield", "package": "hyperspy", "parameters": parameters}
    c = conversion_of({"components": [item]}, xfit.from_hyperspy(spectra()))
    np.testing.assert_allclose(c.evaluate(), (1.5 + 0.3 * X) ** -0.5, rtol=1e-12)


@pytest.mark.parametrize("navigation", [(), (5,), (3, 4)])
def test_multifit_agrees(navigation: tuple[int, ...]) -> None:
    """The same values, errors, chi-squared and number of parameters in the same maps."""
    assert_same_fit(gaussians(navigation), gaussians(navigation))


@pytest.mark.parametrize("place", [0, -1])
@pytest.mark.parametrize(
    "name", ["value", "param", "status", "chisq", "fitted", "variance", "order", "units", "param_"]
)
def test_axes_of_any_name(name: str, place: int) -> None:
    s = spectra((3, 2))
    s.axes_manager[place].name = name
    s.set_noise_variance(0.25)
    m = s.create_model()
    m.extend([C1.Offset(4.0), C1.Gaussian(A=30.0, sigma=1.5, centre=10.0)])
    noisy(m)
    fit = xh.multifit(m)
    assert f"{name}_axis" in (*fit.dims, *fit.coords)
    # The same with names that mean nothing: the fit has the same bits.
    s.axes_manager[place].name = "plain"
    expected = xh.convert(m).data.fit.multifit(xh.convert(m).model, variance=0.25)
    np.testing.assert_array_equal(m[1].centre.map["values"].reshape(-1), fit.fit["Gaussian.centre"].values.reshape(-1))
    # From where the first fit ended: within its tolerance.
    np.testing.assert_allclose(fit.fit["Gaussian.centre"].values, expected.fit["Gaussian.centre"].values, rtol=1e-7)
    s.axes_manager[place].name = name
    back = xfit.to_hyperspy(xh.convert(m).data)
    assert back.axes_manager[place].name == name


def test_labels_that_the_axis_contradicts_are_left_out() -> None:
    """HyperSpy's parameters keep the units that they had before an axis was converted; its values are on the axis."""
    s = spectra()
    m = s.create_model()
    m.append(C1.Gaussian(A=30.0, sigma=1.5, centre=10.0))
    noisy(m, 0.01)
    m[0].centre.units = "keV"
    found = xh.convert(m)
    assert found.model["Gaussian.centre"].units is None
    assert any("Gaussian.centre" in note and "label" in note for note in found.notes)
    fit = xh.multifit(m)
    assert str(fit.units.sel(param="Gaussian.centre").values) == "eV"
    other = fit.assign_coords(units=("param", ["", "keV", "keV"]))
    with pytest.raises(ValueError, match=r"result: Gaussian.centre is in 'keV' there, but with these data in 'eV'"):
        xh.put_result(m, other)


@pytest.mark.parametrize("binned", [False, True])
def test_axes_that_are_not_uniform(binned: bool) -> None:
    axis: dict[str, Any] = {"axis": np.linspace(0.7, 4.4, 60) ** 2, "is_binned": binned}
    assert_same_fit(gaussians(**axis), gaussians(**axis))


def test_binned_data() -> None:
    assert_same_fit(gaussians(is_binned=True), gaussians(is_binned=True))


def test_twins_fixed_values_and_bounds() -> None:
    """HyperSpy's bounded fit is mpfit's, with 1e-10; its Jacobian has no chain rule for twins, but differences have."""

    def made() -> Any:
        m = gaussians((2, 3))
        m["right"].sigma.twin = m["left"].sigma
        m["right"].sigma.twin_function_expr = "4*x/3 + 0.01"
        m["left"].A.twin = m["right"].A
        m["left"].A.twin_function_expr = "1.6*q"
        m["right"].centre.value, m["right"].centre.free = 13.1, False
        m["left"].centre.bmin, m["left"].centre.bmax = 5.8, 6.4
        m[2].a1.bmin, m[2].a1.bmax = -1, 1
        return m

    model = xfit.hyperspy.convert(made()).model
    assert model["right.sigma"].tie_formula == "4*left.sigma/3 + 0.01" or "left.sigma" in str(
        model["right.sigma"].tie_formula
    )
    assert (model["left.centre"].min, model["left.centre"].max, model["right.centre"].free) == (5.8, 6.4, False)
    ours, theirs = made(), made()
    xh.multifit(ours)
    theirs.multifit(show_progressbar=False, bounded=True)
    for name, found in maps(ours).items():
        expected = maps(theirs)[name]
        if name in ("chisq", "dof"):
            np.testing.assert_allclose(found, expected, rtol=1e-7)
        else:
            np.testing.assert_allclose(found["values"], expected["values"], rtol=1e-5, err_msg=name)
            assert found["is_set"].all()
    np.testing.assert_allclose(
        ours["right"].sigma.map["values"], 4 * ours["left"].sigma.map["values"] / 3 + 0.01, rtol=1e-12
    )
    np.testing.assert_allclose(ours["left"].A.map["std"], 1.6 * ours["right"].A.map["std"], rtol=1e-9)
    assert ours["left"].A.std == ours["left"].A.map["std"][0, 0]


def test_twins_of_what_is_off_keep_their_value() -> None:
    """As in HyperSpy, where nothing of a component that is off is fitted."""
    ours, theirs = gaussians((2, 3)), gaussians((2, 3))
    for m in (ours, theirs):
        m["right"].sigma.twin = m["left"].sigma
        m["left"].active = False
        m["left"].sigma.value = 1.7
    # A peak without a component makes a wide minimum, in which MINPACK stops somewhat earlier.
    assert_same_fit(ours, theirs, rtol=2e-5)
    np.testing.assert_array_equal(ours["right"].sigma.map["values"], 1.7)
    c = xh.convert(ours)
    assert not c.model["left"].sigma.free
    assert c.model["left"].A.free
    assert "left.sigma is fixed" in c.notes[0]


def test_twins_of_a_parameter_with_another_unit() -> None:
    """A core line's FWHM is half of xfit's: its twins see HyperSpy's number."""
    m = spectra().create_model()
    line, peak = value_set(EX.PESCoreLineShape(), A=5, FWHM=1.5, origin=9), C1.Gaussian(A=10, centre=14)
    m.extend([line, peak])
    peak.sigma.twin = line.FWHM
    peak.sigma.twin_function_expr = "x**2"
    c = xh.convert(m)
    np.testing.assert_allclose(c.evaluate(), m._get_current_data(), rtol=1e-12)
    noisy(m)
    xh.multifit(m)
    assert peak.sigma.value == pytest.approx(line.FWHM.value**2)
    assert line.FWHM.value == pytest.approx(1.5, abs=5 * line.FWHM.std)


def test_twin_functions_that_are_code_are_refused() -> None:
    m = gaussians(())
    m["right"].A.twin = m["left"].A
    m["right"].A._twin_function = lambda x: 2 * x
    with pytest.raises(ValueError, match=r"right\.A is tied to left\.A by a Python function"):
        xh.convert(m)


def test_channels_active_maps_and_masks() -> None:
    """What HyperSpy leaves out is left out."""

    def made() -> Any:
        there = np.ones((3, 4), bool)
        there[:, 2] = False
        m = gaussians((3, 4), right=25.0 * there[..., None])
        m["right"].active_is_multidimensional = True
        m["right"]._active_array[:] = there
        m.set_signal_range(1.0, 18.0)
        m.remove_signal_range(9.0, 10.0)
        return m

    c = xh.convert(made())
    assert set(c.active) == {"right"}
    assert c.where is not None
    assert int(c.where.sum()) == made()._channel_switches.sum()
    ours, full, without = made(), made(), made()
    full["right"].active_is_multidimensional = False
    full["right"].active = True
    without.remove("right")
    xh.multifit(ours)
    full.multifit(show_progressbar=False, mask=np.broadcast_to([False, False, True, False], (3, 4)))
    without.multifit(show_progressbar=False)
    # HyperSpy's own fit with the map leaves the component's parameters singular in every pixel after the first that
    # lacks it.
    for theirs, columns in ((full, [0, 1, 3]), (without, [2])):
        for name, found in maps(ours).items():
            expected = maps(theirs).get(name)
            if expected is not None and name in ("chisq", "dof"):
                np.testing.assert_allclose(found[:, columns], expected[:, columns], rtol=1e-7)
            elif expected is not None:
                np.testing.assert_allclose(found["values"][:, columns], expected["values"][:, columns], rtol=1e-5)
                np.testing.assert_allclose(found["std"][:, columns], expected["std"][:, columns], rtol=1e-3)
    mask = np.zeros((3, 4), bool)
    mask[0] = True
    third = made()
    result = xh.multifit(third, mask=mask)
    assert not third["left"].A.map["is_set"][0].any()
    assert third["left"].A.map["is_set"][1:].all()
    np.testing.assert_array_equal(third["right"].A.map["is_set"][1:].all(axis=0), [True, True, False, True])
    np.testing.assert_array_equal(third.dof.data[1:], [[8, 8, 5, 8]] * 2)
    assert np.isnan(third.chisq.data[0]).all()
    assert (result.status.values[0] == 8).all()
    with pytest.raises(ValueError, match="navigation shape"):
        xh.multifit(third, mask=mask.T)


@pytest.mark.parametrize("kind", ["number", "signal"])
def test_weights(kind: str) -> None:
    def made() -> Any:
        m = gaussians((2, 3))
        variance = m.signal._deepcopy_with_new_data(0.02 + 0.01 * np.abs(m.signal.data))
        m.signal.set_noise_variance(0.04 if kind == "number" else variance)
        return m

    assert_same_fit(made(), made())


def test_zero_variance_is_refused_and_has_a_remedy() -> None:
    m = gaussians((2,))
    m.signal.data[:] = np.round(np.clip(m.signal.data - 4, 0, None))
    m.signal.estimate_poissonian_noise_variance()
    with pytest.raises(ValueError, match="variance must be above zero"):
        xh.multifit(m)
    assert (xh.multifit(m, variance="poisson").status == 1).all()
    assert (xh.multifit(m, loss="poisson").status == 1).all()


def test_start_maps_and_fixed_maps() -> None:
    """Stored values are starts, and the values themselves where parameters are fixed."""
    m = gaussians((3, 4))
    known = np.random.default_rng(0).uniform(1.1, 1.3, (3, 4))
    m["left"].sigma.map["values"][:], m["left"].sigma.map["is_set"][:] = known, True
    m["left"].sigma.free = False
    m["right"].A.map["values"][1], m["right"].A.map["is_set"][1] = 20.0, True
    c = xh.convert(m)
    assert set(c.start) == {"left.sigma", "right.A"}
    assert np.isnan(c.start["right.A"][0]).all()
    result = xh.multifit(m)
    np.testing.assert_array_equal(result.fit["left.sigma"].values, known)
    np.testing.assert_array_equal(m["left"].sigma.map["values"], known)


def test_values_beyond_bounds_begin_at_them() -> None:
    """HyperSpy's own SplitVoigt begins beyond its bound."""
    m = spectra((2,)).create_model()
    m.append(C1.SplitVoigt(A=10, sigma1=1.2, sigma2=2.4, fraction=0.3, centre=9))
    noisy(m, 0.01)
    m[0].fraction.value = 0.0
    assert (xh.multifit(m).status == 1).all()
    np.testing.assert_allclose(m[0].fraction.map["values"], 0.3, atol=0.05)


def test_one_position() -> None:
    m = gaussians((3, 4))
    m.axes_manager.indices = (2, 1)
    result = xh.fit(m)
    assert result.attrs["message"] == "converged"
    is_set = m["left"].A.map["is_set"]
    assert is_set[1, 2]
    assert is_set.sum() == 1
    other = gaussians((3, 4))
    other.axes_manager.indices = (2, 1)
    other.fit()
    assert m["left"].A.value == pytest.approx(other["left"].A.value, rel=1e-6)
    assert m["left"].A.std == pytest.approx(other["left"].A.std, rel=1e-4)
    assert m.red_chisq.data[1, 2] == pytest.approx(other.red_chisq.data[1, 2])
    assert m.dof.data[1, 2] == 8
    # Present values are the start, and the values of what is fixed, whatever is stored.
    m["right"].centre.value, m["right"].centre.free = 13.3, False
    assert xh.fit(m).fit["right.centre"] == 13.3
    assert m["right"].centre.map["values"][1, 2] == 13.3


def test_lazy_signals() -> None:
    eager, m = gaussians((4, 4)), gaussians((4, 4))
    lazy = m.signal.as_lazy()
    lazy.data = lazy.data.rechunk((2, 2, -1))
    other = lazy.create_model()
    for component in (
        C1.Gaussian(A=30, centre=6.3),
        C1.Gaussian(A=30, centre=12.7, sigma=1.4),
        C1.Polynomial(order=1, a0=1),
    ):
        other.append(component)
    c = xh.convert(other)
    assert c.data.chunksizes["y"] == (2, 2)
    assert c.evaluate().chunks is not None
    assert c.multifit().chunks
    xh.multifit(other)
    xh.multifit(eager)
    np.testing.assert_allclose(other[0].A.map["values"], eager["left"].A.map["values"], rtol=1e-9)


def test_bad_pixels_keep_their_maps() -> None:
    """NaN data leave their pixel unset, and no other one is harmed."""
    m = gaussians((3, 4))
    m.signal.data[1, 1] = np.nan
    xh.multifit(m)
    is_set = m["left"].A.map["is_set"]
    assert not is_set[1, 1]
    assert is_set.sum() == 11
    assert np.isnan(m.chisq.data[1, 1])
    with pytest.raises(ValueError, match="unset values"):
        m.as_signal()
    m.assign_current_values_to_all(mask=np.isfinite(m.chisq.data))
    np.testing.assert_allclose(m.as_signal().data[0], m.signal.data[0], atol=1.5)


def test_the_notebook_goes_on() -> None:
    """What people do after multifit."""
    m = gaussians((3, 4))
    heard: list[Any] = []
    m.events.fitted.connect(lambda obj: heard.append(obj), ["obj"])
    xh.multifit(m)
    assert heard == [m]
    np.testing.assert_allclose(m.as_signal().data, m.signal.data, atol=1.5)
    assert m["left"].A.as_signal().metadata.Signal.Noise_properties.has_item("variance")
    m.store("fitted")
    again = m.signal.models.restore("fitted")
    np.testing.assert_array_equal(again["left"].A.map, m["left"].A.map)
    m.print_current_values()
    assert m["left"].A.value == m["left"].A.map["values"][0, 0]
    assert m["left"].A.std == m["left"].A.map["std"][0, 0]
    np.testing.assert_allclose(m.inav[1:, 0].red_chisq.data, m.red_chisq.data[0, 1:], rtol=1e-12)


def test_results_of_other_fits_can_be_put_back() -> None:
    m = gaussians((3, 4))
    c = xh.convert(m)
    result = c.data.fit.samfire(c.model, c.dim, seeds=[(0, 0)], goodness=xfit.samfire.RedChisq(10.0))
    xh.put_result(m, result)
    np.testing.assert_array_equal(m["right"].A.map["values"], result.fit["right.A"].values)
    with pytest.raises(ValueError, match="another model"):
        xh.put_result(gaussians((3, 4)).inav[0], c.at(y=0).data.fit.multifit(xfit.Model([TYPES["Offset"](name="b")])))
    with pytest.raises(ValueError, match="over"):
        xh.put_result(gaussians((5,)), result)


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ({"loss_function": "ML-poisson"}, "loss="),
        ({"loss": "ML-poisson"}, "'poisson'"),
        ({"iterpath": "flyback"}, "path="),
        ({"grad": "analytical"}, "'exact'"),
        ({"only_current": True}, r"xfit\.hyperspy\.fit"),
        ({"autosave": True}, "store="),
        ({"fetch_only_fixed": True}, "path="),
        ({"mask": [1, 0]}, "mask has"),
        ({"where": np.ones(3, bool)}, "mask="),
    ],
)
def test_options_of_hyperspy_are_answered(option: dict[str, Any], hint: str) -> None:
    m = gaussians((2,))
    with pytest.raises((TypeError, ValueError), match=hint):
        xh.multifit(m, **option)
    assert not m["left"].A.map["is_set"].any()


def test_optimizers_and_losses_by_their_names() -> None:
    m = gaussians((2,))
    xh.multifit(m, optimizer="trf", where=xfit.signal_range(xh.convert(m).data, (1, 19)))
    other = gaussians((2,))
    other.set_signal_range(1, 19)
    xh.multifit(other, loss="ls")
    np.testing.assert_allclose(m["left"].A.map["values"], other["left"].A.map["values"], rtol=1e-6)


def test_chi_squared_of_counts_is_pearson_s() -> None:
    """Over the variances of the model's own counts: one for each degree of freedom, to sqrt(2 / 192) =
    0.1 in the mean of six spectra.
    """
    m = gaussians((6,))
    m.signal.data = np.random.default_rng(4).poisson(20 * m.signal.data).astype(float)
    for name in ("left", "right"):
        m[name].A.value = 600
    m["1st order Polynomial"].a0.value = 40
    xh.multifit(m, loss="poisson")
    curves = m.as_signal(show_progressbar=False).data
    np.testing.assert_allclose(m.chisq.data, ((m.signal.data - curves) ** 2 / curves).sum(-1), rtol=1e-6)
    np.testing.assert_allclose(m.red_chisq.data.mean(), 1, atol=0.3)
