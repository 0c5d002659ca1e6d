"""Linear fits of a block: one design for all pixels where they share it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from xfit.engine.block.pixel_problem import PixelProblem, Pixels
from xfit.engine.block.precompile import prepare_engine
from xfit.engine.evaluation.state import state_of
from xfit.engine.linear.fit import fit_alike, fit_linear_singly, fit_weighted
from xfit.engine.linear.groups import Equations, Group, group_of
from xfit.engine.linear.rows import Affine, Rows, rows_of
from xfit.engine.linear.solve import Problems, problems_of
from xfit.engine.pixel.packed_row import scalars_at
from xfit.engine.pixel.scalars import STATUS
from xfit.engine.pixel.status import SINGULAR

#: Singular values of the design below this part of the largest are zero.
_RANK = 1e-13

#: Largest table of products of derivatives, in numbers: what is still in the cache when the next eight pixels need it.
_TABLE = 1 << 19


@dataclass(frozen=True)
class Design:
    """The model of all pixels as a linear function of the free parameters.

    Attributes
    ----------
    columns : float64 (n_channels, k)
        Derivatives, times the channel widths of binned data.
    base : float64 (n_channels,)
        The model with all free parameters at zero.
    affine : Affine
        All parameters as linear functions of the free ones.
    """

    columns: np.ndarray
    base: np.ndarray
    affine: Affine


class Alike(NamedTuple):
    """Weighted derivatives that all pixels share, decomposed; see `xfit.engine.linear.fit.fit_alike`."""

    directions: np.ndarray
    to_solution: np.ndarray


@dataclass(frozen=True)
class Linear:
    """What the pixels of a block with the same free parameters share, and scratch for eight of them.

    Attributes
    ----------
    affine : Affine
        All parameters as linear functions of the free ones.
    equations : Equations
        Design and, where they are the same for all, weights.
    alike : Alike or None
        Where weights are the same and there are neither bounds nor a penalty.
    group, problems, rows
        Scratch.
    """

    affine: Affine
    equations: Equations
    alike: Alike | None
    group: Group
    problems: Problems
    rows: Rows


Known = dict[bytes, Linear | None]


def fit_linear(pixels: Pixels, which: np.ndarray, known: Known) -> None:
    """Fit the listed pixels and write their rows.

    Parameters
    ----------
    which : int64 (any,)
        Which pixels.
    known : dict
        Designs of this block's models, by their active components; filled.
    """
    structure = pixels.problem.structure
    key = b"|".join(each.tobytes() for each in (structure.address, structure.first, structure.idle, pixels.free))
    shared = not pixels.varying & {"start", "response"}
    left = which
    if shared and which.size:
        if key not in known:
            known[key] = _linear(pixels)
        linear = known[key]
        if linear is not None and linear.alike is not None:
            left = _fit_alike(pixels, linear, linear.alike, left)
        if linear is not None and left.size:
            left = _fit_weighted(pixels, linear, left)
    if left.size:
        _fit_singly(pixels, left)
        _solve_dependent(pixels, left)


def _solve_dependent(pixels: Pixels, which: np.ndarray) -> None:
    """Give pixels whose columns depend on each other a solution of the least chi-squared: the one of least
    norm, if there are no bounds.

    Their status remains `SINGULAR`, without errors: other solutions are as good.
    """
    status = pixels.block.out[which, scalars_at(pixels.block.start.shape[1]) + STATUS]
    if pixels.limits.alpha > 0.0 or not (status == SINGULAR).any():
        return
    # Not at the top: SciPy's optimizers would make `import xfit` wait.
    from scipy.optimize import lsq_linear

    problem = PixelProblem(_of_doubles(pixels))
    for i in which[status == SINGULAR]:
        if not problem.begin(int(i)):
            continue
        start = problem.start
        deviations, jacobian = problem.deviations(start)
        target = jacobian @ start - deviations
        lower, upper = problem.bounds
        if np.isfinite(lower).any() or np.isfinite(upper).any():
            free = lower < upper
            theta = np.where(free, start, lower)
            rest = target - jacobian[:, ~free] @ theta[~free]
            bounds = (lower[free], upper[free])
            theta[free] = lsq_linear(jacobian[:, free], rest, bounds, method="bvls", tol=1e-14).x
        else:
            theta = np.linalg.lstsq(jacobian, target, rcond=None)[0]
        problem.end(theta, SINGULAR)


def _linear(pixels: Pixels) -> Linear | None:
    """Put together what pixels share; None where normal equations would not do."""
    design = _design(pixels)
    if design is None or not design.columns.any(axis=0).all():
        return None
    equations = _equations(pixels, design)
    alike = _alike(design, equations) if equations.used and _unbounded(pixels) else None
    n, k = pixels.block.start.shape[1], pixels.free.size
    scratch = group_of(equations.base.size), problems_of(k), rows_of(n, k, pixels.block.out.shape[1])
    return Linear(design.affine, equations, alike, *scratch)


def _unbounded(pixels: Pixels) -> bool:
    """Whether nothing but least squares decides: no bounds, no penalty."""
    block, free = pixels.block, pixels.free
    inside = np.isneginf(block.lower[:, free]).all() and np.isposinf(block.upper[:, free]).all()
    return bool(inside) and pixels.limits.alpha == 0.0


def _design(pixels: Pixels) -> Design | None:
    """Take the design from the engine: derivatives of a pixel without data at the start values."""
    block = pixels.block
    m = pixels.y.shape[1]
    empty = block._replace(
        start=block.start[:1],
        y=np.zeros((1, m)),
        variance=np.empty((1, 0)),
        where=np.empty((1, 0), bool),
        # Starts need not lie within the bounds here.
        lower=np.full((1, block.start.shape[1]), -np.inf),
        upper=np.full((1, block.start.shape[1]), np.inf),
        out=np.full((1, block.out.shape[1]), np.nan),
    )
    problem = PixelProblem(replace(pixels, block=empty))
    if not problem.begin(0):
        return None
    start = problem.start
    model, jacobian = problem.deviations(start)
    columns = np.ascontiguousarray(jacobian)
    base = model - columns @ start
    if not (np.isfinite(columns).all() and np.isfinite(base).all()):
        return None
    offset, slopes = problem.linear_map()
    row, column = np.nonzero(slopes)
    first = np.searchsorted(row, np.arange(offset.size + 1)).astype(np.int64)
    return Design(columns, base, Affine(offset, first, column.astype(np.int64), slopes[row, column]))


def _alike(design: Design, equations: Equations) -> Alike | None:
    """Decompose a design that all pixels share with its weights; None where its columns depend on each other."""
    root = np.sqrt(equations.weight)
    scaled = design.columns * root[:, None]
    norm = np.sqrt((scaled**2).sum(0))
    if not (norm > 0).all():
        return None
    u, sizes, vt = np.linalg.svd(scaled / norm, full_matrices=False)
    if sizes[-1] <= _RANK * sizes[0]:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        directions = np.where(root > 0, u.T / root, 0.0)
    return Alike(_padded(directions), np.ascontiguousarray(vt.T / sizes / norm[:, None]))


def _padded(rows: np.ndarray) -> np.ndarray:
    """Rows, their number rounded up to threes, each a little longer, or all would compete
    for the same lines of the cache.
    """
    padded = np.zeros((-(-len(rows) // 3) * 3, rows.shape[1] + 8))
    padded[: len(rows), :-8] = rows
    return padded


def _fit_alike(pixels: Pixels, linear: Linear, alike: Alike, which: np.ndarray) -> np.ndarray:
    """Fit pixels that share design and weights; return those with channels of their own left out."""
    block = pixels.block
    left = np.empty_like(which)
    number = fit_alike(
        pixels.y,
        which,
        linear.equations,
        *alike,
        linear.affine,
        pixels.free,
        block.pairs,
        pixels.limits,
        linear.group,
        linear.problems,
        linear.rows,
        left,
        block.out,
    )
    return left[:number]


def _shared_weights(pixels: Pixels) -> np.ndarray:
    """Inverse variances of the channels of all pixels, zero where one is left out, NaN where one is not valid."""
    block = pixels.block
    weight = np.ones(pixels.y.shape[1])
    if pixels.variance.size:
        variance = pixels.variance[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            weight = np.where(np.isfinite(variance), np.where(variance > 0, 1 / variance, np.nan), 0.0)
    if block.where.size:
        weight = np.where(block.where[0], weight, 0.0)
    return weight


@lru_cache(maxsize=128)
def _triangle(k: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the elements of a lower triangle."""
    first, second = np.tril_indices(k)
    return first.astype(np.int64), second.astype(np.int64)


