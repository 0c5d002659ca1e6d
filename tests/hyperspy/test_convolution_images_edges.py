"""Convolved models, images and edges of HyperSpy and eXSpy, held against these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hyperspy.api as hs
import numpy as np
import pytest

import xfit
from tests.support.gosh import gosh, table_of
from tests.support.hyperspy_models import (
    C1,
    C2,
    EX,
    assert_same_fit,
    convolved,
    spectra,
)
from xfit import hyperspy as xh


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
    """White lines of iron as eXSpy models them by default: edges L3, L2 and L1 with tables,
    tied; and the curves of the data.
    """
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
