"""Files in the formats of instruments, opened: the numbers that were written, and all that HyperSpy reads of them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import cloudpickle
import numpy as np
import pytest

import xfit
from tests.support import instrument_files as made
from tests.support.opened import open_array
from tests.support.readings import (
    assert_as_hyperspy,
    assert_original_metadata,
    assert_usable,
    opened,
    read,
    signal_dims,
)

pytest.importorskip("hyperspy.api")
NOISE = np.random.default_rng(0)


def same(path: Path, tmp_path: Path, **options) -> list:
    """All signals of a file, after comparing them with HyperSpy's."""
    arrays = opened(path)
    for da, signal in zip(arrays, read(path, **options), strict=True):
        assert_as_hyperspy(da, signal)
        assert_usable(da, tmp_path)
        cloudpickle.loads(cloudpickle.dumps(da)).compute()
    assert_original_metadata(path)
    return arrays


@pytest.mark.parametrize("falling", [False, True])
def test_jobin_yvon_maps(tmp_path: Path, falling: bool) -> None:
    spectra = NOISE.uniform(0, 100, (3, 2, 9))
    shift = np.linspace(10, 14, 9) ** 2
    order = slice(None, None, -1) if falling else slice(None)
    x, y = np.array([-1.0, 1.0]), np.array([0.0, 0.5, 1.0])
    made.jobin_yvon(tmp_path / "map.xml", spectra[..., order], shift[order], x, y)
    (da,) = same(tmp_path / "map.xml", tmp_path, file_format="JobinYvon")
    assert da.dims == ("Y", "X", "Raman Shift")
    np.testing.assert_array_equal(da, spectra)
    np.testing.assert_array_equal(da["Raman Shift"], shift)
    np.testing.assert_array_equal(da.X, x)
    assert (da["Raman Shift"].attrs["units"], da.attrs["units"], da.attrs["long_name"]) == (
        "1/cm",
        "Counts",
        "Intensity",
    )
    assert da.attrs["Acquisition_instrument.Laser.wavelength"] == 632.817


def test_jobin_yvon_spectrum(tmp_path: Path) -> None:
    made.jobin_yvon(tmp_path / "one.xml", NOISE.uniform(0, 9, 7), np.arange(7.0) ** 2, np.zeros(1), np.zeros(1))
    (da,) = same(tmp_path / "one.xml", tmp_path, file_format="JobinYvon")
    assert da.dims == ("Raman Shift",)


@pytest.mark.parametrize(("shape", "dims"), [((2, 3), ("Y", "X")), ((4,), ("Z",)), ((), ())])
def test_renishaw(tmp_path: Path, shape: tuple[int, ...], dims: tuple[str, ...]) -> None:
    spectra = NOISE.uniform(0, 100, (*shape, 9)).astype(np.float32)
    shift = np.linspace(14, 10, 9) ** 2  # which falls, as WiRE has it
    made.renishaw(tmp_path / "map.wdf", spectra, shift, (-1.0, 0.5), (3.0, 2.0))
    (da,) = same(tmp_path / "map.wdf", tmp_path)
    assert da.dims == (*dims, "Raman Shift")
    np.testing.assert_array_equal(da, spectra[..., ::-1])
    np.testing.assert_array_equal(da["Raman Shift"], shift[::-1].astype(np.float32))
    assert da["Raman Shift"].attrs["units"] == "1/cm"
    for dim in dims:
        first, step = (-1.0, 0.5) if dim == "X" else (3.0, 2.0)
        np.testing.assert_allclose(da[dim], first + step * np.arange(da.sizes[dim]), rtol=1e-12)
        assert da[dim].attrs["units"] == "µm"
    assert da.name == "flake"


def test_trivista(tmp_path: Path) -> None:
    spectra, wavelength = NOISE.uniform(0, 100, (2, 3, 6)), np.linspace(20, 23, 6) ** 2
    made.trivista(tmp_path / "map.tvf", spectra, wavelength, (1.0, 0.5), (-2.0, 2.0))
    (da,) = same(tmp_path / "map.tvf", tmp_path)
    assert da.dims == ("Y", "X", "Wavelength")
    np.testing.assert_array_equal(da, spectra)
    np.testing.assert_array_equal(da.Wavelength, wavelength)
    np.testing.assert_array_equal(da.X, [1, 1.5, 2])
    np.testing.assert_array_equal(da.Y, [-2, 0])
    assert da.Wavelength.attrs["units"] == "nm"
    assert da.attrs["units"] == "Counts"


