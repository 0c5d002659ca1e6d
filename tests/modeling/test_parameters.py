"""Parameter: values, bounds, flags, and ties in all the ways they can be set, read, renamed and be wrong."""

from __future__ import annotations

import copy
import math
import pickle
from fractions import Fraction

import numpy as np
import pytest

from xfit import Model, Parameter
from xfit.components import Gaussian, Offset
from xfit.formulas.parser import FormulaError


def two_peaks() -> Model:
    """Two peaks and an offset: Fe, Cr, bg."""
    return Model([Gaussian(name="Fe", A=10, centre=708, sigma=3), Gaussian(name="Cr"), Offset(name="bg")])


# --- numbers -------------------------------------------------------------------------------------------------------


def test_a_new_parameter_is_free_and_unbounded():
    p = Parameter("A")
    assert (p.value, p.min, p.max, p.free, p.units, p.linear) == (0.0, -math.inf, math.inf, True, None, False)
    assert p.dimension is None
    assert p.full_name == "A"
    assert p.component is None
    assert p.model is None


@pytest.mark.parametrize("number", [2, 2.0, np.float32(2), np.int16(2), Fraction(2)])
def test_every_real_number_becomes_a_float(number):
    p = Parameter("A", number, min=number, max=number)
    assert all(type(v) is float and v == 2.0 for v in (p.value, p.min, p.max))


def test_none_and_infinities_are_no_bounds():
    p = Parameter("A", min=0, max=1)
    p.min, p.max = None, None
    assert (p.min, p.max) == (-math.inf, math.inf)
    p.set(min=-math.inf, max=math.inf)
    assert (p.min, p.max) == (-math.inf, math.inf)


@pytest.mark.parametrize(
    ("attributes", "error", "message"),
    [
        ({"value": math.nan}, ValueError, "Fe.A: value=nan must be finite"),
        ({"value": math.inf}, ValueError, "Fe.A: value=inf must be finite"),
        ({"value": 10**400}, ValueError, "must be finite"),
        ({"value": "5"}, TypeError, "Fe.A: value='5' must be a number"),
        ({"value": True}, TypeError, "must be a number"),
        ({"value": 1j}, TypeError, "must be a number"),
        ({"value": None}, TypeError, "must be a number"),
        ({"value": [1.0, 2.0]}, TypeError, "must be a number"),
        ({"min": math.nan}, ValueError, "Fe.A: min must not be NaN; None means no bound"),
        ({"max": "1"}, TypeError, "Fe.A: max='1' must be a number or None"),
        ({"max": 10**400}, ValueError, "too large for a float"),
        ({"min": 5, "max": 3}, ValueError, r"Fe.A: min=5.0 is above max=3.0"),
        ({"min": 20, "max": 3}, ValueError, "is above max"),
        ({"min": math.inf}, ValueError, "leave no room"),
        ({"max": -math.inf, "min": None}, ValueError, "leave no room"),
        ({"free": 1}, TypeError, "Fe.A: free=1 must be True or False"),
        ({"units": 5}, TypeError, "Fe.A: units=5 must be text or None"),
    ],
)
def test_wrong_attributes_say_what_is_wrong_and_change_nothing(attributes, error, message):
    p = two_peaks()["Fe"].A
    before = p.copy()
    with pytest.raises(error, match=message):
        p.set(value=attributes.get("value", 1.0), **{k: v for k, v in attributes.items() if k != "value"})
    assert p == before


def test_attributes_checked_one_by_one_too():
    p = Parameter("A", min=0, max=1)
    with pytest.raises(ValueError, match=r"min=2.0 is above max=1.0"):
        p.min = 2
    with pytest.raises(TypeError, match="units=5"):
        p.units = 5  # type: ignore[assignment]
    assert p.set(min=2, max=3) is p


def test_bounds_that_move_past_each_other_are_set_together():
    p = Parameter("A", 0.5, min=0, max=1)
    p.set(min=10, max=20, value=15)
    assert (p.value, p.min, p.max) == (15, 10, 20)


def test_a_value_outside_of_the_bounds_is_allowed_and_shown():
    p = Parameter("A", 5.0, min=0, max=1)
    assert repr(p) == "<Parameter A: 5 in [0, 1] (outside!)>"
    assert repr(Parameter("A", 0.5, min=0, max=1, free=False, units="eV")) == "<Parameter A: 0.5 eV in [0, 1], fixed>"


