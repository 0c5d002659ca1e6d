"""Data, models and results in which every name, unit, label and attribute holds a tag, a script, a formula, an escape
sequence and a made-up line.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import xarray as xr

import xfit
from xfit.components import Gaussian, Offset

#: What is planted. Its parts are looked for in what is shown.
TAG = '</script><img src=x onerror="planted=1"><svg onload=planted=2>'
MATH = r"$$\href{javascript:planted=3}{x}$$\(x\)"
ESCAPES = "\x1b]0;owned\x07\x9b31m\u202e\u2028\r\nmade up: 100.0 % converged"
PLANT = TAG + MATH + ESCAPES

#: The same without what names of components and models may not hold.
NAME = PLANT.translate({ord(each): None for each in ".\r\n\u2028"})


def names(*dims: str) -> dict[str, str]:
    """Names of dimensions with what is planted."""
    return {each: each + PLANT for each in dims}


def planted_data(*navigation: str, channels: int = 24) -> xr.DataArray:
    """Spectra with a peak over some dimensions, with labels and coordinates of text beside them."""
    called = names(*navigation, "e")
    e = np.linspace(0.0, 10.0, channels)
    sizes = dict(zip(navigation, (2, 3, 4)[-len(navigation) :], strict=True)) if navigation else {}
    rng = np.random.default_rng(0)
    counts = rng.poisson(20 + 80 * np.exp(-((e - 5.0) ** 2) / 2), (*sizes.values(), channels)).astype(float)
    coords: dict[Hashable, object] = {
        called["e"]: (called["e"], e, {"units": "eV" + PLANT, "long_name": "energy" + PLANT})
    }
    for each, size in sizes.items():
        coords[called[each]] = (
            called[each],
            0.5 * np.arange(size),
            {"units": "nm" + PLANT, "long_name": "place" + PLANT},
        )
    if navigation:
        last = navigation[-1]
        coords["sample" + PLANT] = (called[last], [f"=1+{k}{PLANT}" for k in range(sizes[last])])
    attrs = {"units": "counts" + PLANT, "long_name": "signal" + PLANT, "note": PLANT}
    return xr.DataArray(counts, dims=tuple(called.values()), coords=coords, name="counts" + PLANT, attrs=attrs)


def planted_model() -> xfit.Model:
    """A peak on a background whose width is tied, with names and units that hold what is planted."""
    model = xfit.Model(
        [Gaussian(name="g" + NAME, A=100, centre=5, sigma=1), Offset(name="b" + NAME, offset=20)], name="model" + NAME
    )
    model["b" + NAME].offset.units = "counts" + PLANT
    return model


def planted_fit(da: xr.DataArray) -> xr.Dataset:
    """A result whose title and attributes hold it, too."""
    fit = da.fit.multifit(planted_model(), "e" + PLANT) if da.ndim > 1 else da.fit(planted_model())
    return fit.assign_attrs(title="title" + PLANT, note=PLANT)
