"""The gallery's dealings with the examples: their order, where they write, and the figures that they wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sphinx_gallery.scrapers import figure_rst

#: Order on the gallery's page; others follow by name.
ORDER = (
    "eels.py",
    "eds.py",
    "raman.py",
    "cathodoluminescence.py",
    "xps.py",
    "fluorescence_decay.py",
    "atomic_columns.py",
    "abell478.py",
    "abell478_samfire.py",
)

_OUTPUT = Path("..") / "output" / "gallery"  # examples run in their own folder


def order(name: str) -> tuple[int, str]:
    """Place of an example on the gallery's page."""
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)


def arguments(gallery_conf: dict[str, Any], script_vars: dict[str, Any]) -> list[str]:
    """Command line of an example, which learns where it lies; figures of an earlier build are removed."""
    script_vars["example_globals"]["__file__"] = script_vars["src_file"]
    folder = _OUTPUT / Path(script_vars["src_file"]).stem
    for old in (Path(script_vars["src_file"]).parent / folder).glob("*.png"):
        old.unlink()
    return ["--output", folder.as_posix()]


def scrape(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Show the figures that a block of an example has written, in the order of their names' first
    appearance in its text.
    """
    source = Path(block_vars["src_file"])
    seen = block_vars.setdefault("figures_seen", set())
    text = source.read_text(encoding="utf-8")
    new = [path for path in (source.parent / _OUTPUT / source.stem).glob("*.png") if path not in seen]
    new.sort(key=lambda path: (text.find(path.name), path.name))
    seen.update(new)
    shown = ""
    for path, image in zip(new, block_vars["image_path_iterator"], strict=False):
        Path(image).write_bytes(path.read_bytes())
        shown += figure_rst([image], gallery_conf["src_dir"], path.stem.replace("_", " "))
    return shown
