"""The dashboard in a real browser: what is clicked, chosen, brushed and exported, against the numbers of the result."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from click.testing import CliRunner

from tests.test_plots import make, peak_model
from xfit.command import main
from xfit.plot.blocks import Blocks
from xfit.plot.dashboard import Dashboard
from xfit.plot.export import heading_of
from xfit.plot.opening import open_data, open_fit

playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")

#: Where screenshots are kept.
PICTURES = Path(os.environ.get("XFIT_TEST_OUTPUT", "output/screenshots"))


@pytest.fixture(scope="module")
def da() -> xr.DataArray:
    da = make((20, 30), ("y", "x"))
    da[2:4, 3:5] = np.nan
    return da


@pytest.fixture(scope="module")
def fit(da) -> xr.Dataset:
    fit = da.fit.multifit(peak_model(), loss="poisson")
    fit.status.values[15, 10:13] = 2
    return fit


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
    three = make((3, 4, 5), ("t", "y", "x")).chunk({"t": 1})
    board = three.fit.multifit(peak_model()).compute().fit.dashboard(three)
    assert board.quantity("Fe.A").values.dims == ("y", "x")
    board.place.pixel = (2, 1, 1)
    np.testing.assert_array_equal(board.quantity("Fe.A").values.t, 1.0)
    np.testing.assert_array_equal(board.pixel().data, three[2, 1, 1])
    board.view()
    line = make((6,), ("x",))
    board = line.fit.multifit(peak_model()).fit.dashboard(line)
    board.step(1, 0)
    assert board.place.pixel == (4,)
    board.view()


def test_names_from_files_are_text(da):
    named = da.rename("<img src=x onerror=alert(1)>")
    board = named.fit.multifit(peak_model()).fit.dashboard(named)
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
        one.fit(peak_model()).fit.dashboard(one)


# --- in a browser ------------------------------------------------------------------------------


class Page:
    """A page of a dashboard in a browser that has no network, and all that went wrong in it."""

    def __init__(self, page, board: Dashboard) -> None:
        self.page, self.board, self.errors = page, board, []
        page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("requestfailed", lambda request: self.errors.append(request.url))

    def until(self, condition) -> None:
        """Wait until something holds in the page or behind it."""
        for _ in range(200):
            if condition():
                return
            self.page.wait_for_timeout(50)
        raise AssertionError("this did not come to hold")

    def text(self) -> str:
        """All words on the page, also those in its shadow roots."""
        return self.page.evaluate(
            """() => { const found = []; const walk = (node) => { for (const each of node.childNodes) {
            if (each.nodeType === 3) found.push(each.textContent); else if (!["STYLE", "SCRIPT"].includes(each.tagName)) walk(each) }
            if (node.shadowRoot) walk(node.shadowRoot) }; walk(document.body); return found.join(" ") }"""
        )

    def plot(self, k: int) -> dict[str, float]:
        """Place of the k-th plot's frame on the screen, and its ranges."""
        return self.page.evaluate(
            """(k) => { const found = []; const walk = (view) => { if (view.model.type === "Figure") found.push(view); for (const child of view.child_views ?? []) walk(child) };
            const views = Object.values(Bokeh.index); const roots = Array.isArray(views) ? views : [...views]; for (const root of Bokeh.index) walk(root);
            const view = found[k]; const box = view.el.getBoundingClientRect(); const frame = view.frame.bbox;
            return {left: box.left + frame.left, top: box.top + frame.top, width: frame.width, height: frame.height,
                    x0: view.model.x_range.start, x1: view.model.x_range.end, y0: view.model.y_range.start, y1: view.model.y_range.end} }""",
            k,
        )

    def place(self, k: int, x: float, y: float) -> tuple[float, float]:
        """Where on the screen a place in the k-th plot is."""
        p = self.plot(k)
        return (
            p["left"] + p["width"] * (x - p["x0"]) / (p["x1"] - p["x0"]),
            p["top"] + p["height"] * (1 - (y - p["y0"]) / (p["y1"] - p["y0"])),
        )

    def picture(self, name: str) -> None:
        """Keep a screenshot."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png", full_page=True)


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def opened(chromium, fit, da):
    board = fit.fit.dashboard(da)
    port = free_port()
    server = board.show(show=False, threaded=True, port=port)
    page = chromium.new_page(viewport={"width": 1300, "height": 1050})
    shown = Page(page, board)
    page.goto(f"http://localhost:{port}")
    page.wait_for_function("() => window.Bokeh && document.querySelector('body')")
    shown.until(lambda: "Pixels that need a look" in shown.text() and "converged; reduced" in shown.text())
    yield shown
    page.close()
    server.stop()


def numbers(fit: xr.Dataset, y: float, x: float) -> list[str]:
    """What the table of a pixel must show."""
    pixel = fit.sel(y=y, x=x)
    words = str(fit.fit.table(y=y, x=x))
    assert f"{float(pixel.red_chisq):.6g}" in words
    return [line.split()[1] for line in words.splitlines() if line.startswith(("Fe.", "bg."))]


@pytest.mark.slow
@browser
def test_a_page(opened, fit, da):
    """Click, arrow keys, list, chooser, brush and export in one visit."""
    for value in numbers(fit, 5.0, 7.5):
        assert value in opened.text()
    opened.picture("dashboard")

    opened.page.mouse.click(*opened.place(0, 3.0, 8.0))
    opened.until(lambda: opened.board.place.pixel == (16, 6))
    opened.until(lambda: "y=8, x=3: converged" in opened.text())
    for value in numbers(fit, 8.0, 3.0):
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
        lazy.fit.multifit(peak_model(), loss="poisson", store=store, progress=end)
    port = free_port()
    words = [sys.executable, "-m", "xfit.command", "view", str(store), str(tmp_path / "map.zarr"), "--no-browser", "--port", str(port)]  # fmt: skip
    # Unbuffered, or what it says would stay in its buffer.
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env) as server:
        try:
            for line in server.stdout:
                if "http://localhost" in line:
                    break
            page = chromium.new_page(viewport={"width": 1300, "height": 1050})
            shown = Page(page, None)
            page.goto(f"http://localhost:{port}")
            shown.until(lambda: "not fitted" in shown.text() or "nothing to fit" in shown.text())
            lazy.fit.multifit(peak_model(), loss="poisson", store=store, resume=True, progress=False)
            shown.until(lambda: "99.3% converged" in shown.text())
            shown.until(lambda: "bad data 0.7%" in shown.text())
            shown.until(lambda: shown.plot(5)["y1"] > 5)
            page.wait_for_timeout(500)
            shown.picture("dashboard-of-a-store")
            assert shown.errors == []
        finally:
            server.terminate()


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
    for value in numbers(fit, 5.0, 7.5):
        assert value in shown.text()
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    context.close()
