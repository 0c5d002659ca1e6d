"""Matplotlib figures: the one place where matplotlib is asked for, and the words that all of them use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xfit.plot.looks import MISSING, Scale, coordinate, label, same_units

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def new_figure(figure: Any, size: tuple[float, float]) -> Figure:
    """An empty figure that pyplot knows of, or that which is given.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    try:
        import colorcet  # noqa: F401  registers its colour maps
        from matplotlib import pyplot as plt
    except ImportError as error:
        raise ImportError("figures need matplotlib; install it with: pip install 'xfit[view]'") from error
    return plt.figure(figsize=size, layout="constrained") if figure is None else figure


def colour_map(scale: Scale) -> Any:
    """The colour map of a scale; what is missing is light grey."""
    import matplotlib

    name = scale.name if scale.name in matplotlib.colormaps else f"cet_{scale.name}"
    return matplotlib.colormaps[name].with_extremes(bad=MISSING)


def draw_image(axes: Axes, image: xr.DataArray, scale: Scale, title: str, bar: str | None = None) -> Any:
    """A map or image with its coordinates, and a colour bar if it has a label.

    Parameters
    ----------
    image : DataArray
        Over two dimensions: up, then across.
    """
    up, across = image.dims
    (y, y_label), (x, x_label) = coordinate(image, up), coordinate(image, across)
    mesh = axes.pcolormesh(x, y, np.ma.masked_invalid(image.values), shading="nearest", cmap=colour_map(scale), vmin=scale.low, vmax=scale.high, rasterized=True)  # fmt: skip
    axes.set(xlabel=x_label, ylabel=y_label, title=title)
    if same_units(image, (up, across)):
        axes.set_aspect("equal")
    if bar is not None:
        values = image.values[np.isfinite(image.values)]
        under, over = bool((values < scale.low).any()), bool((values > scale.high).any())
        extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get((under, over), "neither")
        axes.figure.colorbar(mesh, ax=axes, label=bar, extend=extend, shrink=0.85)
    return mesh


def legible(axes: Axes) -> None:
    """Frame and grid that stay behind what is shown."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.5)


def axis_label(array: xr.DataArray, name: str = "") -> str:
    """Name and units of an array with a capital letter first."""
    words = label(array, name)
    return words[:1].upper() + words[1:]
