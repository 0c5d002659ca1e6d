"""A result with its data, and what of it is looked at: the quantity, the pixel, what a click and the arrow keys do."""

from __future__ import annotations

from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import panel as pn
import param
import xarray as xr

from xfit.engine.pixel.status import CONVERGED, MEANINGS
from xfit.modeling.derived import derived_names
from xfit.plot.chunk_cache import Blocks
from xfit.plot.maps import Quantity, quantity_of, variables_of
from xfit.plot.pixel import PixelView, check_data_of, check_variance, cut_like, look_at
from xfit.plot.style import coordinate, drawn
from xfit.results.fit_result import FitResult

#: Pixels in the list of the worst.
_WORST = 20

#: What is large for each pixel, and not shown of one.
_UNSEEN = ("covariance", "pair_covariance")


class ViewState(param.Parameterized):
    """What is looked at.

    Attributes
    ----------
    quantity : str
        Name of the map.
    pixel : tuple of int
        Number of the chosen pixel along each navigation dimension.
    slice : tuple of int
        Its numbers along the dimensions that are not on the map: what maps follow, which need not be drawn again for
        another pixel.
    chosen : tuple of float, or None
        Range of the quantity whose pixels are marked.
    settled : tuple of int
        The chosen pixel, a moment later: what may wait until its curves have been sent.
    version : int
        Rises when the result has changed.
    """

    quantity = param.String()
    pixel = param.Tuple((0,))
    slice = param.Tuple(())
    settled = param.Tuple((0,))
    chosen = param.Tuple(default=None, length=2, allow_None=True)
    version = param.Integer(0)

    def begin(self, quantity: str, pixel: tuple[int, ...]) -> None:
        """Look at a pixel first."""
        for name, value in (("pixel", pixel), ("settled", pixel), ("slice", pixel[:-2])):
            self.param[name].length = len(value)
        self.param.update(quantity=quantity, pixel=pixel, slice=pixel[:-2], settled=pixel)

    @param.depends("pixel", watch=True)
    def _cut(self) -> None:
        self.slice = tuple(self.pixel[:-2])
        document = pn.state.curdoc
        if document is None or document.session_context is None:
            self._settle()
        else:
            document.add_next_tick_callback(self._settle)

    def _settle(self) -> None:
        self.settled = self.pixel


