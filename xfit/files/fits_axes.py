"""Coordinates of FITS images from their headers: along spectra in the header's own units, along
other axes by the linear keywords.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from xfit.display import cleaned

#: Names of spectral axes by what WCS calls them.
SPECTRAL = {
    **dict.fromkeys(("WAVE", "AWAV", "LAMB"), "wavelength"),
    **dict.fromkeys(("VRAD", "VOPT", "VELO", "FELO"), "velocity"),
    "FREQ": "frequency",
    "ENER": "energy",
    "WAVN": "wavenumber",
    "ZOPT": "redshift",
    "BETA": "beta",
}

#: Keywords that may be there many times.
_COMMENTS = ("COMMENT", "HISTORY", "CONTINUE", "")

#: As many keywords that differ are said.
_FEW = 10

#: Cards that say where pixels lie on linear axes.
_LINEAR = re.compile(r"(NAXIS\d*|WCSAXES|(CRPIX|CRVAL|CDELT|CROTA)\d+|(PC|CD)\d+_\d+)$")


def without_repeated_cards(header: Any, path: Any) -> Any:
    """Header of which every keyword is there once, with its first value, as astropy's
    ``header[keyword]``; the WCS would take the last.

    Warns
    -----
    UserWarning
        With both values, where they differ.
    """
    from astropy.io import fits

    given: dict[str, list[Any]] = {}
    for card in header.cards:
        if card.keyword not in _COMMENTS:
            given.setdefault(card.keyword, []).append(card)
    repeated = {keyword: cards for keyword, cards in given.items() if len(cards) > 1}
    if not repeated:
        return header
    others = {id(card) for cards in repeated.values() for card in cards[1:]}
    kept = fits.Header([card for card in header.cards if id(card) not in others])
    pairs = ((cards[0], each) for cards in repeated.values() for each in cards[1:])
    differing = [f"{a.keyword} = {a.value!r} and {b.value!r}" for a, b in pairs if a.value != b.value]
    if differing:
        warnings.warn(
            f"{cleaned(str(path))}: a header has keywords more than once, "
            f"{cleaned('; '.join(differing[:_FEW]))}{' ...' if len(differing) > _FEW else ''}. The first is taken, as "
            "astropy's header does; if that is wrong, delete it from the file",
            UserWarning,
            stacklevel=2,
        )
    return kept


def spectral_axis(header: Any) -> int | None:
    """Number in FITS, from 1 on, of the axis that spectra lie along; None where there is none."""
    ndim = header["NAXIS"]
    found = [n for n in range(1, ndim + 1) if str(header.get(f"CTYPE{n}", "")).upper()[:4] in SPECTRAL]
    if not found and _is_of_iraf(header):
        found = [int(header.get("DISPAXIS", 1))]
    if not found and ndim != 2:
        # Without a word about it: the last of FITS, which is the first of the array.
        found = [n for n in range(ndim, 0, -1) if header[f"NAXIS{n}"] > 1][:1]
    return found[0] if found else None


def spectral_position(header: Any) -> int | None:
    """Position of that axis in the array."""
    axis = spectral_axis(header)
    return None if axis is None else int(header["NAXIS"]) - axis


def coordinate_along(header: Any, axis: int, size: int) -> np.ndarray:
    """Coordinate by the linear keywords, in the header's units: CRVAL, CRPIX and CDELT, PC or CD, of
    which astropy says what holds.

    Of an axis without any of them pixels are counted, from 0.
    Where axes are turned against each other, or the cards make no sense, there is none; a warning says so, and pixels
    are counted.
    """
    from astropy import wcs

    plain = {keyword: header[keyword] for keyword in header if _LINEAR.match(keyword)}
    if not any(re.match(rf"(CRPIX|CRVAL|CDELT){axis}$|(PC|CD){axis}_\d+$", keyword) for keyword in plain):
        return np.arange(size, dtype=float)
    if any(keyword.startswith("CD") and "_" in keyword for keyword in plain):
        # Of other axes, of which the header need not say anything, nothing depends on what they are.
        others = [
            n for n in range(1, header["NAXIS"] + 1) if not any(keyword.startswith(f"CD{n}_") for keyword in plain)
        ]
        plain |= {f"CD{n}_{n}": 1.0 for n in others}
    k = axis - 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wcs.FITSFixedWarning)
            linear = wcs.WCS(_header_of(plain), naxis=header["NAXIS"])
            steps = linear.pixel_scale_matrix
        turned = bool(np.count_nonzero(steps[k]) + np.count_nonzero(steps[:, k]) > 2)
        why = "is turned against another one (PC, CD or CROTA), so that it has no coordinate of its own"
    except (ValueError, wcs.WcsError) as error:
        turned, why = True, f"can't be understood ({cleaned(str(error))})"
    if turned:
        warnings.warn(f"axis {axis} of the header {why}; pixels are counted", UserWarning, stacklevel=2)
        return np.arange(size, dtype=float)
    return np.asarray(linear.wcs.crval[k] + steps[k, k] * (np.arange(size) + 1 - linear.wcs.crpix[k]))


def spectral_coordinate(header: Any, axis: int, size: int) -> tuple[np.ndarray, str]:
    """Coordinate along the spectral axis, and its units, which are the header's.

    Raises
    ------
    ValueError
        For what astropy does not understand, and for dispersions of IRAF's that are no straight lines.
    """
    unit = str(header.get(f"CUNIT{axis}", "")).strip()
    ctype = str(header.get(f"CTYPE{axis}", "")).upper()
    if _is_of_iraf(header) and ctype[4:8] != "-LOG":
        return _iraf_coordinate(header, axis, size), unit or _attributes(header, axis).get("units", "")
    if ctype[:4] not in SPECTRAL:
        return coordinate_along(header, axis, size), unit
    from astropy import units, wcs

    if ctype[4:] == "-TAB":
        raise ValueError(
            f"CTYPE{axis}={ctype!r}: coordinates in a table of the file are not read; write the spectra with linear or "
            "logarithmic channels"
        )
    try:
        with warnings.catch_warnings():
            # On dates and other keywords that have nothing to do with it.
            warnings.simplefilter("ignore", wcs.FITSFixedWarning)
            spectral = wcs.WCS(header).sub([axis])
            known = str(spectral.wcs.ctype[0])
            unit, factor = _unit_of(unit, known[:4], str(spectral.wcs.cunit[0]))
            if known[4:]:
                # In SI; back by the factor that it was brought there with, for constants differ in their eighth digit.
                values = spectral.wcs_pix2world(np.arange(size, dtype=float)[:, None], 0)[:, 0] / factor
                return np.asarray(values), unit
    except (ValueError, units.UnitsError, wcs.WcsError) as error:
        raise ValueError(
            f"the spectral axis {axis} of the header can't be understood: {cleaned(str(error))}"
        ) from error
    return coordinate_along(header, axis, size), unit


def _unit_of(unit: str, kind: str, standard: str) -> tuple[str, float]:
    """The header's unit as units are written, and what astropy multiplies numbers with to bring them to SI.

    Parameters
    ----------
    unit : str
        The header's, perhaps misspelt or empty.
    kind : str
        The first four letters of CTYPE.
    standard : str
        What astropy measures such an axis in.
    """
    from astropy import units, wcs

    if not unit:
        return standard, 1.0
    try:
        units.Unit(unit)
    except ValueError:
        # "Angstroms", "HZ": astropy's own corrections.
        unit = str(wcs.WCS(_header_of({"NAXIS": 1, "CTYPE1": "LINEAR", "CUNIT1": unit})).wcs.cunit[0])
    one = wcs.WCS(_header_of({"NAXIS": 1, "CTYPE1": kind, "CUNIT1": unit, "CRVAL1": 1.0}))
    one.wcs.set()
    return unit, float(one.wcs.crval[0])


def _header_of(cards: Mapping[str, Any]) -> Any:
    from astropy.io import fits

    return fits.Header(list(cards.items()))


# --- IRAF ------------------------------------------------------------------------------------------------------------


def _is_of_iraf(header: Any) -> bool:
    """Whether the coordinate is not what the linear keywords say: logarithms (DC-FLAG = 1), or a
    dispersion of each aperture (MULTISPE).
    """
    return header.get("DC-FLAG") == 1 or str(header.get("CTYPE1", "")).upper() == "MULTISPE"


def _iraf_coordinate(header: Any, axis: int, size: int) -> np.ndarray:
    """Coordinate of IRAF's spectra (F. Valdes 1993, ASP Conf. Ser. 52, 467)."""
    if str(header.get("CTYPE1", "")).upper() != "MULTISPE":
        return _powers(coordinate_along(header, axis, size), f"DC-FLAG = 1 and CRVAL{axis}")
    found = [_dispersion(text, size) for text in re.findall(r'spec\d+\s*=\s*"([^"]*)"', _attributes(header, 2)["text"])]
    if not found or any(not np.array_equal(each, found[0]) for each in found):
        raise ValueError(
            f"the apertures of this file of IRAF's ({len(found)}) have dispersions of their own; write them with one "
            "for all (IRAF's dispcor), or each in a file of its own (scopy)"
        )
    return found[0]


