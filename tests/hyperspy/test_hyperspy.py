"""HyperSpy's signals and models in xfit, held against HyperSpy itself."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import dask.array
import exspy
import h5py
import hyperspy.api as hs
import numpy as np
import pytest

import xfit
from tests.support.gosh import gosh, table_of
from tests.support.paths import DATA, real
from xfit import hyperspy as xh
from xfit.components import TYPES
from xfit.hyperspy.models import conversion_of

C1, C2, EX = hs.model.components1D, hs.model.components2D, exspy.components
Signal1D = hs.signals.Signal1D
X = np.linspace(0.5, 20.0, 40)


def spectra(navigation: tuple[int, ...] = (), **axis: Any) -> Any:
    """Signal of zeros over X or another axis."""
    given = {"offset": X[0], "scale": X[1] - X[0], "size": X.size, "name": "E", "units": "eV"} | axis
    if "axis" in given:
        given = {"axis": given["axis"], "name": "E"} | axis
    size = len(given.get("axis", range(given.get("size", 0))))
    axes = [{"size": n, "navigate": True} for n in navigation]
    return Signal1D(np.zeros((*navigation, size)), axes=[*axes, {"navigate": False, **given}])


def noisy(m: Any, width: float = 0.5) -> None:
    """Put the model and noise into its signal's data, then move the starts."""
    curve = m._get_current_data(onlyactive=True)
    m.signal.data = curve + np.random.default_rng(3).normal(0, width, m.signal.data.shape)


def pattern() -> Any:
    s = spectra(size=60, offset=-5)
    s.data = np.exp(-((s.axes_manager[0].axis - 9) ** 2) / 8)
    return s


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
    "pattern that is not interpolated": lambda: C1.ScalableFixedPattern(pattern().isig[:40], yscale=4, interpolate=False),
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
}  # fmt: skip


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


def gaussians(navigation: tuple[int, ...] = (3, 4), right: Any = 25.0, **axis: Any) -> Any:
    """Model of two peaks on a line, with noisy data; starts moved away."""
    s = spectra(navigation, **axis)
    x = s.axes_manager.signal_axes[0].axis
    random = np.random.default_rng(1)
    spread = random.uniform(-0.4, 0.4, (*navigation, 1))
    s.data = xfit_gaussian(x, 40, 6 + spread, 1.2) + xfit_gaussian(x, right, 13 + spread, 1.6) + 2 + 0.1 * x
    s.data = s.data + random.normal(0, 0.2, s.data.shape)
    if s.axes_manager.signal_axes[0].is_binned:
        s.data = s.data * np.gradient(x)
    m = s.create_model()
    first, second = C1.Gaussian(A=30, centre=6.3, sigma=1.0), C1.Gaussian(A=30, centre=12.7, sigma=1.4)
    first.name, second.name = "left", "right"
    m.extend([first, second, C1.Polynomial(order=1, a0=1, a1=0)])
    return m


def xfit_gaussian(x: Any, area: Any, centre: Any, sigma: Any) -> Any:
    return area / (sigma * np.sqrt(2 * np.pi)) * np.exp(-((x - centre) ** 2) / (2 * sigma**2))


def maps(m: Any) -> dict[str, Any]:
    """Maps of a model, copied."""
    found = {f"{c.name}.{p.name}": p.map.copy() for c in m for p in c.parameters}
    return found | {"chisq": m.chisq.data.copy(), "dof": m.dof.data.copy()}


