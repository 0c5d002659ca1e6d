"""Preview: what a fit of a whole map will be like, from the mean spectrum and a few pixels of it."""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import dask
import numpy as np
import xarray as xr
from dask.system import CPU_COUNT

from xfit.arrays.axes import signal_dims
from xfit.display import cleaned, html_facts, html_page, html_section, html_table, terminal_width, wrapped
from xfit.engine.pixel.status import CONVERGED, DESCRIPTIONS, MEANINGS
from xfit.fitting.multifit import multifit
from xfit.fitting.planning.arguments import DimLike, FitArguments
from xfit.fitting.planning.plan import make_plan
from xfit.fitting.running.clients import active_client
from xfit.fitting.running.map_blocks import one_thread
from xfit.fitting.running.worker_watch import computed
from xfit.modeling.model import Model
from xfit.results.report import Statuses, part_html

#: Chunks that are looked into at most: each is read as a whole, however few of its pixels are wanted.
_CHUNKS = 8

#: Sizes of chunks (bytes) that are neither so small that what each costs by itself shows, nor so large that few fit
#: into memory.
_SMALL, _GOOD, _LARGE = 4 << 20, 64 << 20, 512 << 20


@dataclass(frozen=True)
class Preview:
    """What `preview` has found.

    Attributes
    ----------
    pixels, sampled : int
        Pixels of the map; those that were fitted.
    fits_per_second : float
        Of one thread, without reading.
    bytes_per_second : float
        At which the sample's chunks were read; NaN for data in memory.
    workers : int
        Threads that the expected time is for.
    seconds : float
        Expected time of a fit of the map on these.
    statuses : dict of str to int
        How the fits of the sample ended, by the words of the status.
    memory : int
        Bytes of a chunk's data and results, which is what each thread holds.
    chunks : dict of str to int
        Suggested chunk sizes; empty where those of the data will do.
    mean : Dataset
        Fit of the mean of the sample.
    converged, converged_from_mean : float
        Share of the sample that converged from the given start, and from the values of the fit of the mean.
    better_from_mean : float
        Share of the sample that ended at a lower loss from there.
    fit : Dataset
        Fits of the sample from the given start.
    """

    pixels: int
    sampled: int
    fits_per_second: float
    bytes_per_second: float
    workers: int
    seconds: float
    statuses: Mapping[str, int]
    memory: int
    chunks: Mapping[str, int]
    mean: xr.Dataset
    converged: float
    converged_from_mean: float
    better_from_mean: float
    fit: xr.Dataset

    @property
    def start(self) -> dict[str, float]:
        """Suggested start values: those of the fit of the mean, by full parameter name; empty where that failed."""
        if int(self.mean["status"]) != CONVERGED:
            return {}
        free = self.mean["value"].isel(param=self.mean["free"].values)
        return {str(name): float(value) for name, value in zip(free["param"].values, free.values, strict=True)}

    @property
    def _facts(self) -> list[tuple[str, str]]:
        """What there is to say in words, by a name for each."""
        speed = f"{self.fits_per_second:,.0f} fits/s and thread"
        if not np.isnan(self.bytes_per_second):
            speed += f"; data are read at {self.bytes_per_second / 2**20:,.0f} MiB/s"
        found = [
            ("speed", speed),
            ("time", f"about {_words_of(self.seconds)} on {self.workers} thread(s)"),
            ("memory", f"{max(self.memory / 2**20, 0.1):,.1f} MiB a thread"),
        ]
        return found + ([("chunks", f"better da.chunk({dict(self.chunks)})")] if self.chunks else [])

    @property
    def _mean(self) -> list[tuple[str, str]]:
        """What the fit of the mean says, likewise."""
        if not self.start:
            return [("mean", DESCRIPTIONS[int(self.mean["status"])])]
        values = ", ".join(f"{name} {value:.4g}" for name, value in self.start.items())
        return [
            ("mean", f"{values}; reduced chi-squared {float(self.mean['red_chisq']):.3g}"),
            (
                "start",
                f"from the mean's values {self.converged_from_mean:.1%} converge ({self.converged:.1%} from those "
                f"given), {self.better_from_mean:.1%} at a lower loss",
            ),
        ]

    @property
    def _title(self) -> str:
        return f"{self.sampled} of {self.pixels:,} pixels fitted, and their mean"

    def __str__(self) -> str:
        ended = [
            (
                "ended" if word == "converged" else "failed",
                f"{count / self.sampled:.1%} {DESCRIPTIONS[MEANINGS.index(word)]}",
            )
            for word, count in self.statuses.items()
        ]
        width = terminal_width()
        lines = (f"{name:9s} {cleaned(words)}" for name, words in (*self._facts, *ended, *self._mean))
        return "\n".join([self._title, *(wrapped(line, width, 10) for line in lines)])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        statuses = Statuses({MEANINGS.index(word): count for word, count in self.statuses.items()})
        parts = [html_facts(self._facts), part_html(statuses)]
        if self.start:
            rows = [(name, f"{value:.6g}") for name, value in self.start.items()]
            about = f"suggested start, from which {self.converged_from_mean:.1%} converge"
            parts.append(
                html_section("mean", about, html_facts(self._mean[1:]), html_table(("parameter", "value"), rows))
            )
        else:
            parts.append(html_facts(self._mean))
        return html_page("Preview", self._title, "", *parts)