def _dispersion(text: str, size: int) -> np.ndarray:
    """Coordinate of an aperture: aperture, beam, kind, first value, step, number of values, redshift, ..."""
    fields = text.split()
    kind, first, step, redshift = int(fields[2]), float(fields[3]), float(fields[4]), float(fields[6])
    if kind not in (-1, 0, 1):
        raise ValueError(
            f"the dispersion of an aperture is a polynomial or table ({text[:40]!r}...), which is not read; make it "
            "linear with IRAF's dispcor"
        )
    if kind == -1:
        return np.arange(1.0, size + 1)
    values = first + step * np.arange(size)
    return (_powers(values, "the first value of an aperture") if kind == 1 else values) / (1 + redshift)


def _powers(values: np.ndarray, what: str) -> np.ndarray:
    """Numbers whose decimal logarithms are given.

    Raises
    ------
    ValueError
        Where they can't be logarithms.
    """
    if np.abs(values).max() > 300:
        raise ValueError(
            f"{what} says that the coordinate is a decimal logarithm, and it goes from {values[0]:g} to {values[-1]:g}"
        )
    return np.asarray(10.0**values)


def _attributes(header: Any, axis: int) -> dict[str, str]:
    """What IRAF says of an axis, in cards WAT1_001, WAT1_002, ...: words by name, and all of it as "text"."""
    # Cards are filled up with blanks, which belong to the text, and which astropy strips.
    cards = sorted(key for key in header if re.fullmatch(rf"WAT{axis}_\d+", key))
    text = "".join(str(header[key]).ljust(68) if key != cards[-1] else str(header[key]) for key in cards)
    return {"text": text, **{key.lower(): value for key, value in re.findall(r"(\w+)\s*=\s*([^\s\"]+)", text)}}
