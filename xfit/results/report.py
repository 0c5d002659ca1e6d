"""Results as reports: text that fits a terminal, HTML for notebooks."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xfit.display import cleaned, html_lines, html_page, html_table, terminal_width, text_table, wrapped
from xfit.engine.pixel.scalars import CRITERIA
from xfit.engine.pixel.status import CONVERGED, DESCRIPTIONS
from xfit.formulas import parser
from xfit.modeling.derived import derived_error, derived_map, derived_names
from xfit.modeling.model import Model
from xfit.modeling.text_limits import json_of
from xfit.results.cautions import cautions, coordinates_words
from xfit.results.curves import ending
from xfit.results.rounding import rounded

#: A share of pixels at a bound from which on it is worth a warning.
_MANY = 0.01


@dataclass(frozen=True)
class Statuses:
    """How the fits of several pixels ended.

    Attributes
    ----------
    counts : mapping of int to int
        How many ended with each code of the status.
    """

    counts: Mapping[int, int]

    @classmethod
    def of(cls, status: np.ndarray) -> Statuses:
        """Count the codes of a map."""
        codes, counts = np.unique(status, return_counts=True)
        return cls(dict(zip(codes.tolist(), counts.tolist(), strict=True)))

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """Shares, numbers and descriptions."""
        total = max(sum(self.counts.values()), 1)
        return [(f"{100 * n / total:.1f} %", str(n), DESCRIPTIONS[code]) for code, n in self.counts.items()]

    def text(self, width: int) -> str:
        """Lines for a terminal."""
        return "\n".join(wrapped(f"  {share:>7s}  {n:>9s}  {words}", width, 22) for share, n, words in self.rows)

    def _repr_html_(self) -> str:
        return html_table(("ended", "pixels", "share"), [row[::-1] for row in self.rows])


#: A paragraph, a table as its head and its rows, or how pixels ended.
Part = str | tuple[Sequence[str], Sequence[Sequence[str]]] | Statuses


class Report(str):
    """Text of a report, which notebooks show as tables.

    Attributes
    ----------
    parts : sequence of str, (head, rows) or Statuses
        Paragraphs and tables; the first is the title.
    """

    parts: Sequence[Part]

    def __new__(cls, parts: Sequence[Part]) -> Report:
        """Join the parts."""
        width = terminal_width()
        made = super().__new__(cls, "\n".join(_as_text(part, width) for part in parts))
        made.parts = parts
        return made

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        title, *parts = self.parts
        return html_page("Report", str(title), "", *map(part_html, parts))


def _as_text(part: Part, width: int) -> str:
    """A part of a report for a terminal."""
    if isinstance(part, str):
        return wrapped(part, width)
    return part.text(width) if isinstance(part, Statuses) else text_table(*part, width=width)


def part_html(part: Part) -> str:
    """A part of a report for a notebook."""
    if isinstance(part, str):
        return html_lines(part)
    return part._repr_html_() if isinstance(part, Statuses) else html_table(*part)


def pixel_of(result: xr.Dataset, navigation: tuple[Hashable, ...], indexers: Mapping[str, Any]) -> xr.Dataset:
    """Take one pixel out of a result and compute it.

    Parameters
    ----------
    indexers : mapping
        Label (or number, where a dimension has no labels) along each navigation dimension.

    Raises
    ------
    ValueError
        For a dimension without indexer, an unknown one, or a position that is none.
    """
    missing = [d for d in navigation if d not in indexers]
    unknown = [d for d in indexers if d not in navigation]
    if missing or unknown:
        raise ValueError(f"give one position along each of {list(navigation)}; missing: {missing}, unknown: {unknown}")
    for d, v in indexers.items():
        _check_position(result, d, v)
    return cut(result, indexers).compute()


def _check_within(places: Any, dim: Hashable, position: Any) -> None:
    """Refuse a number beyond the ends of a coordinate by more than a step: the nearest
    place would not be what was meant.

    Raises
    ------
    ValueError
        Says where the ends are.
    """
    if places.dtype.kind not in "iuf" or np.ndim(position) or len(places) < 2:
        return
    low, high = float(places.min()), float(places.max())
    step = float(np.abs(np.diff(places.to_numpy().astype(float))).max())
    if not low - step <= float(position) <= high + step:
        raise ValueError(
            f"{cleaned(str(dim))}={position!r} lies outside of {dim!r}, which goes from {low:g} to {high:g}"
        )


def cut(result: xr.Dataset, indexers: Mapping[str, Any]) -> xr.Dataset:
    """Cut a result by labels, numbers and times by the nearest; by numbers along dimensions without labels.

    Raises
    ------
    ValueError
        For a label that is not there.
    """
    for d, position in indexers.items():
        if d not in result.indexes:
            result = result.isel({d: position})
        elif result.indexes[d].dtype.kind in "iufmM" and not isinstance(position, slice):
            _check_within(result.indexes[d], d, position)
            result = result.sel({d: position}, method="nearest")
        else:
            try:
                result = result.sel({d: position})
            except KeyError as error:
                some = ", ".join(map(repr, result.indexes[d][:5].tolist())) + (", ..." if result.sizes[d] > 5 else "")
                raise ValueError(f"there is no {cleaned(d)}={position!r}; places along {d!r} are {some}") from error
    return result


def _check_position(result: xr.Dataset, d: str, position: Any) -> None:
    """Refuse what is no single position along a dimension."""
    if np.ndim(position) or isinstance(position, slice):
        raise ValueError(f"{cleaned(d)}={position!r} must be one position, of one pixel")
    if d in result.indexes:
        return
    size = result.sizes[d]
    if not isinstance(np.asarray(position).item(), int) or not -size <= int(position) < size:
        raise ValueError(
            f"{cleaned(d)}={position!r} must be a whole number below {size}: there are {size} places without "
            "coordinates"
        )


def pixel_table(pixel: xr.Dataset, model: Model, indexers: Mapping[str, Any]) -> Report:
    """Parameters of one pixel as a table."""
    place = _place(indexers)
    red_chisq = _number(float(pixel["red_chisq"]))
    words = ending(pixel, model, tuple(json_of(pixel.attrs["xfit_signal_dims"])))
    head = f"{place + ': ' if place else ''}{cleaned(words)}; reduced chi-squared {red_chisq}"
    return Report([head, _parameters(pixel, model)])


def pixel_report(pixel: xr.Dataset, model: Model, indexers: Mapping[str, Any], min_correlation: float) -> Report:
    """All that is to be said of one pixel's fit.

    Parameters
    ----------
    pixel : Dataset
        A computed result without navigation dimensions.
    min_correlation : float
        Correlations that are smaller are left out.
    """
    place = _place(indexers)
    title = f"{cleaned(str(pixel.attrs.get('title', 'fit')))}{' at ' + place if place else ''}"
    words = ending(pixel, model, tuple(json_of(pixel.attrs["xfit_signal_dims"])))
    parts: list[Any] = [f"{title}: {cleaned(words)}", _statistics(pixel, model), _parameters(pixel, model)]
    derived = _derived(pixel, model)
    if derived[1]:
        parts.append(derived)
    parts += _correlations(pixel, min_correlation)
    return Report(parts + _warnings(pixel, model))


def _place(indexers: Mapping[str, Any]) -> str:
    """Where a pixel is."""
    return ", ".join(f"{cleaned(str(d))}={cleaned(str(v))}" for d, v in indexers.items())


def number_fitted(result: xr.Dataset, model: Model) -> xr.DataArray:
    """Number of parameters that were fitted in each pixel, those of components that are off
    included where a tie follows them.
    """
    known = result["value"].notnull()
    count = (result["free"] & known).sum("param")
    ties = model.resolve_ties()
    follows = {name: parser.names(text) for name, text in ties.items()}
    needed = {name: known.sel(param=name, drop=True) for name in {*follows, *itertools.chain(*follows.values())}}
    for name, sources in reversed(follows.items()):
        for source in sources:
            needed[source] = needed[source] | needed[name]
    hidden = [name for name in needed if name not in ties and model.parameter(name).free]
    return sum((needed[name] & ~known.sel(param=name, drop=True) for name in hidden), count)


def _statistics(pixel: xr.Dataset, model: Model) -> str:
    """What was minimised, and how well."""
    attrs = pixel.attrs
    free = int(number_fitted(pixel, model))
    dof = int(pixel["dof"])
    scaled = "scaled by" if attrs.get("xfit_scale_covariance") else "not scaled by"
    lines = [
        f"{cleaned(str(attrs.get('xfit_optimizer', '?')))}, loss {cleaned(str(attrs.get('xfit_loss', '?')))} = "
        f"{_number(float(pixel['loss']))}; {dof + free} channels, {free} free parameters, {int(pixel['nfev'])} "
        "evaluations",
        f"chi-squared {_number(float(pixel['chisq']))}, reduced {_number(float(pixel['red_chisq']))}; errors {scaled} "
        "it",
    ]
    criteria = [
        f"{name.upper().replace('AICC', 'AICc')} {_number(float(pixel[name]))}" for name in CRITERIA if name in pixel
    ]
    return "\n".join([*lines, *([", ".join(criteria)] if criteria else []), *coordinates_words(pixel)])


def _parameters(pixel: xr.Dataset, model: Model) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Table of parameters."""
    known = [str(name) for name in pixel["param"].values]
    rows: list[Sequence[str]] = []
    for component in model:
        for parameter in component.parameters:
            name = f"{component.name}.{parameter.name}"
            if name not in known:
                continue
            k = known.index(name)
            value, error = float(pixel["value"][k]), float(pixel["stderr"][k])
            at_bound = {-1: "at min", 1: "at max"}.get(int(pixel["at_bound"][k]), "")
            state = f"= {parameter.tie_formula}" if parameter.is_tied else "free" if parameter.free else "fixed"
            relative = _percent(error / abs(value)) if error > 0 and value != 0 else ""
            rows.append((name, rounded(value, error), relative, at_bound or state, str(pixel["units"].values[k])))
    return ("parameter", "value", "error", "state", "units"), rows


