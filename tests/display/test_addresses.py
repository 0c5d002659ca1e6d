"""Paths as users give them: ``~`` is the home wherever one is taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from zarr.storage import LocalStore, LoggingStore

import xfit
from tests.support.builders import one_peak, peak_map
from xfit.command import main
from xfit.display import is_url, local_path
from xfit.engine.codegen.code_store import cache_folder
from xfit.files.gosh import read_gos
from xfit.fitting.stored.check import check
from xfit.fitting.stored.info import info
from xfit.fitting.stored.storage import DurableStore, open_store
from xfit.hyperspy import open_models
from xfit.plot.open_stored import open_fit


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of the user, which is not where the process works."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


def test_addresses(home: Path) -> None:
    assert local_path("~/a b") == local_path("file://~/a b") == local_path(Path("~/a b")) == home / "a b"
    assert local_path("file:///a/~b") == Path("/a/~b")
    # Nobody's home is a name as any other.
    assert local_path("~nobody-of-this-name/a") == Path("~nobody-of-this-name/a")
    assert [is_url(each) for each in ("s3://a", "memory://a", "file:///a", "~/a", Path("a"))] == [
        True,
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize("before", ["~/", "file://~/"])
def test_functions(home: Path, before: str, monkeypatch: pytest.MonkeyPatch) -> None:
    da, model = peak_map((2, 3)).rename("counts"), one_peak()
    for name in ("map.nc", "map.zarr", "map.hspy"):
        xfit.save(da, before + name)
        np.testing.assert_array_equal(xfit.open(before + name), da)
    model.to_file(before + "model.toml")
    assert xfit.Model.from_file(before + "model.toml") == model
    da.chunk(x=1).fit.multifit(model, store=before + "fit.zarr", progress=False)
    assert info(before + "fit.zarr").pixels == 6
    assert check(before + "fit.zarr") == []
    fit = da.fit.multifit(model)
    xfit.save(fit, before + "fit.nc")
    for name in ("fit.zarr", "fit.nc"):
        np.testing.assert_array_equal(open_fit(before + name)[0]["value"], fit["value"])
    xfit.models(before + "map.zarr").store(fit, "a")
    assert list(xfit.models(before + "map.zarr")) == ["a"]
    da.chunk(x=1).fit.samfire(model, seeds=[(0, 0)], variance=1e6, store=before + "run", progress=False)
    fit.fit.dashboard(da).save(before + "page.html")
    assert len(open_models(before + "map.hspy")) == 0
    with pytest.raises(FileNotFoundError, match=f"{home}/gos.h5"):
        read_gos(before + "gos.h5", "Fe_L3")
    monkeypatch.setenv("XFIT_CACHE_DIR", before + "cache")
    assert cache_folder().is_relative_to(home / "cache")
    names = {"map.nc", "map.zarr", "map.hspy", "model.toml", "fit.zarr", "fit.nc", "run", "page.html"}
    assert {each.name for each in home.iterdir()} >= names
    assert list(Path().iterdir()) == []


def test_commands(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    da = peak_map((2, 3)).rename("counts")
    xfit.save(da, home / "map.nc")
    xfit.save(xr.full_like(da, 4.0).rename("noise"), home / "variance.nc")
    xfit.save(xr.ones_like(da, dtype=bool).rename("used"), home / "where.zarr")
    one_peak().to_file(home / "model.toml")

    def ran(*words: str) -> str:
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
        return done.output

    assert "peak" in ran("model", "peak=Gaussian", "--out=~/other.toml")
    assert xfit.Model.from_file(home / "other.toml")[0].name == "peak"
    fit = ("fit", "~/map.nc", "--model=~/model.toml", "--quiet")
    ran(*fit, "--out=~/first.nc")
    ran(*fit, "--out=~/fit.zarr", "--variance=~/variance.nc", "--where=~/where.zarr", "--start=~/first.nc")
    assert "6 done: 6 converged" in ran("info", "~/fit.zarr")
    assert "as it was written" in ran("info", "~/fit.zarr", "--check")
    expected = da.fit.multifit(one_peak(), variance=4.0, start=xfit.open(home / "first.nc"))
    np.testing.assert_array_equal(xfit.open(home / "fit.zarr")["value"], expected["value"])
    assert CliRunner().invoke(main, [*fit, "--out=~/map.nc", "--overwrite"]).exit_code == 1  # what the fit reads
    pytest.importorskip("panel")
    shown: list[object] = []
    monkeypatch.setattr("xfit.plot.dashboard.Dashboard.show", lambda board, **_: shown.append(board))
    ran("view", "~/fit.zarr", "~/map.nc", "--no-browser")
    ran("view", "~/first.nc", "~/map.nc", "--no-browser")
    assert len(shown) == 2
    assert list(Path().iterdir()) == []


def test_folders_are_written_to_last_and_wrappers_are_used_as_they_are(tmp_path: Path) -> None:
    local = LocalStore(tmp_path / "fit.zarr")
    assert type(open_store(local, {})) is type(open_store(str(tmp_path / "fit.zarr"), {})) is DurableStore
    wrapper = LoggingStore(local)
    assert open_store(wrapper, {}) is wrapper
