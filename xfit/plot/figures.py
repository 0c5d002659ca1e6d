"""Matplotlib figures: the one place where matplotlib is asked for, and the words that all of them use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xfit.display import cleaned
from xfit.plot.style import MISSING, Scale, cell_edges, coordinate, drawable, label, same_units

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
        from matplotlib.figure import Figure as MplFigure
    except ImportError as error:
        raise ImportError("figures need matplotlib; install it with: pip install 'xfit[view]'") from error
    if figure is None:
        return plt.figure(figsize=size, layout="constrained")
    if figure.get_layout_engine() is None and isinstance(figure, MplFigure):
        # Labels and colour bars of one panel would lie on the next.
        figure.set_layout_engine("constrained")
    return figure


def settled(figure: Figure) -> Figure:
    """Lay a figure with images out before it is drawn: as their shape is given, one round leaves labels beyond the
    edge.
    """
    _as_text(figure)
    engine = figure.get_layout_engine()
    if engine is not None and any(axes.get_aspect() != "auto" for axes in figure.figure.axes):
        for _ in range(2):
            engine.execute(figure.figure)
    return figure


def _as_text(figure: Figure) -> None:
    """Spell out controls in names and units of files, and leave dollars as they are where no formula of matplotlib's
    stands between them: drawing would fail.
    """
    from matplotlib.mathtext import MathTextParser
    from matplotlib.text import Text

    parser = MathTextParser("path")
    for each in figure.figure.findobj(Text):
        lines = each.get_text().split("\n")
        if not all(map(str.isprintable, lines)):
            each.set_text("\n".join(map(cleaned, lines)))
        if each.get_parse_math() and "$" in each.get_text():
            try:
                parser.parse(each.get_text())
            except ValueError:
                each.set_parse_math(False)


def colour_map(scale: Scale) -> Any:
    """The colour map of a scale; what is missing is light grey."""
    import matplotlib

    name = scale.name if scale.name in matplotlib.colormaps else f"cet_{scale.name}"
    return matplotlib.colormaps[name].with_extremes(bad=MISSING)


def draw_image(axes: Axes, image: xr.DataArray, scale: Scale, title: str, bar: str | None = None) -> Any:
    """A map or image with its coordinates, and a colour bar as high as it if the bar has a label.

    Parameters
    ----------
    image : DataArray
        Over two dimensions: up, then across.
    """
    y, x = cell_edges(image)
    mesh = axes.pcolormesh(
        x,
        y,
        np.ma.masked_invalid(drawable(image.values)),
        cmap=colour_map(scale),
        vmin=scale.low,
        vmax=scale.high,
        rasterized=True,
    )
    up, across = (coordinate(image, d)[1] for d in image.dims)
    axes.set(xlabel=across, ylabel=up, title=title)
    plain_ticks(axes, image)
    ratio = 1.0
    if same_units(image, image.dims):
        axes.set_aspect("equal")
        ratio = float(np.ptp(y) / np.ptp(x))
    if bar is not None:
        values = image.values[np.isfinite(image.values)]
        under, over = bool((values < scale.low).any()), bool((values > scale.high).any())
        extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get((under, over), "neither")
        beside = axes.inset_axes((1 + 0.04 * max(ratio, 1.0), 0.0, 0.05 * max(ratio, 1.0), 1.0))
        axes.figure.colorbar(mesh, cax=beside, label=bar, extend=extend)
    return mesh


def plain_ticks(axes: Axes, array: xr.DataArray) -> None:
    """Ticks along the dimensions of a map or line: whole numbers, for an offset would stand in the
    label, and as few as these need.

    Parameters
    ----------
    array : DataArray
        Over one dimension, shown across, or two: up, then across.
    """
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    for axis, dim in zip((axes.xaxis, axes.yaxis), array.dims[::-1], strict=False):
        places = coordinate(array, dim)[0].astype(float)
        if places.size == 1:
            axis.set_ticks(places)
            continue
        digits = np.log10(max(float(np.abs(places).max() / np.ptp(places)), 1.0)) + 2 if np.ptp(places) else 2
        axis.set_major_locator(MaxNLocator(2 if digits > 4 and axis is axes.xaxis else 4, steps=[1, 2, 2.5, 5, 10]))
        axis.set_major_formatter(ScalarFormatter(useOffset=False))


def legible(axes: Axes) -> None:
    """Frame and grid that stay behind what is shown."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.5)


def axis_label(array: xr.DataArray, name: str = "") -> str:
    """Name and units of an array with a capital letter first."""
    words = label(array, name)
    return words[:1].upper() + words[1:]
