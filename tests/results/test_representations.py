"""What notebooks and terminals show of models, components, parameters and results."""

from __future__ import annotations

import json
import unicodedata
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xfit
from tests.support.builders import from_source, one_peak, peak_map, two_peaks
from xfit.components import EELSCLEdge, Expression, Function, Gaussian, Gaussian2D, Offset, Voigt
from xfit.display import shortened, text_table, wrapped
from xfit.engine.pixel.status import BAD_DATA, DESCRIPTIONS, SINGULAR
from xfit.results import overview
from xfit.results.report import Report, Statuses

#: What must not get into a page as it is.
NASTY = '<b>&"'

#: Tags without an end.
VOID = {"br", "hr", "img", "input", "meta", "link"}


class Page(HTMLParser):
    """A page's tags, checked to be closed in order, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.summaries: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember a tag; a summary stands right within its section."""
        self.tags.append((tag, dict(attrs)))
        if tag == "summary":
            assert self.open[-1] == "details"
            self.summaries.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Check that it is the innermost tag that ends."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Remember text."""
        if "style" in self.open:
            return
        self.text.append(data)
        if "summary" in self.open:
            self.summaries[-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of all tags of a kind."""
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def words(self) -> str:
        """All text outside of styles."""
        return " ".join(self.text)


def page_of(thing: Any) -> Page:
    """Parse a representation, and check what holds for all of them."""
    text = thing._repr_html_()
    page = Page(text)
    assert {tag for tag, _ in page.tags} <= {
        "b",
        "code",
        "details",
        "div",
        "span",
        "style",
        "summary",
        "table",
        "tbody",
        "td",
        "th",
        "thead",
        "tr",
    }
    # No scripts, no handlers, nothing from the network.
    assert not any(name.startswith("on") or name in ("src", "href") for _, attrs in page.tags for name in attrs)
    assert "url(" not in text
    assert "@import" not in text
    assert len(page.all("style")) == 1
    assert len(page.all("summary")) == len(page.all("details"))
    assert all(attrs["scope"] in ("row", "col") for attrs in page.all("th"))
    return page


def assert_fits(text: str, width: int = 80) -> None:
    """No line is wider than the terminal."""
    for line in text.splitlines():
        assert sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in line) <= width, line


def nasty_model() -> xfit.Model:
    """Two components and a response, with names, units and a tie that a page must escape."""
    m = xfit.Model([Gaussian(name=f"Fe{NASTY}", A=4.0), Voigt(name="Cr")], name=NASTY)
    m[0].A.units = f"counts {NASTY}"
    m[0].centre.set(min=-3, max=3, free=False)
    m["Cr"].area.tie(f"0.5 * `Fe{NASTY}`.A")
    m.response = xr.DataArray([0.2, 0.6, 0.2], dims="energy", coords={"energy": [-1.0, 0.0, 1.0]})
    return m


@pytest.fixture(scope="module")
def fit() -> xr.Dataset:
    """A result in memory, one pixel of which has no data."""
    model = two_peaks()
    model["left"].centre.set(min=5, max=5.6)
    da = peak_map()
    da[0, 0] = np.nan
    return da.fit.multifit(model, covariance=True)


@pytest.fixture
def width(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")


# --- notebooks ---------------------------------------------------------------------------------------------------


def test_a_parameter() -> None:
    m = nasty_model()
    page = page_of(m[0].centre)
    assert "fixed" in page.words
    assert {"-3", "3", "position of the maximum"} <= set(page.text)
    page = page_of(m["Cr"].area)
    assert f"tied to 0.5 * `Fe{NASTY}`.A" in page.words
    # Half of 4.
    assert "2" in page.text
    assert "∞" in page.text
    outside = Gaussian()
    outside.sigma.set(min=4, value=3)
    assert "free (outside of its bounds!)" in page_of(outside.sigma).words


def test_numbers_are_aligned_and_words_are_not() -> None:
    text = Gaussian(name="Fe")._repr_html_()
    assert '<th scope="col" class="xfit-number">value</th>' in text
    assert '<th scope="row">sigma</th>' in text
    assert '<th scope="col">state</th>' in text
    assert "tabular-nums" in text


def test_a_component() -> None:
    page = page_of(nasty_model()[0])
    assert "Gaussian" in page.text
    assert f"Fe{NASTY}" in page.text
    assert f"counts {NASTY}" in page.text
    assert "A/(sigma*sqrt(2*pi))*exp(-(x-centre)**2/(2*sigma**2))" in page.text
    # Derived quantities are folded: full width at half maximum of sigma = 1.
    assert page.summaries == ["derived quantities area, fwhm, height"]
    assert page.all("details") == [{}]
    assert f"{2 * np.sqrt(2 * np.log(2)):.6g}" in page.text


@pytest.mark.parametrize(
    ("component", "words"),
    [
        (Expression("a*exp(-x/tau)", name="e"), "a*exp(-x/tau)"),
        (Function(lambda x, height: height * x, name="f"), "(x, height)"),
        (Gaussian2D(add_rotation=True), "f(x, y) ="),
        (Voigt(), "f(x) ="),
        (EELSCLEdge("Fe_L3", beam_energy=200.0, collection_angle=20.0), "from tables"),
    ],
    ids=["expression", "function", "image", "long formula", "tables"],
)
def test_formulas_of_all_kinds(component: Any, words: str) -> None:
    assert words in page_of(component).words


def test_a_tie_without_value_shows_no_derived_quantity() -> None:
    peak = Gaussian(name="Cr")
    peak.sigma.tie("2 * Fe.sigma")
    page = page_of(peak)
    assert "tied to 2 * Fe.sigma" in page.words
    assert "fwhm" in page.words


def test_a_model() -> None:
    m = nasty_model()
    page = page_of(m)
    assert "1-D signal, 2 components, 5 free parameters, with a response" in page.words
    assert f"Fe{NASTY} Gaussian, 2 of 3 parameters free, convolved" in page.summaries
    assert "response energy: 3" in page.summaries
    # Both components are open; derived quantities, long formulas and the response are not.
    assert sum("open" in attrs for attrs in page.all("details")) == 2
    m["Cr"].active = False
    page = page_of(m)
    assert any("inactive" in summary for summary in page.summaries)
    assert sum("open" in attrs for attrs in page.all("details")) == 1


def test_many_components_are_folded() -> None:
    page = page_of(xfit.Model([Offset() for _ in range(5)]))
    assert page.all("details") == [{}] * 5
    assert page_of(xfit.Model()).all("details") == []
    mixed = xfit.Model([Gaussian(), Gaussian2D()])
    assert "can't be added" in page_of(mixed).words


def test_light_and_dark() -> None:
    style = Gaussian()._repr_html_()
    for words in (
        "prefers-color-scheme: dark",
        '[data-jp-theme-light="false"]',
        '[data-jp-theme-light="true"]',
        "body.vscode-dark",
        'html[data-theme="dark"]',
        "focus-visible",
    ):
        assert words in style


def test_reports(fit: xr.Dataset) -> None:
    page = page_of(fit.fit.report())
    assert {"converged", "11", "91.7 %"} <= set(page.text)
    assert DESCRIPTIONS[BAD_DATA] in page.text
    assert any(attrs.get("class") == "xfit-line xfit-warning" for attrs in page.all("div"))
    page = page_of(fit.fit.report(y=0.5, x=1.0))
    assert "fit of eels at y=0.5, x=1.0: converged" in page.text
    assert len(page.all("table")) == 3


def test_a_preview() -> None:
    found = peak_map((6, 5)).fit.preview(two_peaks(), n=12)
    page = page_of(found)
    assert "12 of 30 pixels fitted, and their mean" in page.text
    assert "converged" in page.text
    assert "left.centre" in page.text
    assert any(summary.startswith("mean") for summary in page.summaries)
    assert repr(found) == str(found)


# --- results -----------------------------------------------------------------------------------------------------


def test_a_result_in_memory(fit: xr.Dataset, width: None) -> None:
    page = page_of(fit.fit)
    assert f"lm, loss ls, xfit {xfit.__version__}" in page.text
    assert {"y: 3, x: 4", "energy: 60", "in memory, 12 pixels"} <= set(page.text)
    assert "model 1-D signal, 3 components, 7 free parameters" in page.summaries
    # The model is folded, the summary is not, and every status is named.
    folded = dict(zip(page.summaries, page.all("details"), strict=True))
    assert folded["model 1-D signal, 3 components, 7 free parameters"] == {}
    assert "open" in folded["summary"]
    assert {"converged", DESCRIPTIONS[BAD_DATA]} <= set(page.text)
    text = repr(fit.fit)
    assert text.startswith("<xfit result: fit of eels>\nfitted by   lm, loss ls")
    assert f"8.3 %          1  {DESCRIPTIONS[BAD_DATA]}" in text
    assert "left.centre" in text
    assert_fits(text)


def test_a_single_fit(fit: xr.Dataset, width: None) -> None:
    one = fit.isel(y=1, x=1)
    assert "none: a single fit" in page_of(one.fit).text
    assert "converged" in page_of(one.fit).text
    assert "±" in repr(one.fit)
    assert_fits(repr(one.fit))


def test_a_lazy_result_is_not_computed(width: None) -> None:
    lazy, source = from_source(peak_map((6, 5)), {"y": 2, "x": 3}, forbidden=True)
    fit = lazy.fit.multifit(two_peaks())
    page = page_of(fit.fit)
    assert "lazy, 30 pixels in 6 chunks (y: 2, x: 3); nothing is computed yet" in page.words
    assert ".compute()" in page.words
    assert not any(summary.startswith("summary") for summary in page.summaries)
    text = repr(fit.fit)
    assert "lazy, 30 pixels in 6 chunks" in text
    assert_fits(text)
    # Nor where only a part is lazy, coordinates included.
    page_of(fit.drop_vars("value").assign(value=xr.zeros_like(fit["value"]).compute()).fit)
    page_of(fit.isel(y=0, x=0).fit)
    page_of(fit.chunk(y=1).fit)
    assert source.reads == []


def test_a_result_in_a_file_is_not_read(fit: xr.Dataset, tmp_path: Any) -> None:
    fit.to_netcdf(tmp_path / "fit.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "fit.nc", engine="h5netcdf") as stored:
        assert "not in memory, 12 pixels" in repr(stored.fit)
        assert not any(summary.startswith("summary") for summary in page_of(stored.fit).summaries)
        assert not stored["value"].variable._in_memory
    with xr.open_dataset(tmp_path / "fit.nc", engine="h5netcdf", chunks={}) as stored:
        assert "lazy, 12 pixels in 1 chunk" in repr(stored.fit)


def test_large_results_take_no_time(fit: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "_QUICK", 10)
    page = page_of(fit.fit)
    assert {"converged", DESCRIPTIONS[BAD_DATA]} <= set(page.text)
    assert "left.centre" not in page.words.split("summary")[1]


def test_parts_of_results(fit: xr.Dataset, width: None) -> None:
    part = fit[["value", "status"]]
    assert "no summary: the result lacks stderr" in repr(part.fit)
    page_of(part.fit)
    empty = fit.isel(y=slice(0))
    assert "0 pixels" in repr(empty.fit)
    page_of(empty.fit)


@pytest.mark.parametrize(
    ("attrs", "words"),
    [
        ({"xfit_model": "{}"}, "can't be read"),
        ({"xfit_model": json.dumps({"nonsense": "<script>"})}, "can't be read"),
        ({"xfit_schema": 99}, "update xfit"),
        ({"xfit_loss_scale": "2.5"}, "loss_scale 2.5"),
        ({"title": f"<script>{NASTY}"}, "<script>"),
        ({"xfit_samfire": "[]", "xfit_bounded": 0, "xfit_starts": 3}, "SAMFire, lm, loss ls, 3 starts, without bounds"),
    ],
)
def test_odd_attributes(fit: xr.Dataset, attrs: dict[str, Any], words: str) -> None:
    odd = fit.copy()
    odd.attrs |= attrs
    assert words in " ".join(repr(odd.fit).split())
    assert words in page_of(odd.fit).words


def test_what_is_no_result(fit: xr.Dataset, width: None) -> None:
    for other in (xr.Dataset(), xr.Dataset({"value": ("x", [1.0])}), fit.drop_vars("value")):
        assert "this Dataset is no result of a fit" in repr(other.fit)
        assert "this Dataset is no result of a fit" in page_of(other.fit).words
        assert_fits(repr(other.fit))
    bare = fit.copy()
    del bare.attrs["xfit_schema"]
    assert "no attribute 'xfit_schema'" in repr(bare.fit)


# --- terminals ---------------------------------------------------------------------------------------------------


def long_model() -> xfit.Model:
    """Names, units, ties and numbers that are all too long."""
    m = xfit.Model([Gaussian(name="iron " * 20), Voigt(name="铁的峰" * 12), Offset(name="bg")], name="model " * 30)
    m[0].A.set(value=-1.23456789e-200, min=-1.23456789e-100, max=1.23456789e-100, units="counts per second " * 4)
    m["bg"].offset.tie(" + ".join(f"{k} * `{m[0].name}`.sigma" for k in range(1, 20)))
    return m


def test_long_names_are_shortened(width: None) -> None:
    m = long_model()
    for text in (repr(m), m.table(), *(repr(c) for c in m), *(repr(p) for p in m.parameters)):
        assert_fits(text)
    assert "…" in m.table()
    # Numbers are rounded and not cut.
    assert "-1.2346e-200" in m.table()
    m.response = xr.DataArray([1.0], dims="x", coords={"x": [0.0]})
    assert_fits(repr(m))


def test_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert_fits(one_peak().table(), 60)
    monkeypatch.setenv("COLUMNS", "300")
    assert "…" not in repr(xfit.Model([Gaussian(name="iron " * 20)]))


def test_reports_fit(width: None) -> None:
    """Of long names and numbers; prose is wrapped, words in tables are shortened."""
    model = two_peaks()
    model["right"].name = "铁的峰" * 15
    model["left"].name = "a peak with quite a long name, on the left side of everything"
    fit = peak_map().fit.multifit(model, max_nfev=1, variance=1e-4, scale_covariance=False, covariance=True)
    fit = fit.assign(value=fit["value"] * 1.2345678e-100, stderr=fit["stderr"] * 1.2345678e-100)
    for text in (fit.fit.report(), fit.fit.report(y=0, x=0), fit.fit.table(y=0, x=0), repr(fit.fit)):
        assert_fits(text)
    assert "…" in fit.fit.report()
    statuses = Report(["title", Statuses({SINGULAR: 3, BAD_DATA: 1})])
    assert_fits(statuses)
    assert " ".join(DESCRIPTIONS[SINGULAR].split()) in " ".join(statuses.split())


def test_a_table_shortens_words_and_not_numbers() -> None:
    rows = [("a name that is much too long for this", "1.23456", "0.8 ± 0.4"), ("b", "-12.5", "3 ± 1")]
    lines = text_table(("name", "value", "error"), rows, width=40).splitlines()
    assert_fits("\n".join(lines), 40)
    assert [line.split("  ")[-1] for line in lines[2:]] == ["0.8 ± 0.4", "3 ± 1"]
    assert lines[2].startswith("a name that is much")
    assert "…  1.23456" in lines[2]
    # Columns begin at the same place in all rows.
    assert lines[0].index("value") == lines[2].index("1.23456") == lines[3].index("-12.5")
    # Where words are as short as they may be, numbers are rounded.
    assert "1.235" in text_table(("name", "value", "error"), rows, width=26)


def test_names_of_rows_are_shortened_last() -> None:
    """Columns without words are left out, and long units shortened, before the names of parameters are."""
    head = ("parameter", "median", "at bound", "units")
    units = r"$10^{-20}\,\mathrm{erg\,s^{-1}\,cm^{-2}}$"
    rows = [("Halpha.centre", "1.5", "", units), ("Halpha.sigma", "2.5", "", units)]
    table = text_table(head, rows, width=40).splitlines()
    assert [line.split()[0] for line in table] == ["parameter", "-------------", "Halpha.centre", "Halpha.sigma"]
    assert max(map(len, table)) <= 40
    assert "at bound" not in table[0]
    # Where all fits, all is shown.
    assert "at bound" in text_table(head, rows, width=100)


def test_what_moves_the_cursor_is_shown() -> None:
    table = text_table(("units",), [("eV\n\x1b[31m",)], width=40)
    assert table.splitlines()[2] == r"eV\n\x1b[31m"
    assert shortened("a\tb", 10) == r"a\tb"


def test_names_that_differ_at_their_ends_stay_different() -> None:
    rows = [("continuum.a0", "1.0"), ("continuum.a1", "2.0"), ("日本語の連続体.a1", "3.0")]
    lines = text_table(("name", "value"), rows, width=16).splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["cont…m.a0", "cont…m.a1"]
    assert all(sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in line) <= 16 for line in lines)
    # Numbers are rounded before rows look the same.
    rows = [("NII_6550.flux", "1.23456"), ("NII_6585.flux", "2.34567"), ("Ha.flux", "3.45678")]
    lines = text_table(("name", "value"), rows, width=18).splitlines()
    assert len({line.split()[0] for line in lines[2:]}) == 3
    assert_fits("\n".join(lines), 18)
    # Where the beginnings tell them apart, they are what is kept.
    assert "oxygen k…" in text_table(("name", "value"), [("oxygen k edge", "1.0"), ("nitrogen", "2.0")], width=16)


def test_shortened_and_wrapped() -> None:
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("abcdefg", 6) == "abcde…"
    # Each of these letters takes two columns.
    assert shortened("铁的峰铁", 6) == "铁的…"
    assert wrapped("one two three", 8, 2) == "one two\n  three"
    assert wrapped("a\n\nb", 8) == "a\n\nb"
