"""The dashboard in a real browser: what is clicked, chosen, brushed and exported, against the numbers of the result."""

from __future__ import annotations

import io
import os
import pickle
import re
import subprocess
import sys

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from click.testing import CliRunner

from tests.support.builders import drifting_model, drifting_peak, fit_with_failures, image_map, spot
from tests.support.optional import optional
from tests.support.pages import TOKEN, Page, browser, free_port, numbers_of
from tests.support.paths import ROOT
from xfit.command import main
from xfit.engine.block.precompile import prepare_engine
from xfit.plot.chunk_cache import Blocks
from xfit.plot.dashboard import Dashboard
from xfit.plot.export import heading_of
from xfit.plot.map_page import MarkedMaps
from xfit.plot.open_stored import open_data, open_fit
from xfit.plot.pixel_page import Images, figures_of
from xfit.plot.view_state import Looking


@pytest.fixture(scope="module")
def both() -> tuple[xr.DataArray, xr.Dataset]:
    return fit_with_failures((20, 30), np.s_[2:4, 3:5], np.s_[15, 10:13])


@pytest.fixture(scope="module")
def da(both) -> xr.DataArray:
    return both[0]


@pytest.fixture(scope="module")
def fit(both) -> xr.Dataset:
    return both[1]


# --- without a browser -------------------------------------------------------------------------


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
    assert table.loc[(2.5, 4.0), "Fe.A error"] == pytest.approx(float(fit.fit.stderr("Fe.A").sel(y=2.5, x=4.0)), rel=1e-12)  # fmt: skip
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
    da.rename("counts").to_dataset().to_zarr(tmp_path / "map.zarr", encoding={"counts": {"chunks": (10, 10, 80)}}, consolidated=False)  # fmt: skip
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
    everything = MarkedMaps(Looking(xr.concat([fit] * 10, "x", coords="minimal", compat="override", join="override").drop_vars("x").fit, xr.concat([da] * 10, "x").drop_vars("x")))  # fmt: skip
    everything._looking.place.chosen = (-1e9, 1e9)
    assert "5,000 of them are drawn" in everything.mark()
    assert len(everything._marked.data["x"]) == 5000


def begun_run(da: xr.DataArray, store: str) -> xr.DataArray:
    """Begin a SAMFire run of a map and stop it, as if it went on elsewhere; the data that it is of."""
    lazy = da.chunk({"y": 5, "x": 5})

    def stop(snapshot):
        if snapshot.visits == 3:
            snapshot.stop()

    lazy.fit.samfire(drifting_model(), seeds=[(10, 15)], loss="poisson", store=store, progress=stop)
    return lazy


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


# --- in a browser ------------------------------------------------------------------------------


@pytest.fixture
def opened(chromium, fit, da):
    board = fit.fit.dashboard(da)
    port = free_port()
    server = board.show(show=False, threaded=True, port=port, token=TOKEN)
    page = chromium.new_page(viewport={"width": 1300, "height": 1050})
    shown = Page(page, board)
    page.goto(f"http://localhost:{port}/?token={TOKEN}")
    page.wait_for_function("() => window.Bokeh && document.querySelector('body')")
    shown.until(lambda: "Pixels that need a look" in shown.text() and "converged; reduced" in shown.text())
    yield shown
    page.close()
    server.stop()