def assert_same_fit(ours: Any, theirs: Any, rtol: float = 2e-6, **hyperspy: Any) -> None:
    """Fit one model by xfit and its twin by HyperSpy, and compare all maps.

    MINPACK stops where the sum of squares changes by 1.5e-8: values agree to 1e-6 of their size or 1e-4 of their errors, whichever is more.
    """
    xh.multifit(ours, bounded=hyperspy.get("bounded", False))
    theirs.multifit(show_progressbar=False, **hyperspy)
    found, expected = maps(ours), maps(theirs)
    for name in expected:
        if name in ("chisq", "dof"):
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-7)
            continue
        is_set, errors = expected[name]["is_set"], np.nan_to_num(expected[name]["std"])
        np.testing.assert_array_equal(found[name]["is_set"], is_set, err_msg=name)
        off = np.abs(found[name]["values"] - expected[name]["values"])[is_set]
        assert (off <= 1e-4 * errors[is_set] + rtol * np.abs(expected[name]["values"][is_set]) + 1e-12).all(), name
        free = is_set & (errors > 0)
        np.testing.assert_allclose(found[name]["std"][free], errors[free], rtol=1e-3, err_msg=name)
    np.testing.assert_allclose(ours.red_chisq.data, theirs.red_chisq.data, rtol=1e-7)


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
    axis = {"axis": np.linspace(0.7, 4.4, 60) ** 2, "is_binned": binned}
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
    # HyperSpy's own fit with the map leaves the component's parameters singular in every pixel after the first that lacks it.
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
    """Over the variances of the model's own counts: one for each degree of freedom, to sqrt(2 / 192) = 0.1 in the mean of six spectra."""
    m = gaussians((6,))
    m.signal.data = np.random.default_rng(4).poisson(20 * m.signal.data).astype(float)
    for name in ("left", "right"):
        m[name].A.value = 600
    m["1st order Polynomial"].a0.value = 40
    xh.multifit(m, loss="poisson")
    curves = m.as_signal(show_progressbar=False).data
    np.testing.assert_allclose(m.chisq.data, ((m.signal.data - curves) ** 2 / curves).sum(-1), rtol=1e-6)
    np.testing.assert_allclose(m.red_chisq.data.mean(), 1, atol=0.3)


# --- convolution, images, edges -------------------------------------------------------------------------------------------


def convolved(navigation: tuple[int, ...] = (3,)) -> Any:
    """EELS model with a low loss of its own for each pixel, whose zero lies off a channel."""
    s = spectra(navigation, size=120, offset=100.0)
    s.set_signal_type("EELS")
    low = spectra(navigation, size=61, offset=-4.9)
    x = low.axes_manager.signal_axes[0].axis
    shift = np.linspace(-0.3, 0.3, int(np.prod(navigation))).reshape(*navigation, 1)
    low.data = np.exp(-((x - shift) ** 2) / 1.5) + 0.2 * np.exp(-((x - 12) ** 2) / 8)
    low.set_signal_type("EELS")
    m = s.create_model(low_loss=low, auto_background=False, auto_add_edges=False)
    m.extend([C1.PowerLaw(A=1e7, r=2.5), C1.Gaussian(A=300, centre=125, sigma=2)])
    return m


def test_convolution_with_the_low_loss() -> None:
    """HyperSpy's own curve for each pixel, and its own fit."""
    m = convolved()
    curves = xh.convert(m).evaluate()
    for k in range(3):
        m.axes_manager.indices = (k,)
        np.testing.assert_allclose(curves[k], m._get_current_data(), rtol=1e-9)
    data = curves.values + np.random.default_rng(0).normal(0, 1, curves.shape)
    ours, theirs = convolved(), convolved()
    for each in (ours, theirs):
        each.signal.data = data
        each[1].A.value, each[1].sigma.value = 250.0, 2.3
    assert_same_fit(ours, theirs, rtol=1e-5)
    ours.convolved = False
    assert xfit.hyperspy.convert(ours).model.response is None
    ours[1].convolved = False
    ours.convolved = True
    assert xfit.hyperspy.convert(ours).model.response is None


def test_low_loss_of_other_steps() -> None:
    m = convolved()
    m.low_loss.axes_manager.signal_axes[0].scale *= 2
    with pytest.raises(ValueError, match="low-loss spectra have channels of 1"):
        xh.convert(m)


@pytest.mark.parametrize("names", [("x", "y"), ("y", "x"), (None, None)])
def test_images(names: tuple[str | None, str | None]) -> None:
    """Whatever HyperSpy's axes are called, its first signal axis is the x of a component."""
    axes = [{"name": "t", "size": 3, "navigate": True}]
    axes += [{"name": names[1], "size": 12, "offset": -3, "scale": 0.5, "navigate": False}]
    axes += [{"name": names[0], "size": 16, "offset": 2, "scale": 0.25, "navigate": False}]
    s = hs.signals.Signal2D(np.zeros((3, 12, 16)), axes=axes)
    m = s.create_model()
    m.append(C2.Gaussian2D(A=30, centre_x=4.1, centre_y=-0.4, sigma_x=0.6, sigma_y=1.1))
    m.append(C2.Expression("b + s*(x + 2*y)", "plane", b=1, s=0.1))
    expected = m._get_current_data().reshape(12, 16)
    np.testing.assert_allclose(xh.convert(m).evaluate()[1], expected, rtol=1e-10)
    s.data = expected + np.random.default_rng(1).normal(0, 0.05, s.data.shape)
    m._channel_switches[2:4] = False
    theirs = s.create_model()
    theirs.append(C2.Gaussian2D(A=25, centre_x=4, centre_y=-0.5, sigma_x=0.7, sigma_y=1.0))
    theirs.append(C2.Expression("b + s*(x + 2*y)", "plane", b=1, s=0.1))
    theirs._channel_switches[2:4] = False
    assert_same_fit(m, theirs, rtol=1e-5)


