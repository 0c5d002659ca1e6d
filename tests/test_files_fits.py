"""FITS cubes, as MUSE and others have them, written by astropy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import xfit

fits = pytest.importorskip("astropy.io.fits")
NOISE = np.random.default_rng(0)


def header(**further):
    """World coordinates of a MUSE cube."""
    made = fits.Header()
    cards = {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CTYPE3": "AWAV", "CUNIT1": "deg", "CUNIT2": "deg", "CUNIT3": "Angstrom",
        "CRPIX1": 2.0, "CRPIX2": 1.0, "CRPIX3": 1.0, "CRVAL1": 150.0, "CRVAL2": 2.0, "CRVAL3": 4750.0,
        "CD1_1": -5.5e-5, "CD2_2": 5.5e-5, "CD3_3": 1.25, "CD1_2": 0.0, "CD2_1": 0.0,
        "BUNIT": "10**(-20)*erg/s/cm**2/Angstrom", "OBJECT": "A478",
    }  # fmt: skip
    made.update(cards | further)
    return made


@pytest.mark.parametrize("suffix", ["fits", "fits.gz"])
def test_muse(tmp_path: Path, suffix: str) -> None:
    cube = NOISE.normal(size=(30, 4, 5)).astype(">f4")
    stat = NOISE.uniform(1, 2, (30, 4, 5)).astype(">f4")
    flags = np.zeros((30, 4, 5), np.int32)
    flags[3, 1, 2] = 4
    parts = [
        fits.PrimaryHDU(),
        fits.ImageHDU(cube, header(), "DATA"),
        fits.ImageHDU(stat, header(), "STAT"),
        fits.ImageHDU(flags, header(), "DQ"),
    ]
    fits.HDUList(parts).writeto(tmp_path / f"cube.{suffix}")
    da = xfit.open(tmp_path / f"cube.{suffix}")
    assert da.dims == ("y", "x", "wavelength")
    assert (da.chunks is not None) is (suffix == "fits")
    np.testing.assert_array_equal(da, cube.transpose(1, 2, 0))
    np.testing.assert_array_equal(da.variance, stat.transpose(1, 2, 0))
    np.testing.assert_array_equal(da.dq, flags.transpose(1, 2, 0))
    np.testing.assert_allclose(da.wavelength, 4750 + 1.25 * np.arange(30), rtol=1e-12)
    assert da.wavelength.attrs["units"] == "Angstrom"
    assert (da.attrs["units"], da.name, da.dtype) == ("10**(-20)*erg/s/cm**2/Angstrom", "A478", np.float32)
    # The reference pixel is the second along x and the first along y.
    np.testing.assert_allclose((float(da.ra[0, 1]), float(da.dec[0, 1])), (150, 2), rtol=1e-12)
    fit = da.fit.multifit(
        xfit.Model([xfit.components.Offset(name="level")]), variance=da.variance, where=da.dq == 0
    ).compute()
    weights = np.where(flags == 0, 1 / stat.astype(float), 0)
    np.testing.assert_allclose(fit.fit["level.offset"], (weights * cube).sum(0) / weights.sum(0), rtol=1e-6)
    assert "ra" in fit.coords


@pytest.mark.parametrize(("name", "made"), [("IVAR", lambda v: 1 / v), ("ERR", np.sqrt), ("VAR", lambda v: v)])
def test_noise_of_other_kinds(tmp_path: Path, name: str, made) -> None:
    variance = NOISE.uniform(1, 2, (30, 4, 5))
    noise = made(variance)
    if name == "IVAR":
        noise[0, 0, 0] = 0  # nothing is known of this pixel
    parts = [fits.PrimaryHDU(), fits.ImageHDU(variance, header(), "SCI"), fits.ImageHDU(noise, header(), name)]
    fits.HDUList(parts).writeto(tmp_path / "cube.fits")
    da = xfit.open(tmp_path / "cube.fits")
    expected = variance.transpose(1, 2, 0).copy()
    if name == "IVAR":
        expected[0, 0, 0] = np.nan
    np.testing.assert_allclose(da.variance, expected, rtol=1e-14)


def test_noise_beside_several_images(tmp_path: Path) -> None:
    """As of JWST: weights of the same shape beside data, errors and flags."""
    parts = [
        fits.ImageHDU(np.full((6, 4, 5), n, np.float32), header(), name)
        for n, name in ((1, "SCI"), (2, "ERR"), (3, "DQ"), (4, "WMAP"))
    ]
    fits.HDUList([fits.PrimaryHDU(), *parts]).writeto(tmp_path / "cube.fits")
    found = xfit.open(tmp_path / "cube.fits")
    assert list(found) == ["A478", "WMAP"]
    assert (found["A478"].variance == 4).all()
    assert (found["A478"].dq == 3).all()
    assert "variance" not in found["WMAP"].coords


def test_compressed_images(tmp_path: Path) -> None:
    cube = NOISE.integers(0, 1000, (6, 4, 5)).astype(np.int32)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(cube, header(), "DATA")]).writeto(tmp_path / "cube.fits.fz")
    np.testing.assert_array_equal(xfit.open(tmp_path / "cube.fits.fz"), cube.transpose(1, 2, 0))


def test_scaled_integers_spectrum_and_degenerate_axes(tmp_path: Path) -> None:
    counts = NOISE.integers(0, 60000, (1, 20)).astype(np.uint16)
    # uint16 is stored as int16 with an offset.
    made = fits.Header(
        {"CTYPE1": "FREQ", "CUNIT1": "GHz", "CRVAL1": 100.0, "CDELT1": 0.5, "CRPIX1": 1.0, "CTYPE2": "STOKES"}
    )
    fits.PrimaryHDU(counts, made).writeto(tmp_path / "one.fits")
    da = xfit.open(tmp_path / "one.fits")
    assert da.dims == ("frequency",)
    np.testing.assert_array_equal(da, counts[0])
    np.testing.assert_allclose(da.frequency, 100 + 0.5 * np.arange(20), rtol=1e-12)


def test_logarithmic_wavelengths(tmp_path: Path) -> None:
    made = header(CTYPE3="WAVE-LOG", CD3_3=1.25)
    fits.PrimaryHDU(np.zeros((30, 4, 5)), made).writeto(tmp_path / "cube.fits")
    # WCS paper III, section 3.2: lambda = lambda_r exp(w / lambda_r).
    expected = 4750 * np.exp(1.25 * np.arange(30) / 4750)
    np.testing.assert_allclose(xfit.open(tmp_path / "cube.fits").wavelength, expected, rtol=1e-12)


def test_image(tmp_path: Path) -> None:
    fits.PrimaryHDU(np.zeros((4, 5))).writeto(tmp_path / "image.fits")
    assert xfit.open(tmp_path / "image.fits").dims == ("y", "x")


def test_chunks_hold_whole_spectra_and_lines(tmp_path: Path) -> None:
    """A cube of 200 MB is not read to be opened."""
    made = header()
    made.update(SIMPLE=True, BITPIX=-32, NAXIS=3, NAXIS1=300, NAXIS2=300, NAXIS3=600)
    path = tmp_path / "large.fits"
    order = ["SIMPLE", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "NAXIS3"]
    fits.Header([(k, made[k]) for k in order] + [(k, v) for k, v in made.items() if k not in order]).tofile(path)
    with path.open("ab") as file:
        file.truncate(path.stat().st_size + -(-600 * 300 * 300 * 4 // 2880) * 2880)
    da = xfit.open(path)
    assert da.dims == ("y", "x", "wavelength")
    assert da.chunks[1:] == ((300,), (600,))
    assert len(da.chunks[0]) > 3
    assert float(da[5, 5].sum()) == 0
