"""Spectra in tables of FITS files, written by astropy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest

import xfit
from tests.support.opened import open_array
from tests.support.readings import assert_usable

fits = pytest.importorskip("astropy.io.fits")
NOISE = np.random.default_rng(0)
WAVELENGTH = np.linspace(60, 70, 8) ** 2


def vectors(name: str, values: np.ndarray, unit: str = "") -> Any:
    return fits.Column(name, f"{values.shape[1]}E", unit, array=values)


def write(path: Path, *tables: tuple[str, list], **cards) -> None:
    parts = [fits.BinTableHDU.from_columns(columns, name=name) for name, columns in tables]
    fits.HDUList([fits.PrimaryHDU(header=fits.Header(cards)), *parts]).writeto(path)


@pytest.mark.parametrize("suffix", ["fits", "fits.gz"])
def test_a_spectrum_in_each_row(tmp_path: Path, suffix: str) -> None:
    flux, noise = NOISE.uniform(1, 2, (2, 5, 8)).astype(np.float32)
    flags = np.zeros((5, 8), np.int16)
    flags[2, 3] = 1
    columns = [
        vectors("wave", np.tile(WAVELENGTH, (5, 1)), "Angstrom"),
        vectors("flux", flux, "erg/s/cm2/Angstrom"),
        vectors("flux_err", noise),
        fits.Column("mask", "8I", array=flags),
        fits.Column("ra", "D", "deg", array=np.arange(5.0)),
        fits.Column("name", "4A", array=list("abcde")),
        fits.Column("window", "2D", array=np.zeros((5, 2))),
        fits.Column("history", "PD()", array=np.array([np.zeros(n) for n in range(1, 6)], object)),
    ]
    path = tmp_path / f"many.{suffix}"
    write(path, ("SPECTRA", columns), OBJECT="A478")
    da = open_array(path)
    assert (da.dims, da.name) == (("spectrum", "wavelength"), "flux")
    assert (da.chunks is not None) is (suffix == "fits")
    np.testing.assert_array_equal(da, flux)
    np.testing.assert_allclose(da.variance, noise**2, rtol=1e-6)
    np.testing.assert_array_equal(da.dq, flags)
    np.testing.assert_array_equal(da.wavelength, WAVELENGTH.astype(np.float32))
    np.testing.assert_array_equal(da.ra, np.arange(5.0))
    assert list(da.coords["name"].values) == list("abcde")
    assert (da.attrs, da.wavelength.attrs["units"]) == (
        {"units": "erg/s/cm2/Angstrom", "OBJECT": "A478"},
        "Angstrom",
    )
    there = cloudpickle.loads(cloudpickle.dumps(da))
    model = xfit.Model([xfit.components.Offset(name="level")])
    fit = there.fit.multifit(model, variance=there.variance, where=there.dq == 0).compute()
    weights = np.where(flags == 0, noise.astype(float) ** -2, 0)
    np.testing.assert_allclose(fit.fit["level.offset"], (weights * flux).sum(1) / weights.sum(1), rtol=1e-6)
    for ending in ("zarr", "nc"):
        xfit.save(da, tmp_path / f"again.{ending}")
        again = xfit.open(tmp_path / f"again.{ending}")
        np.testing.assert_array_equal(again, flux)
        assert list(again.coords["name"].values) == list("abcde")
    kept = json.loads(open_array(path, original_metadata=True).attrs["original_metadata"])
    assert kept["primary"]["OBJECT"] == "A478"
    assert kept["SPECTRA"]["TTYPE1"] == "wave"


def test_chunks_of_many_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xfit.files.fits_tables._CHUNK", 3 * 8 * 4)
    flux = NOISE.uniform(1, 2, (10, 8)).astype(np.float32)
    write(tmp_path / "many.fits", ("", [vectors("flux", flux)]))
    da = xfit.open(tmp_path / "many.fits", chunks="file")
    assert da.chunks == ((3, 3, 3, 1), (8,))
    np.testing.assert_array_equal(da, flux)
    np.testing.assert_array_equal(da[4], flux[4])
    assert da.dims == ("spectrum", "channel")


def test_one_spectrum_in_one_row(tmp_path: Path) -> None:
    """As of ESO's archive: all of a spectrum in the cells of one row."""
    flux = NOISE.uniform(1, 2, (1, 8))
    columns = [
        vectors("WAVE", WAVELENGTH[None], "nm"),
        vectors("FLUX", flux, "adu"),
        fits.Column("EXPTIME", "D", "s", array=[30.0]),
    ]
    write(tmp_path / "one.fits", ("SPECTRUM", columns))
    da = open_array(tmp_path / "one.fits")
    assert da.dims == ("wavelength",)
    np.testing.assert_array_equal(da, flux[0].astype(np.float32))
    assert float(da.coords["EXPTIME"]) == 30
    assert_usable(da.drop_vars("EXPTIME"), tmp_path)