def test_hamamatsu(tmp_path: Path) -> None:
    image = NOISE.integers(0, 60000, (5, 8))
    wavelength, time = np.linspace(20, 23, 8) ** 2, np.linspace(0, 3, 5) ** 1.1
    made.hamamatsu(tmp_path / "streak.img", image, wavelength, time)
    (da,) = same(tmp_path / "streak.img", tmp_path, file_format="Hamamatsu")
    assert da.dims == ("Time", "Wavelength")
    np.testing.assert_array_equal(da, image)
    np.testing.assert_array_equal(da.Wavelength, wavelength.astype(np.float32))
    np.testing.assert_array_equal(da.Time, time.astype(np.float32))
    assert (da.Time.attrs["units"], da.Wavelength.attrs["units"], da.attrs["units"]) == ("ns", "nm", "Counts")
    # A streak image is an image; spectra or decays of it are asked for.
    model = xfit.Model([xfit.components.Offset(name="level")])
    np.testing.assert_allclose(da.fit.multifit(model, dim="Time").fit["level.offset"], image.mean(0), rtol=1e-10)


@pytest.mark.parametrize(("shape", "dims"), [((4, 3), ("y", "x")), ((4,), ("x",)), ((), ())])
@pytest.mark.parametrize("version", [528, 544])
def test_tia_spectra(tmp_path: Path, shape: tuple[int, ...], dims: tuple[str, ...], version: int) -> None:
    spectra = NOISE.integers(0, 60000, (*shape, 11))
    made.tia_spectra(tmp_path / "map_1.ser", spectra, (100.0, 0.25), 2e-9, version)
    made.emi(tmp_path / "map.emi", **{"High tension": (200.0, "kV")})
    (da,) = same(tmp_path / "map_1.ser", tmp_path)
    assert da.squeeze().dims == (*dims, "Energy")
    np.testing.assert_array_equal(da.squeeze(), spectra)
    np.testing.assert_array_equal(da.Energy, 100 + 0.25 * np.arange(11))
    assert da.Energy.attrs["units"] == "eV"
    for dim in dims:
        np.testing.assert_allclose(da[dim], 2 * np.arange(da.sizes[dim]), rtol=1e-12)
        assert da[dim].attrs["units"] == "nm"
    assert da.chunks is not None
    (described,) = same(tmp_path / "map.emi", tmp_path)
    assert described.attrs["Acquisition_instrument.TEM.beam_energy"] == 200
    assert described.attrs["General.date"] == "2021-05-21"


def test_tia_images(tmp_path: Path) -> None:
    images = NOISE.integers(-9, 9, (3, 4, 5))
    made.tia_images(tmp_path / "stack_1.ser", images, 1e-9)
    (da,) = same(tmp_path / "stack_1.ser", tmp_path)
    assert da.dims[1:] == ("y", "x")
    assert signal_dims(da) == ["y", "x"]
    np.testing.assert_array_equal(da, images)


@pytest.mark.parametrize("suffix", ["dm3", "dm4"])
def test_digital_micrograph_maps(tmp_path: Path, suffix: str) -> None:
    """Which come as planes of energies."""
    planes = NOISE.integers(-9, 9999, (6, 2, 3)).astype(np.int32)
    axes = [(400.0, 0.5, "eV"), (0.0, 2.0, "nm"), (-4.0, 2.0, "nm")]
    made.digital_micrograph(tmp_path / f"map.{suffix}", planes, axes, ("EELS", "Spectrum image"), 200000.0)
    (da,) = same(tmp_path / f"map.{suffix}", tmp_path)
    assert da.dims == ("y", "x", "Energy loss")
    np.testing.assert_array_equal(da, planes.transpose(1, 2, 0))
    np.testing.assert_array_equal(da["Energy loss"], 400 + 0.5 * np.arange(6))
    np.testing.assert_array_equal(da.x, [-4, -2, 0])
    assert (da["Energy loss"].attrs["units"], da["Energy loss"].attrs["is_binned"]) == ("eV", 1)
    assert (da.attrs["signal_type"], da.attrs["Acquisition_instrument.TEM.beam_energy"]) == ("EELS", 200)
    assert da.chunks is not None


@pytest.mark.parametrize("suffix", ["dm3", "dm4"])
def test_digital_micrograph_images(tmp_path: Path, suffix: str) -> None:
    image = NOISE.normal(size=(4, 5)).astype(np.float32)
    made.digital_micrograph(tmp_path / f"image.{suffix}", image, [(0.0, 2.0, "nm")] * 2, ("", "Image"), 80000.0)
    (da,) = same(tmp_path / f"image.{suffix}", tmp_path)
    np.testing.assert_array_equal(da, image)
    assert signal_dims(da) == ["y", "x"]


def test_digital_micrograph_colours(tmp_path: Path) -> None:
    """Which the reader knows no lazy way for; blue comes first in the file."""
    colours = NOISE.integers(0, 255, (4, 5, 4)).astype(np.uint8)
    made.digital_micrograph(
        tmp_path / "image.dm3", colours.view("<u4")[..., 0], [(0.0, 2.0, "nm")] * 2, ("", "Image"), 80000.0
    )
    da = open_array(tmp_path / "image.dm3")
    assert da.dims == ("y", "x", "color")
    np.testing.assert_array_equal(da.sel(color=["B", "G", "R", "A"]), colours)


