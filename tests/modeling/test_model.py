"""Model: the container, batch setters, sums, and tables."""

from __future__ import annotations

import copy
import pickle

import pytest

from xfit import Model
from xfit.components import Expression, Gaussian, Gaussian2D, Lorentzian, Offset, PowerLaw


def eels() -> Model:
    """A background and two peaks."""
    return Model(
        [PowerLaw(name="bg"), Gaussian(name="Fe", A=10, centre=708, sigma=3), Lorentzian(name="Cr")], name="edge"
    )


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
        (lambda m: Model(Gaussian()), TypeError, r"components must be a list: Model\(\[component\]\)"),  # type: ignore[arg-type]
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
        Model([g, 5])  # type: ignore[list-item]
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
    assert m.free_parameters == tuple()
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
        m.set_active(1)  # type: ignore[arg-type]


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
