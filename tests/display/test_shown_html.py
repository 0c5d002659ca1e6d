"""Text of files is text on pages, in notebooks and in pages that were saved: no tag, script or
formula of it is ever read as one.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import panel as pn
import pytest
import xarray as xr
from bokeh.document import Document

import xfit
from tests.support.builders import image_map, spot
from tests.support.pages import TOKEN, Page, browser, free_port
from tests.support.planted import NAME, PLANT, planted_data, planted_fit, planted_model
from xfit.display import escaped
from xfit.plot.style import drawn

#: What a page must not hold as it is, wherever it may be put: beginnings of tags and ends of scripts.
RAW = re.compile(r"<(?:img|svg|/script)", re.I)

NAVIGATION = [("x",), ("y", "x"), ("z", "y", "x")]


@pytest.fixture(scope="module")
def fitted() -> dict[tuple[str, ...], tuple[xr.DataArray, xr.Dataset]]:
    """Data and results of one, two and three dimensions."""
    found = {}
    for navigation in NAVIGATION:
        da = planted_data(*navigation)
        found[navigation] = da, planted_fit(da)
    return found


def texts(value: Any) -> Iterator[str]:
    """All strings in a document of bokeh, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from texts(key)
            yield from texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from texts(each)


def has_tag(page: Page) -> bool:
    """Whether a tag is shown as text."""
    return "<img src=x" in page.text()


def check_page(view: Any) -> None:
    """Walk through every property of every model of a page."""
    document = Document()
    for root in [pn.panel(view).get_root(document)]:  # type: ignore[attr-defined]
        document.add_root(root)
    sent = document.to_json()
    found = list(texts(getattr(sent, "content", sent)))
    assert any("planted" in each for each in found)
    for text in found:
        # Panel's panes escape what they send once more.
        for read in (text, html.unescape(text) if "&amp;" in text else text):
            assert not RAW.search(read), read
        assert "$$" not in text
        assert "\\(x" not in text
        assert "\x1b" not in text
        assert "\u202e" not in text
    for model in document.models:
        # Where bokeh reads HTML, it looks for formulas too.
        if type(model).__name__ == "Div" and "planted" in model.text:
            check_html(model.text)


class Elements(HTMLParser):
    """Elements of HTML, with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep an element."""
        self.found.append((tag, dict(attrs)))


def check_html(text: str) -> None:
    """No element is of what was planted, and it is there as text."""
    assert "planted" in text
    parser = Elements()
    parser.feed(text)
    for tag, attributes in parser.found:
        assert tag not in ("img", "svg", "script", "a")
        assert not any(name.startswith("on") for name in attributes)
    assert not RAW.search(text)
    assert "\u202e" not in text
    assert "\x1b" not in text


@pytest.mark.parametrize("navigation", NAVIGATION, ids=str)
def test_pages(fitted, navigation):
    da, fit = fitted[navigation]
    board = fit.fit.dashboard(da)
    check_page(board.view())
    for name in board.quantities[:3]:
        board.place.quantity = name
        check_page(board.view())
    explorer = da.fit.explore(planted_model(), "e" + PLANT)
    check_page(explorer.view())
    explorer.fit_this()
    explorer.attempt(lambda: explorer.change("g" + NAME + ".sigma", min=5.0, max=2.0))
    assert "planted" in explorer.message
    check_page(explorer.view())


def test_a_page_of_images():
    da = (
        image_map(("row", "column"), 4, noise=0.05)
        .rename({"frame": "frame" + PLANT, "row": "row" + PLANT})
        .rename("spots" + PLANT)
    )
    da = da.assign_attrs(units="counts" + PLANT)
    model = spot()
    model[0].name = "spot" + NAME
    fit = da.fit.multifit(model, ["row" + PLANT, "column"]).assign_attrs(title=PLANT)
    check_page(fit.fit.dashboard(da).view())


@pytest.mark.parametrize("navigation", NAVIGATION, ids=str)
def test_holoviews_objects(fitted, navigation):
    da, fit = fitted[navigation]
    first = str(fit["param"].values[0])
    shown = [fit.fit.hv.map(first), fit.fit.hv.maps(), fit.fit.hv.map("red_chisq"), fit.fit.hv.spectrum(da)]
    if len(navigation) < 3:
        shown.append(fit.fit.hv.spectrum(da, fit.fit.hv.map(first)))
    for each in shown:
        check_page(each)


@pytest.mark.parametrize("navigation", NAVIGATION, ids=str)
def test_notebooks(fitted, navigation):
    """What goes into an output of a notebook, scripts included: they end where the page says so."""
    da, fit = fitted[navigation]
    for shown in (fit.fit.dashboard(da), da.fit.explore(planted_model(), "e" + PLANT)):
        bundle = shown._repr_mimebundle_()
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        assert "planted" in data["text/html"]
        assert not RAW.search(data["text/html"].replace("</script>", "", data["text/html"].count("<script")))


def test_pages_that_are_saved(fitted):
    da, fit = fitted["y", "x"]
    page = fit.fit.dashboard(da).page().decode()
    assert "planted" in page
    assert not re.search(r"<img src=x|<svg onload|</script><", page)


