"""What a result says of itself, as text and as HTML; of what is not in memory nothing is read or computed for it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xfit.display import cleaned, html_facts, html_page, html_section, shortened, terminal_width, wrapped
from xfit.engine.pixel.status import DESCRIPTIONS
from xfit.modeling.tables import counted, model_about, model_sections
from xfit.modeling.text_limits import json_of
from xfit.results.report import Part, Report, Statuses, part_html, pixel_report, summary

if TYPE_CHECKING:
    from xfit.modeling.model import Model

#: Variables that a summary is made from.
_NEEDED = ("value", "stderr", "at_bound", "chisq", "red_chisq", "loss", "dof", "status", "nfev")

#: Values up to which percentiles of all parameters take no noticeable time.
_QUICK = 2_000_000

#: What the attributes say of how a fit was made, and what a reader wants to hear of that.
_SAID = {
    "xfit_optimizer": "{}",
    "xfit_loss": "loss {}",
    "xfit_loss_scale": "loss_scale {:g}",
    "xfit_alpha": "alpha {:g}",
    "xfit_path": "path {}",
    "xfit_starts": "{} starts",
    "xfit_criterion": "chosen by {}",
}


def overview_text(ds: xr.Dataset, model: Model | Exception) -> str:
    """Describe a result for a terminal.

    Parameters
    ----------
    ds : Dataset
        The result.
    model : Model or Exception
        What was fitted, or why that can't be told.
    """
    width = terminal_width()
    rows = [*_facts(ds), ("model", _model_words(model)), ("numbers", _state(ds))]
    lines = [f"<{shortened(f'xfit result: {_title(ds)}', width - 2)}>"]
    lines += [wrapped(f"{name:<11s} {cleaned(words)}", width, 12) for name, words in rows]
    found = _summary(ds, model)
    return "\n".join([*lines, *([str(Report(found))] if found else [])])


def overview_html(ds: xr.Dataset, model: Model | Exception) -> str:
    """Describe a result for a notebook; arguments as for `overview_text`."""
    parts = [html_facts([*_facts(ds), ("numbers", _state(ds))])]
    sections = [] if isinstance(model, Exception) else model_sections(model, opened=False)
    parts.append(html_section("model", _model_words(model), *sections))
    found = _summary(ds, model)
    if found:
        parts.append(html_section("summary", "", *map(part_html, found), opened=True))
    return html_page("xfit result", _title(ds), "", *parts)


def no_result_text(reason: Exception) -> str:
    """Say for a terminal that a Dataset can't be asked about a fit."""
    return wrapped(f"<xfit: {cleaned(str(reason))}>", terminal_width())


def no_result_html(reason: Exception) -> str:
    """Say it for a notebook."""
    return html_page("xfit", "", str(reason))


def _title(ds: xr.Dataset) -> str:
    return str(ds.attrs.get("title", "fit"))


def _facts(ds: xr.Dataset) -> list[tuple[str, str]]:
    """How the fit was made, and over what: from attributes and sizes alone."""
    signal = json_of(ds.attrs.get("xfit_signal_dims", "[]"))
    sizes: Mapping[Any, int] = ds.sizes
    navigation = {d: sizes[d] for d in ds["value"].dims if d != "param"}
    return [
        ("fitted by", _how(ds.attrs)),
        ("navigation", _listed(navigation) if navigation else "none: a single fit"),
        ("signal", _listed({d: sizes.get(d) for d in signal}) or "unknown"),
    ]


def _how(attrs: Mapping[Any, Any]) -> str:
    words = ["SAMFire"] if "xfit_samfire" in attrs else []
    words += [_formatted(text, attrs[key]) for key, text in _SAID.items() if key in attrs]
    words += ["variance that follows the model"] if attrs.get("xfit_reweight") else []
    words += ["without bounds"] if not attrs.get("xfit_bounded", 1) else []
    return ", ".join([*words, f"xfit {attrs.get('xfit_version', 'of unknown version')}"])


def _formatted(text: str, value: Any) -> str:
    """Words of an attribute; files may have turned numbers into text."""
    try:
        return text.format(value)
    except (TypeError, ValueError):
        return text.replace(":g", "").format(value)


def _listed(sizes: Mapping[Any, int | None]) -> str:
    return ", ".join(f"{d}: {'?' if size is None else format(size, ',')}" for d, size in sizes.items())


def _model_words(model: Model | Exception) -> str:
    if isinstance(model, Exception):
        return f"can't be read: {model}"
    return f"{model.name}: {model_about(model)}" if model.name else model_about(model)


def _state(ds: xr.Dataset) -> str:
    """Where the numbers are, and how to get at them."""
    value = ds["value"]
    if _in_memory(ds):
        return f"in memory, {counted(_pixels(ds), 'pixel')}"
    if value.chunks is None:
        return f"not in memory, {counted(_pixels(ds), 'pixel')}; .load() reads them, .fit.report() sums them up"
    count = int(np.prod([len(sizes) for sizes in value.chunks]))
    chunks = [_chunks(d, sizes) for d, sizes in zip(value.dims, value.chunks, strict=True) if d != "param"]
    each = f" ({', '.join(chunks)})" if chunks else ""
    return (
        f"lazy, {counted(_pixels(ds), 'pixel')} in {counted(count, 'chunk')}{each}; "
        "nothing is computed yet: .compute() does so in memory, .to_zarr(path) chunk by chunk"
    )


def _chunks(dim: Hashable, sizes: tuple[int, ...]) -> str:
    about = "" if len(set(sizes[:-1])) <= 1 and sizes[-1] <= sizes[0] else "up to "
    return f"{dim}: {about}{max(sizes):,}"


def _pixels(ds: xr.Dataset) -> int:
    return int(np.prod([size for d, size in ds["value"].sizes.items() if d != "param"]))


def _in_memory(ds: xr.Dataset) -> bool:
    """Whether nothing has to be read or computed, coordinates of the parameters included."""
    names = [name for name in (*_NEEDED, "units", "free") if name in ds]
    return all(ds[name].variable._in_memory for name in names)


def _summary(ds: xr.Dataset, model: Model | Exception) -> list[Part]:
    """What a report says, where the numbers are there and that takes no time."""
    missing = [name for name in _NEEDED if name not in ds]
    if missing or not _pixels(ds) or not _in_memory(ds) or isinstance(model, Exception):
        return [f"no summary: the result lacks {', '.join(missing)}"] if missing else []
    if ds["value"].ndim == 1:
        ended = DESCRIPTIONS[int(ds["status"])]
        return [ended, *pixel_report(ds, model, {}, 0.1).parts[1:]]
    if ds["value"].size > _QUICK:
        return [Statuses.of(ds["status"].values), ".fit.report() tells the spread of every parameter"]
    return list(summary(ds, model).parts[1:])
