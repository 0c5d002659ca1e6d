"""Distributions and correlations of parameters over the map, as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xfit.plot.figures import legible, new_figure, settled
from xfit.plot.maps import Quantity, good_of, names_of, quantity_of
from xfit.plot.style import COMPONENTS, bins_of, differ, drawable, scale_of
from xfit.results.fit_result import FitResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Pixels above which pairs are shown by their density.
_POINTS = 2000


def draw_corner(result: FitResult, params: Sequence[str] | str | None, *, bins: int, figure: Any) -> Figure:
    """Draw distributions and pairs of them; see `xfit.result_accessor.Result.corner`."""
    if isinstance(bins, bool) or not isinstance(bins, int) or bins < 2:
        raise ValueError(f"bins={bins!r} must be a whole number of at least 2")
    if not result.navigation_dims:
        raise ValueError(
            "the result is of a single spectrum or image and has no distributions; see result.fit.report()"
        )
    names = names_of(result, params)
    if not names:
        raise ValueError("nothing was fitted: the model has no free parameter; name what to show")
    good = good_of(result).ravel()
    if not good.any():
        raise ValueError("no pixel has converged; result.fit.report() says why")
    quantities = [quantity_of(result, name) for name in names]
    rows = [drawable(quantity.values.values.ravel()[good]) for quantity in quantities]
    # Colours may lie symmetrically about a middle, distributions need not.
    quantities = [q._replace(scale=scale_of(row)) for q, row in zip(quantities, rows, strict=True)]
    n = len(names)
    figure = new_figure(figure, (2.1 * n + 1.0, 2.1 * n + 0.6))
    grid = figure.subplots(n, n, squeeze=False, sharex="col")
    for i in range(n):
        for j in range(n):
            _draw_cell(grid[i, j], i, j, quantities, rows, bins)
            if i < n - 1:
                grid[i, j].tick_params(labelbottom=False)
    for k, quantity in enumerate(quantities):
        grid[-1, k].set_xlabel(_name(quantity), fontsize="small")
        if k:
            grid[k, 0].set_ylabel(_name(quantity), fontsize="small")
    figure.align_labels()
    return settled(figure)


def _draw_cell(axes: Axes, i: int, j: int, quantities: Sequence[Quantity], rows: list[np.ndarray], bins: int) -> None:
    """A histogram on the diagonal, a pair below it, nothing above."""
    if j > i:
        axes.remove()
        return
    x, y = rows[j], rows[i]
    across, up = quantities[j].scale, quantities[i].scale
    axes.set_xlim(across.low, across.high)
    axes.tick_params(labelsize="x-small")
    legible(axes)
    if i == j:
        inside = x[(x >= across.low) & (x <= across.high)]
        axes.hist(inside, bins=bins_of(across, bins), range=(across.low, across.high), color=COMPONENTS[4])
        if np.isfinite(x).any():
            axes.axvline(float(np.median(x[np.isfinite(x)])), color=COMPONENTS[1], linewidth=1.0)
        axes.set_title(quantities[i].name, fontsize="small")
        axes.set_yticks([])
        return
    axes.set_ylim(up.low, up.high)
    both = np.isfinite(x) & np.isfinite(y)
    if both.sum() > _POINTS:
        box = [[across.low, across.high], [up.low, up.high]]
        axes.hist2d(
            x[both],
            y[both],
            bins=(bins_of(across, bins), bins_of(up, bins)),
            range=box,
            cmap="Blues",
            cmin=1,
            rasterized=True,
        )
    else:
        axes.plot(x[both], y[both], ".", color=COMPONENTS[0], markersize=2, alpha=0.5)
    r = _correlation(x[both], y[both])
    if np.isfinite(r):
        axes.text(
            0.04,
            0.96,
            f"r = {r:+.2f}",
            transform=axes.transAxes,
            va="top",
            fontsize="x-small",
            bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 1},
        )
    if j:
        axes.tick_params(labelleft=False)


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's correlation; NaN where one does not vary."""
    if x.size < 2 or not differ(float(x.min()), float(x.max())) or not differ(float(y.min()), float(y.max())):
        return float("nan")
    # Products of numbers of any size.
    return float(np.corrcoef(x / np.abs(x).max(), y / np.abs(y).max())[0, 1])


def _name(quantity: Quantity) -> str:
    units = str(quantity.values.attrs.get("units", ""))
    return f"{quantity.name}\n({units})" if units else quantity.name