def representations(fitted: Any, folder: Path) -> Iterator[tuple[str, Callable[[], str]]]:
    """All that shows itself in a notebook."""
    for da, fit in fitted.values():
        place = {d: fit[d].values[0] for d in fit.fit.navigation_dims}
        yield "result", fit.fit._repr_html_
        yield "report", fit.fit.report()._repr_html_
        yield "report of a pixel", fit.fit.report(**place)._repr_html_
        yield "table", fit.fit.table(**place)._repr_html_
        yield "preview", da.fit.preview(planted_model(), "e" + PLANT)._repr_html_
    model = planted_model()
    yield "model", model._repr_html_
    yield "component", model[0]._repr_html_
    yield "parameter", model[0].A._repr_html_
    da, fit = fitted["y", "x"]
    damaged = fit.assign_attrs(xfit_model="{" + PLANT)
    yield "a result whose model can't be read", damaged.fit._repr_html_
    # Such names of dimensions do not survive in a store of zarr; what belongs to them does.
    da = da.rename({d: str(d)[0] for d in da.dims}).rename("counts").reset_coords(drop=True)
    da.to_dataset().to_zarr(folder / "map.zarr", consolidated=False)
    models = xfit.models(str(folder / "map.zarr"))
    models.store(da.fit.multifit(planted_model()), "a")
    yield "stored models", models._repr_html_


def test_representations(fitted, tmp_path):
    for what, show in representations(fitted, tmp_path):
        text = show()
        # All between its first and last tag is left alone by MathJax.
        assert text.startswith('<div class="xfit mathjax_ignore tex2jax_ignore">'), what
        check_html(text)


def test_figures_of_names_that_are_no_formulas(fitted, tmp_path):
    """Dollars with something between them that is no formula of matplotlib's."""
    da, fit = fitted["y", "x"]
    place = {d: fit[d].values[0] for d in fit.fit.navigation_dims}
    for figure in (fit.fit.plot(da, **place), fit.fit.maps(), fit.fit.corner()):
        figure.savefig(tmp_path / "figure.svg")
        check = (tmp_path / "figure.svg").read_text(encoding="utf-8")
        assert not re.search(r"<img|<svg onload|</script", check)
    kept = image_map(("row", "column"), 4).rename(r"$\sigma^2$")
    # What is a formula stays one.
    drawn_formula = kept.fit.multifit(spot()).fit.maps(["red_chisq"])
    drawn_formula.axes[0].set_title(r"$\sigma^2$")
    drawn_formula.savefig(tmp_path / "figure.png")
    assert drawn_formula.axes[0].title.get_parse_math()


def test_the_two_functions():
    assert escaped('<a href="x">&') == "&lt;a href=&quot;x&quot;&gt;&amp;"
    assert escaped("a\nb\tc") == "a\nb\tc"
    assert escaped("$$\\(") == "&#36;&#36;&#92;("
    assert escaped("\x1b\u202e\ud800") == "&#92;x1b&#92;u202e&#92;ud800"
    for plain in ("a < b", "1 <2", "$x$", "µm", "5 % of \\sigma", "x\u00b2"):
        assert drawn(plain) == plain
    assert drawn("<b></b><!--") == "<\u200bb><\u200b/b><\u200b!--"
    assert drawn("$$x$$\\(") == "$\u200b$x$\u200b$\\\u200b("
    assert drawn(drawn(PLANT)) == drawn(PLANT)
    assert drawn("a\nb\x1b") == "a\\nb\\x1b"


# --- in a browser ------------------------------------------------------------------------------

#: All elements of a page, shadow roots included, that what was planted would have made; and whether it ran.
LOOK = """() => { const found = []; const walk = (node) => { for (const each of node.querySelectorAll("*")) {
if (["IMG", "A"].includes(each.tagName)
    && (each.getAttribute("src") === "x" || (each.getAttribute("href") ?? "").startsWith("javascript")))
  found.push(each.outerHTML);
if (each.hasAttribute("onload") || each.hasAttribute("onerror")) found.push(each.outerHTML);
if (each.shadowRoot) walk(each.shadowRoot) } }; walk(document);
  return [found, typeof planted === "undefined" ? null : planted] }"""


@pytest.mark.slow
@browser
def test_nothing_runs_in_a_browser(chromium, fitted, tmp_path):
    """The dashboard of three dimensions, the explorer, a page that was saved and outputs of notebooks; the pointer
    moves over maps and curves.
    """
    da, fit = fitted["z", "y", "x"]
    for name, shown in (
        ("dashboard", fit.fit.dashboard(da)),
        ("explore", da.fit.explore(planted_model(), "e" + PLANT)),
    ):
        port = free_port()
        server = shown.show(show=False, threaded=True, port=port, token=TOKEN)
        page = chromium.new_page(viewport={"width": 1400, "height": 1100})
        seen = Page(page, shown)
        try:
            page.goto(f"http://localhost:{port}/?token={TOKEN}")
            seen.until(partial(has_tag, seen), seconds=30)
            page.wait_for_timeout(1500)
            frame = seen.plot(0)
            for part in np.linspace(0.1, 0.9, 9):
                page.mouse.move(frame["left"] + part * frame["width"], frame["top"] + 0.5 * frame["height"])
                page.wait_for_timeout(100)
            seen.picture(f"planted-{name}")
            assert page.evaluate(LOOK) == [[], None]
            assert seen.errors == []
        finally:
            page.close()
            server.stop()
    fit.fit.dashboard(da).save(tmp_path / "saved.html")
    outputs = [fit.fit.report()._repr_html_(), planted_model()._repr_html_(), fit.fit._repr_html_()]
    (tmp_path / "output.html").write_text(f"<meta charset='utf-8'>{''.join(outputs)}", encoding="utf-8")
    bundle = fit.fit.dashboard(da)._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    (tmp_path / "notebook.html").write_text(f"<meta charset='utf-8'>{data['text/html']}", encoding="utf-8")
    for name in ("saved", "output", "notebook"):
        page = chromium.new_page()
        page.goto((tmp_path / f"{name}.html").as_uri())
        page.wait_for_timeout(1500)
        assert page.evaluate(LOOK) == [[], None]
        page.close()