def test_positional_arguments_of_set_are_refused():
    with pytest.raises(TypeError):
        Parameter("A").set(5)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("name", "hint"), [("bmin", "did you mean 'min'"), ("vary", ""), ("values", "did you mean 'value'")]
)
def test_unknown_attributes_are_errors_that_list_the_known(name, hint):
    with pytest.raises(AttributeError, match=f"no attribute '{name}'; {hint}.*value, min, max, free, units, twin"):
        setattr(Parameter("A"), name, 1)


@pytest.mark.parametrize(
    "name", ["name", "linear", "dimension", "component", "description", "full_name", "tie_formula"]
)
def test_what_describes_the_parameter_is_read_only(name):
    with pytest.raises(AttributeError, match=f"'{name}' can't be set; what can be set: value, min"):
        setattr(Gaussian().A, name, "other")


def test_the_dimension_can_not_be_changed_in_place():
    with pytest.raises(TypeError):
        Gaussian().A.dimension["x"] = 3


def test_assign_takes_a_number_or_a_mapping():
    p = Parameter("A")
    p.assign(3)
    p.assign({"min": 1, "free": False})
    assert (p.value, p.min, p.free) == (3.0, 1.0, False)
    with pytest.raises(TypeError, match="unknown 'bmin'; known: value, min, max, free, units"):
        p.assign({"bmin": 0})


def test_parameters_compare_by_content_and_copy_alone():
    p = Gaussian(name="Fe", A=3).A
    q = p.copy()
    assert p == q == copy.copy(p)
    assert q.component is None
    q.value = 4
    assert p != q
    assert p.value == 3
    assert p != 3


def test_html_escapes_what_users_wrote():
    p = Parameter("A", units="<b>eV</b>")
    assert "&lt;b&gt;eV" in p._repr_html_()


# --- ties ----------------------------------------------------------------------------------------------------------


def test_a_tied_parameter_follows_and_is_not_free():
    m = two_peaks()
    assert m["Cr"].A.tie("0.5 * Fe.A") is m["Cr"].A
    assert m["Cr"].A.value == 5.0
    m["Fe"].A.value = 30
    assert m["Cr"].A.value == 15.0
    assert m["Cr"].A.tie_formula == "0.5 * Fe.A"
    assert m["Cr"].A.is_tied
    assert not m["Cr"].A.free
    assert repr(m["Cr"].A) == "<Parameter Cr.A: 15 in [0, inf], tied to 0.5 * Fe.A>"


def test_freeing_a_tied_parameter_is_refused():
    m = two_peaks()
    m["Cr"].A.twin = m["Fe"].A
    with pytest.raises(ValueError, match=r"Cr.A is tied to 'Fe.A' and can't be free; call untie\(\) first"):
        m["Cr"].A.free = True
    m["Cr"].A.untie().free = True
    assert m["Cr"].A.free


@pytest.mark.parametrize("remove", [lambda p: p.untie(), lambda p: p.tie(None), lambda p: setattr(p, "twin", None)])
def test_untying_keeps_the_value_and_the_flag_from_before(remove):
    m = two_peaks()
    m["Cr"].A.tie("3 * Fe.A")
    remove(m["Cr"].A)
    assert m["Cr"].A.tie_formula is None
    assert m["Cr"].A.value == 30.0
    assert m["Cr"].A.free
    m["Fe"].A.value = 1
    assert m["Cr"].A.value == 30.0


def test_formulas_of_several_parameters_functions_and_chains():
    m = two_peaks()
    m["Cr"].A.tie("sqrt(Fe.A**2 + bg.offset**2)")
    m["bg"].offset.tie("Fe.sigma - 3")
    m["Fe"].A.value = 4.0
    m["Fe"].sigma.value = 6.0
    assert m["Cr"].A.value == pytest.approx(5.0, rel=1e-15)
    # What others follow comes first.
    expected = {"bg.offset": "Fe.sigma - 3", "Cr.A": "sqrt(Fe.A**2 + bg.offset**2)"}
    assert list(m.resolve_ties().items()) == list(expected.items())


