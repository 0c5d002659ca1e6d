"""xarray DataArray.curvefit (scipy curve_fit through apply_ufunc(vectorize=True)), eager and dask."""

import models
import numpy as np
from common import case, main


def _xr(d, idx, chunks=None):
    import xarray as xr

    if d["w"].startswith("w5"):
        n = d["x"].size
        da = xr.DataArray(
            d["Y"][idx].reshape(-1, n, n).astype(float), dims=("p", "y", "x"), coords=dict(x=d["x"], y=d["x"])
        )
    else:
        da = xr.DataArray(d["Y"][idx].astype(float), dims=("p", "x"), coords=dict(x=d["x"]))
    return da.chunk(p=chunks) if chunks else da


def run(d, jac=True, bounds=False, chunks=None, scheduler="synchronous", **kw):
    import dask
    import xarray as xr

    f, j = models.SC[d["w"]]
    names = d["names"]
    two = d["w"].startswith("w5")
    if two:
        ff = lambda c, *p: f(np.stack(c), *p)  # curvefit passes a tuple of raveled coords (x, y)
        jj = lambda c, *p: j(np.stack(c), *p)
    else:
        ff, jj = f, j
    kk = dict(kw)
    if jac:
        kk["jac"] = jj

    def fit(idx):
        da = _xr(d, idx, chunks)
        if d["p0"].ndim == 1:
            p0 = dict(zip(names, d["p0"]))
        else:
            p0 = {n: xr.DataArray(d["P0"][idx, k], dims="p") for k, n in enumerate(names)}
        b = {n: (l, h) for n, l, h in zip(names, d["lo"], d["hi"])} if bounds else None
        if two:
            r = da.curvefit(
                ["x", "y"], ff, reduce_dims=["x", "y"], param_names=names, p0=p0, bounds=b, kwargs=kk, errors="ignore"
            )
        else:
            r = da.curvefit("x", ff, param_names=names, p0=p0, bounds=b, kwargs=kk, errors="ignore")
        if chunks:
            with dask.config.set(scheduler=scheduler):
                r = r.compute()
        P = r.curvefit_coefficients.transpose("p", "param").values
        return P, np.isfinite(P).all(1)

    return fit


@case("w1", "curvefit", n=1000, note="jac given")
def _(d):
    return run(d)


@case("w1", "curvefit_fd", n=800, note="no jac")
def _(d):
    return run(d, jac=False)


@case("w1", "curvefit_dask_1core", n=1000, note="jac given, dask chunks of 250 pixels, synchronous scheduler")
def _(d):
    return run(d, chunks=250)


@case("w1", "curvefit_dask_threads2", n=1000, cores=2, note="jac given, threaded scheduler, 2 cores (GIL-bound)")
def _(d):
    return run(d, chunks=250, scheduler="threads")


@case("w1", "curvefit_dask_procs2", n=2000, cores=2, note="jac given, process scheduler, 2 cores, pool start included")
def _(d):
    return run(d, chunks=500, scheduler="processes")


@case("w2", "curvefit_b", n=300, note="bounds on -> trf, jac given, x_scale='jac'")
def _(d):
    return run(d, bounds=True, x_scale="jac")


@case(["w5a", "w5b"], "curvefit", n=1000, note="jac given, per-patch p0 as DataArrays")
def _(d):
    return run(d)


@case(
    "w3",
    "lstsq_via_apply_ufunc",
    warm=64,
    note="no linear path for arbitrary basis in xarray (polyfit only): apply_ufunc on a pseudo-inverse, eager",
)
def _(d):
    import xarray as xr

    Pi = np.linalg.pinv(models.design_w3(d["x"]).T).T.copy()

    def fit(idx):
        da = xr.DataArray(d["Y"][idx], dims=("p", "x"))
        r = xr.apply_ufunc(lambda y: y.astype(float) @ Pi, da, input_core_dims=[["x"]], output_core_dims=[["param"]])
        return r.values, None

    return fit


if __name__ == "__main__":
    main("xarray")
