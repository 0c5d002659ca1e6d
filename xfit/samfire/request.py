"""SAMFire of a DataArray: what a user asks for, checked; a run; its result as a Dataset."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dask
import dask.array
import numpy as np
import pandas as pd
import xarray as xr
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from xfit._version import __version__
from xfit.arrays.alignment import check_same_labels
from xfit.arrays.storable import check_storable
from xfit.arrays.whole_spectra import whole_signals
from xfit.display import cleaned
from xfit.engine.block.options import Columns
from xfit.engine.pixel.scalars import CRITERIA, SCALARS
from xfit.fitting.planning.arguments import DimLike, FitArguments, StartLike
from xfit.fitting.planning.fit_spec import table_of
from xfit.fitting.planning.plan import Plan, make_plan
from xfit.fitting.running.chunk_grid import ChunkGrid, chunks_of
from xfit.fitting.running.clients import active_client, client_of
from xfit.fitting.running.error_notes import noted, noted_at_start
from xfit.fitting.running.executors import Executor, cluster_of, executor_of
from xfit.fitting.running.sources import Source
from xfit.modeling.model import Model
from xfit.modeling.units import check_units, parameter_units, units_of
from xfit.progress import reporter_of
from xfit.results.assembly import assemble
from xfit.results.component_digests import digests_of
from xfit.samfire.checkpoint import Checkpoints, described
from xfit.samfire.chunk_state import SamfireSpec
from xfit.samfire.goodness import Goodness, goodness_of
from xfit.samfire.live import LiveMap
from xfit.samfire.open_run import end, lay_out
from xfit.samfire.run import Run
from xfit.samfire.strategies import LocalStrategy, Strategy, strategies_of

if TYPE_CHECKING:
    from distributed import Client

#: Names of the result's own variables, besides those of every fit.
NOTES = ("order", "strategy", "tries")


class Samfire:
    """A SAMFire run of a map: fits that spread from good pixels to their neighbours.

    Parameters
    ----------
    da, model, dim
        As for `xfit.multifit`; the data have one to three navigation dimensions.
    seeds : sequence of positions, mapping, or boolean DataArray, optional
        Pixels that are fitted first, from the model's values: tuples of indices along the navigation dimensions, labels
        by dimension (``{"y": [3, 40], "x": [5, 60]}``, one list for each), or a mask.
    start : mapping or Dataset, optional
        Start values of the seeds, as for `xfit.multifit`; or an earlier result, whose good pixels are seeds that need
        not be fitted.
    strategies : Strategy or sequence of them, optional
        Used one after another; by default ``ReducedChiSquared()``, then ``Histogram()``.
    goodness : Goodness or callable, optional
        Which fits are good; by default ``RedChisq(tolerance=1.0)``.
    optional : sequence of str, optional
        Components that a pixel may do without: of the choices that are good, the one that ``criterion`` prefers is
        kept.
    criterion : {"aicc", "aic", "bic"}, optional
        What is lowest for that choice; "bic" asks more of a component the more channels there are.
    store : str, optional
        Path or URL of a folder for checkpoints. A run that was killed goes on from them when it is begun again with the
        same arguments.
    storage_options : mapping, optional
        What the file system of ``store`` needs.
    client : distributed.Client, optional
        Where to run; by default the client that is active, or threads of this process.
    progress : bool or callable, optional
        A bar on the console; by default where there is one. Or a function that is called with a `Snapshot` after every
        visit of a chunk.
    **fit_options
        Of the fits, as for `xfit.multifit`.

    Raises
    ------
    TypeError, ValueError
        For what can't be fitted, before any work starts.
    """

    def __init__(
        self,
        da: xr.DataArray,
        model: Model,
        dim: DimLike = None,
        *,
        seeds: Sequence[Any] | Mapping[Hashable, Any] | None = None,
        start: StartLike | None = None,
        strategies: Strategy | Sequence[Strategy] | None = None,
        goodness: Goodness | Callable[..., Any] | None = None,
        optional: Sequence[str] = (),
        criterion: str = "aicc",
        store: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
        client: Client | None = None,
        progress: bool | Callable[[Any], object] | None = None,
        **fit_options: Any,
    ) -> None:
        if fit_options.get("path", "independent") != "independent":
            raise ValueError(
                f"path={fit_options['path']!r} is not for SAMFire, which chooses the order of the pixels itself"
            )
        earlier = start if isinstance(start, xr.Dataset) else None
        asked = FitArguments.of({**fit_options, "start": None if earlier is not None else start})
        self._plan = make_plan(da, model, dim, asked)
        navigation = self._plan.axes.navigation
        if not 1 <= len(navigation) <= 3:
            raise ValueError(
                f"SAMFire needs one to three navigation dimensions; the data have {len(navigation)}: {list(navigation)}"
                + ("; fit a single spectrum with da.fit(model)" if not navigation else "")
            )
        taken = sorted({str(name) for name in (*da.dims, *da.coords)} & {*NOTES, "active"})
        if taken:
            raise ValueError(
                f"the data have dimension(s) or coordinate(s) called {taken}, which are names of the result's own; "
                f"rename them (for instance da.rename({{{taken[0]!r}: 'other_{taken[0]}'}}))"
            )
        self._reporter = reporter_of(progress)
        chosen = strategies_of(strategies, navigation)
        radii = [s.radii(navigation) for s in chosen if isinstance(s, LocalStrategy)]
        reach = tuple(int(np.ceil(max(r))) for r in zip(*radii, strict=True)) if radii else (0,) * len(navigation)
        da = self._plan.da
        self._data = da.transpose(*navigation, *self._plan.axes.dims)
        if da.chunks is not None:
            self._data = whole_signals(
                self._data, self._plan.axes.dims, "fit", stacklevel=3, client=client or active_client()
            )
        self._grid = ChunkGrid(chunks_of(self._data, navigation), reach)
        self._spec = SamfireSpec(
            self._plan.fit_spec,
            table_of(self._plan.axes),
            self._grid,
            navigation,
            chosen,
            goodness_of(goodness),
            _optional(optional, self._plan.model),
            _criterion(criterion, bool(optional), self._plan),
        )
        self._seeds = _by_chunk(_positions(seeds, da, navigation), self._grid)
        self._given = None if earlier is None else _packed(earlier, self._plan, self._spec.columns)
        if not self._seeds and self._given is None:
            raise ValueError(
                "SAMFire needs seeds: positions of pixels that the model's values are good starts for (seeds=[(y, x), "
                "...]), or an earlier result with good pixels (start=result)"
            )
        if store is not None:
            check_storable(da, self._plan.axes.dims)
        client_of(client)
        self._store = None if store is None else Checkpoints(store, storage_options)
        self._client = client
        self._live: LiveMap | None = None
        self._run: Run | None = None

    def status_map(self) -> Any:
        """HoloViews ``DynamicMap`` that shows, while the run goes on, which pixels are
        done; ask for it before `run`.
        """
        if self._live is None:
            self._live = LiveMap(self._grid, [str(d) for d in self._spec.navigation])
        return self._live.view()

    def stop(self) -> None:
        """End a run that goes on in another thread: it returns what is done."""
        if self._run is not None:
            self._run.stop()

    @property
    def interrupted(self) -> bool:
        """Whether the run was ended by a KeyboardInterrupt; the result has what was done until then."""
        return self._run is not None and self._run.interrupted

    def run(self) -> xr.Dataset:
        """Fit as much of the map as the strategies reach, or as was done when it was interrupted.

        Returns
        -------
        Dataset
            As that of `xfit.multifit`, with ``order`` (rank of the step in which a pixel was fitted; pixels of one step
            were fitted together), ``strategy`` (number of the strategy that began its fit; -1: a seed) and ``tries``;
            with optional components also ``active``. Computed for NumPy data, else chunked like the data.

        Raises
        ------
        ValueError
            If no seed is good.
        """
        executor = executor_of(self._client)
        try:
            if self._store is not None:
                self._store.begin(self._manifest())
                self._lay_out(self._store)
            sources = [Source(a, self._spec.navigation, self._grid) for a in (self._data, *self._plan.extra)]
            given = None if self._given is None else Source(self._given, self._spec.navigation, self._grid)
            for source in (*sources, *([] if given is None else [given])):
                if source.shuffled:
                    # Visits come one after the other, and a shuffle makes all blocks at once.
                    source.persist(cluster_of(executor).client)
            self._run = Run(
                self._spec,
                sources,
                given,
                self._seeds,
                executor,
                self._store,
                self._reporter,
                uuid.uuid4().hex,
                self._live,
            )
            with executor.active():
                handles = self._run.start()
                if self._store is not None and not self._run.stopped:
                    end(self._store, True)
                return self._result(handles, executor)
        finally:
            executor.close()

    def _manifest(self) -> dict[str, str]:
        """What a stored run must have in common with this one."""
        data = self._data
        fingerprint = tokenize(data.data) if data.chunks is None else str(data.data.name)
        return {
            "data": tokenize(fingerprint, data.shape, str(data.dtype), [tuple(c) for c in self._grid.chunks]),
            "model and options": tokenize(self._spec.fit_spec, [tokenize(a.data) for a in self._plan.extra]),
            "strategies": described(self._spec.strategies),
            "goodness": described(self._spec.goodness),
            "optional": repr((self._spec.optional, self._spec.criterion)),
            "seeds": tokenize({c: s.tolist() for c, s in self._seeds.items()}),
            "start": "" if self._given is None else tokenize(self._given.data),
            "xfit": __version__,
            **{
                f"the function or formula of component {cleaned(name)}": digest
                for name, digest in digests_of(self._plan.model, self._spec.fit_spec.program.kernels).items()
            },
        }

    def _result(self, handles: list[Any], executor: Executor) -> xr.Dataset:
        """Assemble the rows of all chunks."""
        grid, width = self._grid, self._width
        packed: Any
        if self._data.chunks is None:
            packed = np.empty((*(int(e[-1]) for e in grid.edges), width))
            for chunk, rows in enumerate(executor.results(handles)):
                packed[tuple(slice(*side) for side in grid.box(chunk))] = rows
        else:
            name = f"xfit-samfire-{uuid.uuid4().hex}"
            layer: dict[Any, Any] = {
                (name, *grid.index(chunk), 0): executor.held(handle) for chunk, handle in enumerate(handles)
            }
            packed = dask.array.Array(
                HighLevelGraph.from_collections(name, layer), name, (*grid.chunks, (width,)), dtype=np.float64
            )
        return self._assembled(packed)

    @property
    def _width(self) -> int:
        """Columns of a packed row with what SAMFire alone tells."""
        return self._spec.columns.total + len(NOTES) + len(self._spec.fit_spec.settings.active)

    def _lay_out(self, store: Checkpoints) -> None:
        """Say in the store what the result will be like, for those who look at it while the run goes on."""
        end(store, False)
        nothing = dask.array.empty(
            [int(e[-1]) for e in self._grid.edges] + [self._width], chunks=(*self._grid.chunks, -1)
        )
        names = [component.name for component in self._plan.model] if self._spec.optional else []
        template = self._assembled(nothing).drop_vars("part", errors="ignore")
        lay_out(store, template, self._grid, self._spec.columns, names)

    def _assembled(self, packed: Any) -> xr.Dataset:
        """The result out of packed rows."""
        plan, spec = self._plan, self._spec
        how = {**plan.how, "samfire": json.dumps([repr(s) for s in spec.strategies])}
        total = spec.columns.total
        options = spec.fit_spec.options
        result = assemble(
            packed[..., :total],
            self._data,
            plan.model,
            spec.fit_spec.program,
            spec.fit_spec.settings,
            plan.axes,
            options,
            how,
        )
        result = _noted(result, packed[..., total:], plan, bool(spec.optional))
        return noted(result, plan) if isinstance(packed, np.ndarray) else noted_at_start(result, plan)


def _criterion(given: str, needed: bool, plan: Plan) -> str:
    """Check by what choices of optional components are compared."""
    if given not in CRITERIA:
        raise ValueError(f"criterion={given!r} must be one of: {', '.join(CRITERIA)}")
    loss = plan.fit_spec.options.loss
    if needed and not loss.has_likelihood:
        raise ValueError(
            f"loss {loss.name!r} is no likelihood, so that choices of optional components can't be compared by "
            f"criterion={given!r}"
        )
    return given


def _noted(result: xr.Dataset, notes: Any, plan: Plan, optional: bool) -> xr.Dataset:
    """Result with what SAMFire alone tells."""
    navigation = plan.axes.navigation
    words = {
        "order": "rank of the step in which the pixel was fitted, -1 where it never was",
        "strategy": "number of the strategy that began the fit, -1 for seeds, -2 where there is none",
        "tries": "fits of the pixel",
    }
    for k, name in enumerate(NOTES):
        result[name] = (
            navigation,
            notes[..., k].astype(np.int32 if name == "order" else np.int16),
            {"long_name": words[name]},
        )
    if optional:
        names = [component.name for component in plan.model]
        result["active"] = (
            (*navigation, "part"),
            notes[..., len(NOTES) :].astype(bool),
            {"long_name": "whether a component takes part"},
        )
        result = result.assign_coords(part=np.array(names, object))
    return result


def _optional(names: Sequence[str], model: Model) -> tuple[int, ...]:
    """Positions of optional components."""
    given = [names] if isinstance(names, str) else list(names)
    known = [component.name for component in model]
    wrong = [name for name in given if name not in known]
    if wrong or len(set(given)) != len(given):
        raise ValueError(f"optional={given!r} must name components of the model, each once; it has {known}")
    off = [name for name in given if not model[name].active]
    if off:
        raise ValueError(f"optional={given!r}: {off} are switched off in the model, so that no choice is left")
    if len(given) > 6:
        raise ValueError(
            f"optional names {len(given)} components, which are {2 ** len(given)} fits of every pixel; at most 6 are "
            "taken"
        )
    return tuple(known.index(name) for name in given)


def _positions(seeds: Any, da: xr.DataArray, navigation: tuple[Hashable, ...]) -> list[tuple[int, ...]]:
    """Indices of the seeds along the navigation dimensions."""
    sizes = [da.sizes[d] for d in navigation]
    if seeds is None:
        return []
    if isinstance(seeds, xr.DataArray):
        if (
            seeds.dtype != bool
            or set(seeds.dims) != set(navigation)
            or dict(seeds.sizes) != dict(zip(navigation, sizes, strict=True))
        ):
            raise ValueError(
                f"seeds must be a boolean map over {dict(zip(navigation, sizes, strict=True))}; got {seeds.dtype} over "
                f"{dict(seeds.sizes)}"
            )
        check_same_labels(seeds, "seeds", da, navigation)
        return [tuple(map(int, row)) for row in np.argwhere(seeds.transpose(*navigation).values)]
    if isinstance(seeds, Mapping):
        return _labelled(seeds, da, navigation)
    found = []
    for seed in [seeds] if _is_position(seeds, len(navigation)) else seeds:
        position = (seed,) if isinstance(seed, int | np.integer) else seed
        if not _is_position(position, len(navigation)):
            raise ValueError(f"seed {seed!r} must be {len(navigation)} whole number(s), along {list(navigation)}")
        inside = all(-n <= int(p) < n for p, n in zip(position, sizes, strict=True))
        if not inside:
            raise ValueError(f"seed {seed!r} lies outside of the map, which has sizes {sizes} along {list(navigation)}")
        found.append(tuple(int(p) % n for p, n in zip(position, sizes, strict=True)))
    return found


def _is_position(value: Any, n: int) -> bool:
    """Whether a value is a tuple of so many whole numbers."""
    if not isinstance(value, tuple | list | np.ndarray) or len(value) != n:
        return False
    return all(isinstance(p, int | np.integer) and not isinstance(p, bool) for p in value)


def _labelled(seeds: Mapping[Any, Any], da: xr.DataArray, navigation: tuple[Hashable, ...]) -> list[tuple[int, ...]]:
    """Indices of seeds that are given by their labels."""
    if set(seeds) != set(navigation):
        raise ValueError(f"seeds names {list(seeds)}; it must have labels along each of {list(navigation)}")
    columns = []
    for d in navigation:
        labels = np.atleast_1d(seeds[d])
        index = da.get_index(d).get_indexer(pd.Index(labels))
        if (index < 0).any():
            raise ValueError(
                f"seeds[{d!r}]: no pixel is labelled {list(labels[index < 0])}; labels begin with "
                f"{list(da.get_index(d)[:3])}"
            )
        columns.append(index)
    if len({len(column) for column in columns}) != 1:
        raise ValueError(f"seeds must have as many labels along each dimension; they are {[len(c) for c in columns]}")
    return [tuple(map(int, row)) for row in zip(*columns, strict=True)]


def _by_chunk(positions: list[tuple[int, ...]], grid: ChunkGrid) -> dict[int, np.ndarray]:
    """Seeds of each chunk as flat positions inside of it, rising."""
    found: dict[int, set[int]] = {}
    for position in positions:
        chunk = grid.chunk_of(position)
        box = grid.box(chunk)
        inside = tuple(p - a for p, (a, _) in zip(position, box, strict=True))
        found.setdefault(chunk, set()).add(int(np.ravel_multi_index(inside, [b - a for a, b in box])))
    return {chunk: np.array(sorted(places), np.int64) for chunk, places in sorted(found.items())}


def _packed(result: xr.Dataset, plan: Plan, columns: Columns) -> xr.DataArray:
    """An earlier result of the same model as packed rows over the navigation dimensions."""
    names = list(plan.fit_spec.program.parameters)
    navigation = plan.axes.navigation
    if "xfit_model" not in result.attrs or "value" not in result:
        raise ValueError(
            "start is a Dataset that is no result of a fit: it has no attribute 'xfit_model' or no variable 'value'"
        )
    known = [str(name) for name in result["param"].values]
    if sorted(known) != sorted(names):
        raise ValueError(f"start is a result of another model: it has the parameters {known}, this one {names}")
    units = dict(zip(names, parameter_units(plan.model, plan.da, plan.axes), strict=True))
    check_units(units_of(result), "start", units)
    sizes = {d: plan.da.sizes[d] for d in navigation}
    if {d: n for d, n in result["status"].sizes.items()} != sizes:
        raise ValueError(f"start is a result over {dict(result['status'].sizes)}; the map has {sizes}")
    check_same_labels(result, "start", plan.da, navigation)
    parts = []
    for name, part in columns.slices.items():
        width = part.stop - part.start
        if name in ("value", "stderr", "at_bound"):
            column = result[name].sel(param=names).drop_vars("param").rename(param="column")
        elif name in SCALARS and name in result:
            column = result[name].expand_dims("column")
        elif name == "pair_covariance" and name in result and result.sizes["pair"] == width:
            column = result[name].drop_vars("pair").rename(pair="column")
        elif name == "covariance" and name in result:
            both = result[name].sel(param=names, param_=names).drop_vars(["param", "param_"])
            column = both.stack(column=("param", "param_"), create_index=False)
        else:
            column = xr.full_like(result["red_chisq"], np.nan).expand_dims(column=width)
        bare = column.astype(float).reset_coords(drop=True)
        parts.append(bare.drop_vars([c for c in bare.coords if c in bare.dims]).transpose(*navigation, "column"))
    return xr.concat(parts, "column")


def samfire(da: xr.DataArray, model: Model, dim: DimLike = None, **options: Any) -> xr.Dataset:
    """Fit a map from seeds, every pixel from its good neighbours (Smart Adaptive Multidimensional Fitting).

    Parameters
    ----------
    da, model, dim, **options
        See `Samfire`.

    Returns
    -------
    Dataset
        See `Samfire.run`.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xfit
    >>> from xfit.components import Gaussian
    >>> x, shift = np.linspace(-5, 30, 200), np.linspace(0, 25, 40)
    >>> da = xr.DataArray(np.exp(-((x - shift[:, None]) ** 2) / 2), dims=("pixel", "x"), coords={"x": x})
    >>> model = xfit.Model([Gaussian(name="g", A=2.0, centre=0.3)])
    >>> result = da.fit.samfire(model, seeds=[(0,)], goodness=lambda red_chisq: red_chisq < 1e-6)
    >>> bool(abs(result.fit["g.centre"] - shift).max() < 1e-6)
    True
    """
    return Samfire(da, model, dim, **options).run()
