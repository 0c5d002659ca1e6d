"""FITS cubes, as MUSE and others have them, written by astropy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xfit
from tests.support.opened import open_array

fits = pytest.importorskip("astropy.io.fits")
NOISE = np.random.default_rng(0)


def header(**further):
    """World coordinates of a MUSE cube."""
    made = fits.Header()
    cards = {
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CTYPE3": "AWAV",
        "CUNIT1": "deg",
        "CUNIT2": "deg",
        "CUNIT3": "Angstrom",
        "CRPIX1": 2.0,
        "CRPIX2": 1.0,
        "CRPIX3": 1.0,
        "CRVAL1": 150.0,
        "CRVAL2": 2.0,
        "CRVAL3": 4750.0,
        "CD1_1": -5.5e-5,
        "CD2_2": 5.5e-5,
        "CD3_3": 1.25,
        "CD1_2": 0.0,
        "CD2_1": 0.0,
        "BUNIT": "10**(-20)*erg/s/cm**2/Angstrom",
        "OBJECT": "A478",
    }
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
    da = open_array(path)
    assert da.dims == ("y", "x", "wavelength")
    assert da.chunks is not None
    assert da.chunks[1:] == ((300,), (600,))
    assert len(da.chunks[0]) > 3
    assert float(da[5, 5].sum()) == 0


# --- axes against astropy's, and cards that are there twice


def axis_header(**further):
    """One axis, of whose cards some are replaced or (None) left out."""
    cards = {"CTYPE1": "WAVE", "CUNIT1": "Angstrom", "CRVAL1": 4000.0, "CDELT1": 0.7, "CRPIX1": 3.0, **further}
    return fits.Header([(key.replace("__", "-"), value) for key, value in cards.items() if value is not None])


def opened(path: Path, made, data=None):
    fits.PrimaryHDU(np.arange(20.0) if data is None else data, made).writeto(path / "axis.fits", overwrite=True)
    return xfit.open(path / "axis.fits")


REST = {"RESTFRQ": 1.420405752e9}
AXES: dict[str, dict[str, Any]] = {
    "wavelengths": {},
    "misspelt": {"CUNIT1": "Angstroms"},
    "in nm": {"CUNIT1": "nm"},
    "in um, by a matrix": {"CUNIT1": "um", "CDELT1": None, "CD1_1": 0.3},
    "a matrix beside a step": {"CD1_1": 0.3},
    "a matrix times a step": {"PC1_1": 2.0},
    "no reference pixel": {"CRPIX1": None},
    "logarithmic": {"CTYPE1": "WAVE-LOG"},
    "even in frequency": {"CTYPE1": "WAVE-F2W", "CUNIT1": "nm"},
    "in air": {"CTYPE1": "AWAV"},
    "in air, logarithmic": {"CTYPE1": "AWAV-LOG", "CUNIT1": "nm"},
    "in air, even in frequency": {"CTYPE1": "AWAV-F2A", "CUNIT1": "nm", "CRVAL1": 500.0},
    "a grism": {
        "CTYPE1": "WAVE-GRI",
        "CUNIT1": "nm",
        "CRVAL1": 400.0,
        "PV1_0": 4.5e5,
        "PV1_1": 1.0,
        "PV1_2": 27.0,
        "PV1_3": 1.765,
    },
    "velocities": {"CTYPE1": "VRAD", "CUNIT1": "km/s"},
    "velocities, even in frequency": {"CTYPE1": "VELO-F2V", "CUNIT1": "km/s", **REST},
    "optical velocities": {"CTYPE1": "VOPT-F2W", "CUNIT1": "km/s", **REST},
    "velocities of AIPS": {"CTYPE1": "FELO-HEL", "CUNIT1": "m/s", "RESTFREQ": 1.42e9},
    "redshifts": {"CTYPE1": "ZOPT-F2W", "CUNIT1": None, "CRVAL1": 0.1, "CDELT1": 1e-3, **REST},
    "frequencies": {"CTYPE1": "FREQ", "CUNIT1": "GHz"},
    "frequencies, misspelt": {"CTYPE1": "FREQ", "CUNIT1": "HZ"},
    "frequencies, logarithmic": {"CTYPE1": "FREQ-LOG", "CUNIT1": "MHz"},
    "wavenumbers": {"CTYPE1": "WAVN", "CUNIT1": "cm-1"},
    "energies": {"CTYPE1": "ENER", "CUNIT1": "J", "CRVAL1": 1e-15, "CDELT1": 1e-17},
    "plain": {"CTYPE1": "LINEAR", "PC1_1": 3.0},
    "nothing said of its kind": {"CTYPE1": None, "CUNIT1": None, "CD1_1": 0.3},
}


@pytest.mark.parametrize("kind", AXES)
def test_coordinates_are_those_of_astropy(tmp_path: Path, kind: str) -> None:
    from astropy import units
    from astropy.wcs import WCS

    made = axis_header(**AXES[kind])
    da = opened(tmp_path, made)
    known = WCS(made)
    expected = known.wcs_pix2world(np.arange(20.0)[:, None], 0)[:, 0] * known.wcs.cunit[0]
    found = da[da.dims[0]]
    given = units.Unit(found.attrs.get("units", ""))
    np.testing.assert_allclose(found, expected.to_value(given), rtol=1e-13)
    assert given in [units.Unit(made.get("CUNIT1", known.wcs.cunit[0]), parse_strict="silent"), units.AA, units.Hz]


@pytest.mark.parametrize("unit", ["eV", "keV", "MeV"])
def test_energies_are_not_rounded_by_constants(tmp_path: Path, unit: str) -> None:
    """By CRVAL1, CDELT1: astropy's are in joules by another constant than its units have."""
    da = opened(tmp_path, axis_header(CTYPE1="ENER", CUNIT1=unit, CRVAL1=100.0, CDELT1=0.01, CRPIX1=1.0))
    np.testing.assert_allclose(da.energy, 100 + 0.01 * np.arange(20), rtol=1e-15)
    # Of the logarithm the definition: x = r exp(w/r), Greisen et al. 2006, A&A 446, 747.
    da = opened(tmp_path, axis_header(CTYPE1="ENER-LOG", CUNIT1=unit, CRVAL1=100.0, CDELT1=0.01, CRPIX1=1.0))
    np.testing.assert_allclose(da.energy, 100 * np.exp(1e-4 * np.arange(20)), rtol=1e-13)
    assert da.energy.attrs["units"] == unit