def test_velox_images(tmp_path: Path) -> None:
    image = NOISE.integers(0, 60000, (3, 4)).astype(np.uint16)
    made.velox(tmp_path / "image.emd", image)
    (da,) = same(tmp_path / "image.emd", tmp_path)
    assert da.dims == ("y", "x")
    np.testing.assert_array_equal(da, image)
    np.testing.assert_allclose(da.x, [-1000, -800, -600, -400], rtol=1e-12)
    assert da.x.attrs["units"] == "pm"
    assert da.attrs["Acquisition_instrument.TEM.beam_energy"] == 200
    assert da.chunks is not None


def test_velox_eds(tmp_path: Path) -> None:
    pytest.importorskip("sparse")
    counts = NOISE.poisson(0.3, (2, 3, 4, 16))
    made.velox(tmp_path / "map.emd", np.ones((3, 4), np.uint16), counts)
    picture, da = same(tmp_path / "map.emd", tmp_path)
    assert picture.dims == ("y", "x")
    assert da.dims == ("y", "x", "X-ray energy")
    # All frames together.
    np.testing.assert_array_equal(da, counts.sum(0))
    assert type(da.compute().data) is np.ndarray
    np.testing.assert_allclose(da["X-ray energy"], -0.25 + 0.01 * np.arange(16), rtol=1e-12, atol=1e-15)
    assert (da["X-ray energy"].attrs["units"], da["X-ray energy"].attrs["is_binned"]) == ("keV", 1)
    assert da.attrs["signal_type"] == "EDS_TEM"


def test_velox_eels(tmp_path: Path) -> None:
    pytest.importorskip("sparse")
    losses = NOISE.integers(0, 60000, (3, 4, 16)).astype(np.uint16)
    made.velox(tmp_path / "map.emd", np.ones((3, 4), np.uint16), losses=losses)
    _, da = same(tmp_path / "map.emd", tmp_path)
    assert da.dims == ("y", "x", "Energy-loss")
    np.testing.assert_array_equal(da, losses)
    np.testing.assert_array_equal(da["Energy-loss"], 400 + 0.5 * np.arange(16))
    assert da["Energy-loss"].attrs["is_binned"] == 1


def test_bruker_spx(tmp_path: Path) -> None:
    counts = NOISE.poisson(20, 30)
    made.spx(tmp_path / "brass.spx", counts, -0.475, 0.005)
    (da,) = same(tmp_path / "brass.spx", tmp_path)
    np.testing.assert_array_equal(da, counts)
    np.testing.assert_allclose(da.Energy, -0.475 + 0.005 * np.arange(30), rtol=1e-12)
    assert (da.dims, da.Energy.attrs["is_binned"], da.attrs["signal_type"]) == (("Energy",), 1, "EDS_SEM")
    assert da.attrs["Acquisition_instrument.SEM.beam_energy"] == 20


def test_edax(tmp_path: Path) -> None:
    counts = NOISE.poisson(20, (2, 3, 16))
    made.edax_map(tmp_path / "map.spd", counts)
    made.edax_spectrum(tmp_path / "map.spc", counts.sum((0, 1)), -0.05, 10)
    (total,) = same(tmp_path / "map.spc", tmp_path)
    (da,) = same(tmp_path / "map.spd", tmp_path)
    np.testing.assert_array_equal(total, counts.sum((0, 1)))
    np.testing.assert_array_equal(da, counts)
    for each in (total, da):
        np.testing.assert_allclose(each.Energy, np.float32(-0.05) + 0.01 * np.arange(16), rtol=1e-7, atol=1e-9)
        assert (each.Energy.attrs["units"], each.Energy.attrs["is_binned"]) == ("keV", 1)
        assert (each.attrs["signal_type"], each.attrs["Sample.elements"]) == ("EDS_SEM", ["Cu", "Zn"])
    assert da.dims == ("y", "x", "Energy")
    assert da.chunks is not None


def test_delmic(tmp_path: Path) -> None:
    spectra, wavelength = NOISE.uniform(0, 9, (3, 2, 8)), np.linspace(20e-9, 25e-9, 8) * 20
    made.delmic(tmp_path / "cl.h5", spectra, wavelength, 5e-8)
    (da,) = same(tmp_path / "cl.h5", tmp_path, file_format="Delmic")
    assert da.dims == ("Y", "X", "Wavelength")
    np.testing.assert_array_equal(da, spectra)
    np.testing.assert_allclose(da.Wavelength, wavelength * 1e9, rtol=1e-12)
    np.testing.assert_allclose(da.Y, [50, 0, -50], atol=1e-9)
    assert (da.Wavelength.attrs["units"], da.Y.attrs["units"]) == ("nm", "nm")


