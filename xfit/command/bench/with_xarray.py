"""The workloads fitted by xarray's `curvefit`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from xfit.command.bench.workloads import Workload


def fitter(workload: Workload) -> Callable[[np.ndarray], np.ndarray]:
    """Make what fits all spectra by one call."""
    names = [f"p{k}" for k in range(len(workload.start))]
    low, high = workload.bounds

    def fit(data: np.ndarray) -> np.ndarray:
        da = xr.DataArray(data, dims=("pixel", "x"), coords={"x": workload.x})
        found = da.curvefit(
            "x",
            workload,
            p0=dict(zip(names, workload.start, strict=True)),
            bounds={name: (low[k], high[k]) for k, name in enumerate(names)},
            param_names=names,
        )
        return np.asarray(found.curvefit_coefficients.values)

    return fit
