"""The options of a fit, as a user gives them: what it is, and where its result goes; one list, from which
every call that fits takes them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, Self

import xarray as xr

from xfit.engine.block.options import FitOptions
from xfit.engine.losses import LossKernel
from xfit.noise import Poisson

if TYPE_CHECKING:
    from distributed import Client
    from zarr.abc.store import Store

#: One signal dimension, several, or None for the last ones.
DimLike = Hashable | Sequence[Hashable] | None

#: Part of a signal coordinate: one range, several, or by coordinate for images; None is all of it.
RangeLike = Sequence[float] | Sequence[Sequence[float]] | Mapping[str, Any] | None

#: Start values: by full parameter name, or an earlier result, or "estimate"; ranges to estimate components from.
StartLike = (
    Literal["estimate"]
    | xr.Dataset
    | Mapping[str, float | xr.DataArray | Literal["estimate"] | tuple[Any, Any] | Sequence[tuple[float, float]]]
)

#: Bounds by full parameter name: numbers, maps, or None for none.
BoundsLike = Mapping[str, tuple[float | xr.DataArray | None, float | xr.DataArray | None]]

#: Variance of the data: a number, an array that broadcasts to them, or how it is estimated from them.
VarianceLike = float | xr.DataArray | Literal["poisson"] | Poisson

#: What is minimised: a name, a kernel, or a Python function ``(data, model, weight) -> float``.
LossLike = str | LossKernel | Callable[..., float]


@dataclass(frozen=True, kw_only=True)
class FitArguments:
    """What a fit is: arguments of `xfit.multifit`, with its defaults.

    Attributes
    ----------
    engine : FitOptions
        Arguments that the engine takes as they are given: ``optimizer``, ``tolerance``, ``max_nfev``, ``starts``,
        ``covariance``, ``grad``. A new one needs a field there, and nothing here.
    optimizer_options : mapping
        What else was given: options of the optimizer.
    start, loss, loss_scale, variance, reweight, where, active, binned, bounded, bounds, path, spread, scale_covariance
        What is checked against the data and the model first.
    """

    start: StartLike | None = None
    loss: LossLike = "ls"
    loss_scale: float = 1.0
    variance: VarianceLike | None = None
    reweight: bool = False
    where: xr.DataArray | None = None
    active: Mapping[str, xr.DataArray | bool] | None = None
    binned: bool | None = None
    bounded: bool = True
    bounds: BoundsLike | None = None
    path: str = "independent"
    spread: Mapping[str, float] | None = None
    scale_covariance: bool | None = None
    engine: FitOptions = field(default_factory=FitOptions)
    optimizer_options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """Sort out what was given: names that are no argument of a fit are the optimizer's,
        which are checked with it.
        """
        own = {name: value for name, value in options.items() if name in _OWN}
        engine = {name: value for name, value in options.items() if name in _ENGINE}
        others = {name: value for name, value in options.items() if name not in FIT_ARGUMENTS}
        return cls(**own, engine=FitOptions(**engine), optimizer_options=others)


#: What the engine's options have from elsewhere than from an argument of the same name.
_RESOLVED = {"scale_covariance", "pairs", "loss", "spread", "chained", "optimizer_options", "noise", "alpha"}

_OWN = {each.name for each in fields(FitArguments)} - {"engine", "optimizer_options"}
_ENGINE = {each.name for each in fields(FitOptions)} - _RESOLVED

#: Names of all arguments that say what a fit is.
FIT_ARGUMENTS = frozenset(_OWN | _ENGINE)


@dataclass(frozen=True, kw_only=True)
class StoreArguments:
    """Where the result of a fit goes: arguments of `xfit.multifit`, with its defaults."""

    store: str | os.PathLike[str] | Store | None = None
    storage_options: Mapping[str, Any] | None = None
    resume: bool = False
    overwrite: bool = False
    zarr_chunks: Mapping[Hashable, int] | None = None
    client: Client | None = None
    progress: bool | Callable[[Any], object] | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """Take these arguments out of others."""
        return cls(**{each.name: options[each.name] for each in fields(cls) if each.name in options})

    def check(self) -> None:
        """Refuse what only a fit into a store heeds, where there is none.

        Raises
        ------
        ValueError
            Naming the arguments.
        """
        if self.store is not None:
            return
        asked = [each.name for each in fields(self) if getattr(self, each.name)]
        if asked:
            raise ValueError(
                f"{', '.join(f'{name}=' for name in asked)} are of fits with store=; without it, a fit of chunked "
                "data is lazy and its result yours to compute, show the progress of, and write"
            )