def test_ties_that_lead_to_one_source_on_many_ways_are_no_circle():
    m = Model([Offset(name=f"o{k}", offset=1) for k in range(30)])
    for k in range(1, 30):
        m[k].offset.tie(f"o{k - 1}.offset/2 + o{max(k - 2, 0)}.offset/2")
    assert m["o29.offset"].value == pytest.approx(1.0, rel=1e-14)


def chain(n: int, text: str = "o{}.offset + 0.1*o{}.offset**2") -> Model:
    """Offsets of which each follows the one before it."""
    m = Model([Offset(name=f"o{k}", offset=0.1) for k in range(n)])
    for k in range(1, n):
        m[k].offset.tie(text.replace("{}", str(k - 1)))
    return m


def test_resolved_ties_are_as_long_as_the_ties():
    m = chain(40)
    resolved = m.resolve_ties()
    assert resolved == {f"o{k}.offset": f"o{k - 1}.offset + 0.1*o{k - 1}.offset**2" for k in range(1, 40)}
    assert list(resolved) == [f"o{k}.offset" for k in range(1, 40)]
    value = 0.1
    for _ in range(39):
        value += 0.1 * value**2
    # The same operations, one after the other; sympy rounds each result once, to 17 digits.
    assert m["o39.offset"].value == pytest.approx(value, rel=1e-13)
    assert Model.from_json(m.to_json()) == m


def test_chains_deeper_than_pythons_stack():
    m = Model([Offset(name=f"o{k}", offset=1.5) for k in range(1200)])
    for k in range(1, 1200):
        m[k].offset._twin = m[k - 1].offset
    last = m["o1199.offset"]
    assert last.value == 1.5
    last.value = 2.5
    assert m["o0.offset"].value == 2.5
    for same in (m.copy(), pickle.loads(pickle.dumps(m)), Model.from_dict(m.to_dict())):
        assert same["o1199.offset"].value == 2.5
        assert same["o7.offset"].twin is same["o6.offset"]
        assert same["o7.offset"].model is same
        assert len(same.resolve_ties()) == 1199
    m["o0.offset"]._twin = last
    with pytest.raises(ValueError, match=r"ties go in a circle: o\d+\.offset -> o\d+\.offset -> "):
        m.resolve_ties()


def test_twins_of_copies_survive_that_components_are_renamed():
    m = two_peaks()
    m["Cr"].sigma.twin = m["Fe"].sigma
    both = m + m
    assert both["Cr_0"].sigma.twin is both["Fe_0"].sigma
    copied = pickle.loads(pickle.dumps(m))
    copied["Fe"].name = "iron"
    assert copied["Cr"].sigma.twin is copied["iron"].sigma


def test_twins():
    m = two_peaks()
    m["Cr"].sigma.twin = m["Fe"].sigma
    assert m["Cr"].sigma.twin is m["Fe"].sigma
    assert m["Cr"].sigma.tie_formula == "Fe.sigma"
    assert m["Cr"].sigma.value == 3
    assert m.resolve_ties() == {"Cr.sigma": "Fe.sigma"}
    m["Cr"].sigma.tie("2 * Fe.sigma")
    assert m["Cr"].sigma.twin is None
    m["Cr"].sigma.tie("Fe.sigma")
    assert m["Cr"].sigma.twin is m["Fe"].sigma
    m["Cr"].sigma.twin = None
    assert not m["Cr"].sigma.is_tied


def test_twins_given_before_the_model_survive_unique_renaming():
    a, b, c = Gaussian(sigma=1), Gaussian(sigma=2), Gaussian(sigma=3)
    c.sigma.twin = b.sigma
    assert c.sigma.value == 2
    m = Model([a, c, b])
    assert [component.name for component in m] == ["Gaussian", "Gaussian_0", "Gaussian_1"]
    assert c.sigma.twin is b.sigma
    assert m.resolve_ties() == {"Gaussian_0.sigma": "Gaussian_1.sigma"}


def test_a_tie_within_a_component_survives_unique_renaming():
    inner = Gaussian(name="Fe", sigma=2)
    inner.A.tie("10 * Fe.sigma")
    m = two_peaks()
    m.append(inner)
    assert inner.A.tie_formula == "10*Fe_0.sigma"
    assert inner.A.value == 20


