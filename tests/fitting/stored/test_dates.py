"""Dates that only objects can be: of very many, which would take long, the numbers stay."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xfit
from tests.support.builders import peak_map, two_peaks
from xfit.plot.open_stored import open_fit

pytest.importorskip("cftime")


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xfit.fitting.stored.unread.MOST_DATES", 5)


def write(path: Path, number: int, name: str = "e", **attrs: Any) -> Path:
    values = np.arange(float(number))
    da = xr.DataArray(values, dims="e", coords={name: ("e", values, attrs)}, name="c").to_dataset()
    da.to_zarr(path, consolidated=False) if path.suffix == ".zarr" else da.to_netcdf(path)
    return path


@pytest.mark.parametrize("ending", [".zarr", ".nc"])
@pytest.mark.parametrize(
    "attrs",
    [
        {"units": "days since 2000-01-01", "calendar": "noleap"},
        {"units": "days since 9000-01-01", "calendar": "standard"},
    ],
)
def test_many_stay_numbers(tmp_path: Path, ending: str, attrs: dict[str, str]) -> None:
    with pytest.warns(
        UserWarning,
        match=(
            rf"6 dates of 'e' are left as the numbers .* \({attrs['units']}, calendar {attrs['calendar']}\): more "
            r"than 5 would"
        ),
    ):
        found = xfit.open(write(tmp_path / f"a{ending}", 6, **attrs))
    np.testing.assert_array_equal(found["e"], np.arange(6.0))
    assert found["e"].attrs["units"] == attrs["units"]
    with warnings.catch_warnings():
        # xarray says that years are too far.
        warnings.simplefilter("ignore", xr.SerializationWarning)
        assert xfit.open(write(tmp_path / f"b{ending}", 5, **attrs))["e"].dtype == object


@pytest.mark.parametrize("ending", [".zarr", ".nc"])
def test_what_numpy_has_is_dates_however_many(tmp_path: Path, ending: str) -> None:
    found = xfit.open(write(tmp_path / f"a{ending}", 9, units="days since 2000-01-01"))
    assert found["e"].values[-1] == np.datetime64("2000-01-09")
    # What is read when it is needed is decoded then.
    lazy = xfit.open(write(tmp_path / f"b{ending}", 9, "when", units="days since 2000-01-01", calendar="noleap"))
    assert str(lazy["when"].values[-1]) == "2000-01-09 00:00:00"


def test_results(tmp_path: Path) -> None:
    da = peak_map((6, 2)).rename(y="t").assign_coords(t=np.arange(6.0))
    da["t"].attrs.update(units="days since 2000-01-01", calendar="noleap")
    da.fit.multifit(two_peaks(), store=tmp_path / "fit.zarr", progress=False)
    da.rename("counts").to_dataset().to_zarr(tmp_path / "map.zarr", consolidated=False)
    kept = xfit.models(tmp_path / "map.zarr")
    with pytest.warns(UserWarning, match="6 dates of 't' are left"):
        kept.store(da.fit.multifit(two_peaks()), "a")
    for read in (xfit.open, lambda path: open_fit(str(path))[0], lambda path: kept.restore("a", check=False)):
        with pytest.warns(UserWarning, match="6 dates of 't' are left"):
            assert read(tmp_path / "fit.zarr")["t"].values.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".zarr", ".nc"])
def test_four_million(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    path = write(tmp_path / f"a{ending}", 4_000_000, units="hours since 2000-01-01", calendar="noleap")
    with pytest.warns(UserWarning, match="4000000 dates of 'e' are left as the numbers"):
        assert xfit.open(path).sizes == {"e": 4_000_000}
