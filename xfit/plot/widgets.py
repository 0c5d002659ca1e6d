"""What pages have in common: what they are loaded with, words and figures that change, parts beside
each other, names of widgets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import holoviews as hv
import panel as pn
from bokeh.models.widgets import Div

from xfit.display import escaped


def load() -> None:
    """Load what pages are made of from this installation: a notebook would fetch it from the network otherwise."""
    pn.extension(inline=True)
    hv.extension("bokeh", inline=True)


def words_of(text: str, **options: Any) -> Div:
    """HTML on a page, in which nothing is a formula."""
    return Div(text=text, disable_math=True, **options)


class Words:
    """Words on a page that change, as HTML.

    A pane of Panel would do, but not in a notebook: with new words it sends its styles, by addresses in the network.

    Parameters
    ----------
    text : str
        HTML.

    Attributes
    ----------
    pane : panel.pane.Bokeh
        What is put on the page, and given to `on_page`.
    """

    def __init__(self, text: str) -> None:
        self._shown = words_of(text, sizing_mode="stretch_width")
        self.pane = pn.pane.Bokeh(self._shown, sizing_mode="stretch_width")

    def say(self, text: str) -> None:
        """Replace the words; called from what `on_page` has made."""
        if text != self._shown.text:
            self._shown.text = text


#: Panel would make rows as wide as all that is in them, whether there is room or not.
_NARROWER = {"min-width": "0"}


def whole(*parts: Any) -> pn.Column:
    """A page as wide as its window, or as the notebook's cell."""
    return pn.Column(*parts, styles=_NARROWER, sizing_mode="stretch_width")


def beside(*parts: Any) -> pn.Row:
    """Parts of a page beside each other; below each other where there is no room for all."""
    return pn.Row(*parts, styles=_NARROWER | {"flex-wrap": "wrap"}, sizing_mode="stretch_width")


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


def named_in_html(words: str) -> dict[str, str]:
    """As `named`, for sliders, whose names Panel shows as HTML."""
    return named(escaped(words))


def coloured(kind: str) -> dict[str, str]:
    """The argument that gives a button its colour: from Panel 1.9 on ``color``, which was its type before."""
    return {"color" if "color" in pn.widgets.Button.param else "button_type": kind}
