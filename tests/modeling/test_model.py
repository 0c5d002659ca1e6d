"""Model: the container, batch setters, sums, tables, and storage as JSON that is checked in every key."""

from __future__ import annotations

import copy
import json
import math
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xfit import Component, Model
from xfit.components import Expression, Gaussian, Gaussian2D, Lorentzian, Offset, Polynomial, PowerLaw
from xfit.modeling.serialization import ModelFormatError


def eels() -> Model:
    """A background and two peaks."""
    return Model(
        [PowerLaw(name="bg"), Gaussian(name="Fe", A=10, centre=708, sigma=3), Lorentzian(name="Cr")], name="edge"
    )


# --- container ---------------------------------------------------------------------------------


def test_access_by_position_name_attribute_and_slice():
    m = eels()
    assert m[1] is m["Fe"] is m.Fe is m[-2]
    assert m[:2] == [m["bg"], m["Fe"]]
    assert m["Fe.A"] is m.parameter("Fe.A") is m["Fe"].A
    assert [c.name for c in m] == ["bg", "Fe", "Cr"]
    assert len(m) == 3
    assert "Fe" in m
    assert m[1] in m
    assert "Fe.A" in m
    assert "Mn" not in m
    assert "Fe.B" not in m
    assert Gaussian(name="Fe") not in m
    assert m.components == (m[0], m[1], m[2])


def test_attributes_stand_for_names_that_are_no_identifiers():
    m = Model([Gaussian(name="Fe L3"), Gaussian(name="3d"), Gaussian(name="Fe_L3")])
    assert m._3d is m["3d"]
    assert m.Fe_L3 is m["Fe_L3"]
    m.remove("Fe_L3")
    assert m.Fe_L3 is m["Fe L3"]
    assert {"_3d", "Fe_L3"} <= set(dir(m))


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (lambda m: m["Fee"], KeyError, r"no component 'Fee'; did you mean 'Fe'\? the model has \['bg', 'Fe', 'Cr'\]"),
        (lambda m: m[3], IndexError, "no component at 3; the model has 3"),
        (lambda m: m[1.0], TypeError, "1.0 is no component, name or position"),
        (lambda m: m.Mn, AttributeError, r"no component or attribute 'Mn'; components: \['bg', 'Fe', 'Cr'\]"),
        (lambda m: m["Fe.B"], KeyError, "Fe has no parameter 'B'; it has A, centre, sigma"),
        (lambda m: m["Mn.A"], KeyError, "no component 'Mn'"),
        (lambda m: m.parameter("A"), KeyError, "write component and parameter, as in 'Fe.A'"),
        (lambda m: m.append("Fe"), TypeError, "only components can be added to a model, not str"),
        (lambda m: m.append(m["Fe"]), ValueError, "component 'Fe' is in the model already"),
        (lambda m: m.append(eels()["Fe"]), ValueError, r"component 'Fe' is in another model; add component.copy\(\)"),
        (lambda m: m.remove("Mn"), KeyError, "no component 'Mn'"),
        (lambda m: m.remove(Gaussian(name="Fe")), KeyError, "no component 'Fe'"),
        (
            lambda m: setattr(m, "Fe", 5),
            AttributeError,
            r"no attribute 'Fe' to set but 'name' and 'response'; add components with append\(\)",
        ),
        (lambda m: setattr(m, "name", 5), TypeError, "a model's name must be text or None, not 5"),
        (lambda m: Model(Gaussian()), TypeError, r"components must be a list: Model\(\[component\]\)"),
        (lambda m: m + 5, TypeError, "only components and models can be added, not int"),
    ],
)
def test_wrong_use_says_what_would_be_right(use, error, message):
    m = eels()
    before = m.copy()
    with pytest.raises(error, match=message):
        use(m)
    assert m == before


def test_names_are_made_unique():
    m = Model([Gaussian(), Gaussian(), Gaussian(), Offset(name="Gaussian")])
    assert [c.name for c in m] == ["Gaussian", "Gaussian_0", "Gaussian_1", "Gaussian_2"]


def test_a_list_with_a_wrong_component_changes_nothing():
    g = Gaussian()
    with pytest.raises(TypeError, match="not int"):
        Model([g, 5])
    with pytest.raises(ValueError, match="in the model already"):
        Model([g, g])
    assert g.model is None
    assert Model([g])[0] is g


def test_removing():
    m = eels()
    fe = m["Fe"]
    m.remove("Fe")
    assert fe.model is None
    assert fe not in m
    m.append(fe)
    del m[0]
    assert [c.name for c in m] == ["Cr", "Fe"]
    m.remove([fe, 0])
    assert len(m) == 0
    m.extend([fe, Offset()])
    del m[:1]
    m.clear()
    assert list(m) == []