class Looking:
    """What there is to see of a result and its data.

    Parameters
    ----------
    result : FitResult
        In memory or lazy: what is asked for is computed then.
    da : DataArray
        The data that were fitted.
    variance, response : optional
        As for `xfit.result_accessor.Result.plot`.

    Raises
    ------
    TypeError, ValueError
        For data that were not fitted, and for results without a map.
    """

    def __init__(
        self,
        result: FitResult,
        da: xr.DataArray,
        *,
        variance: xr.DataArray | float | None = None,
        response: xr.DataArray | None = None,
    ) -> None:
        check_data_of(result, da)
        if not result.navigation_dims:
            raise ValueError("the result is of a single spectrum or image and has no maps; see result.fit.plot(da)")
        self.dims: tuple[Hashable, ...] = result.navigation_dims
        self.take(result.dataset)
        check_variance(variance)
        da, variance, response = (
            cut_like(result, array, name)
            for array, name in ((da, "da"), (variance, "variance"), (response, "response"))
        )
        self._data = Blocks(da, self.dims)
        self._variance = Blocks(variance, self.dims) if isinstance(variance, xr.DataArray) else None
        self._constant = None if isinstance(variance, xr.DataArray) else variance
        self._response = None if response is None else Blocks(response, self.dims)
        self.place = ViewState()
        self.place.begin(self.quantities[0], tuple(self.result.dataset.sizes[d] // 2 for d in self.dims))
        self._seen: tuple[Any, PixelView] | None = None

    def take(self, dataset: xr.Dataset) -> None:
        """Look at another state of the result from now on."""
        self.result = FitResult(dataset)
        self._pixels = Blocks(dataset.drop_vars(_UNSEEN, errors="ignore"), self.dims)
        self._maps: dict[tuple[str, tuple[int, ...]], Quantity] = {}
        self._seen = None

    @property
    def quantities(self) -> list[str]:
        """Names of what can be shown as a map: parameters, what follows from them, and the result's variables."""
        ds = self.result.dataset
        free = [str(n) for n, is_free in zip(ds["param"].values, ds["free"].values, strict=True) if is_free]
        return [*free, *derived_names(self.result.model), *variables_of(self.result)]

    def quantity(self, name: str) -> Quantity:
        """The map of a quantity in the slice that is looked at; computed once."""
        key = name, self.place.slice
        if key not in self._maps:
            cut = dict(zip(self.dims[:-2], self.place.slice, strict=False))
            self._maps[key] = quantity_of(FitResult(self.result.dataset.isel(cut)), name)
        return self._maps[key]

    @property
    def words(self) -> dict[Hashable, Any]:
        """Where the chosen pixel is, by dimension."""
        return {d: coordinate(self.result.dataset, d)[0][n] for d, n in zip(self.dims, self.place.pixel, strict=True)}

    def pixel(self) -> PixelView:
        """The chosen pixel, computed once."""
        key = self.place.pixel
        if self._seen is None or self._seen[0] != key:
            place = dict(zip(self.dims, key, strict=True))
            owners: list[Blocks[Any] | None] = [self._pixels, self._data, self._variance, self._response]
            if any(owner is not None and owner.waits(place) for owner in owners):
                # Result and data come from different files: they are read at the same time.
                with ThreadPoolExecutor(len(owners)) as pool:
                    found = list(pool.map(lambda owner: owner and owner.at(place), owners))
            else:
                found = [owner and owner.at(place) for owner in owners]
            fit, data, variance, response = found
            view = look_at(fit, data, self.words, self._constant if variance is None else variance, response)
            self._seen = key, view
        return self._seen[1]

    def worst(self) -> dict[str, tuple[int, ...]]:
        """Pixels that need a look, by words: those that failed, then those of the largest reduced chi-squared."""
        red, status = self.quantity("red_chisq").values.values, self.quantity("status").values.values
        shown = np.isfinite(red)
        rank = np.where(shown, np.minimum(red, 1e300) + np.where(status != CONVERGED, 1e300, 0.0), -np.inf).ravel()
        largest = np.argpartition(rank, -_WORST)[-_WORST:] if rank.size > _WORST else np.arange(rank.size)
        found = {}
        for k in sorted((k for k in largest if rank[k] > -np.inf), key=lambda k: -rank[k]):
            place = (*self.place.slice, *map(int, np.unravel_index(k, red.shape)))
            at = ", ".join(
                f"{drawn(str(d))} {coordinate(self.result.dataset, d)[0][n]:.5g}"
                for d, n in zip(self.dims, place, strict=True)
            )
            words = MEANINGS[int(status.flat[k])].replace("_", " ")
            found[f"{at}: {red.flat[k]:.4g}, {words}"] = place
        return found

    def step(self, across: int, up: int) -> None:
        """Move the chosen pixel, to the edge of the map at most."""
        pixel, sizes = list(self.place.pixel), [self.result.dataset.sizes[d] for d in self.dims]
        steps = [up, across] if len(pixel) > 1 else [across + up]
        places = [coordinate(self.result.dataset, d)[0] for d in self.dims[-len(steps) :]]
        for k, step in enumerate(steps, start=len(pixel) - len(steps)):
            # Upwards is where the coordinate rises.
            rising = places[k - len(pixel)][-1] >= places[k - len(pixel)][0]
            pixel[k] = int(np.clip(pixel[k] + (step if rising else -step), 0, sizes[k] - 1))
        self.place.pixel = tuple(pixel)

    def click(self, x: float | None, y: float | None) -> None:
        """Choose the pixel at a place on the map; beside the map nothing happens."""
        if x is None or (y is None and len(self.dims) > 1):
            return
        pixel = list(self.place.pixel)
        for k, value in ((-1, x), (-2, y)) if len(pixel) > 1 else ((-1, x),):
            places = coordinate(self.result.dataset, self.dims[k])[0]
            number = nearest(places, value)
            if number is None:
                return
            pixel[k] = number
        self.place.pixel = tuple(pixel)


def nearest(places: np.ndarray, value: float | None) -> int | None:
    """Number of the place that a click is on, or None if it is beside all of them."""
    if value is None:
        return None
    distance = np.abs(places.astype(float) - value)
    number = int(distance.argmin())
    step = float(np.abs(np.diff(places.astype(float))).max()) if places.size > 1 else 1.0
    return number if distance[number] <= step else None


def shares_of(status: np.ndarray) -> list[tuple[int, float]]:
    """Statuses that occur, and their shares."""
    counts = np.bincount(status.ravel(), minlength=1)
    return [(int(code), float(counts[code] / status.size)) for code in np.flatnonzero(counts)]


def marked_of(quantity: Quantity, chosen: tuple[float, float] | None) -> np.ndarray:
    """Pixels of a map in a range, bool like the map; none without a range."""
    values = quantity.values.values
    if chosen is None:
        return np.zeros(values.shape, bool)
    return np.asarray((values >= chosen[0]) & (values <= chosen[1]))
