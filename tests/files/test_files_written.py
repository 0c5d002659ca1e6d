"""Files that RosettaSciIO writes in formats of instruments and of other programs,
opened: what HyperSpy reads of them.
"""

from __future__ import annotations

from pathlib import Path

import cloudpickle
import numpy as np
import pytest

from tests.support.opened import open_array
from tests.support.readings import (
    assert_as_hyperspy,
    assert_original_metadata,
    assert_usable,
    opened,
    read,
    signal_dims,
)

hs = pytest.importorskip("hyperspy.api")

SPECTRUM, LINE, MAP = (20,), (3, 20), (3, 4, 20)


def spectra(shape: tuple[int, ...], dtype: str = "uint16"):
    """A spectrum, a line of them or a map, with axes in units."""
    return _described(hs.signals.Signal1D(_values(shape, dtype)), [("y", "nm"), ("x", "nm"), ("Energy", "eV")])


def images(shape: tuple[int, ...], dtype: str = "uint16"):
    """An image or several, such as diffraction patterns of a map."""
    axes = [("y", "nm"), ("x", "nm"), ("ky", "1/nm"), ("kx", "1/nm")]
    return _described(hs.signals.Signal2D(_values(shape, dtype)), axes)


def _values(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


def _described(signal, axes: list[tuple[str, str]]):
    chosen = axes[-signal.data.ndim :]
    for k, (axis, (name, units)) in enumerate(zip(signal.axes_manager._axes, chosen, strict=True)):
        axis.name, axis.units, axis.scale, axis.offset = name, units, 0.5 * (k + 1), 10.0 * k
    signal.metadata.General.title = "made"
    return signal


def check(path: Path, expected: np.ndarray, dims: int, lazy: bool, **options) -> list:
    """The first signal has these values and this number of signal dimensions; all are as HyperSpy reads them."""
    arrays = opened(path)
    signals = read(path, **options)
    for da in arrays:
        assert_usable(da, path.parent)
        cloudpickle.loads(cloudpickle.dumps(da)).compute()
    assert_as_hyperspy(arrays[0], signals[0])
    np.testing.assert_array_equal(arrays[0], expected)
    assert signal_dims(arrays[0]) == list(arrays[0].dims[expected.ndim - dims :])
    assert (arrays[0].chunks is not None) is lazy
    assert_original_metadata(path)
    return arrays


@pytest.mark.parametrize("shape", [SPECTRUM, LINE, MAP])
@pytest.mark.parametrize(
    ("suffix", "dtype", "lazy"),
    [
        ("emd", "uint16", True),
        ("nxs", "uint16", True),
        ("rpl", "uint16", True),
        ("unf", "float32", True),
        ("sur", "int32", False),
    ],
)
def test_spectra(tmp_path: Path, suffix: str, dtype: str, lazy: bool, shape: tuple[int, ...]) -> None:
    s = spectra(shape, dtype)
    if suffix == "unf" and len(shape) == 2:
        pytest.skip("Semper knows images, and no names or units that tell a line of spectra from them")
    suffix = "pro" if suffix == "sur" and len(shape) == 1 else suffix
    s.save(tmp_path / f"made.{suffix}")
    arrays = check(tmp_path / f"made.{suffix}", s.data, 1, lazy)
    assert len(arrays) == 1
    if suffix != "unf":  # which has no names of axes, and units of one only
        assert arrays[0].dims == ("y", "x", "Energy")[-len(shape) :]
        assert arrays[0].Energy.attrs["units"] == "eV"


@pytest.mark.parametrize("shape", [(6, 8), (3, 6, 8)])
@pytest.mark.parametrize(
    ("suffix", "dtype", "lazy"),
    [
        ("emd", "uint16", True),
        ("nxs", "uint16", True),
        ("rpl", "uint16", True),
        ("sur", "int32", False),
        ("tif", "uint16", True),
        ("prz", "float32", False),
    ],
)
def test_images(tmp_path: Path, suffix: str, dtype: str, lazy: bool, shape: tuple[int, ...]) -> None:
    if suffix == "tif":
        pytest.importorskip("tifffile")
    s = images(shape, dtype)
    s.save(tmp_path / f"made.{suffix}")
    (da,) = check(tmp_path / f"made.{suffix}", s.data, 2, lazy)
    if suffix not in ("prz", "tif"):  # whose reader has names of its own, or none of what HyperSpy writes
        assert da.dims == ("x", "ky", "kx")[-len(shape) :]


@pytest.mark.parametrize("suffix", ["emd", "nxs"])
def test_patterns_of_a_map(tmp_path: Path, suffix: str) -> None:
    s = images((2, 3, 6, 8))
    s.save(tmp_path / f"made.{suffix}")
    (da,) = check(tmp_path / f"made.{suffix}", s.data, 2, True)
    assert da.dims == ("y", "x", "ky", "kx")


@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 4, 8, 8)])
def test_tvips(tmp_path: Path, shape: tuple[int, ...]) -> None:
    s = images(shape)
    for axis in s.axes_manager._axes:
        axis.scale = 2.0  # of which the format keeps whole numbers
    s.save(tmp_path / "made_000.tvips")
    arrays = opened(tmp_path / "made_000.tvips")
    np.testing.assert_array_equal(arrays[0].values.reshape(shape), s.data)
    check(tmp_path / "made_000.tvips", arrays[0].values, 2, True)


