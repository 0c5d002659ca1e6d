"""Progress of runs in a notebook, with a kernel of its own."""

from __future__ import annotations

import nbclient
import nbformat
import pytest

STORED = """
import numpy as np, xarray as xr, xfit, dask
from xfit.components import Offset
da = xr.DataArray(np.random.default_rng(0).normal(5, 1, (8, 6, 20)), dims=("y", "x", "e")).chunk({"y": 2, "x": 3})
model = xfit.Model([Offset(name="o")])
"""


def outputs(*cells: str) -> list[list[nbformat.NotebookNode]]:
    """What the cells of a notebook show."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in (STORED, *cells)])
    nbclient.NotebookClient(book, timeout=600, kernel_name="python3").execute()
    return [cell.outputs for cell in book.cells[1:]]


@pytest.mark.slow
def test_a_bar_in_a_notebook(tmp_path):
    store = f'store=r"{tmp_path}/fit.zarr", overwrite=True'
    shown, silent, lazy = outputs(
        f"fit = da.fit.multifit(model, {store})",
        f"fit = da.fit.multifit(model, {store}, progress=False)",
        # The bar of dask's own, for results that are lazy; it needs a cluster.
        "from distributed import Client, progress\n"
        "client = Client(processes=False, n_workers=1, dashboard_address=None)\n"
        "fit = da.fit.multifit(model).persist()\nbar = progress(fit)\nprint(float(fit.o_offset.mean()) if 'o_offset' "
        "in fit else fit.value.shape)\nclient.close()",
    )
    (bar,) = shown
    html = bar.data["text/html"]
    assert '<progress value="48" max="48"' in html
    assert "fit 100% (48 of 48 pixels)" in html
    assert "0 failed" in html
    assert silent == []
    assert any("(8, 6, 1)" in output.get("text", "") for output in lazy)
