"""The dashboard without a browser: what it shows, and what it refuses."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.support.builders import drifting_model, drifting_peak, image_map, spot
from tests.support.dashboards import begun_run, both, da, fit, opened  # noqa: F401
from xfit.plot.chunk_cache import Blocks
from xfit.plot.dashboard import Dashboard
from xfit.plot.export import heading_of
from xfit.plot.map_page import MarkedMaps
from xfit.plot.open_stored import open_fit
from xfit.plot.pixel_page import Images, figures_of
from xfit.plot.view_state import Looking


def test_what_a_dashboard_shows(fit, da):
    board = fit.fit.dashboard(da)
    assert board.quantities[:4] == ["Fe.A", "Fe.centre", "Fe.sigma", "bg.offset"]
    assert {"Fe.fwhm", "Fe.height", "red_chisq", "status"} <= set(board.quantities)
    assert board.place.pixel == (10, 15)
    np.testing.assert_array_equal(board.pixel().data, da[10, 15])
    worst = list(board.worst().values())
    assert set(worst[:3]) == {(15, 10), (15, 11), (15, 12)}
    good = fit.red_chisq.where(fit.status == 1).values
    assert worst[3] == np.unravel_index(np.nanargmax(good), good.shape)


def test_steps_end_at_the_edge_and_follow_the_coordinate(fit, da):
    board = fit.fit.dashboard(da)
    board.step(-100, 0)
    assert board.place.pixel == (10, 0)
    board.step(3, 2)
    assert board.place.pixel == (12, 3)
    down = Dashboard(fit.isel(y=slice(None, None, -1)).fit, da.isel(y=slice(None, None, -1)))
    down.step(0, 1)
    assert down.place.pixel == (9, 15)
    board.click(7.4, 3.1)
    assert board.place.pixel == (6, 15)
    board.click(None, None)
    assert board.place.pixel == (6, 15)


def test_tables_and_figures_of_what_is_seen(fit, da, tmp_path):
    board = fit.fit.dashboard(da)
    table = pd.read_csv(io.StringIO(board.table())).set_index(["y", "x"])
    assert len(table) == 600
    assert table.loc[(2.5, 4.0), "Fe.A"] == pytest.approx(float(fit.fit["Fe.A"].sel(y=2.5, x=4.0)), rel=1e-12)
    assert table.loc[(2.5, 4.0), "Fe.A error"] == pytest.approx(
        float(fit.fit.stderr("Fe.A").sel(y=2.5, x=4.0)), rel=1e-12
    )
    assert board.picture().startswith(b"\x89PNG")
    board.save(tmp_path / "fit.html")
    page = (tmp_path / "fit.html").read_text(encoding="utf-8")
    assert "y = 5, x = 7.5: converged" in page


def test_three_dimensions_and_one(tmp_path):
    three = drifting_peak((3, 4, 5), ("t", "y", "x")).chunk({"t": 1})
    board = three.fit.multifit(drifting_model()).compute().fit.dashboard(three)
    assert board.quantity("Fe.A").values.dims == ("y", "x")
    board.place.pixel = (2, 1, 1)
    np.testing.assert_array_equal(board.quantity("Fe.A").values.t, 1.0)
    np.testing.assert_array_equal(board.pixel().data, three[2, 1, 1])
    board.view()
    line = drifting_peak((6,), ("x",))
    board = line.fit.multifit(drifting_model()).fit.dashboard(line)
    board.step(1, 0)
    assert board.place.pixel == (4,)
    board.view()


def test_names_from_files_are_text(da):
    named = da.rename("<img src=x onerror=alert(1)>")
    board = named.fit.multifit(drifting_model()).fit.dashboard(named)
    assert "<img" not in heading_of(board)
    assert b"<img src=x" not in board.page()


def test_a_chunk_is_read_once(da):
    reads = []

    def read(block, block_info=None):
        reads.append(block_info[0]["chunk-location"])
        return block

    lazy = da.chunk({"y": 10, "x": 10})
    lazy = lazy.copy(data=lazy.data.map_blocks(read, dtype=float, meta=np.empty((0, 0, 0))))
    blocks = Blocks(lazy, ("y", "x"))
    for y, x in ((0, 0), (9, 9), (3, 4)):
        np.testing.assert_array_equal(blocks.at({"y": y, "x": x}), da[y, x])
    assert reads == [(0, 0, 0)]
    np.testing.assert_array_equal(blocks.at({"y": 19, "x": 29}), da[19, 29])
    assert reads == [(0, 0, 0), (1, 2, 0)]


def test_the_first_pixel_of_a_file_is_read_alone(da, tmp_path):
    da.rename("counts").to_dataset().to_zarr(
        tmp_path / "map.zarr", encoding={"counts": {"chunks": (10, 10, 80)}}, consolidated=False
    )
    blocks = Blocks(xr.open_zarr(tmp_path / "map.zarr", consolidated=False).counts, ("y", "x"))
    np.testing.assert_array_equal(blocks.at({"y": 11, "x": 5}), da[11, 5])
    assert not blocks._kept
    np.testing.assert_array_equal(blocks.at({"y": 12, "x": 6}), da[12, 6])
    assert list(blocks._kept) == [(1, 0)]
    np.testing.assert_array_equal(blocks.at({"y": 19, "x": 9}), da[19, 9])


def test_a_result_that_is_being_made(fit, da):
    newer = fit.copy(deep=True)
    newer["value"] = newer.value + 1.0
    states = [None, newer]
    board = Dashboard(fit.fit, da, refresh=lambda: states.pop(0))
    before = board.quantity("Fe.A").values
    board._look_again()
    assert board.place.version == 0
    board._look_again()
    assert board.place.version == 1
    np.testing.assert_array_equal(board.quantity("Fe.A").values, before + 1.0)


def test_what_a_dashboard_refuses(fit, da):
    with pytest.raises(ValueError, match="the fit was made of data with"):
        fit.fit.dashboard(da.isel(energy=slice(5)))
    with pytest.raises(TypeError, match="da must be the DataArray"):
        fit.fit.dashboard(fit)
    one = da.isel(y=0, x=0, drop=True)
    with pytest.raises(ValueError, match="single spectrum"):
        one.fit(drifting_model()).fit.dashboard(one)


def test_images(tmp_path):
    """The figures of a pixel have its image, the model on it, and what is left."""
    da = image_map(("row", "column"), 4, noise=0.05)
    fit = da.fit.multifit(spot())
    board = fit.fit.dashboard(da)
    figures = figures_of(board.pixel())
    assert isinstance(figures, Images)
    board.step(-1, 0)
    assert board.place.pixel == (1,)
    figures.show(board.pixel())
    shown = figures.source.data
    np.testing.assert_array_equal(shown["data"][0], da[1])
    np.testing.assert_allclose(shown["fit"][0], fit.fit.evaluate()[1], rtol=1e-12)
    np.testing.assert_allclose(shown["residual"][0], da[1] - fit.fit.evaluate()[1], atol=1e-12)
    # Rows are the first dimension, numbered from 0 with steps of 1; columns go from -4 to 4 in 16 steps of 0.5.
    assert (shown["x"][0], shown["y"][0], shown["width"][0], shown["height"][0]) == (-4.25, -0.5, 8.5, 14.0)
    assert board.picture().startswith(b"\x89PNG")
    assert b"spot" in board.page()
    board.view()


def test_many_marked_pixels_are_thinned(fit, da):
    board = fit.fit.dashboard(da)
    maps = MarkedMaps(board)
    assert "Drag" in maps.mark()
    board.place.chosen = (4.9, 5.1)
    board.place.quantity = "Fe.centre"
    values = fit.fit["Fe.centre"].values
    inside = np.argwhere((values >= 4.9) & (values <= 5.1))
    assert maps.mark().startswith(f"{len(inside)} pixels between 4.9 and 5.1")
    np.testing.assert_allclose(maps._marked.data["x"], 0.5 * inside[:, 1])
    np.testing.assert_allclose(maps._marked.data["y"], 0.5 * inside[:, 0])
    everything = MarkedMaps(
        Looking(
            xr.concat([fit] * 10, "x", coords="minimal", compat="override", join="override").drop_vars("x").fit,
            xr.concat([da] * 10, "x").drop_vars("x"),
        )
    )
    everything._looking.place.chosen = (-1e9, 1e9)
    assert "5,000 of them are drawn" in everything.mark()
    assert len(everything._marked.data["x"]) == 5000


def test_a_samfire_run_that_goes_on(da, tmp_path):
    store = str(tmp_path / "run.zarr")
    lazy = begun_run(da, store)
    board = lazy.fit.view(store)
    before = board.quantity("status").values
    left = int((before == 0).sum())
    # Some chunks have landed, others not.
    assert 0 < left < 600
    board._look_again()
    assert board.place.version == 0
    fit = lazy.fit.samfire(drifting_model(), seeds=[(10, 15)], loss="poisson", store=store, progress=False).compute()
    landed = before.values == 1
    board._look_again()
    assert board.place.version == 1
    xr.testing.assert_identical(board.result.dataset.compute(), fit.drop_vars("order"))
    np.testing.assert_array_equal(board.quantity("status").values, fit.status)
    # What is whole stays as it was, and was what the end has: the same data and starts.
    assert (fit.status.values[landed] == 1).all()
    opened, refresh = open_fit(store)
    assert refresh is None
    xr.testing.assert_identical(opened.compute(), fit.drop_vars("order"))
    # It goes to processes of a cluster.
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(opened)).status, fit.status)


def test_a_samfire_run_of_optional_components(tmp_path):
    da = drifting_peak((6, 6), ("y", "x"))
    run = {"seeds": [(3, 3)], "loss": "poisson", "optional": ["bg"], "progress": False}
    fit = da.fit.samfire(drifting_model(), store=str(tmp_path / "run"), **run)
    opened, _ = open_fit(str(tmp_path / "run"))
    xr.testing.assert_identical(opened.compute(), fit.drop_vars("order"))


def test_a_folder_of_a_run_without_layout(da, tmp_path):
    store = tmp_path / "run"
    begun_run(da, str(store))
    (store / "layout.json").unlink()
    with pytest.raises(ValueError, match="has not said yet what its result will be like"):
        da.fit.view(str(store))