def test_logarithms_of_iraf(tmp_path: Path) -> None:
    """CRVAL1 is the decimal logarithm of the wavelength: Valdes 1993, ASP Conf. Ser. 52, 467."""
    log = axis_header(CTYPE1="LINEAR", CRVAL1=3.5, CDELT1=1e-4, CRPIX1=1.0, DC__FLAG=1, CUNIT1=None)
    log["WAT1_001"] = "wtype=linear label=Wavelength units=angstroms"
    da = opened(tmp_path, log)
    np.testing.assert_allclose(da[da.dims[0]], 10 ** (3.5 + 1e-4 * np.arange(20)), rtol=1e-14)
    assert da[da.dims[0]].attrs["units"] == "angstroms"
    kinds = (
        {"CTYPE1": "WAVE", "CUNIT1": "Angstrom"},
        {"CTYPE1": "LAMBDA"},
        {"CTYPE1": None, "CD1_1": 1e-4, "CDELT1": None},
    )
    for kind in kinds:
        da = opened(tmp_path, axis_header(**{"CRVAL1": 3.5, "CDELT1": 1e-4, "CRPIX1": 1.0, "DC__FLAG": 1, **kind}))
        np.testing.assert_allclose(da[da.dims[0]], 10 ** (3.5 + 1e-4 * np.arange(20)), rtol=1e-14)
    # Several spectra, one above the other; and linear ones.
    rows = opened(tmp_path, log, np.zeros((3, 20)))
    assert (rows.dims[-1], rows.shape) == ("channel", (3, 20))
    np.testing.assert_allclose(rows.channel, 10 ** (3.5 + 1e-4 * np.arange(20)), rtol=1e-14)
    linear = opened(tmp_path, axis_header(CTYPE1="LINEAR", DC__FLAG=0))
    np.testing.assert_allclose(linear[linear.dims[0]], 4000 + 0.7 * (np.arange(20) - 2), rtol=1e-14)
    with pytest.raises(ValueError, match="DC-FLAG = 1 and CRVAL1 says that the coordinate is a decimal logarithm"):
        opened(tmp_path, axis_header(CTYPE1="LINEAR", DC__FLAG=1))


def iraf_apertures(*specs: str):
    """As IRAF's apall writes them: text over several cards, of 68 characters each."""
    made = fits.Header([("CTYPE1", "MULTISPE"), ("CTYPE2", "MULTISPE"), ("CD1_1", 1.0), ("CD2_2", 1.0), ("DC-FLAG", 0)])
    text = "wtype=multispec " + " ".join(f'spec{k} = "{spec}"' for k, spec in enumerate(specs, 1))
    for k in range(0, len(text), 68):
        made[f"WAT2_{k // 68 + 1:03d}"] = text[k : k + 68]
    made["WAT1_001"] = "wtype=multispec label=Wavelength units=angstroms"
    return made


def test_apertures_of_iraf(tmp_path: Path) -> None:
    data = np.zeros((2, 20))
    same = [f"{k} {k} 0 4000.5 1.25 20 0. {k}.5 {k}.9" for k in (1, 2)]
    da = opened(tmp_path, iraf_apertures(*same), data)
    assert (da.dims[-1], da.shape) == ("channel", (2, 20))
    np.testing.assert_allclose(da.channel, 4000.5 + 1.25 * np.arange(20), rtol=1e-14)
    assert da.channel.attrs["units"] == "angstroms"
    logs = opened(tmp_path, iraf_apertures("1 1 1 3.6 0.0001 20 0.01 1. 2."), data[0])
    np.testing.assert_allclose(logs.channel, 10 ** (3.6 + 1e-4 * np.arange(20)) / 1.01, rtol=1e-14)
    with pytest.raises(ValueError, match="dispersions of their own"):
        opened(tmp_path, iraf_apertures(same[0], same[1].replace("4000.5", "4010.5")), data)
    with pytest.raises(ValueError, match="polynomial or table"):
        opened(tmp_path, iraf_apertures("1 1 2 4000. 1. 20 0. 1. 2. 1. 0. 1 3 1. 20. 4010. 10. 0.1"), data[0])


