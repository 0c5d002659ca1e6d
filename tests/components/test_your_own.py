"""Components of users' own, defined in a script or a notebook, on a cluster of worker processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import xarray as xr
from nbclient import NotebookClient

import xfit
from tests.support.paths import EXAMPLES
from xfit import Component, Derived, Spec

ALL = [f"{name}: 100% converged, the same on threads: True" for name in ("gauss", "tail", "sech", "triangle")]


def environment() -> dict[str, str]:
    """That of this process, with the project to be imported from where it is."""
    path = os.pathsep.join([str(EXAMPLES.parent), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path}


def run(script: Path) -> str:
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_script() -> None:
    printed = run(EXAMPLES / "your_own.py")
    assert [line for line in printed.splitlines() if "converged, the same" in line] == ALL
    assert "workers: 2" in printed


def test_a_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    notebook = nbformat.read(EXAMPLES / "your_own.ipynb", as_version=4)
    NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    text = [
        output.get("text", "") + str(output.get("data", ""))
        for cell in notebook.cells
        for output in cell.get("outputs", ())
    ]
    printed = "".join(text)
    assert all(line in printed for line in ALL)
    assert "triangle.area" in printed


REDEFINED = '''
import numpy as np, xarray as xr, xfit
from dask.distributed import Client, LocalCluster

x = np.linspace(0, 5, 60)
da = xr.DataArray(np.tile(3 * np.exp(-x), (6, 1)), dims=("p", "x"), coords={"x": x}).chunk(p=2)
source = """
@xfit.component
def decay(x, height=1.0, rate=1.0):
    return height * np.exp(-rate * x * FACTOR)
"""

if __name__ == "__main__":
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None)
    with cluster, Client(cluster):
        for factor in ("1.0", "2.0"):
            exec(source.replace("FACTOR", factor), globals())
            fit = da.fit.multifit(xfit.Model([decay(name="d")])).compute()
            print(round(float(fit.fit["d.rate"].mean()), 9))
        fit.to_zarr("fit.zarr", consolidated=False)
'''


def test_a_function_that_is_defined_again_is_the_one_that_is_fitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a cell is run again; and its result is read where it is not defined."""
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "again.py"
    script.write_text(REDEFINED)
    assert run(script).split() == ["1.0", "0.5"]
    opened = xr.open_zarr(tmp_path / "fit.zarr", consolidated=False)
    np.testing.assert_allclose(opened.fit["d.rate"], 0.5, rtol=1e-9)
    with pytest.raises(ValueError, match=r"no function 'decay' is registered.*import the module that defines it"):
        opened.fit.evaluate()


class Sawtooth(Component):
    """One tooth."""

    formula = "height*where(x > start, where(x < start + length, (x - start)/length, 0), 0)"
    specs = {
        "height": Spec(1.0, linear=True, dimension={"data": 1.0}, description="height"),
        "start": Spec(1.0, free=False, dimension={"x": 1.0}, description="where it begins"),
        "length": Spec(2.0, free=False, dimension={"x": 1.0}, description="length"),
    }
    derived = {"area": Derived("height*length/2", {"data": 1.0, "x": 1.0}, "area")}


def test_a_class_of_ones_own_is_stored_by_its_name() -> None:
    x = np.linspace(0, 5, 51)
    m = xfit.Model([Sawtooth(name="tooth", height=2.0)])
    assert xfit.Model.from_json(m.to_json()) == m
    da = xr.DataArray(np.where((x > 1) & (x < 3), 4 * (x - 1) / 2, 0.0), dims="x", coords={"x": x})
    fit = da.fit(m)
    np.testing.assert_allclose(fit.fit["tooth.area"], 4.0, rtol=1e-12)
    np.testing.assert_allclose(fit.fit.evaluate(), da, atol=1e-12)
    stored = m.to_dict()
    stored["components"][0]["type"] = "Sawteeth"
    with pytest.raises(ValueError, match=r"unknown component 'Sawteeth'; did you mean Sawtooth\?"):
        xfit.Model.from_dict(stored)
    stored["components"][0]["type"] = "Zzz"
    with pytest.raises(ValueError, match="one of your own must be defined, or imported, first"):
        xfit.Model.from_dict(stored)


def test_a_name_of_the_library_cannot_be_taken() -> None:
    with pytest.raises(ValueError, match="there is a component called 'Gaussian' already, xfit"):
        type("Gaussian", (Component,), {"formula": "a*x", "specs": {}})
