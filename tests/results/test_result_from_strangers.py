"""Tables and reports of a result, and results from strangers."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import xarray as xr

from tests.support.builders import (
    one_peak,
    peak_map,
    two_peaks,
)
from tests.support.results import computed, da, fit, stored_model  # noqa: F401
from xfit import Model
from xfit.components import Expression, Gaussian, Offset


def test_table_of_a_pixel(da):
    model = two_peaks()
    model["right"].sigma.tie("1.3*left.sigma")
    model["left"].centre.set(min=5, max=5.6)
    model["bg"].offset.set(value=1.0, free=False)
    fit = da.fit.multifit(model)
    text = fit.fit.table(y=0.5, x=1.0)
    lines = text.splitlines()
    assert lines[0].startswith("y=0.5, x=1.0: converged; reduced chi-squared ")
    rows = {line.split()[0]: line for line in lines[1:]}
    assert "at max" in rows["left.centre"]
    assert "5.6" in rows["left.centre"]
    assert "1.3*left.sigma" in rows["right.sigma"].replace(" ", "")
    assert "fixed" in rows["bg.offset"]
    assert "free" in rows["left.A"]
    assert "counts eV" in rows["left.A"]
    value, error = float(fit.fit["left.A"][1, 2]), float(fit.fit.stderr("left.A")[1, 2])
    assert f"{value:.1f} ± {error:.1f}" in rows["left.A"]
    with pytest.raises(ValueError, match=r"missing: \['x'\]"):
        fit.fit.table(y=0)
    with pytest.raises(ValueError, match=r"unknown: \['z'\]"):
        fit.fit.table(y=0, x=0, z=0)


def test_report_counts_how_pixels_ended(da):
    holed = da.copy(deep=True)
    holed[0, :3] = np.nan
    report = holed.fit.multifit(two_peaks()).fit.report()
    assert "fit of eels: 12 pixels" in report
    assert "75.0 %          9  converged" in report
    assert "25.0 %          3  fewer usable channels" in report
    assert "left.centre" in report
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        none = xr.full_like(da, np.nan).fit.multifit(two_peaks()).fit.report()
    assert "100.0 %         12  fewer usable channels" in none


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch {path}')",
        "open('{path}', 'w').write(a)",
        "a.__class__.__base__",
        "(lambda: a)()",
        "exec(a)",
        "a if a else x",
    ],
)
def test_code_in_a_stored_formula_is_refused_and_never_run(fit, text, tmp_path):
    path = tmp_path / "executed"
    data = Model([Expression("a*x", name="left", a=1.0)]).to_dict()
    (key,) = [key for key, value in data["components"][0]["options"].items() if value == "a*x"]
    data["components"][0]["options"][key] = text.format(path=path)
    fit.attrs["xfit_model"] = json.dumps(data)
    with pytest.raises(ValueError, match=r"components\[0\]"):
        stored_model(fit)
    with pytest.raises(ValueError, match=r"components\[0\]"):
        fit.fit.evaluate()
    assert not path.exists()


def test_code_in_a_stored_tie_is_refused_and_never_run(fit, tmp_path):
    path = tmp_path / "executed"
    data = two_peaks().to_dict()
    parameter = data["components"][1]["parameters"]["A"]
    parameter["value"], parameter["tie"] = None, f"open('{path}', 'w')"
    fit.attrs["xfit_model"] = json.dumps(data)
    with pytest.raises(ValueError, match=r"components\[1\]\.parameters\.A\.tie"):
        stored_model(fit)
    assert not path.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data["components"][0].update(type="os.system"), r"components\[0\]\.type: unknown component"),
        (lambda data: data["components"][0].update(type="Function"), r"components\[0\]"),
        (lambda data: data["components"][0].update(__reduce__="x"), r"components\[0\]: unknown"),
        (lambda data: data.update(format="pickle"), "format is 'pickle'"),
        (lambda data: data.update(version=99), "newer"),
        (lambda data: data.update(components={}), "components must be a list"),
    ],
)
def test_a_stored_model_that_is_none_is_refused(fit, change, message):
    data = two_peaks().to_dict()
    change(data)
    fit.attrs["xfit_model"] = json.dumps(data)
    with pytest.raises(ValueError, match=message):
        stored_model(fit)


@pytest.mark.parametrize("text", ["", "not json", "[1, 2]", "[" * 100_000, '{"format": "xfit-model"}'])
def test_an_attribute_that_is_no_model_is_refused(fit, text):
    fit.attrs["xfit_model"] = text
    with pytest.raises(ValueError, match="model"):
        stored_model(fit)


def test_a_model_that_is_not_the_results_is_refused(fit):
    fit.attrs["xfit_model"] = one_peak().to_json()
    with pytest.raises(ValueError, match=r"no parameter\(s\).*peak\.A"):
        fit.fit.evaluate()


def test_the_model_that_a_result_gives_is_a_copy(fit):
    fit.fit.model["left"].A.value = 1e9
    assert fit.fit.model == two_peaks()
    assert Gaussian in {type(component) for component in fit.fit.model}
    assert Offset in {type(component) for component in fit.fit.model}


@pytest.mark.parametrize("name", ["xfit_signal_dims", "xfit_coordinates", "xfit_derived_units", "xfit_digests"])
@pytest.mark.parametrize("text", ["[" * 100_000, "5", "null", "[5]", '[["e"]]', '{"a": 5}', "x", 7, '"e"'])
def test_damaged_attributes_are_named(name: str, text: object) -> None:
    """Of a file, in which anything may stand."""
    fit = peak_map((1, 2)).fit.multifit(two_peaks()).compute().assign_attrs({name: text})
    assert name in repr(fit.fit)
    assert name in fit.fit._repr_html_()
    for ask in (lambda: fit.fit.report(), lambda: fit.fit.signal_dims, lambda: fit.fit.evaluate()):
        with pytest.raises(ValueError, match=f"the attribute {name!r} of the result is damaged"):
            ask()