def _words_of(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def preview(
    da: xr.DataArray,
    model: Model,
    dim: DimLike = None,
    *,
    n: int = 200,
    seed: int = 0,
    workers: int | None = None,
    **options: Any,
) -> Preview:
    """Fit the mean and a random sample of a map, to know what a fit of it all will be like.

    Of lazy data, a few chunks are read, whatever their number.

    Parameters
    ----------
    da, model, dim
        As for `xfit.multifit`.
    n : int, optional
        How many pixels.
    seed : int, optional
        Which pixels: the same seed draws the same.
    workers : int, optional
        Threads that the expected time is for; by default those of the active cluster, or of this process.
    **options
        As for `xfit.multifit`.

    Returns
    -------
    Preview

    Raises
    ------
    TypeError, ValueError
        For what can't be fitted, before any data are read.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise ValueError(f"n={n!r} must be a whole number above zero: how many pixels are fitted")
    plan = make_plan(da, model, dim, FitArguments.of(options))
    model, navigation = plan.model, plan.axes.navigation
    if not navigation:
        raise ValueError("preview is for maps; the data are a single spectrum or image: fit it with da.fit(model)")
    dims = signal_dims(da, dim, model.signal_dimension)
    places = _places(da, navigation, int(n), seed)
    began = time.perf_counter()
    sample = computed(da.isel(places))[0].load()
    reading = time.perf_counter() - began
    given = {name: _at(value, places) for name, value in options.items()}
    with one_thread():
        multifit(
            sample.isel(sample=slice(1)),
            model,
            dims,
            **{name: _at(value, {"sample": slice(1)}) for name, value in given.items()},
        )
        began = time.perf_counter()
        fit = multifit(sample, model, dims, **given)
        speed = sample.sizes["sample"] / (time.perf_counter() - began)
        mean = _mean_fit(sample, model, dims, given)
        start = (
            {str(p): mean["value"].sel(param=p) for p in mean["param"].values[mean["free"].values]}
            if int(mean["status"]) == CONVERGED
            else None
        )
        again = fit if start is None else multifit(sample, model, dims, **{**given, "start": start})
    pixels = int(np.prod([da.sizes[d] for d in navigation]))
    chunk = [max(sizes) for sizes in da.chunks] if da.chunks is not None else [da.sizes[d] for d in da.dims]
    threads = workers or _threads()
    rate = float("nan") if da.chunks is None else _read(da, places, navigation) / max(reading, 1e-9)
    seconds = pixels / speed + (0.0 if np.isnan(rate) else da.nbytes / rate)
    codes, counts = np.unique(fit["status"].values, return_counts=True)
    per_pixel = int(np.prod(chunk)) // max(int(np.prod(plan.axes.shape)), 1)
    return Preview(
        pixels,
        sample.sizes["sample"],
        float(speed),
        float(rate),
        threads,
        float(seconds / threads),
        {MEANINGS[int(code)]: int(count) for code, count in zip(codes, counts, strict=True)},
        int(np.prod(chunk)) * da.dtype.itemsize + per_pixel * plan.fit_spec.width * 8 * 2,
        _better_chunks(da, navigation, chunk),
        mean,
        float((fit["status"] == CONVERGED).mean()),
        float((again["status"] == CONVERGED).mean()),
        float((again["loss"] < fit["loss"] * (1 - 1e-6)).mean()),
        fit,
    )


def _threads() -> int:
    """Threads of the active cluster, or of this process."""
    client = active_client()
    if client is None:
        return int(dask.config.get("num_workers", None) or CPU_COUNT)
    threads: dict[str, int] = client.nthreads()
    return max(sum(threads.values()), 1)


def _places(da: xr.DataArray, navigation: tuple[Hashable, ...], n: int, seed: int) -> dict[Hashable, xr.DataArray]:
    """Positions of random pixels, of lazy data in a few random chunks."""
    random = np.random.default_rng(seed)
    sizes = [da.sizes[d] for d in navigation]
    edges = [
        np.concatenate([[0], np.cumsum(da.chunksizes[d] if da.chunks is not None else (da.sizes[d],))])
        for d in navigation
    ]
    shape = [len(e) - 1 for e in edges]
    total = int(np.prod(shape))
    chosen = random.choice(total, min(_CHUNKS, total), replace=False)
    flat: list[np.ndarray] = []
    for chunk in chosen:
        index = np.unravel_index(int(chunk), shape)
        box = [(int(e[i]), int(e[i + 1])) for e, i in zip(edges, index, strict=True)]
        inside = [b - a for a, b in box]
        count = min(-(-n // len(chosen)), int(np.prod(inside)))
        picked = np.unravel_index(random.choice(int(np.prod(inside)), count, replace=False), inside)
        flat.append(np.ravel_multi_index(tuple(p + a for p, (a, _) in zip(picked, box, strict=True)), sizes))
    every = np.concatenate(flat)
    every = np.sort(random.choice(every, min(n, every.size), replace=False))
    return {d: xr.DataArray(p, dims="sample") for d, p in zip(navigation, np.unravel_index(every, sizes), strict=True)}


def _at(value: Any, places: Mapping[Any, Any]) -> Any:
    """An option, its maps taken at some pixels."""
    if isinstance(value, xr.DataArray | xr.Dataset):
        return computed(value.isel(places, missing_dims="ignore"))[0].load()
    if isinstance(value, Mapping):
        return {key: _at(each, places) for key, each in value.items()}
    if isinstance(value, tuple):
        return tuple(_at(each, places) for each in value)
    return value


def _mean_fit(sample: xr.DataArray, model: Model, dims: Any, given: Mapping[str, Any]) -> xr.Dataset:
    """Fit of the mean of the sample, with what of the options is not a map; chi-squared is that of the mean's noise."""
    one = sample.mean("sample", keep_attrs=True)
    plain = {name: value for name, value in given.items() if not _is_map(value)}
    variance = given.get("variance")
    if isinstance(variance, xr.DataArray):
        of_one = variance.mean("sample") if "sample" in variance.dims else variance
        plain["variance"] = of_one / sample.sizes["sample"]
    fit: xr.Dataset
    (fit,) = computed(multifit(one, model, dims, **plain))
    if given.get("loss") == "poisson" or not (variance is None or isinstance(variance, xr.DataArray)):
        # The variance that the fit took is that of one pixel.
        fit = fit.assign({name: fit[name] * sample.sizes["sample"] for name in ("chisq", "red_chisq")})
    return fit


def _is_map(value: Any) -> bool:
    """Whether an option differs from pixel to pixel."""
    if isinstance(value, Mapping):
        return any(_is_map(each) for each in value.values())
    if isinstance(value, tuple):
        return any(_is_map(each) for each in value)
    return isinstance(value, xr.DataArray | xr.Dataset)


def _read(da: xr.DataArray, places: Mapping[Any, xr.DataArray], navigation: tuple[Hashable, ...]) -> int:
    """Bytes of the chunks that have sampled pixels."""
    edges = {d: np.cumsum(da.chunksizes[d]) for d in navigation}
    chunks = {
        tuple(int(i) for i in index)
        for index in zip(*(np.searchsorted(edges[d], places[d].values, side="right") for d in navigation), strict=True)
    }
    signal = int(np.prod([size for d, size in da.sizes.items() if d not in navigation])) * da.dtype.itemsize
    return sum(
        int(np.prod([da.chunksizes[d][i] for d, i in zip(navigation, index, strict=True)])) * signal for index in chunks
    )


def _better_chunks(da: xr.DataArray, navigation: tuple[Hashable, ...], chunk: list[int]) -> dict[str, int]:
    """Chunk sizes with whole signals and about as many bytes as is good; empty where those of the data are near."""
    signal = int(np.prod([size for d, size in da.sizes.items() if d not in navigation])) * da.dtype.itemsize
    nbytes = int(np.prod(chunk)) * da.dtype.itemsize
    whole = all(size == da.sizes[d] for d, size in zip(da.dims, chunk, strict=True) if d not in navigation)
    if whole and (_SMALL <= nbytes <= _LARGE or (nbytes < _SMALL and da.nbytes <= _SMALL)):
        return {}
    side = max(round((_GOOD / signal) ** (1 / len(navigation))), 1)
    found = {str(d): int(min(side, da.sizes[d])) for d in navigation}
    return found | {str(d): -1 for d in da.dims if d not in navigation}