def test_a_tie_within_a_component_needs_no_model():
    c = Gaussian(name="Fe", sigma=2)
    c.A.tie("10 * Fe.sigma")
    assert c.A.value == 20
    c.A.value = 50
    assert c.sigma.value == 5
    with pytest.raises(ValueError, match=r"circle: Fe.sigma -> Fe.A -> Fe.sigma"):
        c.sigma.tie("Fe.A")
    c.name = "Cr"
    assert c.A.tie_formula == "10*Cr.sigma"


def test_a_tie_may_be_given_before_there_is_a_model():
    cr = Gaussian(name="Cr")
    cr.A.tie("0.5 * Fe.A")
    assert repr(cr.A) == "<Parameter Cr.A in [0, inf], tied to 0.5 * Fe.A>"
    with pytest.raises(ValueError, match=r"Cr.A is tied to '0.5 \* Fe.A', which has no value before it is in a model"):
        _ = cr.A.value
    m = Model([cr])
    with pytest.raises(ValueError, match=r"no parameter 'Fe.A'; it has Cr.A, Cr.centre, Cr.sigma"):
        m.resolve_ties()
    m.append(Gaussian(name="Fe", A=4))
    assert cr.A.value == 2
    assert m.resolve_ties() == {"Cr.A": "0.5 * Fe.A"}


def test_a_tie_without_value_can_be_removed():
    cr = Gaussian(name="Cr", A=7)
    cr.A.tie("0.5 * Fe.A").untie()
    assert cr.A.value == 7


def test_ties_follow_the_names_of_components():
    m = two_peaks()
    m["Cr"].A.tie("0.5 * Fe.A + bg.offset")
    m["Fe"].name = "iron, 3+"
    m["bg"].name = "background"
    assert m["Cr"].A.value == 5.0
    assert m.resolve_ties() == {"Cr.A": "background.offset + 0.5*`iron, 3+`.A"}
    m["iron, 3+"].name = "Fe"
    assert m["Cr"].A.value == 5.0


@pytest.mark.parametrize("name", ["is", "µ", "with space", "1s", "__init", "C–K", "(a", "a;b"])
def test_twins_work_whatever_the_component_is_called(name):
    m = two_peaks()
    m["Fe"].name = name
    m["Cr"].A.twin = m[name].A
    assert m["Cr"].A.value == 10
    text = m.resolve_ties()["Cr.A"]
    m["bg"].offset.tie(text)
    assert m["bg"].offset.twin is m[name].A


@pytest.mark.parametrize(
    ("formula", "error", "message"),
    [
        ("Fe.A * 2 +", FormulaError, "not a valid expression"),
        ("__import__('os').system('true')", FormulaError, "formula"),
        ("3", ValueError, "Cr.A: the tie '3' names no other parameter; for a constant set value and free=False"),
        ("Cr.A + 1", ValueError, r"Cr.A can't be tied to itself: 'Cr.A \+ 1'"),
        ("Mn.A", ValueError, "Cr.A is tied to 'Mn.A', but the model has no parameter 'Mn.A'; it has Fe.A, Fe.centre"),
        ("A", ValueError, "the model has no parameter 'A'"),
        ("Fe.B", ValueError, "the model has no parameter 'Fe.B'"),
    ],
)
def test_wrong_ties_are_refused_and_change_nothing(formula, error, message):
    m = two_peaks()
    m["Cr"].A.value = 3
    with pytest.raises(error, match=message):
        m["Cr"].A.tie(formula)
    assert m["Cr"].A.value == 3
    assert not m["Cr"].A.is_tied


def test_ties_in_a_circle_name_the_circle():
    m = two_peaks()
    m["Cr"].A.tie("2 * Fe.A")
    m["Fe"].A.tie("bg.offset + 1")
    with pytest.raises(ValueError, match=r"ties go in a circle: bg.offset -> Cr.A -> Fe.A -> bg.offset"):
        m["bg"].offset.tie("Cr.A")
    with pytest.raises(ValueError, match=r"ties go in a circle: bg.offset -> Cr.A -> Fe.A -> bg.offset"):
        m["bg"].offset.twin = m["Cr"].A
    assert not m["bg"].offset.is_tied