def _derived(pixel: xr.Dataset, model: Model) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Table of what follows from the parameters."""
    units = json_of(pixel.attrs.get("xfit_derived_units", "{}"))
    rows: list[Sequence[str]] = []
    with_pairs = "pair_covariance" in pixel or "covariance" in pixel
    for name in derived_names(model):
        value = float(derived_map(pixel, model, name))
        error = float(derived_error(pixel, model, name)) if with_pairs else np.nan
        if np.isfinite(value):
            rows.append((name, rounded(value, error), units.get(name, "")))
    return ("derived", "value", "units"), rows


def _correlations(pixel: xr.Dataset, least: float) -> list[Any]:
    """Table of correlations, the largest first."""
    if "covariance" not in pixel:
        return ["correlations: fit with covariance=True to see them"]
    names = [str(name) for name in pixel["param"].values]
    matrix = correlation_of(pixel["covariance"]).values
    fitted = [k for k in range(len(names)) if bool(pixel["free"].values[k]) and np.isfinite(matrix[k, k])]
    found = [(abs(matrix[a, b]), matrix[a, b], names[a], names[b]) for i, a in enumerate(fitted) for b in fitted[:i]]
    rows = [(one, other, f"{value:+.3f}") for size, value, other, one in sorted(found, reverse=True) if size >= least]
    return [(("correlation of", "with", "coefficient"), rows)] if rows else [f"no correlation above {least:g}"]


def correlation_of(covariance: xr.DataArray) -> xr.DataArray:
    """Correlations from covariances, over ``param`` and ``param_``; exactly one on the diagonal."""
    size = covariance.sizes["param"]
    one = xr.DataArray(np.eye(size, dtype=bool), dims=("param", "param_"))
    plain = covariance.drop_vars([c for c in covariance.coords if {"param", "param_"} & set(covariance[c].dims)])
    spread = plain.where(one).sum("param_", min_count=1) ** 0.5
    found = (plain / spread / spread.rename(param="param_")).transpose(*covariance.dims)
    return covariance.copy(data=found.where(~one | found.isnull(), 1.0).clip(-1.0, 1.0).data)


def _warnings(pixel: xr.Dataset, model: Model) -> list[str]:
    """What should make a reader careful."""
    found = cautions(pixel, model)
    if int(pixel["status"]) != CONVERGED:
        found.append("the fit has not converged")
    for name, side in zip(pixel["param"].values, pixel["at_bound"].values, strict=True):
        if side:
            found.append(f"{name} lies at its {'lower' if side < 0 else 'upper'} bound and has no error")
    missing = pixel["free"] & pixel["value"].notnull() & pixel["stderr"].isnull() & (pixel["at_bound"] == 0)
    if int(pixel["status"]) == CONVERGED and bool(missing.any()):
        found.append(f"no errors of {', '.join(map(str, pixel['param'].values[missing.values]))}")
    red, dof = float(pixel["red_chisq"]), int(pixel["dof"])
    absolute = not pixel.attrs.get("xfit_scale_covariance") and pixel.attrs.get("xfit_loss") in ("ls", "poisson")
    if absolute and dof > 0 and abs(red - 1) > 5 * np.sqrt(2 / dof):
        found.append(f"reduced chi-squared {_number(red)} is far from one: the variance or the model is not right")
    return [f"warning: {cleaned(each)}" for each in found]


def summary(result: xr.Dataset, model: Model) -> Report:
    """Summary of a map: statuses, goodness of fit, spread of every parameter over the converged pixels, and what
    should make a reader careful.
    """
    ds = result[["value", "stderr", "at_bound", "red_chisq", "status", "nfev", "dof"]].compute()
    status = ds["status"].values
    title = f"{cleaned(str(result.attrs.get('title', 'fit')))}: {status.size} pixels"
    lines = []
    good = ds.where(ds["status"] == CONVERGED)
    if (status == CONVERGED).any():
        with np.errstate(invalid="ignore"):  # of two infinities
            low, middle, high = np.nanpercentile(good["red_chisq"].values, [5, 50, 95])
        lines.append(f"reduced chi-squared: median {_number(middle)}, 5-95 %: {_number(low)} to {_number(high)}")
        lines.append(f"model evaluations: mean {ds['nfev'].values[status == CONVERGED].mean():.1f}")
    rows = [_spread(ds, good, k) for k in range(ds.sizes["param"])]
    shares = (ds["at_bound"] != 0).mean([d for d in ds["at_bound"].dims if d != "param"])
    warnings = [
        f"warning: {cleaned(str(name))} lies at a bound in {100 * float(share):.1f} % of the pixels"
        for name, share in zip(ds["param"].values, shares.values, strict=True)
        if share >= _MANY
    ] + [f"warning: {cleaned(each)}" for each in cautions(ds.assign_coords(_signal_coords(result)), model)]
    head = ("parameter", "median", "5-95 %", "median stderr", "at bound", "units")
    lines += coordinates_words(result)
    goodness = ["\n".join(lines)] if lines else []
    return Report([title, Statuses.of(status), *goodness, (head, rows), *warnings])


def _signal_coords(result: xr.Dataset) -> dict[Hashable, xr.DataArray]:
    """Coordinates along the signal."""
    return {d: result.coords[d] for d in json_of(result.attrs.get("xfit_signal_dims", "[]")) if d in result.coords}


def _spread(ds: xr.Dataset, good: xr.Dataset, k: int) -> Sequence[str]:
    """Row of a summary: how a parameter is spread over the map."""
    name, units = str(ds["param"].values[k]), str(ds["units"].values[k])
    values, errors = good["value"].isel(param=k).values, good["stderr"].isel(param=k).values
    if np.isnan(values).all():
        return (name, "-", "-", "-", "-", units)
    low, middle, high = np.nanpercentile(values, [5, 50, 95])
    error = np.nanmedian(errors) if not np.isnan(errors).all() else np.nan
    bound = float((ds["at_bound"].isel(param=k).values != 0).mean())
    share = f"{100 * bound:.1f} %" if bound else ""
    return (name, _number(middle), f"{_number(low)} .. {_number(high)}", _number(float(error)), share, units)


def _percent(share: float) -> str:
    """Two digits of a share; nothing where the value is lost in its error."""
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.0f} %" if share < 10 else ""


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.6g}"
