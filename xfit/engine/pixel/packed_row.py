"""The packed row of a pixel: values, standard errors and bound flags of all parameters, then
scalars, then what else is asked for.

Compiled code and Python find every number by these functions; `xfit.engine.block.options.Columns` has the variables by
their names.
"""

from __future__ import annotations

from numba.extending import register_jitable

from xfit.engine.pixel.scalars import SCALARS

_COUNT = len(SCALARS)


@register_jitable
def stderr_at(n: int) -> int:
    """Where the standard errors of ``n`` parameters begin; their values are before."""
    return n


@register_jitable
def at_bound_at(n: int) -> int:
    """Where the flags begin that tell which parameters are at a bound."""
    return 2 * n


@register_jitable
def scalars_at(n: int) -> int:
    """Where the scalars begin."""
    return 3 * n


@register_jitable
def further_at(n: int) -> int:
    """Where covariances of pairs begin; after them comes the covariance matrix, after that the
    bias, each if it is asked for.
    """
    return 3 * n + _COUNT