def test_a_source_of_a_tie_is_not_removed_alone():
    m = eels()
    m["Cr"].A.tie("2 * Fe.A")
    with pytest.raises(ValueError, match=r"Cr.A is tied to '2 \* Fe.A'; untie it before removing its source"):
        m.remove("Fe")
    fe, cr = m["Fe"], m["Cr"]
    m.remove([fe, cr])
    assert cr.A.value == 20
    assert not cr.A.is_tied


def test_removing_what_is_tied_unties_it():
    m = eels()
    cr = m["Cr"]
    cr.A.twin = m["Fe"].A
    cr.centre.twin = cr.gamma
    m.remove(cr)
    assert cr.A.value == 10
    assert not cr.A.is_tied
    assert cr.centre.twin is cr.gamma


# --- parameters ------------------------------------------------------------------------------------


def test_parameters_in_order_and_those_that_are_free():
    m = eels()
    assert [p.full_name for p in m.parameters][:5] == ["bg.A", "bg.left_cutoff", "bg.origin", "bg.r", "Fe.A"]
    m["Fe"].active = False
    m["Cr"].A.twin = m["bg"].A
    assert [p.full_name for p in m.free_parameters] == ["bg.A", "bg.r", "Cr.centre", "Cr.gamma"]
    assert m.active_components == (m["bg"], m["Cr"])


def test_setting_values_of_one_name():
    m = eels()
    m.set_parameters_value("A", 7)
    assert [c.A.value for c in m] == [7, 7, 7]
    m.set_parameters_value("centre", 5, ["Fe", m["Cr"]])
    assert (m["Fe"].centre.value, m["Cr"].centre.value) == (5, 5)
    m.set_parameters_value("A", 1, components=[0])
    assert m["bg.A"].value == 1
    with pytest.raises(ValueError, match=r"no component has the parameter\(s\) \['B'\]; there are \['A', 'centre'"):
        m.set_parameters_value("B", 1)
    with pytest.raises(TypeError, match="components must be a list"):
        m.set_parameters_value("A", 1, "Fe")


def test_freeing_and_fixing():
    m = eels()
    m["Cr"].A.twin = m["Fe"].A
    m.set_parameters_not_free()
    assert m.free_parameters == ()
    m.set_parameters_free(["Fe", "Cr"], ["A", "centre"])
    assert [p.full_name for p in m.free_parameters] == ["Fe.A", "Fe.centre", "Cr.centre"]
    m.set_parameters_not_free(only_nonlinear=True)
    assert [p.full_name for p in m.free_parameters] == ["Fe.A"]
    m.set_parameters_free(["bg"], only_linear=True)
    assert [p.full_name for p in m.free_parameters] == ["bg.A", "Fe.A"]
    with pytest.raises(ValueError, match="only_linear and only_nonlinear exclude each other"):
        m.set_parameters_free(only_linear=True, only_nonlinear=True)
    with pytest.raises(TypeError, match=r"names='A' must be a list of names, such as \['A'\]"):
        m.set_parameters_free(names="A")


def test_switching_components():
    m = eels()
    m.set_active(False)
    m.set_active(True, ["Fe"])
    assert m.active_components == (m["Fe"],)
    with pytest.raises(TypeError, match="components must be a list"):
        m.set_active(False, "Fe")
    with pytest.raises(TypeError, match="must be True or False"):
        m.set_active(1)


def test_setting_by_full_name():
    m = eels()
    m.set({"Fe.A": 5, "Fe.centre": {"min": 700, "max": 715}}, **{"Cr.A": 3})
    assert (m["Fe.A"].value, m["Fe.centre"].min, m["Cr.A"].value) == (5, 700, 3)
    with pytest.raises(KeyError, match="no component 'Mn'"):
        m.set({"Fe.A": 1, "Mn.A": 2})
    assert m["Fe.A"].value == 5
    m["Cr"].A.twin = m["Fe"].A
    m.assign({"Fe.A": 8, "Cr.A": -1})
    assert (m["Fe.A"].value, m["Cr.A"].value) == (8, 8)


def test_moving_values_into_their_bounds():
    m = eels()
    m.set({"Fe.A": -3, "bg.r": 9})
    m["Cr"].A.twin = m["Fe"].A
    m.ensure_in_bounds()
    assert (m["Fe.A"].value, m["bg.r"].value, m["Cr.A"].value) == (0, 5, 0)


def test_dimensions_and_coordinates():
    assert (eels().signal_dimension, eels().coordinates) == (1, ("x",))
    assert (Model().signal_dimension, Model().coordinates) == (1, ())
    flat = Model([Gaussian2D(), Expression("a*x + b*y")])
    assert (flat.signal_dimension, flat.coordinates) == (2, ("x", "y"))
    mixed = Model([Expression("a*t", coordinates=("t",)), Offset()])
    assert mixed.coordinates == ("t", "x")
    with pytest.raises(ValueError, match=r"mixes components of one dimension \(\['Offset'\]\) and of two"):
        _ = Model([Gaussian2D(), Offset()]).signal_dimension


# --- sums and copies ---------------------------------------------------------------------------------