def test_rotations_are_rotations() -> None:
    """HyperSpy's shears; at the angle zero both are the same."""
    s = hs.signals.Signal2D(np.zeros((12, 16)))
    m = s.create_model()
    m.append(C2.Gaussian2D(A=30, centre_x=8, centre_y=5, sigma_x=2, sigma_y=1, add_rotation=True))
    with pytest.warns(UserWarning, match="shears"):
        c = xh.convert(m)
    np.testing.assert_allclose(c.evaluate(), m._get_current_data().reshape(12, 16), rtol=1e-12)


def edge_model() -> Any:
    s = spectra((2,), size=200, offset=200, scale=1.0)
    s.set_signal_type("EELS")
    s.set_microscope_parameters(beam_energy=200, convergence_angle=8, collection_angle=20)
    m = s.create_model(auto_background=False, auto_add_edges=False)
    m.extend([C1.PowerLaw(A=1e8, r=3), EX.EELSCLEdge("C_K", GOS="hydrogenic")])
    m["C_K"].intensity.value = 50.0
    return m


def test_edges() -> None:
    """The other integrates to 0.1 % and interpolates in straight lines; the onset's channel is left out."""
    m = edge_model()
    c = xh.convert(m)
    assert c.model["C_K"].effective_angle.value == m["C_K"].effective_angle.value
    assert c.model["C_K"].onset_energy.value == 284.0
    x = m.axis.axis
    away = np.abs(x - 284) > 1
    ours, theirs = (f["C_K"] for f in (c.model, m))
    curve = c.evaluate(["C_K"])[0].values
    np.testing.assert_allclose(curve[away], theirs.function(x)[away], rtol=2e-3)
    assert ours.onset_energy.free is False
    assert "xfit integrates" in " ".join(c.notes)


def test_edges_with_tables_of_oscillator_strengths(tmp_path: Path) -> None:
    """The table that eXSpy has read lies in the model, and in the file."""
    m = edge_model()
    m.remove("C_K")
    path = gosh(tmp_path / "a.gosh", table_of("C_K"), ratio=0.5)
    m.append(EX.EELSCLEdge("C_K", GOS="dft", gos_file_path=str(path)))
    m["C_K"].intensity.value = 30.0
    x = m.axis.axis
    away = np.abs(x - 284) > 1
    curve = xh.convert(m).evaluate(["C_K"])[0].values
    np.testing.assert_allclose(curve[away], m["C_K"].function(x)[away], rtol=5e-3)
    m.store("a")
    m.signal.save(tmp_path / "a.hspy")
    stored = xh.open_models(tmp_path / "a.hspy")["a"]
    np.testing.assert_allclose(stored.evaluate(["C_K"])[0], curve, rtol=1e-12)


def iron_model(folder: Path, pixels: int = 3) -> tuple[Any, np.ndarray]:
    """White lines of iron as eXSpy models them by default: edges L3, L2 and L1 with tables, tied; and the curves of the data."""
    folder.mkdir(exist_ok=True)
    path = gosh(folder / "iron.gosh", table_of("Fe_L3"), ratio=4 / 6, edge="Fe_L3")
    for shell in ("L2", "L1"):
        gosh(path, table_of("Fe_L2"), ratio=2 / 6, edge=f"Fe_{shell}")
    x = np.arange(640.0, 940.0, 1.0)
    clean = 2e13 * x**-3.5 + 1500 * np.exp(-((x - 711) ** 2) / 6) + 800 * np.exp(-((x - 724) ** 2) / 6)
    clean = clean + 700 * (x > 708) * (708 / x) ** 3 + 300 * (x > 721) * (721 / x) ** 3
    data = np.random.default_rng(5).poisson(clean, (pixels, x.size)).astype(float)
    s = hs.signals.Signal1D(data)
    s.axes_manager[-1].offset, s.axes_manager[-1].name, s.axes_manager[-1].units = 640.0, "energy", "eV"
    s.set_signal_type("EELS")
    s.set_microscope_parameters(beam_energy=200, convergence_angle=8, collection_angle=20)
    s.add_elements(["Fe"])
    s.metadata.Sample.elements = ["Fe"]
    return s.create_model(GOS="dft", gos_file_path=str(path)), clean


