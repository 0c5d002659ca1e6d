"""The dashboard in chromium: first paint, from click to spectrum in memory and on a zarr map of 10 GB,
a map of 4,000 x 4,000 pixels.

Run by ``ci/bench/run looking``; LOOK_GIB is the size of the map in the file (default 10). Needs a chromium.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import xarray as xr
from playwright.sync_api import Page, sync_playwright
from stored import SIDE, X, make, model

from xfit.plot.dashboard import Dashboard

#: Whether words are on the page, in shadow roots too.
THERE = """(words) => { let there = false; const walk = (node) => { for (const each of node.childNodes) {
if (each.nodeType === 3) there ||= each.textContent.includes(words);
  else walk(each) } if (node.shadowRoot) walk(node.shadowRoot) };
walk(document.body); return there }"""

#: Where the frame of the first plot is on the screen, and what it shows.
FRAME = """() => { const found = []; const walk = (view) => { if (view.model.type === "Figure") found.push(view);
  for (const each of view.child_views ?? []) walk(each) };
for (const root of Bokeh.index) walk(root); const view = found[0]; const box = view.el.getBoundingClientRect();
  const frame = view.frame.bbox; const m = view.model;
return [box.left + frame.left, box.top + frame.top, frame.width, frame.height, m.x_range.start, m.x_range.end,
  m.y_range.start, m.y_range.end] }"""


#: Notes when the mouse button comes up, and when the curves have changed and been painted.
STOPWATCH = """() => { window.shown = {}; addEventListener("pointerup", () => { shown.up = performance.now();
  shown.painted = 0 }, true);
for (const model of Bokeh.documents.flatMap((each) => [...each._all_models.values()]))
  if (model.type === "ColumnDataSource"
      && (model.data instanceof Map ? model.data.has("residual") : "residual" in model.data))
model.properties.data.change.connect(() => requestAnimationFrame(() => setTimeout(() => {
  shown.painted ||= performance.now() }, 0))) }"""


@contextmanager
def opened(board: Dashboard) -> Iterator[Page]:
    """A page of a dashboard; prints how long it took until its numbers were there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = board.show(show=False, threaded=True, port=port, token="bench")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1300, "height": 1050})
        began = time.perf_counter()
        page.goto(f"http://localhost:{port}/?token=bench")
        page.wait_for_function(THERE, arg="; reduced chi-squared", polling=10, timeout=300_000)
        print(f"  first paint {time.perf_counter() - began:.1f} s", flush=True)
        page.wait_for_timeout(1000)
        page.evaluate(STOPWATCH)
        yield page
        browser.close()
    server.stop()


def clicks(page: Page, board: Dashboard, da: xr.DataArray, places: list[tuple[int, int]]) -> str:
    """Click pixels; from the button to the spectrum that is painted, and to the numbers below it."""
    spectra, numbers = [], []
    for row, column in places:
        y, x = float(da.y[row]), float(da.x[column])
        left, top, width, height, x0, x1, y0, y1 = page.evaluate(FRAME)
        page.mouse.move(left + width * (x - x0) / (x1 - x0), top + height * (1 - (y - y0) / (y1 - y0)))
        page.wait_for_timeout(300)
        before = board.place.pixel
        began = time.perf_counter()
        page.mouse.down()
        page.mouse.up()
        while board.place.pixel == before:
            page.wait_for_timeout(1)
        place = board.place.pixel
        words = f"y={float(da.y[place[0]]):.6g}, x={float(da.x[place[1]]):.6g}:"
        page.wait_for_function(THERE, arg=words, polling=5, timeout=120_000)
        numbers.append(1e3 * (time.perf_counter() - began))
        page.wait_for_function("() => shown.painted", polling=5)
        spectra.append(page.evaluate("() => shown.painted - shown.up"))
        page.wait_for_timeout(1000)
    return (
        f"{', '.join(f'{each:.0f}' for each in spectra)} (to the numbers below it: "
        f"{', '.join(f'{each:.0f}' for each in numbers)})"
    )


def main() -> None:
    """Measure all."""
    folder = Path(os.environ.get("BENCH_WORK") or "output/bench")
    gib = float(os.environ.get("LOOK_GIB", "10"))
    lazy = make(folder / f"soak-{gib:g}-{SIDE}.zarr", gib)
    lazy = lazy.assign_coords({d: np.arange(float(lazy.sizes[d])) for d in ("y", "x")})
    small = lazy.isel(y=slice(2 * SIDE), x=slice(2 * SIDE)).compute()
    print("in memory", flush=True)
    board = small.fit.multifit(model()).fit.dashboard(small)
    with opened(board) as page:
        print(
            f"  click to spectrum, ms: {clicks(page, board, small, [(30, 40), (200, 90), (120, 220), (70, 70)])}",
            flush=True,
        )
    print(f"zarr, {lazy.nbytes / 1e9:.1f} GB in chunks of {SIDE * SIDE * X.size * 4 / 2**20:.0f} MiB", flush=True)
    store = folder / f"look-fit-{gib:g}.zarr"
    fit = lazy.fit.multifit(model(), store=store, resume=store.exists(), progress=False)
    board = fit.fit.dashboard(lazy)
    with opened(board) as page:
        height = lazy.sizes["y"]
        far = [(height // 5, 300), (height // 2, 100), (height - 300, 450), (height // 3, 400)]
        print(f"  click to spectrum, another chunk each time, ms: {clicks(page, board, lazy, far)}", flush=True)
    print("4,000 x 4,000 pixels", flush=True)
    large = small.fit.multifit(model())
    tiled = large.isel(y=np.arange(4000) % large.sizes["y"], x=np.arange(4000) % large.sizes["x"])
    tiled = tiled.assign_coords({d: np.arange(4000.0) for d in ("y", "x")})
    da = small.chunk({"y": SIDE, "x": SIDE}).isel(
        y=np.arange(4000) % small.sizes["y"], x=np.arange(4000) % small.sizes["x"]
    )
    da = da.assign_coords({d: np.arange(4000.0) for d in ("y", "x")})
    board = tiled.fit.dashboard(da)
    with opened(board) as page:
        print(
            f"  click to spectrum, ms: {clicks(page, board, da, [(1000, 3000), (2000, 500), (3500, 3500)])}", flush=True
        )


if __name__ == "__main__":
    main()
