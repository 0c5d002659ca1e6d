"""Results that dashboards show."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.support.builders import drifting_model, fit_with_failures
from tests.support.pages import TOKEN, Page, free_port


@pytest.fixture(scope="module")
def both() -> tuple[xr.DataArray, xr.Dataset]:
    return fit_with_failures((20, 30), np.s_[2:4, 3:5], np.s_[15, 10:13])


@pytest.fixture(scope="module")
def da(both) -> xr.DataArray:
    return both[0]


@pytest.fixture(scope="module")
def fit(both) -> xr.Dataset:
    return both[1]


def begun_run(da: xr.DataArray, store: str) -> xr.DataArray:
    """Begin a SAMFire run of a map and stop it, as if it went on elsewhere; the data that it is of."""
    lazy = da.chunk({"y": 5, "x": 5})

    def stop(snapshot):
        if snapshot.visits == 3:
            snapshot.stop()

    lazy.fit.samfire(drifting_model(), seeds=[(10, 15)], loss="poisson", store=store, progress=stop)
    return lazy


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