def test_a_default_model_of_white_lines(tmp_path: Path) -> None:
    """L3, L2 and L1, their ties, tables and fine structures: the same curves."""
    m, _ = iron_model(tmp_path)
    names = [component.name for component in m]
    assert set(names) == {"PowerLaw", "Fe_L3", "Fe_L2", "Fe_L1"}
    m.enable_fine_structure(["Fe_L3", "Fe_L2"])
    m["Fe_L3"].intensity.value = 40.0
    random = np.random.default_rng(0)
    for name in ("Fe_L3", "Fe_L2"):
        coefficients = m[name].fine_structure_coeff
        assert len(coefficients.value) > 4
        coefficients.value = tuple(random.uniform(0, 50, len(coefficients.value)))
    m["Fe_L2"].fine_structure_spline_onset = 2.0
    c = xh.convert(m)
    assert c.model["Fe_L3"].fine_structure_0.value == 40 * m["Fe_L3"].fine_structure_coeff.value[0]
    assert c.model["Fe_L2"].options["fine_structure_onset"] == 2.0
    assert c.model.parameter("Fe_L2.intensity").is_tied
    x = m.axis.axis
    # A channel on either side of where something begins, for that is a slope over one channel in xfit.
    starts = [708, 721, 723, 846]
    starts += [m[name].onset_energy.value + m[name].fine_structure_width for name in ("Fe_L3", "Fe_L2")]
    away = np.all([np.abs(x - start) > 1 for start in starts], axis=0)
    for name in ("Fe_L3", "Fe_L2", "Fe_L1"):
        curve = c.evaluate([name])[0].values
        np.testing.assert_allclose(curve[away], m[name].function(x)[away], rtol=5e-3, atol=1e-9)
    at = (x > 709) & (x < 719)
    np.testing.assert_allclose(c.evaluate(["Fe_L3"])[0].values[at], m["Fe_L3"].function(x)[at], rtol=1e-9)


def test_white_lines_are_fitted_into_the_maps(tmp_path: Path) -> None:
    """By both: intensities, coefficients over them, errors that have the covariance of the two."""
    ours, clean = iron_model(tmp_path / "a")
    theirs, _ = iron_model(tmp_path / "b")
    for m in (ours, theirs):
        m.signal.set_noise_variance(m.signal._deepcopy_with_new_data(np.tile(clean, (3, 1))))
        m.enable_fine_structure(["Fe_L3"])
        m["PowerLaw"].r.value, m["PowerLaw"].A.value, m["PowerLaw"].r.free = 3.5, 2e13, False
        m["Fe_L3"].intensity.value = 30.0
    # eXSpy's edges rise at once: without the channels of the steps both are the same problem.
    for m in (ours, theirs):
        for energy in (708, 846, 708 + m["Fe_L3"].fine_structure_width, 721):
            m.remove_signal_range(float(energy) - 1, float(energy) + 1)
    result = xh.multifit(ours, bounded=False)
    assert (result["status"] == 1).all()
    theirs.multifit(optimizer="lm", bounded=False, show_progressbar=False, iterpath="flyback")
    a, b = (m["Fe_L3"].fine_structure_coeff.map for m in (ours, theirs))
    assert a["is_set"].all()
    np.testing.assert_array_equal(ours.dof.data, theirs.dof.data)
    # The tables are integrated to 0.5 %, and so are intensities, which coefficients are over.
    i, j = (m["Fe_L3"].intensity.map for m in (ours, theirs))
    np.testing.assert_allclose(i["values"], j["values"], rtol=1e-2)
    np.testing.assert_allclose(a["values"], b["values"], rtol=1e-2, atol=0.1 * b["std"].max())
    np.testing.assert_allclose(a["std"], b["std"], rtol=2e-2)
    np.testing.assert_allclose(ours["Fe_L2"].intensity.map["values"], i["values"])
    shown = np.array([ours["Fe_L3"].function(np.array([712.0]))[0] for ours.axes_manager.indices in [(0,), (1,), (2,)]])
    fitted = result.fit.evaluate(["Fe_L3"]).sel(energy=712.0).values
    np.testing.assert_allclose(shown, fitted, rtol=1e-9)
    # What the maps hold is where a conversion begins, and goes into files.
    ours.store("lines")
    ours.signal.save(tmp_path / "lines.hspy")
    stored = xh.open_models(tmp_path / "lines.hspy")["lines"]
    coefficient = result.fit["Fe_L3.fine_structure_03"]
    np.testing.assert_allclose(stored.stored["value"].sel(param="Fe_L3.fine_structure_03"), coefficient, rtol=1e-12)
    np.testing.assert_allclose(stored.multifit()["value"], result["value"], rtol=1e-6)


