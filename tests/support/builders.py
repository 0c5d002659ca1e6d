"""Small data sets with known answers, sources that count what is read, and hypothesis strategies, shared by tests."""

from __future__ import annotations

import itertools
import threading
from typing import Any, TypeVar

import dask.array
import numpy as np
import xarray as xr
from hypothesis import strategies as st

from xfit import Model
from xfit.components import Gaussian, Gaussian2D, Offset

_numbers = itertools.count()

Array = TypeVar("Array", np.ndarray, xr.DataArray)


def gaussian(x: Array, area: Any, centre: Any, sigma: Any) -> Array:
    """Gaussian by its area, the parameterisation of `xfit.components.Gaussian`, in NumPy."""
    return area / (sigma * np.sqrt(2 * np.pi)) * np.exp(-((x - centre) ** 2) / (2 * sigma**2))


def two_peaks(**values: Any) -> Model:
    """Two Gaussians on a constant: 7 parameters, started near but not at the truth of `peak_map`."""
    model = Model(
        [
            Gaussian(name="left", A=30.0, centre=5.5, sigma=1.0),
            Gaussian(name="right", A=30.0, centre=13.5, sigma=1.5),
            Offset(name="bg", offset=0.5),
        ]
    )
    model.set(values)
    return model


def one_peak(**values: Any) -> Model:
    """One Gaussian on a constant."""
    model = Model([Gaussian(name="peak", A=20.0, centre=9.0, sigma=2.0), Offset(name="bg", offset=0.0)])
    model.set({f"peak.{key}": value for key, value in values.items()})
    return model


def peak_truth(shape: tuple[int, ...], seed: int = 0) -> dict[str, np.ndarray]:
    """True parameters of `peak_map`, by full name."""
    random = np.random.default_rng(seed)
    spread = {
        "left.A": (40, 8),
        "left.centre": (6, 0.3),
        "left.sigma": (1.2, 0.1),
        "right.A": (25, 5),
        "right.centre": (13, 0.3),
        "right.sigma": (1.6, 0.1),
        "bg.offset": (1, 0.1),
    }
    return {name: middle + width * random.uniform(-1, 1, shape) for name, (middle, width) in spread.items()}


def peak_map(shape: tuple[int, ...] = (3, 4), n: int = 60, noise: float = 0.2, seed: int = 0) -> xr.DataArray:
    """Map of two Gaussians on a constant, over (y, x, energy) or as many navigation dimensions as there are sizes."""
    energy = np.linspace(0, 20, n)
    p = {name: values[..., None] for name, values in peak_truth(shape, seed).items()}
    values = gaussian(energy, p["left.A"], p["left.centre"], p["left.sigma"])
    values = values + gaussian(energy, p["right.A"], p["right.centre"], p["right.sigma"]) + p["bg.offset"]
    values = values + noise * np.random.default_rng(seed + 1).normal(size=values.shape)
    navigation = ("t", "y", "x")[-len(shape) :] if shape else ()
    coords: dict[str, Any] = {"energy": ("energy", energy, {"units": "eV", "long_name": "energy loss"})}
    coords |= {d: (d, 0.5 * np.arange(size), {"units": "nm"}) for d, size in zip(navigation, shape, strict=True)}
    return xr.DataArray(values, dims=(*navigation, "energy"), coords=coords, name="eels", attrs={"units": "counts"})


def image_map(dims: tuple[str, str], n_pixels: int = 3, noise: float = 0.0) -> xr.DataArray:
    """Stack of images of a Gaussian spot, rows along the first of ``dims`` and columns along the second."""
    rows, columns = np.arange(14.0), np.linspace(-4, 4, 17)
    area, width, height = 50.0, 1.1, 2.0
    images = []
    for k in range(n_pixels):
        along_columns = gaussian(columns, 1.0, 0.3 * k, width)
        images.append(area * np.multiply.outer(gaussian(rows, 1.0, 6.0 + k / 4, height), along_columns))
    values = np.array(images) + noise * np.random.default_rng(3).normal(size=(n_pixels, 14, 17))
    return xr.DataArray(values, dims=("frame", *dims), coords={dims[0]: rows, dims[1]: columns})


def spot() -> Model:
    """Model of `image_map`."""
    return Model([Gaussian2D(name="spot", A=30.0, centre_x=0.2, centre_y=6.5, sigma_x=1.0, sigma_y=1.5)])


#: Channels of `drifting_peak`.
ENERGY = np.linspace(0, 10, 80)


def drifting_peak(shape: tuple[int, ...], dims: tuple[str, ...]) -> xr.DataArray:
    """Counts of a peak on a constant, whose centre drifts along the last dimension of the map."""
    random = np.random.default_rng(0)
    drift = np.broadcast_to(np.linspace(-0.5, 0.5, shape[-1]), shape)[..., None]
    counts = random.poisson(15 + 200 * np.exp(-((ENERGY - 5 - drift) ** 2) / 2 / 0.49)).astype(float)
    coords: dict[str, Any] = {d: (d, 0.5 * np.arange(n), {"units": "nm"}) for d, n in zip(dims, shape, strict=True)}
    coords["energy"] = ("energy", ENERGY, {"units": "eV", "long_name": "energy loss"})
    return xr.DataArray(counts, dims=(*dims, "energy"), coords=coords, attrs={"units": "counts"}, name="spectra")


