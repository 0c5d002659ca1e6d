"""The dashboard in a real browser: what is clicked, chosen, brushed and exported, against the numbers of the result."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from click.testing import CliRunner

from tests.support.builders import drifting_model, image_map, spot
from tests.support.dashboards import begun_run, both, da, fit, opened  # noqa: F401
from tests.support.optional import optional
from tests.support.pages import TOKEN, Page, browser, free_port, numbers_of
from tests.support.paths import ROOT
from xfit.command import main
from xfit.engine.block.precompile import prepare_engine
from xfit.plot.open_stored import open_data, open_fit


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
    da.rename("counts").to_dataset().to_zarr(
        tmp_path / "map.zarr", encoding={"counts": {"chunks": (10, 10, 80)}}, consolidated=False
    )
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
    words = [
        sys.executable,
        "-m",
        "xfit.command",
        "view",
        str(store),
        str(tmp_path / "map.zarr"),
        "--no-browser",
        "--port",
        str(port),
    ]
    # Unbuffered, or what it says would stay in its buffer.
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env) as server:
        try:
            assert server.stdout is not None
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

fit = lazy.fit.samfire(
    drifting_model(), seeds=[(10, 15)], loss="poisson", store=str(folder / "run.zarr"), progress=wait
)
fit.to_netcdf(folder / "end.nc")
"""


@pytest.mark.slow
@browser
def test_the_command_beside_a_samfire_run_of_another_process(chromium, da, tmp_path):
    """A page shows what has landed, fills in, and has in the end what the run has returned."""
    da.rename("counts").to_dataset().to_zarr(
        tmp_path / "map.zarr", encoding={"counts": {"chunks": (5, 5, 80)}}, consolidated=False
    )
    # The run would compile it for minutes.
    prepare_engine("wave")
    port = free_port()
    env = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
    words = [
        sys.executable,
        "-m",
        "xfit.command",
        "view",
        str(tmp_path / "run.zarr"),
        str(tmp_path / "map.zarr"),
        "--no-browser",
        "--port",
        str(port),
    ]
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
                    assert server.stdout is not None
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
        "from tests.support.builders import peak_map, two_peaks\nda = peak_map((3, 4))\nfit = "
        "da.fit.multifit(two_peaks())",
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
