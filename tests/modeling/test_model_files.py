"""Models in TOML and JSON files: every component there and back, and errors that name the file and the key."""

from __future__ import annotations

import tomllib
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xfit
from xfit import components
from xfit.components import Expression, Gaussian, Gaussian2D, Offset, Polynomial
from xfit.modeling.serialization import ModelFormatError

_PATTERN = xr.DataArray([1.0, 2.0, 4.0, 3.0], dims="x", coords={"x": [0.0, 1, 2, 3]})
#: Arguments of those that can't be made without.
_NEEDED: dict[str, dict[str, Any]] = {
    "Expression": {"expression": "a*exp(-x/b)"},
    "ScalableFixedPattern": {"pattern": _PATTERN},
    "EELSCLEdge": {"edge": "Fe_L3", "beam_energy": 200.0, "collection_angle": 20.0},
}


def every() -> list[xfit.Component]:
    """One of each component of the library, but of functions."""
    found = []
    for name in components.__all__:
        if name == "Function":
            continue
        found.append(getattr(components, name)(**_NEEDED.get(name, {})))
    return found


@pytest.mark.parametrize("ending", ["toml", "json"])
def test_every_component_there_and_back(tmp_path, ending) -> None:
    one = xfit.Model([c for c in every() if c.signal_dimension == 1], name='with "quotes", \\ and é')
    two = xfit.Model([c for c in every() if c.signal_dimension == 2])
    path = tmp_path / f"model.{ending}"
    for m in (one, two):
        # Bounds that are not those of the component, and none where it has some.
        first = m[0].parameters[0]
        first.set(value=0.1, min=None, max=0.30000000000000004, free=False, units="µm")
        m.to_file(path, overwrite=True)
        again = xfit.Model.from_file(path)
        assert again == m
        assert again.to_json() == m.to_json()


def test_ties_and_responses(tmp_path) -> None:
    response = xr.DataArray([0.25, 0.5, 0.25], dims="energy", coords={"energy": [-1.0, 0, 1]})
    m = xfit.Model([Offset(name="bg"), Gaussian(name="Fe L3"), Gaussian(name="Fe L2")], response=response)
    m["Fe L2"].A.tie("0.5 * `Fe L3`.A")
    m["Fe L2"].sigma.twin = m["Fe L3"].sigma
    varying = m.copy()
    varying.response = response.expand_dims(y=3)
    for model in (m, varying):
        model.to_file(tmp_path / "m.toml", overwrite=True)
        again = xfit.Model.from_file(tmp_path / "m.toml")
        # A response that varies over the map is stored without its values.
        assert again.to_json() == model.to_json()
    assert xfit.Model.from_file(tmp_path / "m.toml")["Fe L2"].sigma.twin.full_name == "Fe L3.sigma"


def test_written_by_hand(tmp_path) -> None:
    path = tmp_path / "model.toml"
    path.write_text(
        """
[[components]]
type = "Polynomial"
name = "bg"
options.order = 1

[[components]]
type = "Gaussian"
name = "Fe"
parameters.A = 100
parameters.centre = { value = 708, min = 700, max = 715 }
parameters.sigma = { value = 3, free = false }

[[components]]
type = "Expression"
name = "line"
options.expression = "h*exp(-abs(x-c)/w)"
parameters.c.tie = "Fe.centre + 5"
""",
        encoding="utf-8",
    )
    m = xfit.Model(
        [
            Polynomial(order=1, name="bg"),
            Gaussian(
                name="Fe", A=100, centre={"value": 708, "min": 700, "max": 715}, sigma={"value": 3, "free": False}
            ),
            Expression("h*exp(-abs(x-c)/w)", name="line"),
        ]
    )
    m["line"].c.tie("Fe.centre + 5")
    assert xfit.Model.from_file(path) == m


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[[components]]\ntype = 'Gaussian'\nparameters.centre.max = 'abc'",
            r"^model\.toml: components\[0\]\.parameters\.centre\.max: .*max='abc' must be a number",
        ),
        (
            "[[components]]\ntype = 'Gaussian'\nparameters.centr = 5",
            r"^model\.toml: components\[0\]\.parameters: unknown \['centr'\] \(did you mean 'centre'\?\); it has A, "
            r"centre, sigma",
        ),
        (
            "[[components]]\ntype = 'Gaussian'\nparameters.A = {valu = 5}",
            r"A: unknown \['valu'\] \(did you mean 'value'\?\); it has free, max, min, tie",
        ),
        (
            "[[components]]\ntype = 'Gaussan'",
            r"^model\.toml: components\[0\]\.type: unknown component 'Gaussan'; did you mean Gaussian\?",
        ),
        ("[[components]]\nname = 'a'", r"components\[0\]: missing \['type'\]"),
        ("[[components]]\ntype = 'Expression'", r"components\[0\]: .*expression"),
        ("components = []\n\nx = = 3", r"^model\.toml: the text is not TOML: .*line 3"),
        ("[[components]]\ntype = 'Gaussian'\nparameters.A.value = nan", r"A\.value: .*finite"),
        (
            "[[components]]\ntype = 'Gaussian'\nparameters.A = 1979-05-27",
            r"A must be an object with named entries, or a number, not date",
        ),
        ("response.dim = 'e'\ncomponents = []", r"response: missing \['values'\]"),
    ],
)
def test_errors_name_the_place(tmp_path, text, message) -> None:
    path = tmp_path / "model.toml"
    path.write_text(text)
    with pytest.raises(ModelFormatError, match=message):
        xfit.Model.from_file(path)


def test_files_that_are_none(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="no model file"):
        xfit.Model.from_file(tmp_path / "absent.toml")
    with pytest.raises(ValueError, match=r"must end in \.toml or \.json"):
        xfit.Model.from_file(tmp_path / "model.yaml")
    (tmp_path / "m.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelFormatError, match=r"^m\.json: not a text file in UTF-8"):
        xfit.Model.from_file(tmp_path / "m.json")
    (tmp_path / "n.json").write_text('{"components": [\n}')
    with pytest.raises(ModelFormatError, match=r"^n\.json: .*line 2"):
        xfit.Model.from_file(tmp_path / "n.json")


def test_a_file_is_not_replaced_unasked(tmp_path) -> None:
    path = tmp_path / "m.toml"
    xfit.Model([Gaussian2D()]).to_file(path)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        xfit.Model([Gaussian()]).to_file(path)
    assert xfit.Model.from_file(path) == xfit.Model([Gaussian2D()])
    xfit.Model([Gaussian()]).to_file(path, overwrite=True)
    assert xfit.Model.from_file(path) == xfit.Model([Gaussian()])
    # TOML that another parser reads: bounds that there are, and none that are as by default.
    written = tomllib.loads(path.read_text())["components"][0]["parameters"]
    assert written["sigma"] == {"value": 1.0, "min": 0.0}
    assert written["centre"] == {"value": 0.0}
    # A bound that was taken away is written, or its default would come back.
    model = xfit.Model([Gaussian(name="g")])
    model["g"].sigma.set(min=None)
    model.to_file(path, overwrite=True)
    assert tomllib.loads(path.read_text())["components"][0]["parameters"]["sigma"]["min"] == -np.inf
    assert xfit.Model.from_file(path) == model