def test_sums_take_free_components_and_copy_others():
    m, peak = eels(), Gaussian(name="Mn")
    total = m + peak
    assert total["Mn"] is peak
    assert total["Fe"] is not m["Fe"]
    assert len(m) == 3
    assert [c.name for c in peak + m] == ["Mn", "bg", "Fe", "Cr"]


def test_ties_in_sums_stay_within_the_model_they_come_from():
    m, n = eels(), eels()
    for model in (m, n):
        model["Cr"].A.tie("2 * Fe.A")
        model["Cr"].gamma.twin = model["Fe"].sigma
    n["Fe"].A.value = 50
    total = m + n
    assert [c.name for c in total] == ["bg", "Fe", "Cr", "bg_0", "Fe_0", "Cr_0"]
    assert total["Cr.A"].value == 20
    assert total["Cr_0.A"].value == 100
    assert total["Cr_0"].gamma.twin is total["Fe_0"].sigma
    assert [c.name for c in n] == ["bg", "Fe", "Cr"]


@pytest.mark.parametrize("duplicate", [Model.copy, copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_equal_and_independent(duplicate):
    m = eels()
    other = duplicate(m)
    assert other == m
    assert all(c.model is other for c in other)
    other["Fe"].A.value = 5
    assert other != m
    assert m["Fe"].A.value == 10
    assert m != "edge"


# --- display -----------------------------------------------------------------------------------------------


def test_repr_is_a_table_of_components():
    assert repr(Model()) == "<Model: no components>"
    m = eels()
    m["Cr"].active = False
    assert repr(m).splitlines() == [
        "<Model 'edge': 5 free parameters>",
        "#  name  type        active  free parameters",
        "-  ----  ----------  ------  ----------------",
        "0  bg    PowerLaw    yes     A, r",
        "1  Fe    Gaussian    yes     A, centre, sigma",
        "2  Cr    Lorentzian  no      A, centre, gamma",
    ]


def test_table_of_parameters():
    m = eels()
    m["Fe"].centre.set(min=700, max=715, units="eV", free=False)
    m["Fe"].sigma.set(min=4)
    m["Cr"].A.tie("0.5 * Fe.A")
    m["Cr"].active = False
    assert m.table().splitlines() == [
        "component      parameter    value  min  max                   units",
        "-------------  -----------  -----  ---  ---  ---------------  -----",
        "bg             A            1e+06  0         free",
        "               left_cutoff  0                fixed",
        "               origin       0                fixed",
        "               r            3      1    5    free",
        "Fe             A            10     0         free",
        "               centre       708    700  715  fixed            eV",
        "               sigma        3      4         free (outside!)",
        "Cr (inactive)  A            5      0         = 0.5 * Fe.A",
        "               centre       0                free",
        "               gamma        1                free",
    ]
    assert "Cr" not in m.table(only_active=True)
    assert "left_cutoff" not in m.table(only_free=True)


def test_tables_show_ties_that_have_no_value_yet():
    m = Model([Gaussian(name="Cr")])
    cr = Gaussian(name="Mn")
    cr.A.tie("0.5 * Fe.A")
    m.append(cr)
    assert "= 0.5 * Fe.A" in m.table()
    assert "tied to 0.5 * Fe.A" in m._repr_html_()


def test_html_folds_and_escapes():
    m = Model([Gaussian(name="<b>Fe</b>", A={"units": "<i>"})], name="<script>")
    page = m._repr_html_()
    assert "<details" in page
    for text in ("<b>Fe", "<i>", "<script>"):
        assert text not in page
    assert "&lt;b&gt;Fe&lt;/b&gt;" in page


# --- storage ---------------------------------------------------------------------------------------------------


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


def change(data: dict[str, Any], path: str, value: Any) -> None:
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
            {"type": "Gaussian", "name": "Fe", "parameters": {"A": 5, "centre": {"value": 708.0, "min": 700}, "sigma": {"max": 9}}},
            {"type": "Gaussian", "parameters": {"A": {"tie": "2 * Fe.A"}, "sigma": {"value": 2, "free": False}}},
            {"type": "Gaussian", "active": False},
            {"type": "Polynomial", "options": {"order": 1}},
            {"type": "Offset", "parameters": {"offset": {"min": 3}}},
        ]
    }  # fmt: skip
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
    st.characters(codec="utf-8", exclude_categories=("Cc",), exclude_characters=".`"), min_size=1, max_size=8
)
numbers = st.floats(allow_nan=False, allow_infinity=False)
bounds = st.one_of(st.none(), numbers)


@st.composite
def components(draw: st.DrawFn) -> Component:
    """Any component, with any values, bounds, flags and units."""
    kind = draw(st.sampled_from([Gaussian, Offset, PowerLaw, Polynomial, Expression]))
    options = {Polynomial: {"order": draw(st.integers(1, 11))}, Expression: {"expression": "a*x + b*exp(-x/c)"}}
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
