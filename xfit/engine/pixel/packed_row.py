"""The packed row of a pixel: values, standard errors and bound flags of all parameters, then
scalars, then what else is asked for.

Compiled code and Python find every number by these functions; `xfit.engine.block.options.Columns` has the variables by
their names.
"""

from __future__ import annotations

import math

import numpy as np
from numba.extending import register_jitable

from xfit.engine.evaluation.loss_functions import LEAST_SQUARES
from xfit.engine.math.jit import inner

#: Numbers of a packed row that follow value, stderr and at_bound of every parameter.
SCALARS = ("chisq", "red_chisq", "loss", "dof", "nfev", "status", "aic", "aicc", "bic")

CHISQ, RED_CHISQ, LOSS_VALUE, DOF, EVALUATIONS, STATUS, AIC, AICC, BIC = range(9)

_COUNT = len(SCALARS)

LOG_2PI = 1.8378770664093453


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


@inner
def write_goodness(
    chisq: float, loss: float, used: int, count: int, kind: int, scaled: bool, scalars: np.ndarray
) -> None:
    """Write how good a fit is; the constant of the likelihood stands in the place of the first criterion.

    Parameters
    ----------
    chisq, loss : float
        Weighted sum of squared residuals, and the loss, at the solution.
    used, count : int
        Channels that take part, and free parameters.
    kind : int
        The loss; see `xfit.engine.evaluation.loss_functions`.
    scaled : bool
        Whether the scale of the errors is not trusted. Then it is one more parameter, at its most likely value.
    scalars : float64 (any,)
        The row from its scalars on.
    """
    dof = used - count
    scalars[CHISQ] = chisq
    scalars[RED_CHISQ] = chisq / dof if dof > 0 else math.nan
    scalars[LOSS_VALUE] = loss
    constant = scalars[AIC]
    k = float(count)
    if kind == LEAST_SQUARES:
        constant += used * LOG_2PI
        if scaled:
            loss = used * (1.0 + math.log(loss / used) if loss > 0.0 else -math.inf)
            k += 1.0
    deviance = loss + constant
    scalars[AIC] = deviance + 2.0 * k
    rest = used - k - 1.0
    scalars[AICC] = deviance + 2.0 * k + 2.0 * k * (k + 1.0) / rest if rest > 0.0 else math.nan
    scalars[BIC] = deviance + k * math.log(float(used))
