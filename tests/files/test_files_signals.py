"""Signals of HyperSpy, to DataArrays and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from xfit.files.metadata import flattened, nested
from xfit.files.postprocess import settled
from xfit.files.signal_axes import dimension_names
from xfit.files.signals import array_to_signal, signal_to_array

hs = pytest.importorskip("hyperspy.api")


def back(da: xr.DataArray):
    from hyperspy.io import dict2signal

    return dict2signal(array_to_signal(da))


def make(shape, signal: int = 1, lazy: bool = False, dtype=np.float64):
    data = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    made = (hs.signals.Signal1D if signal == 1 else hs.signals.Signal2D)(data)
    return made.as_lazy() if lazy else made


@pytest.mark.parametrize("signal", [1, 2])
@pytest.mark.parametrize("navigation", [0, 1, 2, 3])
@pytest.mark.parametrize("lazy", [False, True])
def test_every_shape_and_back(navigation: int, signal: int, lazy: bool) -> None:
    s = make((2, 3, 4)[:navigation] + (5, 6)[:signal], signal, lazy)
    da = signal_to_array(s._to_dictionary())
    assert (da.chunks is not None) is lazy
    assert da.name is None
    again = back(da)
    assert type(again) is type(s)
    assert again.axes_manager.navigation_shape == s.axes_manager.navigation_shape
    np.testing.assert_array_equal(np.asarray(again.data), np.asarray(s.data))
    assert all(a.name == b.name for a, b in zip(again.axes_manager._axes, s.axes_manager._axes, strict=True))


@pytest.mark.parametrize(
    ("units", "name"),
    [
        ("eV", "energy"),
        ("keV", "energy"),
        ("nm", "wavelength"),
        ("1/cm", "wavenumber"),
        ("ns", "time"),
        ("", "channel"),
    ],
)
def test_unnamed_axes_get_names(units: str, name: str) -> None:
    s = make((2, 3, 4))
    if units:
        s.axes_manager[-1].units = units
    da = signal_to_array(s._to_dictionary())
    assert da.dims == ("y", "x", name)
    assert da[name].attrs.get("units", "") == units


def test_names_alike_are_told_apart() -> None:
    axes = [{"name": "x"}, {"name": "x"}, {"name": "x_2"}, {"name": "x"}]
    assert len(set(dimension_names(axes, [True, True, True, False]))) == 4
    assert dimension_names([{"name": "x"}, {"name": "x"}], [True, False]) == ["x", "x_2"]
    s = make((2, 3))
    s.axes_manager[0].name = s.axes_manager[1].name = "x"
    again = back(signal_to_array(s._to_dictionary()))
    assert [axis.name for axis in again.axes_manager._axes] == ["x", "x"]


def test_axes_of_all_kinds() -> None:
    values = np.linspace(1, 4, 8) ** 2
    s = hs.signals.Signal1D(
        np.zeros((5, 3, 8)),
        axes=[
            {"size": 5, "offset": -3.5, "scale": 0.1, "units": "µm", "name": "row"},
            {"expression": "a / (x + 1) + b", "a": 100, "b": 10, "size": 3, "name": "voltage", "units": "V"},
            {"axis": values, "name": "Raman shift", "units": "1/cm", "is_binned": True},
        ],
    )
    da = signal_to_array(s._to_dictionary())
    # The numbers of HyperSpy's axes, whose formula is that one up to the order of its two operations.
    for name, axis in zip(da.dims, s.axes_manager._axes, strict=True):
        np.testing.assert_allclose(da[name].values, axis.axis, rtol=1e-15)
    assert da["Raman shift"].attrs == {"units": "1/cm", "navigate": 0, "is_binned": 1}
    again = back(da)
    assert [axis.is_uniform for axis in again.axes_manager._axes] == [True, False, False]
    np.testing.assert_allclose(again.axes_manager["row"].scale, 0.1, rtol=1e-14)
    np.testing.assert_array_equal(again.axes_manager["Raman shift"].axis, values)
    assert again.axes_manager["Raman shift"].is_binned


def test_formulas_of_axes_are_read_not_run() -> None:
    axis = {"expression": "__import__('os').getpid() + x", "navigate": False}
    with pytest.raises(ValueError, match="formula"):
        signal_to_array({"data": np.zeros(3), "axes": [axis], "metadata": {}})


def test_metadata_of_eels() -> None:
    pytest.importorskip("exspy")
    s = make((2, 3))
    s.set_signal_type("EELS")
    s.set_microscope_parameters(beam_energy=200, convergence_angle=10, collection_angle=20)
    s.metadata.General.title = "a/b"
    s.metadata.Signal.quantity = "Electrons (Counts)"
    s.metadata.set_item("Sample.elements", ["O"])
    da = signal_to_array(s._to_dictionary())
    assert (da.name, da.attrs["units"], da.attrs["long_name"], da.attrs["signal_type"]) == (
        "a-b",
        "Counts",
        "Electrons",
        "EELS",
    )
    assert da.attrs["Acquisition_instrument.TEM.Detector.EELS.collection_angle"] == 20
    again = back(da)
    assert again.metadata.as_dictionary() == s.metadata.as_dictionary()
    assert type(again).__name__ == "EELSSpectrum"


@pytest.mark.parametrize("lazy", [False, True])
def test_noise_variance(lazy: bool) -> None:
    s = make((2, 3, 4), lazy=lazy)
    s.set_noise_variance(s + 1)
    da = signal_to_array(s._to_dictionary())
    np.testing.assert_array_equal(da.variance, da + 1)
    assert (da.variance.chunks is not None) is lazy
    assert "variance" not in str(list(da.attrs))
    np.testing.assert_array_equal(np.asarray(back(da).get_noise_variance().data), np.asarray(s.data) + 1)
    s.set_noise_variance(2.5)
    da = signal_to_array(s._to_dictionary())
    assert float(da.variance) == 2.5
    assert back(da).get_noise_variance() == 2.5


def test_variance_of_few_dimensions_is_spread() -> None:
    da = xr.DataArray(np.zeros((2, 3)), dims=("x", "e")).assign_coords(variance=("e", [1.0, 2, 3]))
    np.testing.assert_array_equal(back(da).get_noise_variance().data, [[1, 2, 3]] * 2)


def test_pictures_have_their_colours_last() -> None:
    picture = np.zeros((2, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    picture["G"] = 7
    axes = [{"name": "y", "navigate": False}, {"name": "x", "navigate": False}]
    da = signal_to_array({"data": picture, "axes": axes, "metadata": {}})
    assert da.dims == ("y", "x", "color")
    assert (da.sel(color="G") == 7).all()
    np.testing.assert_array_equal(array_to_signal(da)["data"], picture)
    np.testing.assert_array_equal(array_to_signal(da.chunk(y=1))["data"].compute(), picture)


def test_signal_dimensions_can_be_said() -> None:
    da = xr.DataArray(np.zeros((2, 3, 4)), dims=("e", "y", "x"))
    assert [a["navigate"] for a in array_to_signal(da)["axes"]] == [True, True, False]
    assert [a["navigate"] for a in array_to_signal(da, signal_dims="e")["axes"]] == [False, True, True]
    with pytest.raises(ValueError, match="signal_dims='z'"):
        array_to_signal(da, signal_dims="z")


def test_what_can_be_no_signal() -> None:
    with pytest.raises(TypeError, match="ragged"):
        signal_to_array({"data": np.empty(2, object), "axes": [{}], "metadata": {}})
    with pytest.raises(ValueError, match="1 dimensions, but there are 2 axes"):
        signal_to_array({"data": np.zeros(2), "axes": [{}, {}], "metadata": {}})
    da = xr.DataArray(np.zeros(2), dims="t", coords={"t": np.array(["2020-01-01", "2020-01-02"], "datetime64[ns]")})
    with pytest.raises(ValueError, match="coordinate 't'"):
        array_to_signal(da)
    with pytest.raises(ValueError, match="rise or fall"):
        array_to_signal(xr.DataArray(np.zeros(3), dims="t", coords={"t": [0.0, 2, 1]}))
    with pytest.warns(UserWarning, match="'other'"):
        array_to_signal(xr.DataArray(np.zeros(3), dims="t", coords={"other": 1}))


def test_metadata_there_and_back() -> None:
    tree = {
        "General": {
            "title": "t",
            "parts": [1, 2],
            "words": ["a", "b"],
            "mixed": [1, "a", None],
            "FileIO": {"0": {"k": 1.5}},
        },
        "Flag": True,
        "Nothing": None,
        "Empty": [],
        "Deep": [{"a": [1]}],
        "_HyperSpy": {"Folding": 1},
    }
    flat = flattened(tree)
    assert all(isinstance(v, str | int | float) or {type(e) for e in v} in ({int}, {str}) for v in flat.values())
    kept = {k: v for k, v in tree.items() if k not in ("_HyperSpy", "Nothing")}
    assert nested(flat) == kept
    with pytest.warns(UserWarning, match="General.thing"):
        flattened({"General": {"thing": object()}})
    with pytest.warns(UserWarning, match=r"'?a'?"):
        assert nested({"a": 1, "a.b": 2}) == {"a": {"b": 2}}


@pytest.mark.parametrize("damaged", [np.ones(2), 3.0, "text", None, ["a"]])
@pytest.mark.parametrize("place", [("General",), ("Signal",), ("Signal", "Noise_properties"), ("Sample",), ()])
def test_a_value_in_the_place_of_a_branch_of_metadata(place, damaged) -> None:
    """As damage of a file makes one; the data are read, and the value is an attribute."""
    tree: Any = {"General": {"title": "map"}, "Signal": {"signal_type": "EELS"}}
    if place:
        *above, last = place
        at = tree
        for name in above:
            at = at[name]
        at[last] = damaged
    else:
        tree = damaged
    signal = {
        "data": np.ones((2, 3)),
        "axes": [{"name": "x", "navigate": True}, {"name": "e", "navigate": False}],
        "metadata": tree,
    }
    da = signal_to_array(settled(signal, "HSPY"))
    assert da.dims == ("x", "e")
    kept = da.attrs.get(".".join(place)) if place and damaged is not None else damaged
    np.testing.assert_array_equal(kept, damaged)
    assert place == ("General",) or not place or da.name == "map"