def drifting_model() -> Model:
    """Model of `drifting_peak`."""
    return Model([Gaussian(name="Fe", A=300, centre=5, sigma=0.8), Offset(name="bg", offset=15)])


def fit_with_failures(shape: tuple[int, int], missing: Any, failed: Any) -> tuple[xr.DataArray, xr.Dataset]:
    """Map of `drifting_peak` with missing pixels, and its fit, of which some pixels count as failed."""
    da = drifting_peak(shape, ("y", "x"))
    da[missing] = np.nan
    fit = da.fit.multifit(drifting_model(), loss="poisson")
    fit.status.values[failed] = 2
    return da, fit


class Source:
    """Array that dask reads block by block, and that remembers every read."""

    def __init__(self, values: np.ndarray, *, forbidden: bool = False) -> None:
        self.values = values
        self.shape, self.dtype, self.ndim = values.shape, values.dtype, values.ndim
        self.forbidden = forbidden
        self.reads: list[Any] = []
        self._lock = threading.Lock()

    def __getitem__(self, key: Any) -> np.ndarray:
        if self.forbidden:
            raise AssertionError("data were read where nothing may be read")
        with self._lock:
            self.reads.append(key)
        return self.values[key]


def from_source(da: xr.DataArray, chunks: Any, *, forbidden: bool = False) -> tuple[xr.DataArray, Source]:
    """Lazy twin of an array, and the source that it reads from."""
    source = Source(da.values, forbidden=forbidden)
    sizes = tuple(chunks.get(d, -1) for d in da.dims)
    name = f"source-{next(_numbers)}"
    meta = np.empty((0,) * da.ndim, da.dtype)
    return da.copy(data=dask.array.from_array(source, chunks=sizes, name=name, meta=meta)), source


def assert_same_bits(one: xr.Dataset, other: xr.Dataset) -> None:
    """Compare every variable of two results bit by bit."""
    assert set(one.data_vars) == set(other.data_vars)
    for name in one.data_vars:
        a, b = one[name], other[name]
        assert a.dims == b.dims, name
        assert a.dtype == b.dtype, name
        if a.values.tobytes() != b.values.tobytes():
            off = a.values.ravel() != b.values.ravel()
            raise AssertionError(
                f"{name} differs in {off.sum()} of {off.size}: {a.values.ravel()[off][:3]} and "
                f"{b.values.ravel()[off][:3]}"
            )


def names_of(result: xr.Dataset, status: int) -> str:
    """Word of a status code, as the result itself explains it."""
    return str(result["status"].attrs["flag_meanings"].split()[status])


def statuses(result: xr.Dataset) -> list[str]:
    """Words of the statuses of all pixels, flattened."""
    return [names_of(result, int(code)) for code in result["status"].values.ravel()]


def param_values(result: xr.Dataset, name: str) -> np.ndarray:
    """Map of one parameter's values."""
    return np.asarray(result["value"].sel(param=name).values)


#: Ways to cut a dimension of 6 and one of 5 pixels.
chunkings = st.fixed_dictionaries(
    {
        "y": st.sampled_from([1, 2, 6, (1, 4, 1), (5, 1)]),
        "x": st.sampled_from([1, 3, 5, (2, 3), (1, 1, 3)]),
    }
)

#: Schedulers that must not matter.
schedulers = st.sampled_from([("synchronous", 1), ("threads", 1), ("threads", 2)])

#: Numbers that a detector should not give, and now and then does.
odd_numbers = st.one_of(
    st.floats(-1e3, 1e3),
    st.sampled_from([0.0, -0.0, np.nan, np.inf, -np.inf, 1e300, -1e300, 1e-300, 5e-324, 1.7e308, 1e150, -1e155]),
)


@st.composite
def garbage(draw: st.DrawFn, n_pixels: int = 6, n_channels: int = 24) -> np.ndarray:
    """Spectra without any sense: constants, spikes, noise of any size, odd numbers anywhere."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = []
    for _ in range(n_pixels):
        kind = draw(st.sampled_from(["constant", "spike", "noise", "odd", "ramp"]))
        size = draw(odd_numbers)
        row = np.zeros(n_channels)
        with np.errstate(all="ignore"):
            if kind == "constant":
                row[:] = size
            elif kind == "spike":
                row[draw(st.integers(0, n_channels - 1))] = size
            elif kind == "noise":
                row[:] = size * random.normal(size=n_channels)
            elif kind == "ramp":
                row[:] = size * np.linspace(-1, 1, n_channels)
            else:
                row[:] = random.normal(size=n_channels)
                for k in random.integers(0, n_channels, 4):
                    row[k] = draw(odd_numbers)
        rows.append(row)
    return np.array(rows)
