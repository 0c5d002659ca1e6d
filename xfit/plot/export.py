"""What is looked at as files: the pixel as a figure, the parameters as a table, the page without a server."""

from __future__ import annotations

import io

import xarray as xr
from bokeh.embed import file_html
from bokeh.layouts import column, row
from bokeh.resources import INLINE

from xfit.display import escaped
from xfit.engine.pixel.status import DESCRIPTIONS
from xfit.files.csv_tables import as_csv
from xfit.plot.map_page import MarkedMaps, legend
from xfit.plot.pixel_page import figures_of
from xfit.plot.spectrum import draw_pixel
from xfit.plot.style import coordinate
from xfit.plot.view_state import Looking, shares_of
from xfit.plot.widgets import words_of
from xfit.results import report


def table_of(looking: Looking) -> str:
    """Parameters of all pixels in the slice as CSV: places, values, errors, statuses."""
    cut = looking.result.dataset.isel(dict(zip(looking.dims[:-2], looking.place.slice, strict=False))).compute()
    names = [str(name) for name in cut["param"].values]
    columns = {name: cut["value"].isel(param=k, drop=True) for k, name in enumerate(names)}
    columns |= {f"{name} error": cut["stderr"].isel(param=k, drop=True) for k, name in enumerate(names)}
    columns |= {"red_chisq": cut["red_chisq"], "status": cut["status"]}
    flat = xr.Dataset({name: c.reset_coords(drop=True) for name, c in columns.items()})
    flat = flat.assign_coords({d: coordinate(cut, d)[0] for d in flat.dims})
    return as_csv(flat.to_dataframe().reset_index())


def picture_of(looking: Looking) -> bytes:
    """The chosen pixel as a figure for a paper, PNG."""
    from matplotlib.figure import Figure

    view, file = looking.pixel(), io.BytesIO()
    size = (9, 5) if view.data.ndim == 1 else (13, 4)
    figure = Figure(figsize=size, layout="constrained")
    draw_pixel(view, components=True, residual=True, table=True, figure=figure).savefig(file, dpi=200, format="png")
    return file.getvalue()


def page_of(looking: Looking) -> bytes:
    """What is seen as a page that needs neither network nor Python, HTML."""
    # With bokeh alone: pages of Panel load its styles from the network.
    names = dict.fromkeys([looking.place.quantity, "red_chisq", "status"])
    maps = MarkedMaps(looking)
    view = looking.pixel()
    shown = column(
        words_of(heading_of(looking)),
        row(*(maps.still(name, 320) for name in names), words_of(legend(looking.quantity("status").values.values))),
        words_of(f"<b>{escaped(view.title)}</b>"),
        row(figures_of(view).figures, words_of(parameters_of(looking)), sizing_mode="stretch_width"),
        sizing_mode="stretch_width",
    )
    return str(file_html(shown, INLINE, title="xfit")).encode()


def heading_of(looking: Looking) -> str:
    """Title of the result, its sizes, and how its fits ended, HTML."""
    ds = looking.result.dataset
    shares = ", ".join(
        f"{share:.1%} {DESCRIPTIONS[code].partition(':')[0]}" for code, share in shares_of(ds["status"].values)
    )
    sizes = " × ".join(f"{d} {ds.sizes[d]}" for d in looking.dims)
    title, words = escaped(str(ds.attrs.get("title", "fit"))), escaped(f"{sizes}: {shares}")
    return f"<h2 style='margin:0'>{title}</h2><p style='margin:0'>{words}</p>"


def parameters_of(looking: Looking) -> str:
    """Values and errors of the chosen pixel, HTML."""
    words = {str(d): f"{value:.6g}" for d, value in looking.words.items()}
    return report.pixel_table(looking.pixel().fit, looking.result.model, words)._repr_html_()