def test_fine_structures_that_are_refused(tmp_path: Path) -> None:
    m, _ = iron_model(tmp_path)
    m.enable_fine_structure(["Fe_L3"])
    coefficients = m["Fe_L3"].fine_structure_coeff
    coefficients.bmin = -5.0
    with pytest.raises(ValueError, match=r"Fe_L3.fine_structure_coeff has the bounds -5.0 and None"):
        xh.convert(m)
    coefficients.bmin = 0
    assert xh.convert(m).model["Fe_L3"].fine_structure_00.min == 0
    m["Fe_L3"].fine_structure_spline_active = False
    assert not [p for p in xh.convert(m).model["Fe_L3"].parameters if "fine" in p.name]


# --- refusals ---------------------------------------------------------------------------------------------------------------


class Sawtooth(hs.model.components1D.Gaussian.__mro__[2]):  # type: ignore[misc, name-defined]
    """A user's own component."""

    def __init__(self) -> None:
        super().__init__(["height"])

    def function(self, x: Any) -> Any:
        """Rise and fall."""
        return self.height.value * (x % 1)


def test_unknown_components_are_named() -> None:
    m = spectra().create_model()
    m.append(Sawtooth())
    m[0].name = "teeth"
    with pytest.raises(ValueError, match=r"component 'teeth' is Sawtooth, of .*Expression"):
        xfit.hyperspy.convert(m).model
    with pytest.raises(TypeError, match="must be a HyperSpy model"):
        xh.convert([1])
    with pytest.raises(ValueError, match="no components"):
        xh.convert(spectra().create_model())
    m = spectra().create_model()
    m.append(C1.Expression("sinc(a*x)", "sinc"))
    with pytest.raises(ValueError, match="unknown function 'sinc'"):
        xh.convert(m)


class Decay(C1.Expression):  # type: ignore[misc]
    """A formula with a class of its own, as LumiSpy has them."""

    def __init__(self) -> None:
        super().__init__("a*exp(-x/t)", "decay", a=3.0, t=5.0)


def test_other_classes_made_of_a_formula() -> None:
    m = spectra().create_model()
    m.append(Decay())
    np.testing.assert_allclose(xh.convert(m).evaluate(), 3 * np.exp(-X / 5), rtol=1e-12)


def test_substitutions_in_the_order_of_hyperspy() -> None:
    """One after the other; those that nothing uses are ignored, which xfit's own formulas refuse."""
    m = spectra().create_model()
    m.append(C1.Expression("a*b*x + q; b = 2*k; k = 3; unused = 7", "line", a=2, q=1))
    c = xh.convert(m)
    assert [p.name for p in c.model.parameters] == ["a", "q"]
    np.testing.assert_allclose(c.evaluate(), m._get_current_data(), rtol=1e-12)
    m.append(C1.Expression("a*x; b = 3; a = b", "other"))
    assert [p.name for p in m[1].parameters] == ["b"]
    assert "b" in xh.convert(m).model["other"]
    m.append(C1.Expression("a*x; a = a + 1", "again"))
    with pytest.raises(ValueError, match=r"brings back \['a'\]"):
        xh.convert(m)


@pytest.mark.parametrize(
    "text",
    [
        "Piecewise((a, x < 8), (a + b*x, x < 12), (b, True))",
        "Piecewise((a*x, (x > 6) & (x < 12)), (b, Or(x <= 3, x > 15)), (2, True))",
        "a*log(x, 10) + Rational(1, 3)*b",
        "a*sech(u)**2 + b; u = (x - Rational(17, 2))/3",
        "a*(cot(x/20) + csch(x) + sec(x/20)) + b/coth(x)",
    ],
)
def test_functions_that_only_sympy_spells_so(text: str) -> None:
    """HyperSpy's own values, also of twins; both evaluate in double precision."""
    m = spectra(offset=1.0).create_model()
    m.append(C1.Expression(text, "one", a=2.0, b=0.7))
    m.append(C1.Gaussian(A=3.0, centre=9.0))
    m["Gaussian"].sigma.twin_function_expr = "log(x, 2) + 1"
    m["Gaussian"].sigma.twin = m["one"].a
    c = xh.convert(m)
    np.testing.assert_allclose(c.evaluate(), m._get_current_data(), rtol=1e-12)