@pytest.mark.slow
@browser
def test_a_page(opened, fit, da):
    """Click, arrow keys, list, chooser, brush and export in one visit."""
    for value in numbers_of(fit, 5.0, 7.5):
        assert value in opened.text()
    opened.picture("dashboard")

    opened.page.mouse.click(*opened.place(0, 3.0, 8.0))
    opened.until(lambda: opened.board.place.pixel == (16, 6))
    opened.until(lambda: "y=8, x=3: converged" in opened.text())
    for value in numbers_of(fit, 8.0, 3.0):
        assert value in opened.text()

    opened.page.keyboard.press("ArrowRight")
    opened.page.keyboard.press("Shift+ArrowDown")
    opened.until(lambda: opened.board.place.pixel == (6, 7))
    opened.until(lambda: "y=3, x=3.5: converged" in opened.text())

    opened.page.get_by_label("Map").select_option("Fe.centre")
    opened.until(lambda: opened.board.place.quantity == "Fe.centre")

    place = opened.board.worst()
    words = next(iter(place))
    opened.page.get_by_label("Pixels that need a look").select_option(words)
    opened.until(lambda: opened.board.place.pixel == place[words])
    opened.until(lambda: "max_nfev evaluations" in opened.text())

    values = fit.fit["Fe.centre"].values
    middle = float(np.nanmedian(values))
    opened.until(lambda: opened.plot(3)["x0"] < middle < opened.plot(3)["x1"])
    top = opened.plot(3)["y1"]
    x0, y0 = opened.place(3, middle, 0.5 * top)
    x1, _ = opened.place(3, middle + 0.3, 0.5 * top)
    opened.page.mouse.move(x0, y0)
    opened.page.mouse.down()
    opened.page.mouse.move((x0 + x1) / 2, y0, steps=4)
    opened.page.mouse.move(x1, y0, steps=4)
    opened.page.mouse.up()
    opened.until(lambda: opened.board.place.chosen is not None)
    low, high = opened.board.place.chosen
    # A pixel of the screen is a hundredth of what is brushed.
    assert (low, high) == pytest.approx((middle, middle + 0.3), abs=0.02)
    marked = int(((values >= low) & (values <= high)).sum())
    opened.until(lambda: f"{marked} pixels between" in opened.text())
    opened.page.wait_for_timeout(500)
    opened.picture("dashboard-brushed")

    # Another visitor looks elsewhere, and changes nothing here.
    other = opened.page.context.browser.new_page(viewport={"width": 1300, "height": 1050})
    other.goto(opened.page.url)
    second = Page(other, opened.board)
    second.until(lambda: "y=5, x=7.5: converged" in second.text())
    second.until(lambda: "move the pixel" in second.text())
    other.keyboard.press("ArrowRight")
    second.until(lambda: "y=5, x=8: converged" in second.text())
    assert opened.board.place.pixel == place[words]
    assert second.errors == []
    other.close()

    with opened.page.expect_download() as table:
        opened.page.get_by_text("Table (CSV)").click()
    assert pd.read_csv(table.value.path())["Fe.A"].notna().sum() == int(fit.fit["Fe.A"].notnull().sum())
    assert opened.errors == []


@pytest.mark.slow
@browser
def test_the_command_on_a_run_that_goes_on(chromium, da, tmp_path):
    """A page of a store that is half full fills in when the rest is fitted."""
    da.rename("counts").to_dataset().to_zarr(tmp_path / "map.zarr", encoding={"counts": {"chunks": (10, 10, 80)}}, consolidated=False)  # fmt: skip
    lazy = xr.open_zarr(tmp_path / "map.zarr", consolidated=False).counts
    store = tmp_path / "fit.zarr"

    class Ended(Exception):
        pass

    def end(snapshot):
        if snapshot.chunks_done == 2:
            raise Ended

    with dask.config.set(scheduler="synchronous"), pytest.raises(Ended):
        lazy.fit.multifit(drifting_model(), loss="poisson", store=store, progress=end)
    port = free_port()
    words = [sys.executable, "-m", "xfit.command", "view", str(store), str(tmp_path / "map.zarr"), "--no-browser", "--port", str(port)]  # fmt: skip
    # Unbuffered, or what it says would stay in its buffer.
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env) as server:
        try:
            for line in server.stdout:
                if "http://localhost" in line:
                    break
            assert f"http://localhost:{port}/?token=" in line
            page = chromium.new_page(viewport={"width": 1300, "height": 1050})
            shown = Page(page, None)
            page.goto(line.split()[-1])
            shown.until(lambda: "not fitted" in shown.text() or "nothing to fit" in shown.text())
            lazy.fit.multifit(drifting_model(), loss="poisson", store=store, resume=True, progress=False)
            shown.until(lambda: "99.3% converged" in shown.text())
            shown.until(lambda: "bad data 0.7%" in shown.text())
            shown.until(lambda: shown.plot(5)["y1"] > 5)
            page.wait_for_timeout(500)
            shown.picture("dashboard-of-a-store")
            assert shown.errors == []
        finally:
            server.terminate()


