"""The code in README.md and docs/ runs as written."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

import xfit
from tests.support.paths import ROOT
from xfit.accessor import Fit
from xfit.result_accessor import Result

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINKED = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "CHANGELOG.md"]


def script(name: str) -> ModuleType:
    """One of ci/*.py, which are no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "ci" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_NUMBER = re.compile(r"[-+]?\d+(?:\.\d*)?(?:e[-+]?\d+)?")


def assert_same_output(printed: str, page: str) -> None:
    """The same words, and the same numbers but for one in their last digit.

    Another kind of processor sums in another order, so that values differ by a millionth of their errors, which may
    turn the last digit that is shown.
    """
    words = [re.sub(r"[\s-]+", " ", _NUMBER.sub("#", text)) for text in (printed, page)]
    assert words[0] == words[1], "run: python ci/page.py docs/PAGE.md"
    for new, old in zip(_NUMBER.findall(printed), _NUMBER.findall(page), strict=True):
        mantissa, _, exponent = old.partition("e")
        last = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
        assert abs(float(new) - float(old)) < 1.5 * last, f"{new} instead of {old}; run: python ci/page.py docs/PAGE.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_runs_as_written(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a page's blocks in order, in one namespace; output that the page shows is what they print."""
    monkeypatch.chdir(tmp_path)
    ci = script("page")
    monkeypatch.setenv("COLUMNS", ci.COLUMNS)
    for block, printed in ci.run(page.read_text(encoding="utf-8"), page.name):
        if block[3] is not None:
            assert_same_output(printed, block[3])


def headings(page: Path) -> set[str]:
    """Anchors that GitHub makes of a page's headings, code blocks left out."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file of the project, and a heading in it if it names one."""
    for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        other = page.parent / target if target else page
        assert other.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in headings(other), f"{page.name} links to {target}#{anchor}"


def public_names() -> set[str]:
    """Full names of what is public; modules have pages of their own."""
    names = {
        f"xfit.{name}"
        for name in xfit.__all__
        if name not in ("__version__", "accessor", "components", "noise", "samfire")
    }
    names |= {f"xfit.components.{name}" for name in xfit.components.__all__}
    names |= {f"xfit.samfire.{name}" for name in xfit.samfire.__all__}
    for kind, accessor in (("DataArray", Fit), ("Dataset", Result)):
        methods = {name for base in accessor.__mro__[:-1] for name in vars(base) if not name.startswith("_")}
        names |= {f"xarray.{kind}.fit.{name}" for name in methods}
    return names


def test_the_api_pages_list_everything_public() -> None:
    listed = set()
    for page in sorted((ROOT / "docs" / "api").glob("*.rst")):
        module = ""
        for line in page.read_text(encoding="utf-8").splitlines():
            if line.startswith(".. currentmodule:: "):
                module = line.split()[-1]
            elif entry := re.fullmatch(r"(?:   |\.\. py:data:: )([\w.]+)", line):
                listed.add(f"{module}.{entry[1]}")
    assert public_names() - listed == set()


@pytest.mark.parametrize(
    ("suffix", "text", "expected"),
    [
        ("html", '<script src="https://cdn.example/x.js"></script>', ["https://cdn.example/x.js"]),
        ("html", '<link rel="stylesheet" href="//fonts.example/a.css">', ["//fonts.example/a.css"]),
        ("html", '<img src="a.png" srcset="b.png 1x, https://img.example/c.png 2x">', ["https://img.example/c.png"]),
        ("html", "<style>body { background: url('http://img.example/d.png') }</style>", ["http://img.example/d.png"]),
        ("css", '@import "https://fonts.example/e.css";', ["https://fonts.example/e.css"]),
        (
            "html",
            '<a href="https://xarray.dev">a link</a><script src="_static/a.js"></script><link rel="next" '
            'href="b.html">',
            [],
        ),
    ],
)
def test_what_a_page_would_fetch_is_found(suffix: str, text: str, expected: list[str], tmp_path: Path) -> None:
    page = tmp_path / f"page.{suffix}"
    page.write_text(text, encoding="utf-8")
    assert script("offline").fetches(page) == expected


def test_output_that_differs_is_found() -> None:
    assert_same_output("a  1.25\n", "a 1.24\n")
    assert_same_output("(8.1 ± 2)e+11", "(8.0 ± 2)e+11")
    for printed, page in (("a 1.27", "a 1.24"), ("b 1", "a 1"), ("694.4", "694.2"), ("x 1 2", "x 1")):
        with pytest.raises(AssertionError):
            assert_same_output(printed, page)


def test_lowest_versions_are_those_that_the_page_lists() -> None:
    """Versions without known flaws, with the flaws, in docs/files.md are the lowest that pyproject.toml allows."""
    lowest = dict(each.split("==") for each in script("bounds").bounds() if "==" in each)
    table = (ROOT / "docs" / "files.md").read_text(encoding="utf-8").partition("| at least | for |")[2].split("\n\n")[0]
    rows = [row.split("|")[1].strip() for row in table.splitlines()[2:]]
    assert len(rows) > 5
    for row in rows:
        version = row.rpartition(" ")[2]
        for name, own in re.findall(r"([A-Za-z0-9]+)(?: ([\d.]+))?", row.removesuffix(version)):
            assert lowest[name.lower()] == (own or version), row
