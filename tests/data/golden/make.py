"""Write one small file of every format that xfit has, by whichever xfit is imported, and note what they
hold; see README.md beside this.
"""

import json
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr


def data() -> xr.DataArray:
    """A map of 2 x 4 spectra, the same in every version of every package: a line on a
    constant, and a ripple for noise.
    """
    e, y, x = np.arange(24.0), np.arange(2.0)[:, None, None], np.arange(4.0)[:, None]
    values = 5 + (20 + x) * np.exp(-((e - 11 - 0.25 * x + 0.5 * y) ** 2) / 8) + 0.125 * np.where(e % 2, -1.0, 1.0)
    # On a grid that floating point has, so that the last bits of exp don't matter.
    rounded = np.round(values * 256) / 256
    coords = {"y": np.arange(2) * 0.5, "x": np.arange(4) + 10, "e": ("e", e, {"units": "eV"})}
    return xr.DataArray(rounded, dims=("y", "x", "e"), coords=coords, name="counts", attrs={"units": "counts"})


def model():
    """A line on a constant, with bounds and a tie: what every format of models has."""
    import xfit
    from xfit.components import Gaussian, Offset

    made = xfit.Model([Gaussian(name="line", A=90, centre=11, sigma=2), Offset(name="level", offset=4)])
    made["line"].sigma.min, made["line"].sigma.max = 0.5, 6
    made.append(Gaussian(name="ghost", A=0, centre=20, sigma=2))
    made["ghost"].A.free = False
    made["ghost"].centre.free = False
    made["ghost"].sigma.tie("line.sigma")
    return made


def summary(fit: xr.Dataset) -> dict:
    """The numbers of a result as JSON has them."""
    fit = fit.compute()
    numbers = {name: fit[name].values for name in ("value", "stderr", "chisq", "status")}
    return {name: np.where(np.isnan(v), -1e300, v).tolist() for name, v in numbers.items()} | {
        "param": [str(name) for name in fit["param"].values],
        "dims": {str(d): int(n) for d, n in fit.sizes.items()},
    }


def packed(folder: Path, path: Path, without: str | None = None) -> None:
    """Zip a folder; times are left out, so that the same content is the same file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for each in sorted(folder.rglob("*")):
            name = each.relative_to(folder).as_posix()
            if each.is_file() and not (without and name.startswith(without)):
                archive.writestr(zipfile.ZipInfo(name), each.read_bytes(), zipfile.ZIP_DEFLATED)


def model_files(to: Path, _: Path) -> dict:
    """Models as JSON and, where there is to_file, TOML."""
    made = model()
    (to / "model.json").write_text(made.to_json() + "\n")
    if hasattr(made, "to_file"):
        made.to_file(to / "model.toml", overwrite=True)
    return json.loads(made.to_json())


def results(to: Path, work: Path) -> dict:
    """A result as netCDF and zarr, with the covariance."""
    fit = data().fit.multifit(model(), covariance=True).compute()
    fit.to_netcdf(to / "result.nc")
    fit.to_zarr(work / "result.zarr", zarr_format=3, consolidated=False)
    packed(work / "result.zarr", to / "result.zarr.zip")
    return summary(fit)


def runs(to: Path, work: Path) -> dict:
    """A run into a store, whole, and as it is without the mark and some numbers of its second chunk."""
    fit = data().chunk(y=1, x=2).fit.multifit(model(), store=work / "run.zarr", progress=False)
    packed(work / "run.zarr", to / "run.zarr.zip")
    packed(work / "run.zarr", to / "run_part.zarr.zip", without="marks/done/c/1/")
    return summary(fit)


def beside(to: Path, work: Path) -> dict:
    """Two fits beside their signal."""
    import xfit

    da = data()
    da.to_dataset().to_zarr(work / "map.zarr", zarr_format=3, consolidated=False)
    kept = xfit.models(work / "map.zarr")
    fit = da.fit.multifit(model())
    kept.store(fit, "whole")
    kept.store(da.isel(x=slice(0, 2)).fit.multifit(model()), "a part")
    packed(work / "map.zarr", to / "models.zarr.zip")
    return summary(fit)


def samfire(to: Path, work: Path) -> dict:
    """A SAMFire run in a folder."""
    fit = data().chunk(y=2, x=2).fit.samfire(model(), seeds=[(0, 0)], store=str(work / "samfire"), progress=False)
    packed(work / "samfire", to / "samfire.zip")
    return summary(fit)


KINDS: dict[str, Callable[[Path, Path], dict]] = {
    "model": model_files,
    "result": results,
    "run": runs,
    "models": beside,
    "samfire": samfire,
}


def main(to: Path, kinds: list[str]) -> None:
    """Write the files of some kinds, or of all, into a folder."""
    import dask
    import zarr

    from xfit._version import __version__

    to.mkdir(parents=True, exist_ok=True)
    noted: dict[str, Any] = {
        "xfit": __version__,
        "zarr": zarr.__version__,
        "dask": dask.__version__,
        "xarray": xr.__version__,
    }
    for kind in kinds or list(KINDS):
        work = Path(tempfile.mkdtemp())
        noted[kind] = KINDS[kind](to, work)
        shutil.rmtree(work)
        (to / "noted.json").write_text(json.dumps(noted, indent=None) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