def _equations(pixels: Pixels, design: Design) -> Equations:
    """Lay a design out, with the normal equations of pixels that have the same weights."""
    rows = np.ascontiguousarray(design.columns.T)
    k, m = rows.shape
    first, second = _triangle(k)
    plain = not pixels.varying & {"variance", "where"}
    # Where weights are the same, few pixels have channels of their own left out.
    kept = first.size if first.size * m <= _TABLE and not plain else 0
    products = _padded(rows[first[:kept]] * rows[second[:kept]])
    weight = _shared_weights(pixels) if plain else np.full(m, np.nan)
    used = int((weight > 0).sum())
    if np.isnan(weight).any() or used < max(k, 1):
        return Equations(design.base, _padded(rows), first, second, products, weight, np.zeros(first.size), 0, 0.0)
    gram = ((rows * weight) @ rows.T)[first, second]
    logs = -np.log(weight[weight > 0]).sum() if pixels.variance.size else 0.0
    return Equations(design.base, _padded(rows), first, second, products, weight, gram, used, float(logs))


def _fit_weighted(pixels: Pixels, linear: Linear, which: np.ndarray) -> np.ndarray:
    """Fit pixels by normal equations; return those that need a QR factorisation."""
    block, free = pixels.block, pixels.free
    left = np.empty_like(which)
    number = fit_weighted(
        pixels.y,
        pixels.variance,
        block.where,
        np.ascontiguousarray(block.lower[:, free]),
        np.ascontiguousarray(block.upper[:, free]),
        which,
        linear.equations,
        linear.affine,
        free,
        block.pairs,
        pixels.limits,
        linear.group,
        linear.problems,
        linear.rows,
        left,
        block.out,
    )
    return left[:number]


def _of_doubles(pixels: Pixels) -> Pixels:
    """Make the same pixels with data and variance as float64."""
    y, variance = pixels.y.astype(float, copy=False), pixels.variance.astype(float, copy=False)
    return replace(pixels, block=pixels.block._replace(y=y, variance=variance))


def _fit_singly(pixels: Pixels, which: np.ndarray) -> None:
    """Fit pixels whose design is their own, or whose normal equations are too ill-conditioned."""
    prepare_engine("linear alone")
    state = state_of(pixels.problem, pixels.free, pixels.y.shape[1])
    fit_linear_singly(
        pixels.problem,
        state,
        _of_doubles(pixels).block,
        pixels.response,
        which,
        pixels.limits,
        np.empty(pixels.free.size, bool),
    )