def test_bessel_functions() -> None:
    m = spectra(offset=1.0).create_model()
    m.append(C1.Expression("a*besselj(0, x/b) + besselj(1, x)", "one", a=2.0, b=0.7, module="scipy"))
    np.testing.assert_allclose(xh.convert(m).evaluate(), m._get_current_data(), rtol=1e-12, atol=1e-14)


def test_piecewise_formulas_that_are_refused() -> None:
    for text, words in (
        ("Piecewise((a, x < 5), (a*x, x > 9))", "no value where"),
        ("Piecewise((a, Ne(x, 5)), (1, True))", "must be a comp"),
    ):
        m = spectra().create_model()
        m.append(C1.Expression(text, "one", a=2.0))
        with pytest.raises(ValueError, match=words):
            xh.convert(m)


def test_names_that_xfit_does_not_allow() -> None:
    m = gaussians((2,))
    m["left"].name = "1.5 eV"
    m["right"].A.twin = m["1.5 eV"].A
    c = xh.convert(m)
    assert [component.name for component in c.model] == ["1_5 eV", "right", "1st order Polynomial"]
    xh.multifit(m)
    assert m["1.5 eV"].A.map["is_set"].all()


# --- signals ----------------------------------------------------------------------------------------------------------------


def test_signals_there_and_back() -> None:
    s = spectra((3, 4), is_binned=True)
    s.data = np.random.default_rng(0).normal(size=s.data.shape)
    s.set_signal_type("EELS")
    s.metadata.General.title = "map"
    s.set_microscope_parameters(beam_energy=200, convergence_angle=8, collection_angle=20)
    da = xfit.from_hyperspy(s)
    assert da.dims[-1] == "E"
    assert da["E"].attrs["units"] == "eV"
    assert da["E"].attrs["is_binned"] == 1
    np.testing.assert_array_equal(da["E"], s.axes_manager[-1].axis)
    back = xfit.to_hyperspy(da)
    assert type(back) is type(s)
    assert back.metadata.Acquisition_instrument.TEM.beam_energy == 200
    assert back.axes_manager[-1].is_binned
    np.testing.assert_array_equal(back.data, s.data)
    lazy = xfit.from_hyperspy(s.as_lazy())
    assert isinstance(lazy.data, dask.array.Array)
    assert xfit.to_hyperspy(lazy)._lazy
    assert type(xfit.to_hyperspy(da.fit.multifit(xfit.Model([TYPES["Offset"](name="b")])).fit["b.offset"], signal_dims=["y", "x"])) is hs.signals.Signal2D  # fmt: skip
    with pytest.raises(TypeError, match="must be a HyperSpy signal"):
        xfit.from_hyperspy(np.zeros(3))


# --- files ------------------------------------------------------------------------------------------------------------------


