"""How things look: labels with units, colours that everyone can tell apart, limits that outliers do not stretch."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from xfit.display import cleaned

#: Colours of components: those of Okabe and Ito (https://jfly.uni-koeln.de/color/), which colour-blind people can tell
#: apart, without black and yellow.
COMPONENTS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")

DATA, MODEL, BAND, MISSING = "#444444", "#000000", "#BBBBBB", "#E4E4E4"

#: Colours of statuses, by their numbers: what has converged is pale, what needs a look is not.
STATUSES = (
    "#999999",
    "#CFE8F3",
    "#E69F00",
    "#D55E00",
    "#882255",
    "#CC79A7",
    "#332288",
    "#AA4499",
    "#E4E4E4",
    "#44AA99",
    "#117733",
    "#F0E442",
    "#0072B2",
    "#DDCC77",
    "#000000",
)

#: Parameters that are places, of which a map shows shifts from their median.
_PLACES = ("centre", "center", "centre_x", "centre_y", "x0", "onset", "energy_shift", "shift", "velocity", "position")

_SPEEDS = ("km/s", "m/s", "km s-1", "m s-1", "km s^-1", "m s^-1")

#: Colour maps with even steps of lightness, safe for the colour-blind: matplotlib's, and one of P. Kovesi
#: (arXiv:1509.03700) that colorcet registers.
SEQUENTIAL, DIVERGING = "viridis", "CET_CBD1"


#: What is larger is drawn as this: differences of larger numbers, and ticks beside them, are none.
_LARGEST = 1e306

#: Least extent of what is drawn: of its numbers, below which they differ by rounding, and of all, below which numbers
#: lose their digits.
_FINEST, _SMALLEST = 1e-12, 1e-300


class Scale(NamedTuple):
    """Colours of a map.

    Attributes
    ----------
    low, high : float
        Limits.
    diverging : bool
        Whether they lie symmetrically about a middle.
    """

    low: float
    high: float
    diverging: bool

    @property
    def name(self) -> str:
        """The colour map."""
        return DIVERGING if self.diverging else SEQUENTIAL


def scale_of(values: np.ndarray, quantity: str = "", units: str = "", share: float = 98.0) -> Scale:
    """Limits that hold the given share (%) of the finite values; symmetric for velocities, shifts and places.

    Velocities and shifts are shown about zero where both signs occur, places about their median. What is measured in
    units of a velocity and has one sign, such as a width, is neither.
    """
    finite = drawable(values[np.isfinite(values)])
    if not finite.size:
        return Scale(0.0, 1.0, False)
    rest = (100 - share) / 2
    low, middle, high = (float(v) for v in np.percentile(finite, [rest, 50, 100 - rest]))
    name, signed = quantity.rpartition(".")[2], low < 0 < high
    diverging = name in _PLACES or (units in _SPEEDS and signed)
    if diverging:
        middle = 0.0 if signed and (units in _SPEEDS or name not in _PLACES[:6]) else middle
        reach = max(high - middle, middle - low)
        low, high = middle - reach, middle + reach
    if not differ(low, high):
        margin = 1e-3 * max(abs(low), abs(high))
        margin = margin if margin > _SMALLEST else 1.0
        low, high = low - margin, high + margin
    return Scale(low, high, diverging)


def symmetric_scale(values: np.ndarray) -> Scale:
    """Limits about zero that hold 99 % of the finite values."""
    finite = np.abs(drawable(values[np.isfinite(values)]))
    reach = float(np.percentile(finite, 99)) if finite.size else 1.0
    reach = reach if differ(-reach, reach) else 1.0
    return Scale(-reach, reach, True)


def drawable(values: Any) -> np.ndarray:
    """Numbers whose differences are numbers: what is finite, up to 1e306; the others as they are."""
    numbers = np.asarray(values, float)
    return np.where(np.isfinite(numbers), np.clip(numbers, -_LARGEST, _LARGEST), numbers)


def differ(low: float, high: float) -> bool:
    """Whether two numbers differ by more than rounding, so that there are places between them."""
    return high - low > max(_FINEST * max(abs(low), abs(high)), _SMALLEST)


def bins_of(scale: Scale, wanted: int) -> int:
    """How many bins the limits of a scale are cut into: as many as wanted, unless there are not as many numbers."""
    return max(min(wanted, int((scale.high - scale.low) / (2 * np.spacing(max(abs(scale.low), abs(scale.high)))))), 1)


#: What begins a tag of HTML, or a formula that bokeh would hand to MathJax.
_BEGINNING = re.compile(r"<(?=[A-Za-z/!?])|\$(?=\$)|\\(?=[\[(])")

#: A space without width, which is not seen and ends what it stands in.
_NOTHING = "\u200b"


def drawn(text: str) -> str:
    """Text of a file for a figure or a widget of a page: looks as it is, and is neither a tag nor a
    formula, whoever puts it into a page.
    """
    clean = _NOTHING.join(map(cleaned, text.split(_NOTHING)))
    return _BEGINNING.sub(lambda found: found[0] + _NOTHING, clean)


def label(array: xr.DataArray, name: str = "") -> str:
    """Name and units of an array, for an axis."""
    words = str(array.attrs.get("long_name") or name or array.name or "")
    return titled(words, str(array.attrs.get("units", "")))


def titled(words: str, units: str) -> str:
    """Words with units, where there are some, for an axis or a title."""
    return drawn(f"{words} ({units})" if units else words)


def coordinate(owner: xr.DataArray | xr.Dataset, dim: Any) -> tuple[np.ndarray, str]:
    """Places along a dimension and their label: the coordinate's, or numbers where it has none that are numbers."""
    if dim in owner.coords and owner[dim].ndim == 1 and owner[dim].dtype.kind in "iuf":
        return owner[dim].values, label(owner[dim], str(dim))
    return np.arange(owner.sizes[dim]), drawn(str(dim))


def cell_edges(image: xr.DataArray) -> list[np.ndarray]:
    """Where the pixels of a map begin and end: half way between their places.

    Along a dimension with a single place, a pixel is as long as along the other where units are the same, else one.

    Returns
    -------
    list of ndarray
        For each dimension one number more than it has places.
    """
    places = [coordinate(image, d)[0].astype(float) for d in image.dims]
    steps = [float(np.median(np.abs(np.diff(p)))) for p in places if p.size > 1]
    lone = steps[0] if steps and same_units(image, image.dims) else 1.0
    found = []
    for p in places:
        if p.size == 1:
            found.append(p[0] + lone * np.array([-0.5, 0.5]))
        else:
            middle = (p[:-1] + p[1:]) / 2
            found.append(np.concatenate([[2 * p[0] - middle[0]], middle, [2 * p[-1] - middle[-1]]]))
    return found


def same_units(owner: xr.DataArray | xr.Dataset, dims: tuple[Any, ...]) -> bool:
    """Whether a step along one dimension is as long as one along the others."""
    units = {str(owner[d].attrs.get("units", "")) if d in owner.coords else "" for d in dims}
    return len(units) == 1


def colours_of(scale: Scale) -> list[str]:
    """The colours of a scale, as they are written in pages."""
    import colorcet
    from bokeh.palettes import Viridis256

    return list(colorcet.palette[scale.name]) if scale.name in colorcet.palette else list(Viridis256)
