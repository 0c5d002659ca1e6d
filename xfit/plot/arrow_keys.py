"""Arrow keys of a page, for whoever wants to follow them; a field in which something is typed keeps its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from panel.custom import JSComponent

#: How far each key goes: across, up.
STEPS = {"ArrowLeft": (-1, 0), "ArrowRight": (1, 0), "ArrowUp": (0, 1), "ArrowDown": (0, -1)}


class ArrowKeys(JSComponent):
    """Hears arrow keys: of the whole page, in a notebook only where it has the focus, for
    there they move between cells.

    Parameters
    ----------
    follow : callable
        Called with the steps across and up.
    """

    _esm = """
    export function render({model}) {
      const pad = document.createElement("div");
      pad.tabIndex = 0;
      pad.setAttribute("role", "application");
      pad.setAttribute("aria-label", "Arrow keys move the chosen pixel; with shift by ten");
      pad.textContent = "\\u2190 \\u2191 \\u2192 \\u2193 move the pixel (with shift by ten)";
      pad.style.cssText = "font-size: 0.85em; opacity: 0.75; padding: 2px 6px";
      const notebook = document.querySelector(".jp-NotebookPanel, #notebook-container, .notebook-app");
      const hears = notebook ? pad : window;
      hears.addEventListener("keydown", (event) => {
        if (!event.key.startsWith("Arrow")) return;
        const target = event.composedPath()[0];
        if (target.tagName && ["INPUT", "SELECT", "TEXTAREA"].includes(target.tagName)) return;
        event.preventDefault();
        model.send_msg({key: event.key, far: event.shiftKey});
      });
      return pad;
    }
    """

    def __init__(self, follow: Callable[[int, int], None], **parameters: Any) -> None:
        super().__init__(**parameters)
        self._follow = follow

    def _handle_msg(self, message: Any) -> None:
        across, up = STEPS.get(message["key"], (0, 0))
        far = 10 if message["far"] else 1
        self._follow(far * across, far * up)
