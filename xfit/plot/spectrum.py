"""A pixel as a figure: data, fit, components and residual with the width of the noise, and its parameters in a box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xfit.plot.figures import axis_label, draw_image, legible, new_figure, settled
from xfit.plot.pixel import PixelView
from xfit.plot.style import BAND, COMPONENTS, DATA, MODEL, coordinate, drawable, scale_of, symmetric_scale
from xfit.results.rounding import rounded

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Components whose names have room beside their curves.
_FEW = 8

#: Names of more of them beside each other, below the curves.
_NAMES = 4


def draw_pixel(view: PixelView, *, components: bool, residual: bool, table: bool, figure: Any) -> Figure:
    """Draw a spectrum, or an image; see `xarray.Dataset.fit.plot`."""
    if view.data.ndim == 2:
        return _draw_image_fit(view, residual=residual, table=table, figure=figure)
    blocks = blocks_of(view.fit) if table else []
    # Many names would lie on the data, or beyond the figure: they stand below, and in several columns beside it.
    many = components and len(view.components) > _FEW
    below = 0.2 + 0.18 * -(-(len(view.components) + 2) // _NAMES) if many else 0.0
    height = (5.0 if residual else 4.0) + below
    figure = new_figure(figure, (7.0 + 2.0 * len(_in_columns(blocks, _lines_in(height - below))), height))
    texts = _in_columns(blocks, _lines_in(float(figure.bbox.height / figure.dpi) - below))
    rows, columns = [3, 1] if residual else [1], [3.0] + [1.25] * len(texts)
    grid = figure.add_gridspec(len(rows), len(columns), height_ratios=rows, width_ratios=columns)
    above = figure.add_subplot(grid[0, 0])
    draw_spectrum(above, view, components=components)
    if many:
        handles, names = above.get_legend_handles_labels()
        above.get_legend().remove()
        figure.legend(handles, names, loc="outside lower center", ncols=_NAMES, frameon=False, fontsize="x-small")
    above.set_title(view.title, fontsize="medium", loc="left")
    lowest = above
    if residual:
        lowest = figure.add_subplot(grid[1, 0], sharex=above)
        draw_residual(lowest, view)
        above.tick_params(labelbottom=False)
    lowest.set_xlabel(axis_label(view.data[view.data.dims[0]], str(view.data.dims[0])))
    for k, text in enumerate(texts):
        _draw_box(figure.add_subplot(grid[:, k + 1]), text)
    figure.align_ylabels()
    return settled(figure)


def draw_spectrum(axes: Axes, view: PixelView, *, components: bool) -> None:
    """Data as points, the fit as a line, its components below."""
    x, _ = coordinate(view.data, view.data.dims[0])
    few = x.size <= 400
    axes.plot(x, drawable(view.data), "." if few else "-", color=DATA, markersize=3, linewidth=0.7, label="data")
    if components and len(view.components) > 1:
        for k, name in enumerate(view.components):
            if not bool((view.components[name].fillna(0.0) != 0).any()):
                # Not fitted, or switched off in this pixel.
                continue
            colour, dashes = COMPONENTS[k % len(COMPONENTS)], ("-", "--", ":")[k // len(COMPONENTS) % 3]
            axes.plot(x, drawable(view.components[name]), dashes, color=colour, linewidth=1.2, label=name)
    if np.isfinite(view.model).any():
        axes.plot(x, drawable(view.model), color=MODEL, linewidth=1.4, label="fit")
    axes.set_ylabel(axis_label(view.data, "data"))
    axes.legend(frameon=False, fontsize="small")
    legible(axes)


def draw_residual(axes: Axes, view: PixelView) -> None:
    """Data minus fit, and plus and minus one standard deviation of the noise."""
    x, _ = coordinate(view.data, view.data.dims[0])
    axes.fill_between(x, -view.sigma, view.sigma, color=BAND, alpha=0.6, linewidth=0, label=f"±1σ of {view.noise}")
    axes.axhline(0.0, color=MODEL, linewidth=0.8)
    axes.plot(x, view.residual, "." if x.size <= 400 else "-", color=DATA, markersize=3, linewidth=0.7)
    axes.set_ylabel("Residual")
    axes.legend(frameon=False, fontsize="x-small", loc="upper right")
    legible(axes)


def _draw_box(axes: Axes, text: str) -> None:
    """Values with errors, as text beside the curves."""
    axes.axis("off")
    axes.text(0.0, 1.0, text, transform=axes.transAxes, va="top", fontsize="small", linespacing=1.35)


def _lines_in(height: float) -> int:
    """Lines of text that a height (inches) has room for."""
    return max(int((height - 0.3) / 0.165), 8)


def _in_columns(blocks: Sequence[str], lines: int) -> list[str]:
    """Put blocks of text below each other, in a further column where they would be more than some lines."""
    columns: list[str] = []
    for block in blocks:
        longer = f"{columns[-1]}\n\n{block}" if columns else block
        if columns and longer.count("\n") < lines:
            columns[-1] = longer
        else:
            columns.append(block)
    return columns


def blocks_of(pixel: xr.Dataset) -> list[str]:
    """Parameters of a pixel, one a line, a block of text for each component."""
    blocks: dict[str, list[str]] = {}
    for k, name in enumerate(map(str, pixel["param"].values)):
        value, error = float(pixel["value"][k]), float(pixel["stderr"][k])
        if not np.isfinite(value):
            continue
        owner, _, short = name.rpartition(".")
        units = str(pixel["units"].values[k])
        bound = {-1: " (at its lower bound)", 1: " (at its upper bound)"}.get(int(pixel["at_bound"][k]), "")
        fixed = "" if bool(pixel["free"].values[k]) or error > 0 else " (fixed)"
        line = f"  {short} = {rounded(value, error)}{' ' + units if units else ''}{bound or fixed}"
        blocks.setdefault(owner, [owner]).append(line)
    return ["\n".join(lines) for lines in blocks.values()] or ["nothing was fitted"]


def _draw_image_fit(view: PixelView, *, residual: bool, table: bool, figure: Any) -> Figure:
    """Data, fit and residual of an image side by side, the first two in the same colours."""
    panels = 2 + residual
    figure = new_figure(figure, (3.6 * panels + (2.4 if table else 0), 3.8))
    columns = [1.0] * panels + ([0.75] if table else [])
    grid = figure.add_gridspec(1, len(columns), width_ratios=columns)
    same = scale_of(view.data.values)
    for k, (title, image) in enumerate((("Data", view.data), ("Fit", view.model))):
        draw_image(figure.add_subplot(grid[k]), image, same, title, axis_label(view.data, "data") if k else None)
    if residual:
        draw_image(
            figure.add_subplot(grid[2]),
            view.residual,
            symmetric_scale(view.residual.values),
            "Residual",
            axis_label(view.residual, "residual"),
        )
    if table:
        _draw_box(figure.add_subplot(grid[-1]), "\n\n".join(blocks_of(view.fit)))
    figure.suptitle(view.title, fontsize="medium")
    return settled(figure)