def test_merlin(tmp_path: Path) -> None:
    frames = NOISE.integers(0, 60000, (3, 4, 4))
    made.merlin(tmp_path / "scan.mib", frames, 2e6)
    (da,) = same(tmp_path / "scan.mib", tmp_path)
    np.testing.assert_array_equal(da, frames)
    assert signal_dims(da) == list(da.dims[1:])
    assert da.attrs["Acquisition_instrument.dwell_time"] == 0.002


def test_mrc(tmp_path: Path) -> None:
    images = NOISE.normal(size=(3, 4, 5)).astype(np.float32)
    made.mrc(tmp_path / "stack.mrc", images, 20.0)
    (da,) = same(tmp_path / "stack.mrc", tmp_path, file_format="MRC")
    assert da.dims == ("z", "y", "x")
    assert da.chunks is not None
    np.testing.assert_array_equal(da, images)
    np.testing.assert_allclose(da.x, 2 * np.arange(5), rtol=1e-6)
    assert da.x.attrs["units"] == "nm"


def test_heater_logs(tmp_path: Path) -> None:
    temperatures, currents = NOISE.uniform(20, 900, (2, 12))
    made.dens(tmp_path / "log.dens", temperatures, 0.5)
    (da,) = same(tmp_path / "log.dens", tmp_path)
    np.testing.assert_array_equal(da, temperatures)
    np.testing.assert_allclose(da.Time, 0.5 * np.arange(12), atol=1e-12)
    made.protochips(tmp_path / "log.csv", temperatures, currents, 500)
    da, current = same(tmp_path / "log.csv", tmp_path, file_format="Protochips")
    np.testing.assert_array_equal(da, temperatures)
    np.testing.assert_array_equal(current, currents)
    np.testing.assert_allclose(da.Time, 0.5 * np.arange(12), atol=1e-12)
    assert (da.attrs["long_name"], da.attrs["units"]) == ("Temperature", "Celsius")
    made.impulse(tmp_path / "run_Synchronized data.csv", temperatures, 0.5)
    (da,) = same(tmp_path / "run_Synchronized data.csv", tmp_path, file_format="Impulse")
    np.testing.assert_array_equal(da, temperatures)
    np.testing.assert_allclose(da.Time, 0.5 * np.arange(12), atol=1e-12)


def test_empad(tmp_path: Path) -> None:
    patterns = NOISE.normal(size=(2, 3, 128, 128)).astype(np.float32)
    made.empad(tmp_path / "scan.xml", patterns)
    (da,) = same(tmp_path / "scan.xml", tmp_path, file_format="EMPAD")
    np.testing.assert_array_equal(da, patterns)
    assert signal_dims(da) == ["height", "width"]
    assert da.chunks is not None
    np.testing.assert_allclose(da.width, 0.02 * (np.arange(128) - 64), rtol=1e-9)


def test_panta_rhei(tmp_path: Path) -> None:
    losses = NOISE.normal(size=(2, 3, 12)).astype(np.float32)
    made.panta_rhei(tmp_path / "map.prz", losses, 400.0, 0.5)
    (da,) = same(tmp_path / "map.prz", tmp_path)
    np.testing.assert_array_equal(da, losses)
    np.testing.assert_allclose(da.Energy, 400 + 0.5 * np.arange(12), rtol=1e-12)
    assert (da.dims, da.Energy.attrs["units"]) == (("ScanY", "ScanX", "Energy"), "eV")
    assert (da.attrs["signal_type"], da.Energy.attrs["is_binned"]) == ("EELS", 1)
    assert da.attrs["Acquisition_instrument.TEM.beam_energy"] == 200
    assert da.chunks is not None


def test_readers_that_find_nothing_are_not_the_last(tmp_path: Path) -> None:
    """A .img may be of JEOL or of Hamamatsu; where it is of neither, the error says what each made of it."""
    (tmp_path / "no.img").write_bytes(b"nothing of this kind" * 40)
    with pytest.raises(ValueError, match="JEOL: ValueError: it holds no signal; Hamamatsu"):
        xfit.open(tmp_path / "no.img")


def test_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As without the libraries for these formats, whose names are None in sys.modules."""
    made.velox(tmp_path / "map.emd", np.ones((1, 1), np.uint16), np.ones((1, 1, 1, 4), int))
    (tmp_path / "made.tif").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    for name in [name for name in sys.modules if name.startswith("rsciio.tiff")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match=r"pip install 'rosettasciio\[tiff\]'"):
        xfit.open(tmp_path / "made.tif")
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "sparse" else found(name, *rest)
    )
    with pytest.raises(ImportError, match=r"pip install 'rosettasciio\[eds-stream\]'"):
        xfit.open(tmp_path / "map.emd")
