"""How the documentation is built, by `bash ci/docs`: pages in Markdown, the API from docstrings, the gallery from
examples/.

Nothing is fetched while it is built, and a page loads nothing but its own files.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from sphinx.errors import ExtensionError

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])

import xfit  # noqa: E402

project = "xfit"
author = "The xfit developers"
copyright = author
release = version = xfit.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_autosummary_accessors",
    "sphinx_gallery.gen_gallery",
]

exclude_patterns = ["_templates"]
templates_path = ["_templates", importlib.import_module("sphinx_autosummary_accessors").templates_path]

# Pages are written for GitHub too: its anchors of headings, its mathematics.
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 4

# `name` in a docstring is a link if that is documented. What begins with xfit must be; other names may be code that is
# not a link.
default_role = "py:obj"

# Signatures are long, and docstrings say the types with shapes and units.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autosummary_generate = True
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

html_theme = "pydata_sphinx_theme"
html_title = "xfit"
html_static_path = ["_static"]
html_css_files = ["xfit.css"]
html_show_sourcelink = False
html_sidebars = {"index": [], "tutorial": []}  # sections of one page
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "header_links_before_dropdown": 6,
    "footer_start": ["copyright"],
    "footer_end": [],
}
mathjax_path = "mathjax/tex-chtml.js"
mathjax_options = {"defer": "defer"}

# The gallery's pages are the scripts in examples/ with what they print and draw; your_own.py starts worker processes
# and is linked to instead.
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "ignore_pattern": r"your_own\.py$",
    "within_subsection_order": "figures_of_examples.order",
    "reset_argv": "figures_of_examples.arguments",
    "image_scrapers": ("figures_of_examples.scrape",),
    "backreferences_dir": "gallery/backreferences",
    "doc_module": ("xfit",),
    "download_all_examples": False,
    "notebook_extensions": set(),  # the scripts have a command line
    "remove_config_comments": True,
    "show_signature": False,
    "thumbnail_size": (500, 350),
    "min_reported_time": 1e9,
    "write_computation_times": False,  # its page would load scripts from the network
    "plot_gallery": "True",
}


def leave_unlinked(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """Show a name that is documented nowhere as code."""
    if node.get("reftype") == "obj" and not node["reftarget"].startswith("xfit"):
        return contnode
    return None


def describe_component(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """End a component's docstring with its parameters' defaults and the quantities that follow from them."""
    if what != "class" or not name.startswith("xfit.components.") or not getattr(obj, "specs", None):
        return
    lines += ["", ".. rubric:: Defaults", "", ".. list-table::", "   :header-rows: 1", ""]
    rows = [("parameter", "value", "bounds", "", "description")]
    for parameter, spec in obj.specs.items():
        low, high = ("" if bound is None else f"{bound:g}" for bound in (spec.min, spec.max))
        bounds = f"{low} to {high}" if low and high else f"from {low}" if low else f"to {high}" if high else ""
        rows.append((f"``{parameter}``", f"{spec.value:g}", bounds, "free" if spec.free else "fixed", spec.description))
    for row in rows:
        lines += [f"   {'* -' if k == 0 else '  -'} {cell}" for k, cell in enumerate(row)]
    if obj.derived:
        lines += ["", ".. rubric:: Derived quantities", ""]
        lines += [f"- ``{quantity}``: {each.description}, ``{each.formula}``" for quantity, each in obj.derived.items()]
    lines += [""]


_PAGES_OF_FILES = {
    "examples/README.rst": "gallery/index.rst",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
}


def lead_into_the_site(app: Any, docname: str, source: list[str]) -> None:
    """Turn links to files beside docs/, which are right on GitHub, into links to the pages that are made of them."""
    for file, page in _PAGES_OF_FILES.items():
        source[0] = source[0].replace(f"](../{file}", f"]({page}")
    source[0] = re.sub(r"\]\(\.\./examples/(?!your_own)(\w+)\.py\)", r"](gallery/\1.rst)", source[0])


def list_the_rest(app: Any, docname: str, source: list[str]) -> None:
    """End the guide with the pages that no other page lists."""
    if docname == "guide":
        lists = "".join((HERE / f"{name}.md").read_text(encoding="utf-8") for name in ("index", "guide", "explanation"))
        rest = [
            page.stem for page in sorted(HERE.glob("*.md")) if f"\n{page.stem}\n" not in lists and page.stem != "index"
        ]
        if rest:
            source[0] += "\n".join(["\n## More\n", "```{toctree}", *rest, "```", ""])


def only_rst_is_a_gallery(app: Any, config: Any) -> None:
    """Keep the gallery from taking examples/data, which has a README.md, for one of its sections."""
    config.sphinx_gallery_conf["source_suffix"] = {".rst": "restructuredtext"}


def copy_mathjax(app: Any, error: Exception | None) -> None:
    """Put MathJax beside the pages: of the package with all of it the one script and the fonts that pages use."""
    if error is None and app.builder.format == "html":
        spec = importlib.util.find_spec("sphinx-mathjax-offline")
        if spec is None or spec.origin is None:
            raise ExtensionError("formulas need sphinx-mathjax-offline; install it with: pip install 'xfit[docs]'")
        origin, target = Path(spec.origin).parent / "static" / "mathjax", Path(app.outdir) / "_static" / "mathjax"
        shutil.copytree(
            origin / "output" / "chtml" / "fonts", target / "output" / "chtml" / "fonts", dirs_exist_ok=True
        )
        shutil.copy2(origin / "tex-chtml.js", target)


def setup(app: Any) -> None:
    """Sphinx calls this."""
    app.connect("config-inited", only_rst_is_a_gallery, priority=900)
    app.connect("autodoc-process-docstring", describe_component, priority=900)
    app.connect("source-read", lead_into_the_site)
    app.connect("source-read", list_the_rest)
    app.connect("missing-reference", leave_unlinked)
    app.connect("build-finished", copy_mathjax)
