"""What of HyperSpy is refused, its signals there and back, its files, and real data."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import dask.array
import h5py
import hyperspy.api as hs
import numpy as np
import pytest

import xfit
from tests.support.hyperspy_models import (
    C1,
    X,
    assert_same_fit,
    convolved,
    gaussians,
    pattern,
    spectra,
)
from tests.support.paths import DATA, real
from xfit import hyperspy as xh
from xfit.components import TYPES


class Sawtooth(hs.model.components1D.Gaussian.__mro__[2]):
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


class Decay(C1.Expression):
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
    assert (
        type(
            xfit.to_hyperspy(
                da.fit.multifit(xfit.Model([TYPES["Offset"](name="b")])).fit["b.offset"], signal_dims=["y", "x"]
            )
        )
        is hs.signals.Signal2D
    )
    with pytest.raises(TypeError, match="must be a HyperSpy signal"):
        xfit.from_hyperspy(np.zeros(3))


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
    assert live.where is not None
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
    """A file by HyperSpy 2.5.0 and zarr 2.18: Gaussians of areas 50 + 10 x and centres 8 + y on a constant
    of 3, fitted from 1 to 18 eV.
    """
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
    truth: dict[str, Any] = {"A": [50.0, 60, 70], "centre": [[8.0], [9]], "sigma": 1.5}
    for name, expected in truth.items():
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
    pickle.loads(payload.tobytes())
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
