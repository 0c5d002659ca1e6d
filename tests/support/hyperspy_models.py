"""Models of HyperSpy, and fits compared with theirs."""

from __future__ import annotations

from typing import Any

import exspy
import hyperspy.api as hs
import numpy as np

from xfit import hyperspy as xh

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


def pattern() -> Any:
    s = spectra(size=60, offset=-5)
    s.data = np.exp(-((s.axes_manager[0].axis - 9) ** 2) / 8)
    return s


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

    MINPACK stops where the sum of squares changes by 1.5e-8: values agree to 1e-6 of their size or 1e-4 of their
    errors, whichever is more.
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
