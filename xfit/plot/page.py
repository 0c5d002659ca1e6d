"""What pages have in common: what they are loaded with, changes of their figures, names of widgets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import holoviews as hv
import panel as pn


def load() -> None:
    """Load what pages are made of from this installation: a notebook would fetch it from the network otherwise."""
    pn.extension(inline=True)
    hv.extension("bokeh", inline=True)


def on_page(*panes: Any) -> Callable[[Callable[[], None]], Callable[..., None]]:
    """Make a function that changes the numbers of bokeh figures one that Panel's watchers can call at any time.

    Parameters
    ----------
    *panes
        Those that have the figures: a notebook has to be told of them.
    """
    current = pn.state.curdoc
    document = current if current is not None and current.session_context is not None else None

    def decorate(act: Callable[[], None]) -> Callable[..., None]:
        def here() -> None:
            with pn.io.unlocked():
                act()

        def changed(*_: Any) -> None:
            if document is None:
                act()
                pn.io.push_notebook(*panes)
            elif pn.state.curdoc is document:
                here()
            elif document.session_context is not None and not document.session_context.destroyed:
                document.add_next_tick_callback(here)

        return changed

    return decorate


def named(words: str) -> dict[str, str]:
    """The argument that names a widget: from Panel 1.9 on its label, which was its name before."""
    return {"label" if "label" in pn.widgets.Widget.param else "name": words}


def coloured(kind: str) -> dict[str, str]:
    """The argument that gives a button its colour: from Panel 1.9 on ``color``, which was its type before."""
    return {"color" if "color" in pn.widgets.Button.param else "button_type": kind}
