"""Models as JSON: every key checked, nothing evaluated."""

from __future__ import annotations

import json
import math
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xfit import Component, Model
from xfit.components import Expression, Gaussian, Gaussian2D, Offset, Polynomial, PowerLaw
from xfit.modeling.serialization import ModelFormatError


def stored() -> dict[str, Any]:
    """A small model as plain data, as it comes out of JSON."""
    m = Model([Offset(name="bg"), Gaussian(name="Fe", A=0.1), Polynomial(order=1)])
    m["bg"].offset.tie("2 * Fe.A")
    m["Fe"].active = False
    return json.loads(m.to_json())


def test_the_format():
    data = stored()
    assert set(data) == {"format", "version", "name", "components", "response"}
    assert (data["format"], data["version"]) == ("xfit-model", 1)
    fe = data["components"][1]
    assert fe["parameters"]["A"] == {"value": 0.1, "min": 0.0, "max": None, "free": True, "units": None, "tie": None}
    assert {k: fe[k] for k in ("type", "name", "active", "convolved", "options")} == {
        "type": "Gaussian",
        "name": "Fe",
        "active": False,
        "convolved": True,
        "options": {},
    }
    assert data["components"][2]["options"] == {"order": 1}
    assert data["components"][0]["parameters"]["offset"]["tie"] == "2 * Fe.A"
    assert data["components"][0]["parameters"]["offset"]["value"] is None


def test_a_model_is_stored_without_sources_of_expressions_being_lost():
    m = Model(
        [
            Expression("a*x1*exp(-b*x2)", coordinates=("x1", "x2"), rename_pars={"b": "gamma"}, position="a"),
            Expression("h*exp(-u**2); u=(x-c)/w", name="peak", h=3),
        ]
    )
    m["peak"].w.twin = m[0].gamma
    n = Model.from_json(m.to_json(indent=2))
    assert n == m
    assert n["peak"].kernel == m["peak"].kernel
    assert n["peak"].w.twin is n[0].gamma
    flat = Model([Expression("a*(x-p)*(y-q)", add_rotation=True, position=("p", "q")), Gaussian2D(add_rotation=True)])
    assert Model.from_dict(flat.to_dict()) == flat


def change(data: Any, path: str, value: Any) -> None:
    """Set, or with "DROP" remove, an entry at a path such as components.1.name."""
    *parents, last = [int(k) if k.isdigit() else k for k in path.split(".")]
    for key in parents:
        data = data[key]
    if value == "DROP":
        del data[last]
    else:
        data[last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("format", "lmfit", "format is 'lmfit', not 'xfit-model'"),
        ("components", "DROP", r"the model: missing \['components'\]"),
        ("component", [], r"the model: unknown \['component'\] \(did you mean 'components'\?\)"),
        ("version", 2, r"version 2 is newer than this xfit reads \(1\); update xfit"),
        ("version", "1", "version must be a whole number of at least 1, not '1'"),
        ("version", True, "version must be a whole number"),
        ("version", 0, "of at least 1, not 0"),
        ("name", 5, "name must be text or null, not 5"),
        ("colour", "red", r"the model: unknown \['colour'\]; it has components, format, name, response, version"),
        ("components", {}, "components must be a list, not dict"),
        ("components.1", 5, r"components\[1\] must be an object with named entries, not int"),
        ("components.1.type", "Gausian", r"components\[1\].type: unknown component 'Gausian'; did you mean Gaussian\?"),
        ("components.1.type", ["Gaussian"], r"components\[1\].type: unknown component"),
        ("components.1.type", "Component", r"components\[1\].type: unknown component 'Component'"),
        ("components.1.name", None, r"components\[1\].name must be text, not None"),
        ("components.1.name", "a.b", r"components\[1\]: a component's name must not be empty nor hold dots"),
        ("components.1.name", "bg", r"components\[1\].name: 'bg' is the name of two components"),
        ("components.1.active", 1, r"components\[1\].active must be true or false, not 1"),
        ("components.1.type", "DROP", r"components\[1\]: missing \['type'\]"),
        ("components.1.options", [], r"components\[1\].options must be an object"),
        ("components.1.options.A", 5, r"components\[1\].options: unknown \['A'\]"),
        ("components.1.options.name", "x", r"components\[1\]"),
        ("components.2.options.order", "1", r"components\[2\]: order='1' must be an integer"),
        ("components.2.options.order", 0, r"components\[2\]: order=0 must be"),
        (
            "components.1.parameters.A",
            "abc",
            r"components\[1\].parameters.A must be an object .*, or a number, not 'abc'",
        ),
        (
            "components.1.parameters.A",
            True,
            r"components\[1\].parameters.A must be an object .*, or a number, not True",
        ),
        ("components.1.parameters.B", {}, r"components\[1\].parameters: unknown \['B'\]; it has A, centre, sigma"),
        ("components.1.parameters.A.min", "0", r"components\[1\].parameters.A.min: .*min='0' must be a number or None"),
        ("components.1.parameters.A.min", math.nan, r"components\[1\].parameters.A.min: .*must not be NaN"),
        ("components.1.parameters.A.max", -1, r"components\[1\].parameters.A.max: .*min=0.0 is above max=-1.0"),
        ("components.1.parameters.A.bmin", 0, r"components\[1\].parameters.A: unknown \['bmin'\]"),
        ("components.1.parameters.A.value", math.inf, r"components\[1\].parameters.A.value: .*must be finite"),
        ("components.1.parameters.A.value", 10**400, r"components\[1\].parameters.A.value: .*must be finite"),
        (
            "components.1.parameters.A.value",
            None,
            r"components\[1\].parameters.A.value must be a number, or null where",
        ),
        (
            "components.0.parameters.offset.value",
            3,
            r"components\[0\].parameters.offset.value must be null, or left out, where there is a tie",
        ),
        ("components.1.parameters.A.free", 1, r"components\[1\].parameters.A.free: .*free=1 must be True or False"),
        ("components.1.parameters.A.units", 1, r"components\[1\].parameters.A.units: .*must be text or None"),
        ("components.0.parameters.offset.tie", 5, r"components\[0\].parameters.offset.tie must be text or null"),
        ("components.0.parameters.offset.tie", "Mn.A", r"components\[0\].parameters.offset.tie: .*no parameter 'Mn.A'"),
        ("components.0.parameters.offset.tie", "bg.offset", r"components\[0\].parameters.offset.tie: .*tied to itself"),
        ("components.0.parameters.offset.tie", "__import__('os').getcwd()", r"components\[0\].parameters.offset.tie: "),
    ],
)
def test_wrong_data_is_refused_by_the_place_that_is_wrong(path, value, message):
    data = stored()
    change(data, path, value)
    with pytest.raises(ModelFormatError, match=message):
        Model.from_dict(data)


