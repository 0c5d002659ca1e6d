"""Data that can't be fitted lazily or written into a store are refused before any work,
with the way out, which is tried.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from numpy.testing import assert_allclose

import xfit
from xfit.components import Offset

X = np.arange(8.0)


def model() -> xfit.Model:
    return xfit.Model([Offset(name="o", offset=1.0)])


def make(**coords: Any) -> xr.DataArray:
    data = dask.array.from_array(np.arange(48.0).reshape(3, 2, 8), chunks=(1, 2, 8))
    return xr.DataArray(data, dims=("y", "x", "e"), coords={"e": X, **coords})


def unknown() -> xr.DataArray:
    data = dask.array.from_array(np.arange(48.0).reshape(6, 8), chunks=(2, 8))
    return xr.DataArray(data[data[:, 0] > 10], dims=("p", "e"), coords={"e": X})


FITS: dict[str, Callable[[xr.DataArray], Any]] = {
    "multifit": lambda da: da.fit.multifit(model()),
    "stored": lambda da: da.fit.multifit(model(), store="memory://unknown.zarr"),
    "samfire": lambda da: da.fit.samfire(model(), seeds=[(0,)]),
    "select": lambda da: da.fit.select([model(), model()]),
    "curvefit": lambda da: da.fit.curvefit("e", lambda e, a: a + 0 * e),
    "explore": lambda da: da.fit.explore(model()),
}


@pytest.mark.parametrize("fit", FITS)
def test_chunks_of_unknown_size(fit: str) -> None:
    if fit == "explore":
        pytest.importorskip("panel")
    with pytest.raises(
        ValueError, match=r"da has chunks of unknown size along \['p'\].*da\.data\.compute_chunk_sizes\(\)"
    ):
        FITS[fit](unknown())
    known = unknown()
    known.data.compute_chunk_sizes()
    # Rows that begin above 10: 16 ... 40, whose means are 3.5 higher.
    assert_allclose(known.fit.multifit(model()).fit["o.offset"], [19.5, 27.5, 35.5, 43.5], rtol=1e-12)


def test_companions_and_results_with_chunks_of_unknown_size() -> None:
    known = unknown()
    known.data.compute_chunk_sizes()
    for name, given in (("variance", unknown() + 1), ("where", unknown() > 0)):
        with pytest.raises(ValueError, match=rf"{name} has chunks of unknown size along \['p'\]"):
            known.fit.multifit(model(), **{name: given})
    fit = known.fit.multifit(model())
    for call in (fit.fit.residual, fit.fit.refit, fit.fit.conf_interval):
        with pytest.raises(ValueError, match="da has chunks of unknown size"):
            call(unknown())


#: Data whose names or labels no file holds; what is said; and the way out that is named.
CASES: dict[str, tuple[Callable[[], xr.DataArray], str, Callable[[xr.DataArray], xr.DataArray]]] = {
    "MultiIndex": (
        lambda: make(y=[1, 2, 3], x=[0, 1]).stack(p=("y", "x")).transpose("p", "e"),
        r"labels along \['p'\] are a MultiIndex.*da\.reset_index\('p'\).*da\.unstack\('p'\)",
        lambda da: da.reset_index("p"),
    ),
    "a number as dimension": (
        lambda: make().swap_dims().rename({"y": 0}),
        r"\[0\] have names that are no text.*da\.rename\(\{0: 'dim_0'\}\)",
        lambda da: da.rename({0: "dim_0"}),
    ),
    "a tuple as coordinate": (
        lambda: make().assign_coords({("a", 1): ("y", [1, 2, 3])}),
        r"\[\('a', 1\)\] have names that are no text",
        lambda da: da.drop_vars([("a", 1)]),
    ),
    "intervals": (
        lambda: make(y=pd.interval_range(0, 3)),
        r"coordinate 'y' holds .*astype\(str\)",
        lambda da: da.assign_coords(y=da.y.astype(str)),
    ),
    "objects": (
        lambda: make(kind=("x", np.array([{"a": 1}, None], object))),
        r"coordinate 'kind' holds objects of the type dict.*da\.drop_vars\('kind'\)",
        lambda da: da.drop_vars("kind"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_no_store_holds(case: str, tmp_path: Path) -> None:
    """An earlier result that was to be overwritten is there as before; without a store such data are
    fitted; the way out leads there.
    """
    build, words, way_out = CASES[case]
    store = tmp_path / "fit.zarr"
    make().fit.multifit(model(), store=store, progress=False)
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    for call in (
        lambda da: da.fit.multifit(model(), store=store, overwrite=True, progress=False),
        lambda da: da.fit.samfire(model(), seeds=[(0,) * (da.ndim - 1)], store=str(store), progress=False),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            call(build())
        assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before
    lazily = build().fit.multifit(model())
    stored = way_out(build()).fit.multifit(model(), store=store, overwrite=True, progress=False)
    assert_allclose(stored["value"], lazily["value"], rtol=1e-12)


def test_names_of_signal_dimensions(tmp_path: Path) -> None:
    """A result keeps them as text, so that one could not be asked for its curves."""
    da = make().drop_vars("e").rename({"e": 7})
    for options in ({}, {"store": tmp_path / "fit.zarr"}):
        with pytest.raises(TypeError, match=r"signal dimension\(s\) \[7\] have names that are no text.*da\.rename"):
            da.fit.multifit(model(), **options)


def test_labels_that_stores_hold(tmp_path: Path) -> None:
    """Text, text with gaps, times and numbers pass."""
    da = make(
        y=pd.date_range("2026-01-01", periods=3),
        x=np.array(["a", "b"], object),
        on=("x", [True, False]),
        noted=("y", np.array(["a", np.nan, "b"], object)),
    )
    fit = da.fit.multifit(model(), store=tmp_path / "fit.zarr", progress=False)
    assert fit.x.values.tolist() == ["a", "b"]
    assert fit.indexes["y"].equals(da.indexes["y"])
