"""Pages in a real browser that has no network: what is on them, where their plots are, and all that went wrong."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")

#: What the addresses of pages have here, in place of a random one.
TOKEN = "0123456789abcdef"

#: Where screenshots are kept.
PICTURES = Path(os.environ.get("XFIT_TEST_OUTPUT", "output/screenshots"))


class Page:
    """A page of a dashboard in a browser that has no network, and all that went wrong in it."""

    def __init__(self, page: Any, board: Any) -> None:
        self.page, self.board = page, board
        self.errors: list[str] = []
        page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("requestfailed", lambda request: self.errors.append(request.url))

    def until(self, condition: Callable[[], Any], seconds: int = 10) -> None:
        """Wait until something holds in the page or behind it."""
        for _ in range(20 * seconds):
            if condition():
                return
            self.page.wait_for_timeout(50)
        raise AssertionError("this did not come to hold")

    def text(self) -> Any:
        """All words on the page, also those in its shadow roots."""
        return self.page.evaluate(
            """() => { const found = []; const walk = (node) => { for (const each of node.childNodes) {
            if (each.nodeType === 3) found.push(each.textContent);
              else if (!["STYLE", "SCRIPT"].includes(each.tagName)) walk(each) }
            if (node.shadowRoot) walk(node.shadowRoot) }; walk(document.body); return found.join(" ") }"""
        )

    def plot(self, k: int) -> Any:
        """Place of the k-th plot's frame on the screen, and its ranges."""
        return self.page.evaluate(
            """(k) => { const found = [];
              const walk = (view) => { if (view.model.type === "Figure") found.push(view);
                for (const child of view.child_views ?? []) walk(child) };
            const views = Object.values(Bokeh.index); const roots = Array.isArray(views) ? views : [...views];
              for (const root of Bokeh.index) walk(root);
            const view = found[k]; const box = view.el.getBoundingClientRect(); const frame = view.frame.bbox;
            return {left: box.left + frame.left, top: box.top + frame.top, width: frame.width, height: frame.height,
                    x0: view.model.x_range.start, x1: view.model.x_range.end, y0: view.model.y_range.start,
                      y1: view.model.y_range.end} }""",
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


def numbers_of(fit: xr.Dataset, y: float, x: float) -> list[str]:
    """What a dashboard's table of a pixel must show, of a fit of `tests.support.builders.drifting_model`."""
    pixel = fit.sel(y=y, x=x)
    words = str(fit.fit.table(y=y, x=x))
    assert f"{float(pixel.red_chisq):.6g}" in words
    return [line.split()[1] for line in words.splitlines() if line.startswith(("Fe.", "bg."))]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
