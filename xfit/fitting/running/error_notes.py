"""What users' functions have raised, noted in the results of fits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from xfit.engine.block.function_errors import ATTRIBUTE, as_text, errors_of, first_error, raising_kernels
from xfit.engine.pixel.status import DESCRIPTIONS, FUNCTION_ERROR
from xfit.fitting.planning.plan import Plan


def noted(result: xr.Dataset, plan: Plan, errors: Mapping[str, str] | None = None) -> xr.Dataset:
    """A computed result with the words of what its functions raised, where they did.

    Parameters
    ----------
    errors : mapping, optional
        The words; by default those of this process.
    """
    if (result.variables["status"].values == FUNCTION_ERROR).any():
        fit_spec = plan.fit_spec
        result.attrs[ATTRIBUTE] = as_text(errors or errors_of(fit_spec.program, fit_spec.options.loss))
        if result["status"].ndim == 0:
            result.attrs["message"] = f"{DESCRIPTIONS[FUNCTION_ERROR]}: {result.attrs[ATTRIBUTE]}"
    return result


def noted_at_start(result: xr.Dataset, plan: Plan) -> xr.Dataset:
    """A result that is not computed yet with the words of what its functions raise at the model's start values."""
    fit_spec = plan.fit_spec
    kernels = raising_kernels(fit_spec.program)
    loaded, table = fit_spec.program.load(), plan.axes.table
    used = np.ones(table.shape[1], bool)
    for (role, _, dims), array in zip(fit_spec.roles, plan.extra, strict=True):
        if role == "where" and array.chunks is None and set(dims) <= set(plan.axes.dims):
            sizes = dict(zip(plan.axes.dims, plan.axes.shape, strict=True))
            used = array.variable.set_dims(sizes).transpose(*plan.axes.dims).values.astype(bool).ravel()
        elif role in ("where", "active"):
            # Which channels count is known in each pixel alone.
            return result
    found = False
    for k, kernel in kernels.items():
        first = int(loaded.first[k])
        x = np.stack([table[plan.axes.names.index(name)] for name in kernel.coordinates])
        p = fit_spec.settings.start[first : first + len(kernel.parameters)]
        if fit_spec.settings.active[k]:
            found |= first_error(kernel, x, used, p, f"component {fit_spec.program.components[k]!r}")
    if found:
        result.attrs[ATTRIBUTE] = as_text(errors_of(fit_spec.program, fit_spec.options.loss))
    return result
