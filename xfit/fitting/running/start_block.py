"""Start values of a block from its data: components one after the other, each near its own
start on what the others leave.

Every number of a pixel comes from its own data, by the same steps whichever pixels share the block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from xfit.engine.block.arguments import BlockArguments, taken
from xfit.engine.block.cancellation import check
from xfit.engine.block.fit_block import evaluate_block, fit_block
from xfit.engine.block.options import Columns, FitOptions, Settings
from xfit.engine.block.tied_values import set_tied
from xfit.engine.codegen.program import Program
from xfit.engine.math.layout import LINEAR
from xfit.modeling.estimate_block import Estimation, SignalGrid, densities
from xfit.modeling.estimators import Estimates
from xfit.modeling.estimators.rows import filled, line_through_ends
from xfit.modeling.estimators.windows import Place, Template, trial_places, windows_of

#: Elements of data that are estimated at a time: what is computed on the way stays in the cache.
_BATCH = 1 << 18

#: How often backgrounds and peaks are estimated in turn.
_SWEEPS = 2

#: How amplitudes are fitted, which are linear.
_OPTIONS = FitOptions(optimizer="lstsq", scale_covariance=False)


@dataclass(frozen=True)
class Task:
    """What is estimated, of which model.

    Attributes
    ----------
    estimations : tuple of Estimation
        Those with a range of their own are estimated from it as if they were alone there, the others on what is left.
    program, settings
        See `xfit.engine.block.fit_block.fit_block`.
    mapped : tuple of str
        Full names of the parameters whose start values are given.
    """

    estimations: tuple[Estimation, ...]
    program: Program
    settings: Settings
    mapped: tuple[str, ...] = ()

    def positions(self, component: int, keys: Sequence[str]) -> np.ndarray:
        """Positions of parameters of a component."""
        first = int(self.program.load().first[component])
        names = self.program.kernels[component].parameters
        return np.array([first + names.index(key) for key in keys], np.intp)

    def groups(self) -> tuple[list[tuple[int, ...]], tuple[int, ...], tuple[int, ...]]:
        """Components whose curves are known with each estimate, those known without any, and those that never are.

        A component that is tied to estimated ones is known with the last of them.
        """
        loaded = self.program.load()
        names = self.program.parameters
        estimated = {names.index(target.name): k for k, each in enumerate(self.estimations) for target in each.targets}
        given = {names.index(name) for name in self.mapped}
        groups: list[list[int]] = [[each.component] for each in self.estimations]
        own = [each.component for each in self.estimations]
        known, unknown = [], []
        for c in np.flatnonzero(self.settings.active).tolist():
            roots = {int(k) for k in np.flatnonzero(loaded.component_of == c)}
            for d in range(loaded.ties.row.size):
                if int(loaded.ties.tied[loaded.ties.row[d]]) in roots:
                    roots.add(int(loaded.ties.column[d]))
            free = {k for k in roots if self.settings.free[k]}
            needs = [estimated[k] for k in free if k in estimated]
            if c in own:
                continue
            if free - set(estimated) - given:
                unknown.append(c)
            elif needs:
                groups[max(needs)].append(c)
            else:
                known.append(c)
        return [tuple(group) for group in groups], tuple(known), tuple(unknown)

    def amplitudes_of(self, components: Sequence[int]) -> np.ndarray:
        """Which free parameters components are linear in: bool (n_parameters,)."""
        loaded, free = self.program.load(), np.flatnonzero(self.settings.free)
        linear = np.zeros_like(self.settings.free)
        linear[free] = loaded.amplitudes(free) == LINEAR
        return linear & np.isin(loaded.component_of, list(components))


def start_block(
    task: Task,
    y: np.ndarray,
    coordinates: Mapping[str, np.ndarray],
    *,
    start: Mapping[str, np.ndarray] | None = None,
    bounds: Mapping[tuple[str, str], np.ndarray] | None = None,
    variance: np.ndarray | None = None,
    where: np.ndarray | None = None,
    width: np.ndarray | None = None,
    active: np.ndarray | None = None,
    response: np.ndarray | None = None,
    grid: np.ndarray | None = None,
) -> Estimates:
    """Estimate start values in every pixel of a block.

    Parameters
    ----------
    task : Task
        What to estimate.
    y, coordinates, start, bounds, variance, where, width, active, response, grid
        As for `xfit.engine.block.fit_block.fit_block`.

    Returns
    -------
    dict of str to float64 (n_pixels,)
        Values by the targets' names, inside of their bounds; NaN where the data do not tell them, and where the model's
        own values describe the data better.
    """
    out = {target.name: np.full(len(y), np.nan) for each in task.estimations for target in each.targets}
    shared = _Shared.of(task, coordinates, grid)
    step = max(_BATCH // max(y.shape[1], 1), 1)
    for first in range(0, len(y), step):
        check()
        batch = slice(first, first + step)
        part = _Pixels(
            shared,
            y[batch],
            {name: values[batch] for name, values in (start or {}).items()},
            {key: values[batch] for key, values in (bounds or {}).items()},
            taken(variance, batch),
            taken(where, batch),
            taken(active, batch),
            taken(response, batch),
            width,
        )
        with np.errstate(all="ignore"):
            for name, values in part.estimated().items():
                out[name][batch] = values
    return out


def _about_mean(rest: np.ndarray) -> np.ndarray:
    """Sum of squares about the mean, of what is not NaN."""
    # In rows: other layouts are summed in another order, which depends on their number.
    rest = np.ascontiguousarray(rest)
    known = ~np.isnan(rest)
    mean = np.where(known, rest, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return np.asarray((np.where(known, rest - mean[:, None], 0.0) ** 2).sum(axis=1))


@dataclass(frozen=True)
class _Window:
    """Channels that belong to a component, bool (n_channels,), those where its bounds are,
    and its start tried in there.
    """

    whole: np.ndarray
    narrow: np.ndarray
    template: Template | None = None


@dataclass(frozen=True)
class _Shared:
    """What all pixels have in common."""

    task: Task
    coordinates: Mapping[str, np.ndarray]
    grid: np.ndarray | None
    grids: list[SignalGrid]
    windows: list[_Window]
    groups: list[tuple[int, ...]]
    known: tuple[int, ...]
    unknown: tuple[int, ...]
    loose: np.ndarray

    @classmethod
    def of(cls, task: Task, coordinates: Mapping[str, np.ndarray], grid: np.ndarray | None) -> _Shared:
        grids = [SignalGrid.of([coordinates[name] for name in each.coordinates]) for each in task.estimations]
        groups, known, unknown = task.groups()
        return cls(
            task,
            coordinates,
            grid,
            grids,
            [_window(task, each, coordinates) for each in task.estimations],
            groups,
            known,
            unknown,
            task.amplitudes_of(unknown),
        )


def _window(task: Task, each: Estimation, coordinates: Mapping[str, np.ndarray]) -> _Window:
    """Where to look for a component."""
    axes = [np.asarray(coordinates[name], np.float64) for name in each.coordinates]
    if each.ranges is not None or not each.place:
        part = each.part(axes)
        return _Window(part, part)
    table = task.settings.start[None].copy()
    set_tied(task.program.load().ties, table)
    others = [_place(task, table[0], component, keys) for component, keys in each.neighbours]
    own, at = _place(task, table[0], each.component, each.place), task.positions(each.component, each.place)
    # As large as the shape is: unconvolved, for what it is convolved with is another in each pixel; within the data.
    table[0, at] = [np.clip(value, axis.min(), axis.max()) for value, axis in zip(own.start, axes, strict=True)]
    plain = replace(task.program, convolved=(False,) * len(task.program.kernels))
    shape = evaluate_block(plain, table, coordinates, components=(each.component,))[0]
    whole, narrow = windows_of(axes, own, others, shape, each.channels)
    keys = {target.key for target in each.targets}
    if len(each.linear) != 1 or not {*each.linear, *each.place} <= keys:
        return _Window(whole, narrow)
    places = trial_places(axes, whole, own.lower, own.upper, shape)
    tables = np.repeat(table, len(places), axis=0)
    tables[:, at] = places
    set_tied(task.program.load().ties, tables)
    curves = evaluate_block(plain, tables, coordinates, components=(each.component,))
    return _Window(whole, narrow, Template.of(places, curves[:, whole]))


def _place(task: Task, values: np.ndarray, component: int, keys: Sequence[str]) -> Place:
    """Where a component begins, and may go."""
    settings, at = task.settings, task.positions(component, keys)
    low, high = (np.where(settings.free[at], side[at], values[at]) for side in (settings.lower, settings.upper))
    return Place(values[at], low, high)


class _Pixels:
    """Pixels whose starts are estimated together."""

    def __init__(
        self,
        shared: _Shared,
        y: np.ndarray,
        start: Mapping[str, np.ndarray],
        bounds: Mapping[tuple[str, str], np.ndarray],
        variance: np.ndarray | None,
        where: np.ndarray | None,
        active: np.ndarray | None,
        response: np.ndarray | None,
        width: np.ndarray | None,
    ) -> None:
        self.shared, self.task, self.bounds, self.response = shared, shared.task, bounds, response
        n, names, settings = len(y), self.task.program.parameters, self.task.settings
        self.loaded = self.task.program.load()
        self.variance = variance if variance is None or width is None else variance / width**2
        usable = where if self.variance is None else np.isfinite(self.variance) & (True if where is None else where)
        self.y = densities(y, width, usable)
        self.active = np.tile(settings.active, (n, 1)) if active is None else active
        self.table = np.tile(settings.start, (n, 1))
        for name, values in start.items():
            np.copyto(self.table[:, names.index(name)], values, where=~np.isnan(values))
        self.lower, self.upper = np.tile(settings.lower, (n, 1)), np.tile(settings.upper, (n, 1))
        for (name, side), values in bounds.items():
            table = self.lower if side == "min" else self.upper
            np.copyto(table[:, names.index(name)], values, where=~np.isnan(values))
        np.clip(self.table, self.lower, self.upper, out=self.table)
        set_tied(self.loaded.ties, self.table)
        self.given = self.table.copy()
        self.done = np.zeros((n, len(self.task.estimations)), bool)
        self.curves: dict[int, np.ndarray] = {}

    # --- the order of things

    def estimated(self) -> Estimates:
        """Estimates of all targets; see `start_block`."""
        estimations = self.task.estimations
        together = [k for k, each in enumerate(estimations) if each.ranges is None]
        for k in range(len(estimations)):
            if k not in together:
                self.estimate(k, self.y, self.all)
        if together:
            self._together(together)
        names = self.task.program.parameters
        return {
            target.name: np.where(self.done[:, k], self.table[:, names.index(target.name)], np.nan)
            for k, each in enumerate(estimations)
            for target in each.targets
        }

    @property
    def all(self) -> np.ndarray:
        """All pixels."""
        return np.arange(len(self.y))

    def _together(self, estimates: list[int]) -> None:
        """Estimate components on what the others leave: backgrounds, then peaks, the strongest first; and once more."""
        known = self.curve(self.all, self.table, self.shared.known) if self.shared.known else 0.0
        self.y = (
            self.y - known - self._sum([k for k in range(len(self.task.estimations)) if k not in estimates], self.all)
        )
        peaks = [k for k in estimates if self.task.estimations[k].place]
        wide = [k for k in estimates if k not in peaks]
        order = np.empty((len(self.y), 0), np.intp)
        # Backgrounds alone leave nothing to others; a single peak stands above a line anyway, whatever the background
        # is.
        for sweep in range(_SWEEPS if peaks and len(estimates) > 1 else 1):
            rest = self.y - self._sum(peaks, self.all)
            for k in wide:
                self.estimate(k, rest, self.all)
            if len(wide) > 1:
                self._share(wide, rest)
            if sweep == 0:
                order = self._order(peaks)
            elif len(peaks) == 1:
                break
            for rank in range(len(peaks)):
                for k in peaks:
                    pixels = np.flatnonzero(order[:, rank] == k)
                    if pixels.size:
                        others = [other for other in (*wide, *peaks) if other != k]
                        self.estimate(k, self.y[pixels] - self._sum(others, pixels), pixels)
        if len(estimates) > 1:
            self._share(estimates, self.y)
        self._choose(estimates)

    def _order(self, peaks: list[int]) -> np.ndarray:
        """Peaks by how much of the data each explains in its window, the strongest first: int (n_pixels, n_peaks)."""
        if len(peaks) < 2:
            return np.full((len(self.y), len(peaks)), peaks[0] if peaks else 0)
        wide = [k for k in self.curves if k not in peaks]
        rest = self.y - self._sum(wide, self.all)
        explained = np.empty((len(self.y), len(peaks)))
        before = self.table.copy()
        for j, k in enumerate(peaks):
            window = self.shared.windows[k]
            self.estimate(k, rest, self.all)
            part = np.where(self.done[:, [k]], self.curves.pop(k)[:, window.whole], 0.0)
            explained[:, j] = _about_mean(rest[:, window.whole]) - _about_mean(rest[:, window.whole] - part)
            self.done[:, k] = False
        self.table = before
        return np.array(peaks)[np.argsort(-explained, axis=1, kind="stable")]

    def _sum(self, estimates: list[int], pixels: np.ndarray) -> np.ndarray | float:
        """Sum of the curves of what has been estimated."""
        return sum((self.curves[k][pixels] for k in estimates if k in self.curves), 0.0)

    # --- one estimate

    def estimate(self, k: int, y: np.ndarray, pixels: np.ndarray) -> None:
        """Estimate one component in some pixels from their densities; where the data do not
        tell, what was known stays.
        """
        first, second = self.shared.windows[k].whole, self.shared.windows[k].narrow
        found = self._found(k, y, first)
        if second is not first:
            rows = np.flatnonzero(self._outside(k, found, pixels))
            again = self._found(k, y[rows], second)
            for key in found:
                found[key][rows] = np.where(np.isnan(again[key]), found[key][rows], again[key])
        told = ~np.isnan(next(iter(found.values())))
        self._set(k, y[told], pixels[told], {key: values[told] for key, values in found.items()})
        self._refresh(k, pixels)
        if self.shared.windows[k].template is not None:
            self._compare(k, y, pixels)

    def _compare(self, k: int, y: np.ndarray, pixels: np.ndarray) -> None:
        """Take the component's own shape instead, in the place where it fits best, where it leaves
        less of the data in the window.

        So noise next to a weak peak is not taken for a narrow one, nor the rest of a strong neighbour for a wide one.
        """
        each, window = self.task.estimations[k], self.shared.windows[k]
        template = window.template
        assert template is not None
        _, factor, place = template.best(y[:, window.whole])
        amplitude, at = (
            self.task.positions(each.component, each.linear),
            self.task.positions(each.component, each.place),
        )
        own = self.given[pixels]
        own[:, at] = template.places[place]
        own[:, amplitude] *= factor[:, None]
        before, curve, was = self.table[pixels], self.curves[k][pixels], self.done[pixels, k]
        self._move_inside(k, pixels, own, [target.key for target in each.targets])
        moved = self.curve(pixels, self.table[pixels], self.shared.groups[k])
        losses = [_about_mean(y[:, window.whole] - f[:, window.whole]) for f in (moved, curve)]
        better = (factor > 0) & (losses[0] < losses[1]) & was
        self.table[pixels] = np.where(better[:, None], self.table[pixels], before)
        self.curves[k][pixels] = np.where(better[:, None], moved, curve)
        self.done[pixels, k] = was

    def _outside(self, k: int, found: Estimates, pixels: np.ndarray) -> np.ndarray:
        """Whether a component came out beyond the bounds of its place."""
        each = self.task.estimations[k]
        keys = [key for key in each.place if key in found]
        if not keys:
            return np.zeros(len(pixels), bool)
        at = self.task.positions(each.component, keys)
        low, high = (
            np.where(self.task.settings.free[at], side[pixels][:, at], self.table[pixels][:, at])
            for side in (self.lower, self.upper)
        )
        place = np.stack([found[key] for key in keys], axis=1)
        return np.asarray(((place < low) | (place > high)).any(axis=1))

    def _found(self, k: int, y: np.ndarray, window: np.ndarray) -> Estimates:
        """What the estimator finds in a window."""
        each, grid = self.task.estimations[k], self.shared.grids[k]
        ordered = y if grid.order is None else y[:, grid.order]
        part = np.flatnonzero(window if grid.order is None else window[grid.order])
        return each.found([values[part] for values in grid.coordinates], ordered[:, part], grid.spacing[part])

    def _set(self, k: int, y: np.ndarray, pixels: np.ndarray, found: Estimates) -> None:
        """Take values over, inside of their bounds, and fit the amplitudes again where others
        are not those that were found.
        """
        each = self.task.estimations[k]
        keys = [key for key in found if key in self.task.program.kernels[each.component].parameters]
        at = self.task.positions(each.component, keys)
        raw = self.table[pixels]
        raw[:, at] = np.stack([found[key] for key in keys], axis=1)
        self._move_inside(k, pixels, raw, [target.key for target in each.targets])
        self.done[pixels, k] = True
        amplitudes = [target.key for target in each.targets if target.key in each.linear]
        others = [p for p, key in zip(at, keys, strict=True) if amplitudes != [key]]
        moved = (self.table[pixels][:, others] != raw[:, others]).any(axis=1)
        if amplitudes and moved.any():
            self._fit_amplitudes(k, y[moved], pixels[moved], raw[moved])

    def _move_inside(self, k: int, pixels: np.ndarray, values: np.ndarray, keys: Sequence[str]) -> None:
        """Write targets into the table, inside of their bounds."""
        each = self.task.estimations[k]
        for target in each.targets:
            if target.key in keys:
                (p,) = self.task.positions(each.component, [target.key])
                inner = target.inside(values[:, p])
                self.table[pixels, p] = np.clip(inner, self.lower[pixels, p], self.upper[pixels, p])
        self._tie(pixels)

    def _tie(self, pixels: np.ndarray) -> None:
        if self.loaded.ties.tied.size:
            part = self.table[pixels]
            set_tied(self.loaded.ties, part)
            self.table[pixels] = part

    def _refresh(self, k: int, pixels: np.ndarray) -> None:
        """Evaluate again what is known with an estimate."""
        curve = self.curves.setdefault(k, np.zeros_like(self.y))
        rows = pixels[self.done[pixels, k]]
        curve[rows] = self.curve(rows, self.table[rows], self.shared.groups[k])

    def curve(self, pixels: np.ndarray, table: np.ndarray, components: Sequence[int]) -> np.ndarray:
        """Densities of components at the values of a table; zero where they are not finite, or inactive."""
        component_of = self.loaded.component_of
        hidden = np.where(self.active[pixels][:, component_of], table, np.nan)
        response = taken(self.response, pixels)
        f = evaluate_block(
            self.task.program,
            hidden,
            self.shared.coordinates,
            response=response,
            grid=self.shared.grid,
            components=tuple(components),
        )
        return np.where(np.isfinite(f), f, 0.0)

    # --- amplitudes

    def _fit_amplitudes(self, k: int, y: np.ndarray, pixels: np.ndarray, raw: np.ndarray) -> None:
        """Fit the amplitudes of one component to densities, above a line that the shape that was found leaves.

        Of a background that is above zero everywhere, and has one amplitude, so that its area is that of the data.
        """
        each = self.task.estimations[k]
        window = self.shared.windows[k].whole
        y = np.where(window, y, np.nan)
        spread = None
        if each.place:
            y = y - self._line(k, y - self.curve(pixels, raw, (each.component,)))
        elif len(each.linear) == 1:
            shape = np.abs(self.curve(pixels, self.table[pixels], (each.component,)))
            shape = np.where(window, shape, 1.0)
            largest, least = (
                shape.max(axis=1, keepdims=True),
                np.where(window, shape, np.inf).min(axis=1, keepdims=True),
            )
            spread = np.where(least > 0, shape / np.where(largest > 0, largest, 1.0), 1.0)
        self._solve([k], y, pixels, spread, (each.component,))

    def _line(self, k: int, rest: np.ndarray) -> np.ndarray:
        """Straight line through the ends of a window, or in images the median, of what a component leaves."""
        grid = self.shared.grids[k]
        if len(grid.coordinates) > 1:
            level: np.ndarray = np.nan_to_num(np.nanmedian(rest, axis=1, keepdims=True))
            return level
        (x,), order = grid.coordinates, grid.order if grid.order is not None else slice(None)
        window = np.flatnonzero(self.shared.windows[k].whole[order])
        line = np.zeros_like(rest)
        ordered = rest[:, order][:, window]
        placed = np.arange(rest.shape[1])[order][window]
        line[:, placed] = np.nan_to_num(line_through_ends(x[window], filled(x[window], ordered)))
        return line

    def _share(self, estimates: list[int], y: np.ndarray) -> None:
        """Fit the amplitudes of several components together, in pixels where all of them have been estimated."""
        pixels = np.flatnonzero((self.done[:, estimates] | ~self._on(estimates)).all(axis=1))
        variance = taken(self.variance, pixels)
        self._solve(estimates, y[pixels], pixels, variance, self._components(estimates))
        for k in estimates:
            self._refresh(k, pixels)

    def _components(self, estimates: list[int]) -> list[int]:
        """Components that are known with estimates."""
        return [c for k in estimates for c in self.shared.groups[k]]

    def _on(self, estimates: list[int]) -> np.ndarray:
        """Whether the components of estimates are active: bool (n_pixels, n_estimates)."""
        return self.active[:, [self.task.estimations[k].component for k in estimates]]

    def _solve(
        self,
        estimates: list[int],
        y: np.ndarray,
        pixels: np.ndarray,
        variance: np.ndarray | None,
        components: Sequence[int],
    ) -> None:
        """Fit amplitudes among the targets of estimates to densities, within bounds, and write them into the table."""
        if not pixels.size:
            return
        solved = self._amplitudes(self.table[pixels], estimates, y, pixels, variance, components)
        for k in estimates:
            each = self.task.estimations[k]
            self._move_inside(k, pixels, solved, [target.key for target in each.targets if target.key in each.linear])

    def _linear(self, estimates: list[int]) -> np.ndarray:
        """Positions of the amplitudes among the targets of estimates."""
        parts = [
            self.task.positions(each.component, [t.key for t in each.targets if t.key in each.linear])
            for each in (self.task.estimations[k] for k in estimates)
        ]
        return np.concatenate(parts)

    def _amplitudes(
        self,
        table: np.ndarray,
        estimates: list[int],
        y: np.ndarray,
        pixels: np.ndarray,
        variance: np.ndarray | None,
        components: Sequence[int],
    ) -> np.ndarray:
        """Return a table of parameters with the amplitudes of estimates fitted to densities,
        as they are where that fails.
        """
        settings, program = self.task.settings, self.task.program
        free, on = np.zeros_like(settings.free), np.zeros_like(settings.active)
        free[self._linear(estimates)] = True
        on[list(components)] = True
        free |= self.shared.loose & on[self.loaded.component_of]
        if not free.any():
            return table
        arguments = BlockArguments(
            start=table,
            variance=variance,
            active=self.active[pixels] & on,
            response=taken(self.response, pixels),
            grid=self.shared.grid,
            bounds={key: values[pixels] for key, values in self.bounds.items()},
            # A block of one pixel must be fitted as one of many.
            varying=("start", "variance", "response"),
            options=_OPTIONS,
        )
        packed = fit_block(program, replace(settings, free=free, active=on), y, self.shared.coordinates, arguments)
        values = packed[:, Columns.of(len(settings.start), _OPTIONS).slices["value"]]
        out = table.copy()
        out[:, free] = np.where(np.isfinite(values[:, free]), values[:, free], table[:, free])
        set_tied(self.loaded.ties, out)
        return out

    # --- the better of two starts

    def _choose(self, estimates: list[int]) -> None:
        """Leave the estimates out where the model's own start describes the data better, its
        amplitudes being fitted likewise.
        """
        pixels = np.flatnonzero((self.done[:, estimates] | ~self._on(estimates)).all(axis=1))
        if not pixels.size:
            return
        components = [*self._components(estimates), *self.shared.unknown]
        variance = taken(self.variance, pixels)
        y, losses = self.y[pixels], []
        for start in (self.table, self.given):
            table = self._amplitudes(start[pixels], estimates, y, pixels, variance, components)
            losses.append(self._loss(y, self.curve(pixels, table, components), variance))
        found, own = losses
        worse = pixels[own < found]
        for k in estimates:
            self.done[worse, k] = False

    @staticmethod
    def _loss(y: np.ndarray, curve: np.ndarray, variance: np.ndarray | None) -> np.ndarray:
        squares = (y - curve) ** 2 if variance is None else (y - curve) ** 2 / variance
        return np.asarray(np.where(np.isfinite(squares), squares, 0.0).sum(axis=1))