def test_a_channel_in_each_row(tmp_path: Path) -> None:
    """As of SDSS: logarithms of wavelengths, inverse variances, a model beside, tables of
    other things in the same file.
    """
    flux, model = NOISE.uniform(1, 2, (2, 8)).astype(np.float32)
    columns = [
        fits.Column(name, kind, array=values)
        for name, kind, values in (
            ("flux", "E", flux),
            ("loglam", "E", np.log10(WAVELENGTH)),
            ("ivar", "E", np.full(8, 4.0)),
            ("and_mask", "J", np.arange(8)),
            ("model", "E", model),
        )
    ]
    catalogue = [
        fits.Column("Z", "E", array=[0.1]),
        fits.Column("MAGNITUDES", "5E", array=[np.arange(5.0)]),
    ]
    write(tmp_path / "spec.fits", ("COADD", columns), ("SPECOBJ", catalogue))
    found = xfit.open(tmp_path / "spec.fits")
    assert list(found) == ["flux", "model"]
    da = found["flux"]
    assert da.dims == ("wavelength",)
    np.testing.assert_array_equal(da, flux)
    np.testing.assert_allclose(da.wavelength, WAVELENGTH, rtol=3e-6)  # single precision of a logarithm
    assert da.wavelength.attrs["units"] == "Angstrom"
    assert (da.variance == 0.25).all()
    np.testing.assert_array_equal(da.dq, np.arange(8))
    assert "variance" not in found["model"].coords
    assert open_array(tmp_path / "spec.fits", signal="model").identical(found["model"])
    assert_usable(found["model"], tmp_path)


def test_units_tell_the_coordinate(tmp_path: Path) -> None:
    columns = [
        fits.Column("e_mid", "D", "keV", array=np.arange(1.0, 9)),
        fits.Column("rate", "D", "1/s", array=np.arange(8.0)),
    ]
    write(tmp_path / "rate.fits", ("EVENTS", columns))
    da = xfit.open(tmp_path / "rate.fits")
    assert (da.dims, da.name) == (("energy",), "rate")
    np.testing.assert_array_equal(da.energy, np.arange(1.0, 9))


def test_wavelengths_of_each_row(tmp_path: Path) -> None:
    waves = WAVELENGTH + np.arange(3.0)[:, None]
    write(tmp_path / "many.fits", ("S", [vectors("WAVE", waves, "nm"), vectors("FLUX", waves)]))
    da = xfit.open(tmp_path / "many.fits")
    assert da.dims == ("spectrum", "wavelength")
    np.testing.assert_array_equal(da.wavelength, np.arange(8))
    np.testing.assert_array_equal(da.wavelengths, waves.astype(np.float32))


def test_tables_of_the_same_columns(tmp_path: Path) -> None:
    tables = [
        (name, [vectors("WAVE", WAVELENGTH[None] * n), vectors("FLUX", WAVELENGTH[None])])
        for n, name in ((1, "BLUE"), (2, "RED"))
    ]
    write(tmp_path / "arms.fits", *tables)
    assert list(xfit.open(tmp_path / "arms.fits")) == ["BLUE.FLUX", "RED.FLUX"]


def test_catalogues_are_no_spectra(tmp_path: Path) -> None:
    write(tmp_path / "table.fits", ("STARS", [fits.Column("flux", "D", array=np.zeros(3))]))
    with pytest.raises(ValueError, match=r"no table with spectra.*STARS: flux"):
        xfit.open(tmp_path / "table.fits")
    fits.HDUList([fits.PrimaryHDU()]).writeto(tmp_path / "nothing.fits")
    with pytest.raises(ValueError, match="nothing but headers"):
        xfit.open(tmp_path / "nothing.fits")