def test_circles_made_before_the_model_are_found_when_used():
    a, b = Gaussian(name="a"), Gaussian(name="b")
    a.A.twin = b.A
    with pytest.raises(ValueError, match=r"circle: b.A -> a.A -> b.A"):
        b.A.twin = a.A
    b.A.tie("a.A")
    m = Model([a, b])
    for use in (m.resolve_ties, lambda: a.A.value, lambda: b.A.set(value=1)):
        with pytest.raises(ValueError, match=r"circle: [ab]\.A -> [ab]\.A -> [ab]\.A"):
            use()
    assert "tied to" in repr(a.A)


def test_wrong_twins_are_refused():
    m, other = two_peaks(), two_peaks()
    with pytest.raises(ValueError, match=r"Fe.A can't be its own twin"):
        m["Fe"].A.twin = m["Fe"].A
    with pytest.raises(TypeError, match="twin must be another Parameter or None, not str"):
        m["Fe"].A.twin = "Cr.A"
    with pytest.raises(ValueError, match=r"Fe.A and Cr.A are in different models"):
        m["Fe"].A.twin = other["Cr"].A
    lonely = Gaussian(name="lonely")
    m["Fe"].A.twin = lonely.A
    with pytest.raises(ValueError, match=r"Fe.A is the twin of lonely.A, which is in no component of the model"):
        m.resolve_ties()


def test_a_tie_without_real_value_says_so():
    m = two_peaks()
    m["Cr"].A.tie("sqrt(bg.offset)")
    m["bg"].offset.value = -4
    with pytest.raises(ValueError, match=r"Cr.A is tied to 'sqrt\(bg.offset\)', which is not a finite real number at"):
        _ = m["Cr"].A.value
    assert "tied to sqrt" in repr(m["Cr"].A)
    m["Cr"].A.tie("1/(bg.offset + 4)")
    with pytest.raises(ValueError, match="not a finite real number"):
        _ = m["Cr"].A.value


# --- values through ties -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "value", "source"),
    [
        ("Fe.A", 7.0, 7.0),
        ("0.5 * Fe.A + 1", 4.0, 6.0),
        ("exp(Fe.A)", math.e, 1.0),
        ("(Fe.A - 1)**3", 8.0, 3.0),
        ("1/Fe.A", 0.25, 4.0),
        ("log(Fe.A)", 0.0, 1.0),
    ],
)
def test_setting_a_tied_value_sets_the_other(formula, value, source):
    m = two_peaks()
    m["Cr"].A.tie(formula)
    m["Cr"].A.value = value
    assert m["Fe"].A.value == pytest.approx(source, rel=1e-14)
    assert m["Cr"].A.value == pytest.approx(value, rel=1e-14, abs=1e-15)
    assert m["Cr"].A.tie_formula == formula


def test_setting_through_a_chain():
    m = two_peaks()
    m["Cr"].A.tie("2 * bg.offset")
    m["bg"].offset.twin = m["Fe"].A
    m["Cr"].A.value = 8
    assert m["Fe"].A.value == 4


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("Fe.A**2", "exactly one value of Fe.A is needed, but 2 were found; set Fe.A, or untie"),
        ("Fe.A + Fe.sigma", r"can't be set; set Fe.A or Fe.sigma, or untie\(\) it first"),
        ("exp(Fe.A) + 9", "but none was found"),
        ("sin(Fe.A)", "but none was found"),
        ("where(Fe.A > 0, 1, 2)", "but none was found"),
    ],
)
def test_setting_a_value_without_unique_inverse_is_refused(formula, message):
    m = two_peaks()
    m["Cr"].A.tie(formula)
    with pytest.raises(ValueError, match=message):
        m["Cr"].A.value = 0.5
    assert m["Fe"].A.value == 10


# --- copies --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), Model.copy, copy.copy])
def test_ties_are_copied_with_their_model(duplicate):
    m = two_peaks()
    m["Cr"].A.tie("0.5 * Fe.A")
    m["Cr"].sigma.twin = m["Fe"].sigma
    other = duplicate(m)
    assert other == m
    m["Fe"].A.value = 1000
    assert other["Cr"].A.value == 5
    assert other["Cr"].sigma.twin is other["Fe"].sigma
    assert other["Cr"].sigma.model is other
