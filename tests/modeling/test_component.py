"""Component: names, parameters by attribute and key, flags, copies, comparison, and how a new one is declared."""

from __future__ import annotations

import copy
import pickle

import pytest

from xfit import Component, Model
from xfit.components import Expression, Gaussian, Gaussian2D, Offset, Polynomial, PowerLaw
from xfit.formulas.function_kernel import FunctionKernel
from xfit.formulas.kernel_spec import FormulaKernel
from xfit.modeling.component import Spec


class Pseudo(Component):
    """A declared component, as a library component is."""

    formula = "height*where(x > start, 1, 0)"
    specs = {
        "height": Spec(2.0, min=0.0, linear=True, dimension={"data": 1}, description="height of the step"),
        "start": Spec(1.0, free=False),
    }
    position = "start"


def test_a_declared_component_has_all_that_it_declares():
    c = Pseudo(name="step", height=3)
    assert [p.name for p in c.parameters] == ["height", "start"]
    assert (c.height.value, c.height.min, c.height.linear, c.height.dimension) == (3.0, 0.0, True, {"data": 1})
    assert c.height.description == "height of the step"
    assert not c.start.free
    assert c.position == "start"
    assert c.kernel == FormulaKernel("height*where(x > start, 1, 0)", ("x",), ("height", "start"), ("start",))
    assert hash(c.kernel) == hash(Pseudo().kernel)
    assert Pseudo().name == "Pseudo"


def test_two_components_share_no_parameters():
    a, b = Gaussian(), Gaussian()
    a.A.value = 5
    assert b.A.value == 1
    assert b.A.component is b


def test_keywords_set_values_and_attributes():
    c = Gaussian(name="Fe", A=1e4, centre={"value": 708, "min": 700, "max": 715, "free": False, "units": "eV"})
    assert c.A.value == 1e4
    assert (c.centre.value, c.centre.min, c.centre.max, c.centre.free) == (708, 700, 715, False)
    assert c.centre.units == "eV"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Gaussian(center=5), TypeError, "Gaussian has no parameter 'center'; it has A, centre, sigma"),
        (lambda: Gaussian(A={"value": 5, "bmin": 0}), TypeError, "Gaussian.A: unknown 'bmin'; known: value, min, max"),
        (lambda: Gaussian(A="5"), TypeError, "Gaussian.A: value='5' must be a number"),
        (lambda: Gaussian(name=5), TypeError, "a component's name must be text, not 5"),  # type: ignore[arg-type]
        (lambda: Gaussian(name=""), ValueError, "must not be empty nor hold dots"),
        (lambda: Gaussian(name=" "), ValueError, "must not be empty nor hold dots"),
        (lambda: Gaussian(name="Fe.L3"), ValueError, r"must not be empty nor hold dots.*'Fe.L3'"),
        (lambda: Gaussian(name="a`b"), ValueError, "backticks"),
    ],
)
def test_wrong_arguments_say_what_would_be_right(make, error, message):
    with pytest.raises(error, match=message):
        make()


# --- access ----------------------------------------------------------------------


def test_parameters_by_attribute_key_and_in_order():
    c = Gaussian(name="Fe")
    assert c.A is c["A"] is c.parameters[0]
    assert [p.name for p in c] == ["A", "centre", "sigma"]
    assert "A" in c
    assert c.A in c
    assert Gaussian().A not in c
    assert "B" not in c
    assert "centre" in dir(c)


def test_unknown_parameters_are_errors_that_help():
    c = Gaussian(name="Fe")
    with pytest.raises(
        AttributeError, match=r"no parameter or attribute 'center'; did you mean 'centre'\? parameters: A"
    ):
        _ = c.center
    with pytest.raises(KeyError, match="Fe has no parameter 'B'; it has A, centre, sigma"):
        c["B"]


def test_assigning_to_a_parameter_says_how_to_set_its_value():
    c = Gaussian()
    with pytest.raises(AttributeError, match=r"A is a parameter: set its value with .A.value = 5"):
        c.A = 5
    with pytest.raises(
        AttributeError, match="no attribute 'colour' to set; 'name', 'active' and 'convolved' can be set"
    ):
        c.colour = "red"
    with pytest.raises(AttributeError, match=r"no attribute 'center' to set; did you mean .centre.value\?"):
        c.center = 3.0


def test_active_is_a_flag():
    c = Gaussian(name="Fe")
    assert c.active
    c.active = False
    assert repr(c) == "<Fe (Gaussian component, inactive)>"
    with pytest.raises(TypeError, match="Fe: active=1 must be True or False; for maps use active= of the fit"):
        c.active = 1  # type: ignore[assignment]


def test_repr_and_html():
    assert repr(Gaussian(name="Fe")) == "<Fe (Gaussian component)>"
    assert repr(Gaussian()) == "<Gaussian component>"
    page = Gaussian(name="<script>")._repr_html_()
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
    assert "<details" in page


@pytest.mark.parametrize(
    ("component", "coordinates", "dimension"),
    [
        (Gaussian(), ("x",), 1),
        (Gaussian2D(), ("x", "y"), 2),
        (Expression("a*x1*x2", coordinates=("x1", "x2")), ("x1", "x2"), 1),
    ],
)
def test_coordinates_and_signal_dimension(component, coordinates, dimension):
    assert component.coordinates == component.kernel.coordinates == coordinates
    assert component.signal_dimension == dimension


# --- names ----------------------------------------------------------------------


def test_renaming():
    c = Gaussian()
    c.name = "Fe"
    assert c.name == "Fe"
    assert c.A.full_name == "Fe.A"
    with pytest.raises(ValueError, match="must not be empty nor hold dots"):
        c.name = "Fe.A"


