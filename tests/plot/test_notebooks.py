"""The dashboard and the choice of start values in a notebook of JupyterLab: clicks arrive in
the kernel, numbers on the page.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import xarray as xr

import xfit
from tests.support.builders import drifting_model, drifting_peak
from tests.support.notebooks import Lab, jupyterlab
from tests.support.pages import browser, numbers_of
from xfit.components import Gaussian, Offset

pytestmark = [pytest.mark.slow, browser, jupyterlab]

#: What the kernels begin with: the data of `da`.
MAP = "from tests.support.builders import drifting_model, drifting_peak\nda = drifting_peak((20, 30), ('y', 'x'))"


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("lab")).running() as running:
        yield running


@pytest.fixture(scope="module")
def da() -> xr.DataArray:
    return drifting_peak((20, 30), ("y", "x"))


def test_a_dashboard(lab, chromium, da):
    """A click and arrow keys move the pixel here and in the kernel; its numbers are those of the result."""
    cells = [
        f"{MAP}\nfit = da.fit.multifit(drifting_model(), loss='poisson')",
        "board = fit.fit.dashboard(da)\nboard",
        "board.place.pixel",
        "board.place.pixel = (2, 1)",
        "board.place.quantity",
    ]
    fit = da.fit.multifit(drifting_model(), loss="poisson")
    with lab.notebook(chromium, "dashboard", cells) as shown:
        shown.run(0)
        shown.run(1)
        shown.until(lambda: "y=5, x=7.5: converged" in shown.text() and "move the pixel" in shown.text())
        shown.show(1)
        shown.page.wait_for_timeout(500)
        shown.page.mouse.click(*shown.place(0, 3.0, 8.0))
        shown.until(lambda: "y=8, x=3: converged" in shown.text())
        for value in numbers_of(fit, 8.0, 3.0):
            assert value in shown.text()
        shown.page.wait_for_timeout(500)
        shown.picture("notebook-dashboard")
        shown.page.get_by_text("move the pixel").click()
        shown.page.keyboard.press("Shift+ArrowRight")
        shown.page.keyboard.press("ArrowDown")
        shown.until(lambda: "y=7.5, x=8: converged" in shown.text())
        assert shown.run(2) == "(15, 16)"
        shown.page.get_by_label("Map").select_option("Fe.centre")
        shown.until(lambda: shown.run(4) == "'Fe.centre'")
        # What the kernel chooses is shown as well.
        shown.run(3)
        shown.until(lambda: "y=1, x=0.5: converged" in shown.text())
        for value in numbers_of(fit, 1.0, 0.5):
            assert value in shown.text()
        assert shown.errors == []
        assert shown.afar == []


def test_start_values(lab, chromium, da):
    """A number that is typed, a pixel that is clicked and a fit are in the model that the kernel has."""
    start = "xfit.Model([Gaussian(name='Fe', A=200, centre=3, sigma=1.5), Offset(name='bg', offset=5)])"
    cells = [
        f"import xfit\nfrom xfit.components import Gaussian, Offset\n{MAP}",
        f"explorer = da.fit.explore({start}, loss='poisson')\nexplorer",
        "explorer.model['Fe'].centre.value",
        "print(sorted(explorer.place.items()), [each.value for each in explorer.model.parameters])",
    ]
    typed = xfit.Model([Gaussian(name="Fe", A=200, centre=4.25, sigma=1.5), Offset(name="bg", offset=5)])
    expected = da[3, 4].fit(typed, loss="poisson")
    with lab.notebook(chromium, "explore", cells) as shown:
        shown.run(0)
        shown.run(1)
        shown.until(lambda: "Fit this spectrum" in shown.text())
        shown.show(1)
        shown.page.wait_for_timeout(500)
        shown.picture("notebook-explore")
        number = shown.page.locator(".slider-edit input").nth(1)
        number.fill("4.25")
        number.press("Enter")
        shown.until(lambda: shown.run(2) == "4.25")

        shown.page.mouse.click(*shown.place(1, 2.0, 1.5))
        shown.until(lambda: not shown.cell(1).locator("input[type=checkbox]").first.is_checked())
        shown.page.get_by_text("Fit this spectrum").click()
        shown.until(lambda: "converged, reduced chi-squared" in shown.text())
        shown.page.wait_for_timeout(500)
        shown.picture("notebook-explore-fitted")
        assert shown.run(3).strip() == f"[('x', 4), ('y', 3)] {expected['value'].values.tolist()}"
        assert shown.errors == []
        assert shown.afar == []