@pytest.mark.slow
@browser
def test_a_page_of_a_samfire_run_that_goes_on(chromium, da, tmp_path):
    """The maps fill in while the run goes on in the same or another process."""
    store = str(tmp_path / "run.zarr")
    lazy = begun_run(da, store)
    port = free_port()
    board = lazy.fit.view(store)
    server = board.show(show=False, threaded=True, port=port, token=TOKEN)
    page = chromium.new_page(viewport={"width": 1300, "height": 1050})
    shown = Page(page, board)
    try:
        page.goto(f"http://localhost:{port}/?token={TOKEN}")
        shown.until(lambda: "% not fitted" in shown.text())
        page.wait_for_timeout(500)
        shown.picture("dashboard-of-a-samfire-run-half-way")
        lazy.fit.samfire(drifting_model(), seeds=[(10, 15)], loss="poisson", store=store, progress=False)
        shown.until(lambda: "99.3% converged" in shown.text())
        page.wait_for_timeout(500)
        shown.picture("dashboard-of-a-samfire-run")
        assert shown.errors == []
    finally:
        page.close()
        server.stop()


#: A run of SAMFire as a process of its own, which stays half-way until it is told to go on.
SAMFIRE = """
import sys, time
from pathlib import Path
import xarray as xr
import xfit
from tests.support.builders import drifting_model

folder = Path(sys.argv[1])
lazy = xr.open_zarr(folder / "map.zarr", consolidated=False).counts

def wait(snapshot):
    if snapshot.visits == 3:
        (folder / "half-way").touch()
    while snapshot.visits >= 3 and not (folder / "go-on").exists():
        time.sleep(0.05)

fit = lazy.fit.samfire(drifting_model(), seeds=[(10, 15)], loss="poisson", store=str(folder / "run.zarr"), progress=wait)
fit.to_netcdf(folder / "end.nc")
"""


@pytest.mark.slow
@browser
def test_the_command_beside_a_samfire_run_of_another_process(chromium, da, tmp_path):
    """A page shows what has landed, fills in, and has in the end what the run has returned."""
    da.rename("counts").to_dataset().to_zarr(tmp_path / "map.zarr", encoding={"counts": {"chunks": (5, 5, 80)}}, consolidated=False)  # fmt: skip
    # The run would compile it for minutes.
    prepare_engine("wave")
    port = free_port()
    env = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "xfit.command", "view", str(tmp_path / "run.zarr"), str(tmp_path / "map.zarr"), "--no-browser", "--port", str(port)]  # fmt: skip
    page = chromium.new_page(viewport={"width": 1300, "height": 1050})
    shown = Page(page, None)
    with subprocess.Popen([sys.executable, "-c", SAMFIRE, str(tmp_path)], env=env) as run:
        try:
            shown.until(lambda: (tmp_path / "half-way").exists() or run.poll() is not None, seconds=300)
            assert run.poll() is None
            with subprocess.Popen(
                words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
            ) as server:
                try:
                    for line in server.stdout:
                        if "http://localhost" in line:
                            break
                    page.goto(line.split()[-1])
                    shown.until(lambda: "% not fitted" in shown.text() and "Pixels that need a look" in shown.text())
                    page.wait_for_timeout(500)
                    shown.picture("dashboard-beside-a-samfire-run")
                    assert run.poll() is None
                    (tmp_path / "go-on").touch()
                    shown.until(lambda: run.poll() is not None, seconds=60)
                    assert run.returncode == 0
                    fit = xr.open_dataset(tmp_path / "end.nc").load()
                    shown.until(lambda: "99.3% converged" in shown.text())
                    page.mouse.click(*shown.place(0, 3.0, 8.0))
                    shown.until(lambda: "y=8, x=3: converged" in shown.text())
                    # The latest look at the files may still be on its way.
                    shown.until(lambda: all(value in shown.text() for value in numbers_of(fit, 8.0, 3.0)))
                    page.wait_for_timeout(500)
                    shown.picture("dashboard-beside-a-samfire-run-that-ended")
                    assert shown.errors == []
                finally:
                    server.terminate()
        finally:
            (tmp_path / "go-on").touch()
            run.terminate()
            page.close()


