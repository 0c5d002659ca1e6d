"""The examples' real map: SAMFire from one seed against a fit of every pixel from the same start."""

from __future__ import annotations

import importlib
import sys

import pytest

import xfit
from tests.support.paths import EXAMPLES


@pytest.fixture(scope="module")
def example():
    """The example as a module."""
    folder = str(EXAMPLES)
    sys.path.insert(0, folder)
    try:
        yield importlib.import_module("abell478_samfire")
    finally:
        sys.path.remove(folder)


def test_lines_where_there_is_gas(example) -> None:
    """Every line that is significant is found, no velocity is an outlier, and lines are off
    where there is noise alone.
    """
    cube, model = example.load(), example.make_model()
    options = {"variance": cube.variance, "scale_covariance": False}
    every = cube.flux.fit.multifit(model, "wavelength", **options).compute()
    seed = example.best_pixel(every)
    spread = cube.flux.fit.samfire(
        model,
        "wavelength",
        seeds=[seed],
        optional=example.LINES,
        criterion="bic",
        goodness=xfit.samfire.RedChisq(1.0),
        progress=False,
        **options,
    ).compute()
    gas = spread.active.sel(part=example.LINES).any("part")
    significance = every.fit["Ha.flux"] / every.fit.stderr("Ha.flux")
    assert (spread.status == 1).mean() > 0.99
    assert gas.where(significance > 5, True).all()
    assert float(gas.where(~(significance > 1)).mean()) < 0.25
    velocity, error = spread.fit["Ha.velocity"], spread.fit.stderr("Ha.velocity")
    assert not example.outliers(velocity, error).any()
    # What both methods find is the same: where all lines are on, it is the same fit.
    all_on = spread.active.all("part") & (every.status == 1) & (every.at_bound == 0).all("param") & (significance > 5)
    assert int(all_on.sum()) > 1100
    same = abs(velocity - every.fit["Ha.velocity"]) < 0.01 * error
    assert float(same.where(all_on).mean()) > 0.995


def test_the_example_as_it_stands(example, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["abell478_samfire.py", "--output", str(tmp_path)])
    example.main()
    assert "velocities that are outliers, samfire" in capsys.readouterr().out
    assert (tmp_path / "samfire.png").stat().st_size > 10_000