def test_renaming_to_a_name_that_is_taken_is_refused():
    m = Model([Gaussian(name="Fe"), Gaussian(name="Cr")])
    with pytest.raises(ValueError, match="another component is already called 'Fe'"):
        m["Cr"].name = "Fe"
    m["Cr"].name = "Cr"
    assert [c.name for c in m] == ["Fe", "Cr"]


# --- free or not ----------------------------------------------------------------------


def test_freeing_and_fixing_parameters():
    c = PowerLaw()
    assert [p.name for p in c.free_parameters] == ["A", "r"]
    c.set_parameters_not_free()
    assert c.free_parameters == tuple()
    c.set_parameters_free(["A", "origin"])
    assert [p.name for p in c.free_parameters] == ["A", "origin"]
    c.set_parameters_not_free(only_nonlinear=True)
    assert [p.name for p in c.free_parameters] == ["A"]
    c.set_parameters_free(only_nonlinear=True)
    c.set_parameters_not_free(only_linear=True)
    assert [p.name for p in c.free_parameters] == ["left_cutoff", "origin", "r"]


def test_freeing_all_leaves_tied_parameters_alone():
    m = Model([Gaussian(name="Fe"), Gaussian(name="Cr")])
    m["Cr"].A.twin = m["Fe"].A
    m["Cr"].set_parameters_not_free()
    m["Cr"].set_parameters_free()
    assert [p.name for p in m["Cr"].free_parameters] == ["centre", "sigma"]


def test_choosing_parameters_wrongly():
    c = Gaussian()
    with pytest.raises(ValueError, match="only_linear and only_nonlinear exclude each other"):
        c.set_parameters_free(only_linear=True, only_nonlinear=True)
    with pytest.raises(TypeError, match=r"names='A' must be a list of names, such as \['A'\]"):
        c.set_parameters_free("A")
    with pytest.raises(KeyError, match="no parameter 'B'"):
        c.set_parameters_not_free(["A", "B"])
    assert c.A.free


# --- copies and comparison ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "component",
    [
        Gaussian(name="Fe", A=5),
        Polynomial(order=3, a1=2),
        Gaussian2D(add_rotation=True),
        Expression("a*x+b", position="b"),
    ],
)
@pytest.mark.parametrize(
    "duplicate", [Component.copy, copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))]
)
def test_copies_are_equal_and_independent(component, duplicate):
    other = duplicate(component)
    assert other == component
    assert other.kernel == component.kernel
    assert all(p.component is other for p in other)
    other.parameters[0].value = 17.5
    assert other != component
    assert component.parameters[0].value != 17.5


@pytest.mark.parametrize("duplicate", [Component.copy, copy.copy, copy.deepcopy])
def test_a_copy_is_in_no_model_and_knows_ties_by_name(duplicate):
    m = Model([Gaussian(name="Fe", A=5), Gaussian(name="Cr")])
    m["Cr"].A.twin = m["Fe"].A
    m["Cr"].centre.twin = m["Cr"].sigma
    cr = duplicate(m["Cr"])
    assert cr.model is None
    assert cr.A.tie_formula == "Fe.A"
    assert cr.centre.twin is cr.sigma
    assert cr.A.untie().value == 5
    assert m["Cr"].A.twin is m["Fe"].A


def test_a_pickled_component_takes_its_model_along():
    m = Model([Gaussian(name="Fe", A=5), Gaussian(name="Cr")])
    m["Cr"].A.twin = m["Fe"].A
    cr = pickle.loads(pickle.dumps(m["Cr"]))
    assert cr.model == m
    assert cr.A.twin is cr.model["Fe"].A


@pytest.mark.parametrize(
    "other",
    [
        Gaussian(name="Cr"),
        Gaussian(name="Fe", A=2),
        Gaussian(name="Fe", A={"min": -1}),
        Gaussian(name="Fe", A={"free": False}),
        Gaussian(name="Fe", A={"units": "eV"}),
        Offset(name="Fe"),
        "Fe",
    ],
)
def test_what_differs_is_not_equal(other):
    assert Gaussian(name="Fe") != other


def test_components_are_not_hashable():
    with pytest.raises(TypeError, match="unhashable"):
        hash(Gaussian())


def test_a_sum_is_a_model_of_the_same_components():
    a, b, c = Gaussian(name="a"), Gaussian(name="b"), Offset()
    m = a + b + c
    assert isinstance(m, Model)
    assert [x.name for x in m] == ["a", "b", "Offset"]
    assert (a + a.copy())[1].name == "a_0"
    with pytest.raises(TypeError, match="only components and models can be added, not int"):
        Gaussian() + 1  # type: ignore[operator]


def test_kernels_are_frozen_values():
    def line(x, a):
        return a * x

    kernel = FunctionKernel(line, None, ("x",), ("a",))
    assert kernel == FunctionKernel(line, None, ("x",), ("a",))
    with pytest.raises(AttributeError):
        kernel.function = None  # type: ignore[misc, assignment]


def test_function_kernels_are_equal_if_their_functions_do_the_same() -> None:
    """A worker that unpickles the same function again and again must recognise it."""
    scale = 2.0

    def make(factor: float) -> FunctionKernel:
        def line(x: float, a: float = 1.0) -> float:
            return factor * a * x

        return FunctionKernel(line, None, ("x",), ("a",))

    assert make(scale) == make(2.0)
    assert hash(make(scale)) == hash(make(2.0))
    assert make(2.0) != make(3.0)