def test_what_is_left_out_takes_the_defaults():
    """A model written by hand says what differs from that of the components as they are made."""
    short = {
        "components": [
            {"type": "Offset"},
            {
                "type": "Gaussian",
                "name": "Fe",
                "parameters": {"A": 5, "centre": {"value": 708.0, "min": 700}, "sigma": {"max": 9}},
            },
            {"type": "Gaussian", "parameters": {"A": {"tie": "2 * Fe.A"}, "sigma": {"value": 2, "free": False}}},
            {"type": "Gaussian", "active": False},
            {"type": "Polynomial", "options": {"order": 1}},
            {"type": "Offset", "parameters": {"offset": {"min": 3}}},
        ]
    }
    m = Model([Offset(), Gaussian(name="Fe"), Gaussian(), Gaussian(), Polynomial(order=1), Offset()])
    m.set({"Fe.A": 5.0, "Fe.centre": {"value": 708.0, "min": 700}, "Fe.sigma": {"max": 9}})
    m["Gaussian"].A.tie("2 * Fe.A")
    m["Gaussian"].sigma.set(value=2, free=False)
    m["Gaussian_0"].active = False
    m["Offset_0"].offset.set(min=3)
    assert Model.from_dict(short) == m


def test_stored_ties_in_a_circle_are_refused():
    data = stored()
    change(data, "components.1.parameters.A.tie", "3 * bg.offset")
    change(data, "components.1.parameters.A.value", None)
    with pytest.raises(ModelFormatError, match="tie: ties go in a circle: "):
        Model.from_dict(data)


@pytest.mark.parametrize("text", ["", "{", "not json"])
def test_text_that_is_no_json(text):
    with pytest.raises(ModelFormatError, match="not a stored model: the text is not JSON"):
        Model.from_json(text)


def test_json_of_many_levels():
    with pytest.raises(ModelFormatError, match="not a stored model: line 1: lists and objects are nested more than 64"):
        Model.from_json("[" * 100_000)


@pytest.mark.parametrize("text", ["[]", "5", "null"])
def test_json_that_is_no_model(text):
    with pytest.raises(ModelFormatError, match="the model must be an object"):
        Model.from_json(text)


def test_stored_formulas_are_parsed_and_never_run(tmp_path):
    target = tmp_path / "made"
    data = Model([Expression("a*x")]).to_dict()
    data["components"][0]["options"]["expression"] = f"a*x + open({str(target)!r}, 'w').write('1')"
    with pytest.raises(ModelFormatError, match=r"components\[0\]: formula"):
        Model.from_dict(data)
    assert not target.exists()


# Names of any characters but those that a component's name can't have; "^" and quotes among them.
names = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters=".`"), min_size=1, max_size=8
)


numbers = st.floats(allow_nan=False, allow_infinity=False)


bounds = st.one_of(st.none(), numbers)


@st.composite
def components(draw: st.DrawFn) -> Component:
    """Any component, with any values, bounds, flags and units."""
    kind = draw(st.sampled_from([Gaussian, Offset, PowerLaw, Polynomial, Expression]))
    options: dict[type[Component], dict[str, Any]] = {
        Polynomial: {"order": draw(st.integers(1, 11))},
        Expression: {"expression": "a*x + b*exp(-x/c)"},
    }
    c = kind(name=draw(names.filter(str.strip)), **options.get(kind, {}))
    c.active = draw(st.booleans())
    for p in c:
        lower, upper = draw(bounds), draw(bounds)
        if lower is not None and upper is not None and lower > upper:
            lower, upper = upper, lower
        units = draw(st.none() | names)
        p.set(value=draw(numbers), min=lower, max=upper, free=draw(st.booleans()), units=units)
    return c


@given(st.lists(components(), max_size=3), st.none() | names)
@settings(max_examples=60, deadline=None)
def test_every_model_comes_back_from_json_exactly(found, name):
    m = Model(found, name=name)
    if len(m) > 1:
        m[-1].parameters[0].twin = m[0].parameters[0]
    n = Model.from_json(m.to_json())
    assert n == m
    assert [p.value for p in n.parameters] == [p.value for p in m.parameters]
    assert n.to_json() == m.to_json()
    assert n.resolve_ties() == m.resolve_ties()
    assert m.copy() == pickle.loads(pickle.dumps(m)) == m


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | numbers | names, lambda x: st.lists(x) | st.dictionaries(names, x)
    )
)
@settings(max_examples=60, deadline=None)
def test_any_json_is_refused_with_the_error_of_the_format(value):
    for data in (value, {"format": "xfit-model", "version": 1, "components": value}):
        try:
            Model.from_json(json.dumps(data))
        except ModelFormatError:
            continue
        assert data == {"format": "xfit-model", "version": 1, "components": []}