@pytest.mark.slow
@browser
def test_a_page_of_images(chromium):
    da = image_map(("row", "column"), 9, noise=0.05).rename("spots").assign_attrs(units="counts")
    fit = da.fit.multifit(spot())
    board = fit.fit.dashboard(da)
    port = free_port()
    server = board.show(show=False, threaded=True, port=port, token=TOKEN)
    page = chromium.new_page(viewport={"width": 1300, "height": 1050})
    shown = Page(page, board)
    try:
        page.goto(f"http://localhost:{port}/?token={TOKEN}")
        shown.until(lambda: "frame=4: converged" in shown.text() and "move the pixel" in shown.text())
        page.wait_for_timeout(500)
        page.mouse.click(*shown.place(0, 6.0, float(fit.fit["spot.A"].mean())))
        shown.until(lambda: "frame=6: converged" in shown.text())
        value = str(fit.fit.table(frame=6)).split("spot.A", 1)[1].split()[0]
        assert value in shown.text()
        page.wait_for_timeout(500)
        shown.picture("dashboard-of-images")
        assert shown.errors == []
    finally:
        page.close()
        server.stop()


def test_files_that_are_opened(fit, da, tmp_path):
    da.rename("counts").to_dataset().assign(other=2 * da).to_netcdf(tmp_path / "map.nc")
    fit.to_netcdf(tmp_path / "fit.nc")
    opened, refresh = open_fit(str(tmp_path / "fit.nc"))
    assert refresh is None
    np.testing.assert_array_equal(opened.value, fit.value)
    np.testing.assert_array_equal(open_data(str(tmp_path / "map.nc"), opened, "other"), 2 * da)
    with pytest.raises(ValueError, match=r"of which \['counts', 'other'\] have the dimensions of the fit.*name one"):
        open_data(str(tmp_path / "map.nc"), opened)
    with pytest.raises(ValueError, match="no result of a fit"):
        open_fit(str(tmp_path / "map.nc"))
    ran = CliRunner().invoke(main, ["view", str(tmp_path / "fit.nc"), str(tmp_path / "nothing.nc")])
    assert ran.exit_code == 1
    assert "nothing.nc" in ran.output


@pytest.mark.slow
@browser
def test_a_page_that_was_saved(chromium, fit, da, tmp_path):
    """It shows the same without a server, and asks nobody for anything."""
    fit.fit.dashboard(da).save(tmp_path / "fit.html")
    context = chromium.new_context(offline=True, viewport={"width": 1300, "height": 1050})
    page = context.new_page()
    shown = Page(page, fit.fit.dashboard(da))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((tmp_path / "fit.html").as_uri())
    shown.until(lambda: "converged; reduced" in shown.text())
    page.wait_for_timeout(500)
    shown.picture("dashboard-saved")
    for value in numbers_of(fit, 5.0, 7.5):
        assert value in shown.text()
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    context.close()


def test_a_notebook_needs_no_network() -> None:
    """What is displayed in a notebook loads nothing from afar: all of it is in the outputs."""
    nbclient, nbformat = optional("nbclient"), optional("nbformat")
    book = nbformat.v4.new_notebook()
    cells = (
        "from tests.support.builders import peak_map, two_peaks\nda = peak_map((3, 4))\nfit = da.fit.multifit(two_peaks())",
        "fit.fit.dashboard(da)",
        "da.fit.explore(two_peaks())",
    )
    book.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    place = {"metadata": {"path": str(ROOT)}}
    nbclient.NotebookClient(book, timeout=600, kernel_name="python3", resources=place).execute()
    shown = [
        str(data) for cell in book.cells[1:] for output in cell.outputs for data in output.get("data", {}).values()
    ]
    assert sum(map(len, shown)) > 1_000_000  # the scripts themselves
    # Bokeh names others in its scripts, for formulas and icons that no page has.
    hosts = {host for text in shown for host in re.findall(r"https?://(cdn\.(?:bokeh|holoviz)[\w.]+)", text)}
    assert hosts == set()