def test_axes_that_are_turned_and_tables_are_said(tmp_path: Path) -> None:
    turned = fits.Header(
        [("CTYPE1", "LINEAR"), ("CTYPE2", "LINEAR"), ("CD1_1", 0.8), ("CD1_2", -0.6), ("CD2_1", 0.6), ("CD2_2", 0.8)]
    )
    with pytest.warns(UserWarning, match="axis 1 of the header is turned against another"):
        da = opened(tmp_path, turned, np.zeros((3, 4)))
    np.testing.assert_array_equal(da.x, np.arange(4))
    with pytest.warns(UserWarning, match="axis 1 of the header can't be understood"):
        da = opened(tmp_path, fits.Header([("CD1_1", 0.0), ("CD2_2", 0.8)]), np.zeros((3, 4)))
    # Of one axis the header may say something, and nothing of the others.
    for card in ("CD1_1", "CDELT1"):
        da = opened(tmp_path, fits.Header([("CRVAL1", 5.0), (card, 2.0), ("CRPIX1", 1.0)]), np.zeros((3, 4)))
        np.testing.assert_array_equal(da.x, 5 + 2 * np.arange(4))
    with pytest.raises(ValueError, match="coordinates in a table of the file are not read"):
        opened(tmp_path, axis_header(CTYPE1="WAVE-TAB"))
    plain = opened(tmp_path, fits.Header(), np.zeros((3, 4)))
    np.testing.assert_array_equal(plain.y, np.arange(3))


def test_of_cards_that_are_there_twice_the_first_is_taken_with_a_warning(tmp_path: Path) -> None:
    made = axis_header(CTYPE1="VELO", CUNIT1="m/s", CRVAL1=2500.0, CDELT1=-62.84, CRPIX1=403.096)
    made.append(("CRPIX1", 1.0), end=True)
    made.append(("CDELT1", -62.84), end=True)
    made.append(("OBJECT", "one"), end=True)
    made.append(("OBJECT", "other"), end=True)
    for text in ("a", "b"):
        made.add_history(text)
    with pytest.warns(UserWarning, match="CRPIX1 = 403.096 and 1.0; OBJECT = 'one' and 'other'") as caught:
        da = opened(tmp_path, made)
    assert not any("CDELT1" in str(each.message) or "HISTORY" in str(each.message) for each in caught)
    first = fits.getheader(tmp_path / "axis.fits")
    np.testing.assert_allclose(da.velocity, 2500 + (np.arange(20) + 1 - first["CRPIX1"]) * -62.84, rtol=1e-13)
    assert da.attrs["OBJECT"] == first["OBJECT"] == "one"


@pytest.mark.parametrize("cards", [{"BSCALE": 0.5, "BZERO": 10.0}, {"BZERO": 32768.0}, {"BLANK": -1, "BSCALE": 2.0}])
def test_scaled_integers_are_those_of_astropy(tmp_path: Path, cards) -> None:
    raw = np.arange(-2, 22, dtype=np.int16).reshape(2, 12)
    written = fits.PrimaryHDU(raw)
    for key, value in cards.items():
        written.header[key] = value
    path = tmp_path / "scaled.fits"
    written.writeto(path)
    # Only the header says how they are scaled; the values are what is there.
    data = bytearray(path.read_bytes())
    data[2880 : 2880 + raw.nbytes] = raw.astype(">i2").tobytes()
    path.write_bytes(data)
    with fits.open(path) as file:
        expected = file[0].data.astype(float)
    np.testing.assert_array_equal(xfit.open(path).values, expected)


@pytest.mark.parametrize(
    ("name", "unit", "said"),
    [
        ("LOGLAM", None, "Angstrom"),
        ("loglam", "log(nm)", "nm"),
        ("WAVE", "log(Angstrom)", "Angstrom"),
        ("LAMBDA", "dex(nm)", "nm"),
        ("WAVE", "nm", "nm"),
    ],
)
def test_logarithms_in_tables(tmp_path: Path, name: str, unit: str | None, said: str) -> None:
    """By the name, as SDSS's, or by the unit; the coordinate is in what the logarithm is of."""
    values = np.linspace(3.5, 3.6, 7)
    table = fits.BinTableHDU.from_columns(
        [fits.Column(name, "D", unit, array=values), fits.Column("flux", "D", array=values)]
    )
    table.writeto(tmp_path / "table.fits")
    da = xfit.open(tmp_path / "table.fits")
    np.testing.assert_allclose(da.wavelength, values if unit == "nm" else 10**values, rtol=1e-14)
    assert da.wavelength.attrs["units"] == said