def test_stored_models(tmp_path: Path) -> None:
    """What HyperSpy stored gives the same model, starts and masks as the live one."""
    m = gaussians((3, 4))
    m["right"].active_is_multidimensional = True
    m["right"]._active_array[0, 0] = False
    m.set_signal_range(1, 19)
    m["right"].sigma.twin = m["left"].sigma
    m["right"].sigma.twin_function_expr = "1.3*x"
    xh.multifit(m)
    m.store("peaks")
    other = m.signal.create_model()
    other.extend([C1.ScalableFixedPattern(pattern()), C1.Expression("a*x+b", "line"), C1.Polynomial(order=3)])
    other.store()
    m.signal.save(tmp_path / "map.hspy")
    found = xh.open_models(tmp_path / "map.hspy")
    assert sorted(found) == ["a", "peaks"]
    assert "left, right, 1st order Polynomial" in repr(found)
    assert found.dates["peaks"][:2] == "20"
    np.testing.assert_array_equal(found.data.values, m.signal.data)
    live, stored = xh.convert(m), found["peaks"]
    assert stored.model == live.model
    assert stored.where is not None
    assert stored.where.equals(live.where)
    assert stored.active["right"].equals(live.active["right"])
    np.testing.assert_array_equal(stored.stored["stderr"], live.stored["stderr"])
    np.testing.assert_array_equal(stored.evaluate(), live.evaluate())
    again = stored.multifit()
    # From the solution, and from elsewhere: to a millionth of the errors.
    np.testing.assert_allclose(again.fit["left.A"], m["left"].A.map["values"], rtol=1e-6)
    assert found["a"].model == xh.convert(other).model
    with pytest.raises(KeyError, match="no model 'b'"):
        found["b"]
    lazy = xh.open_models(tmp_path / "map.hspy", lazy=True)
    assert lazy.data.chunks is not None
    assert (lazy["peaks"].multifit().compute().status.values == 1).all()


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("zipped", [False, True])
def test_models_in_zspy(tmp_path: Path, zipped: bool, lazy: bool) -> None:
    """A file by HyperSpy 2.5.0 and zarr 2.18: Gaussians of areas 50 + 10 x and centres 8 + y on a constant of 3, fitted from 1 to 18 eV."""
    path = DATA / "hyperspy_models.zspy"
    if not zipped:
        with zipfile.ZipFile(path) as file:
            file.extractall(tmp_path / "map.zspy")
        path = tmp_path / "map.zspy"
    found = xh.open_models(path, lazy=lazy)
    assert list(found) == ["fitted"]
    assert (found.data.chunks is not None) is lazy
    fitted = found["fitted"]
    assert [c.name for c in fitted.model] == ["peak", "line"]
    assert (fitted.model["peak"].centre.min, fitted.model["peak"].centre.max) == (5, 12)
    assert not fitted.model["line"].a.free
    np.testing.assert_array_equal(fitted.where, (found.data.Energy >= 1) & (found.data.Energy <= 18))
    fit = fitted.multifit().compute()
    for name, expected in (("A", [50.0, 60, 70]), ("centre", [[8.0], [9]]), ("sigma", 1.5)):
        wanted = np.broadcast_to(expected, (2, 3))
        stored = fitted.stored["value"].sel(param=f"peak.{name}")
        # The data are of single precision.
        np.testing.assert_allclose(stored, wanted, rtol=1e-6)
        np.testing.assert_allclose(fit.fit[f"peak.{name}"], wanted, rtol=1e-6)


def test_pickles_in_zspy_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(DATA / "hyperspy_models.zspy") as file:
        file.extractall(tmp_path / "map.zspy")
    target = tmp_path / "map.zspy/Analysis/models/fitted/_dict/chisq.data/.zarray"
    target.write_text(json.dumps(json.loads(target.read_text()) | {"filters": [{"id": "pickle"}]}))
    # What all arrays are described in, where there is one, is read instead.
    (tmp_path / "map.zspy/.zmetadata").unlink(missing_ok=True)
    with pytest.raises(ValueError, match="codec 'pickle'"):
        xh.open_models(tmp_path / "map.zspy")


def test_convolved_models_in_files(tmp_path: Path) -> None:
    m = convolved()
    m.store("a")
    m.signal.save(tmp_path / "core.hspy")
    stored = xh.open_models(tmp_path / "core.hspy")["a"]
    np.testing.assert_array_equal(stored.evaluate(), xh.convert(m).evaluate())


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


