"""Results as text that fits a terminal."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from xfit.kernels.status import CONVERGED, DESCRIPTIONS
from xfit.model import Model
from xfit.tables import text_table


def pixel_table(result: xr.Dataset, model: Model, navigation: tuple[Hashable, ...], indexers: Mapping[str, Any]) -> str:
    """Table of the parameters of one pixel.

    Parameters
    ----------
    result : Dataset
        The result.
    model : Model
        For bounds, free flags and ties.
    navigation : tuple
        Navigation dimensions; each needs an indexer.
    indexers : mapping
        Label (or number, where a dimension has no labels) along each.

    Raises
    ------
    ValueError
        For a dimension without indexer or an unknown one.
    """
    missing = [d for d in navigation if d not in indexers]
    unknown = [d for d in indexers if d not in navigation]
    if missing or unknown:
        raise ValueError(f"give one position along each of {list(navigation)}; missing: {missing}, unknown: {unknown}")
    labels = {d: v for d, v in indexers.items() if d in result.indexes}
    numbers = {d: v for d, v in indexers.items() if d not in result.indexes}
    nearest = "nearest" if all(result.indexes[d].dtype.kind in "iuf" for d in labels) and labels else None
    pixel = result.sel(labels, method=nearest).isel(numbers).compute()
    rows = []
    known = [str(name) for name in pixel["param"].values]
    for component, parameter in ((c, p) for c in model for p in c.parameters if f"{c.name}.{p.name}" in known):
        k = known.index(f"{component.name}.{parameter.name}")
        at_bound = {-1: "at min", 1: "at max"}.get(int(pixel["at_bound"][k]), "")
        state = parameter.tie_formula or ("free" if parameter.free else "fixed")
        rows.append(
            (
                f"{component.name}.{parameter.name}",
                _number(float(pixel["value"][k])),
                _number(float(pixel["stderr"][k])),
                at_bound or state,
                str(pixel["units"].values[k]),
            )
        )
    red_chisq = _number(float(pixel["red_chisq"]))
    place = ", ".join(f"{d}={v}" for d, v in indexers.items())
    head = f"{place + ': ' if place else ''}{DESCRIPTIONS[int(pixel['status'])]}; reduced chi-squared {red_chisq}"
    return head + "\n" + text_table(("parameter", "value", "stderr", "", "units"), rows)


def summary(result: xr.Dataset, navigation: tuple[Hashable, ...]) -> str:
    """Summary of a result: statuses, goodness of fit, spread of every parameter over the converged pixels."""
    ds = result[["value", "stderr", "at_bound", "red_chisq", "status", "nfev"]].compute()
    status = ds["status"].values
    total = max(status.size, 1)
    lines = [f"{result.attrs.get('title', 'fit')}: {status.size} pixels"]
    for code in np.unique(status):
        count = int((status == code).sum())
        lines.append(f"  {100 * count / total:5.1f} %  {count:>9d}  {DESCRIPTIONS[int(code)]}")
    good = ds.where(ds["status"] == CONVERGED)
    if (status == CONVERGED).any():
        low, middle, high = np.nanpercentile(good["red_chisq"].values, [5, 50, 95])
        lines.append(f"reduced chi-squared: median {_number(middle)}, 5-95 %: {_number(low)} to {_number(high)}")
        lines.append(f"model evaluations: mean {ds['nfev'].values[status == CONVERGED].mean():.1f}")
    rows = []
    for k, name in enumerate(ds["param"].values):
        values = good["value"].isel(param=k).values
        errors = good["stderr"].isel(param=k).values
        if np.isnan(values).all():
            rows.append((str(name), "-", "-", "-", "-", str(ds["units"].values[k])))
            continue
        low, middle, high = np.nanpercentile(values, [5, 50, 95])
        error = np.nanmedian(errors) if not np.isnan(errors).all() else np.nan
        bound = float((ds["at_bound"].isel(param=k).values != 0).mean())
        rows.append(
            (
                str(name),
                _number(middle),
                f"{_number(low)} .. {_number(high)}",
                _number(float(error)),
                f"{100 * bound:.1f} %" if bound else "",
                str(ds["units"].values[k]),
            )
        )
    return (
        "\n".join(lines)
        + "\n"
        + text_table(("parameter", "median", "5-95 %", "median stderr", "at bound", "units"), rows)
    )


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.6g}"