def test_blockfile(tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    s = images((3, 4, 8, 8), "uint8")
    for axis in s.axes_manager.signal_axes:
        axis.units = "cm"
    s.save(tmp_path / "made.blo")
    check(tmp_path / "made.blo", s.data, 2, True)


def test_mrcz(tmp_path: Path) -> None:
    pytest.importorskip("mrcz")
    s = images((3, 6, 8), "float32")
    s.save(tmp_path / "made.mrcz")
    check(tmp_path / "made.mrcz", s.data, 2, False)


def test_pictures(tmp_path: Path) -> None:
    pytest.importorskip("imageio")
    s = images((6, 8), "uint8")
    s.save(tmp_path / "made.png")
    check(tmp_path / "made.png", s.data, 2, False)


def test_numpy(tmp_path: Path) -> None:
    """Which holds nothing but numbers: spectra lie along the last axis."""
    values = np.random.default_rng(0).normal(size=(3, 4, 20))
    np.save(tmp_path / "made.npy", values)
    da = open_array(tmp_path / "made.npy")
    assert da.dims == ("y", "x", "channel")
    np.testing.assert_array_equal(da, values)
    assert_usable(da, tmp_path)


def test_msa(tmp_path: Path) -> None:
    s = spectra(SPECTRUM)
    s.metadata.set_item("Acquisition_instrument.TEM.beam_energy", 200.0)
    s.save(tmp_path / "made.msa")
    (da,) = check(tmp_path / "made.msa", s.data, 1, False)
    assert da.attrs["Acquisition_instrument.TEM.beam_energy"] == 200


def test_arrays_of_nexus_files_without_data_groups(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    values = np.random.default_rng(0).normal(size=(3, 20))
    with h5py.File(tmp_path / "scan.nxs", "w") as file:
        file["entry/detector/counts"] = values
    (da,) = opened(tmp_path / "scan.nxs")
    np.testing.assert_array_equal(da, values)


def test_axes_without_a_scale_are_numbered(tmp_path: Path) -> None:
    s = images((3, 8, 8))  # whose scale the format rounds to none
    s.save(tmp_path / "made_000.tvips")
    da = open_array(tmp_path / "made_000.tvips")
    np.testing.assert_array_equal(np.diff(da[da.dims[-1]]), 1)
    assert "units" not in da[da.dims[-1]].attrs
    assert_usable(da, tmp_path)