def test_code_in_files_is_never_run(tmp_path: Path) -> None:
    """Pickled classes and functions stay bytes; models with them are refused by name, the others open."""
    m = gaussians((2,))
    m.store("good")
    m["right"].A.twin = m["left"].A
    m.store("twin")
    own = m.signal.create_model()
    own.append(Sawtooth())
    own.store("own")
    part = m.signal.create_model()
    part.append(C1.ScalableFixedPattern(pattern()))
    part.store("pattern")
    line = m.signal.create_model()
    line.append(C1.Expression("a*x", "line"))
    line.store("line")
    path = tmp_path / "map.hspy"
    m.signal.save(path)
    trap = tmp_path / "trap"
    payload = np.void(pickle.dumps(Payload(str(trap))))
    with h5py.File(path, "r+") as file:
        models = file["Analysis/models"]

        def plant(place: str, key: str, flags: str) -> None:
            group = models[place]
            # As HyperSpy 1.1 wrote functions: whether they are pickled, and the pickle.
            if key in group.attrs:
                del group.attrs[key]
            target = group.create_group(f"_tuple_2_{key}")
            target.attrs["0"] = True
            target.attrs["_bs_1"] = payload
            group["_whitelist"].attrs[key] = flags

        def first(name: str) -> str:
            components = next(key for key in models[f"{name}/_dict"] if "components" in key)
            return f"{name}/_dict/{components}/" + min(models[f"{name}/_dict/{components}"])

        parameters = next(key for key in models[first("twin")] if "parameters" in key)
        right = first("twin")[:-1] + "1"
        plant(f"{right}/{parameters}/0", "twin_function", "fn")
        plant(first("pattern"), "function", "fn")
        plant(first("line"), "expression", "init,fn")
        own_item = models[first("own")]
        del own_item.attrs["_bs__class_dump"]
        own_item.attrs["_bs__class_dump"] = payload
    found = xh.open_models(path)
    assert (found["good"].multifit().status.values == 1).all()
    with pytest.raises(ValueError, match=r"right\.A is tied to left\.A by a Python function"):
        found["twin"]
    with pytest.raises(ValueError, match=r"'Sawtooth' is a class of its own, whose code"):
        found["own"]
    with pytest.raises(ValueError, match=r"'function' is a pickled Python function"):
        found["pattern"]
    with pytest.raises(ValueError, match=r"'expression' is a pickled Python function"):
        found["line"]
    assert not trap.exists()
    pickle.loads(bytes(payload))
    assert trap.exists(), "the payload would have worked"


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must be a \.hspy or \.zspy file"):
        xh.open_models(tmp_path / "a.dm4")
    with pytest.raises(FileNotFoundError, match=r"no file .*a\.hspy"):
        xh.open_models(tmp_path / "a.hspy")
    s = gaussians((2,)).signal
    s.models._add_dictionary({"broken": {"_dict": {"components": [{"_id_name": "Offset"}]}}})
    s.save(tmp_path / "broken.hspy")
    with pytest.raises(ValueError, match="'broken' is not as HyperSpy writes it"):
        xh.open_models(tmp_path / "broken.hspy")["broken"]
    s.models.remove("broken")
    s.save(tmp_path / "plain.hspy")
    assert len(xh.open_models(tmp_path / "plain.hspy")) == 0


# --- real data --------------------------------------------------------------------------------------------------------------


def test_a_real_map_of_edges() -> None:
    """Copper's and zinc's L edges as eXSpy models them: the same intensities by both."""
    s = hs.load(real("CuZn_EELS_mapping_tutorial.hspy")).inav[10:14, 10:13]
    s.data = s.data.astype(float)
    if s._are_microscope_parameters_missing():
        s.set_microscope_parameters(beam_energy=200, convergence_angle=8, collection_angle=20)
    s.add_elements(["Cu", "Zn"])
    ours, theirs = (s.create_model(GOS="hydrogenic") for _ in range(2))
    xh.multifit(ours, bounded=False)
    theirs.multifit(show_progressbar=False)
    for name in ("Cu_L3", "Zn_L3"):
        a, b = (m[name].intensity.map for m in (ours, theirs))
        # Cross-sections differ by 0.1 %, and the edge rises over a channel in xfit: well within the noise.
        assert (np.abs(a["values"] - b["values"]) < 0.5 * b["std"]).all()
        np.testing.assert_allclose(a["std"], b["std"], rtol=0.1)


def test_a_real_line_scan_with_its_low_loss() -> None:
    """Convolved with each pixel's own low loss."""
    core, low = (hs.load(real(f"LSMO_linescan{end}.hspy")).inav[:4] for end in ("", "_low_loss"))
    core, low = core.isig[:120], low
    assert core.axes_manager[-1].scale == pytest.approx(low.axes_manager[-1].scale)

    def made() -> Any:
        m = core.create_model(low_loss=low, auto_add_edges=False, auto_background=False)
        start = core.axes_manager[-1].axis[0]
        m.extend([C1.PowerLaw(A=1e10, r=3), C1.Arctan(A=1, k=0.5, x0=start + 40)])
        m[1].k.free = m[1].x0.free = m[0].r.free = False
        return m

    curves = xh.convert(made()).evaluate()
    m = made()
    for k in range(4):
        m.axes_manager.indices = (k,)
        expected = m._get_current_data()
        np.testing.assert_allclose(curves[k], expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())
    ours, theirs = made(), made()
    assert_same_fit(ours, theirs, rtol=1e-5)
