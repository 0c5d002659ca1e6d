"""Basic components against HyperSpy's defaults, values and gradients, and Expression and Function in detail."""

from __future__ import annotations

import copy
import json
import math
import pickle
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
import sympy

from tests.support.paths import DATA
from xfit import Component, Model, component
from xfit.components import (
    Exponential,
    Expression,
    Function,
    Gaussian,
    Gaussian2D,
    GaussianHF,
    Lorentzian,
    Offset,
    Polynomial,
    PowerLaw,
)
from xfit.formulas import calculus, parser
from xfit.formulas.kernel_expression import expression_of
from xfit.formulas.kernel_spec import FormulaKernel
from xfit.formulas.parser import FormulaError

#: Values computed with HyperSpy 2.5 (defaults, bounds, flags, function and gradients).
ORACLE = {case["name"]: case for case in json.loads((DATA / "hyperspy_components.json").read_text())["components"]}
MADE = {
    "Gaussian": Gaussian(),
    "GaussianHF": GaussianHF(),
    "Lorentzian": Lorentzian(),
    "Offset": Offset(),
    "Polynomial(order=2)": Polynomial(),
    "Polynomial(order=10)": Polynomial(order=10),
    "PowerLaw": PowerLaw(),
    "Exponential": Exponential(),
}


def evaluate(expr: sympy.Expr, names: tuple[str, ...], *values: Any) -> np.ndarray:
    """Value of an expression where its names have these values."""
    function = sympy.lambdify([parser.symbol(name) for name in names], expr, "numpy")
    return np.broadcast_to(function(*values), np.shape(values[0]))


def value_and_gradients(c: Component, coordinates: list[np.ndarray], at: dict[str, float]) -> dict[str, np.ndarray]:
    """Value of a component, under "f", and its derivatives by the names of parameters."""
    assert isinstance(c.kernel, FormulaKernel)
    expr = expression_of(c.kernel)
    names = (*c.coordinates, *c.kernel.parameters)
    numbers = [*coordinates, *(at.get(name, c[name].value) for name in c.kernel.parameters)]
    expressions = {"f": expr} | {name: calculus.derivative(expr, name) for name in c.kernel.parameters}
    return {name: evaluate(e, names, *numbers) for name, e in expressions.items()}


# --- against HyperSpy ----------------------------------------------------------------------


@pytest.mark.parametrize("name", MADE)
def test_defaults_bounds_and_flags_are_those_of_hyperspy(name):
    case = ORACLE[name]
    expected = {
        p["name"]: (
            p["default"],
            -math.inf if p["bmin"] is None else p["bmin"],
            math.inf if p["bmax"] is None else p["bmax"],
            p["free"],
            p["linear"],
        )
        for p in case["params"]
    }
    assert {p.name: (p.value, p.min, p.max, p.free, p.linear) for p in MADE[name]} == expected
    assert MADE[name].is_background == case["isbackground"]
    assert MADE[name].position == case["position"]


@pytest.mark.parametrize("name", MADE)
def test_values_and_gradients_are_those_of_hyperspy(name):
    case = ORACLE[name]
    found = value_and_gradients(MADE[name], [np.array(case["x"])], case["at"])
    # 1e-13: HyperSpy's numbers come from other orders of the same double operations.
    np.testing.assert_allclose(found["f"], case["f"], rtol=1e-13)
    for parameter, gradient in case["grad"].items():
        np.testing.assert_allclose(found[parameter], gradient, rtol=1e-12, atol=1e-300, err_msg=parameter)


@pytest.mark.parametrize("c", [*MADE.values(), Gaussian2D()], ids=repr)
def test_declared_linear_flags_are_what_the_formula_says(c):
    declared = {p.name for p in c if p.linear}
    found = calculus.linear_parameters(parser.parse(c.kernel.expression), sorted(declared) + list(c.kernel.parameters))
    assert set(found) == declared


# Not of a power law, where the units of A depend on the value of r.
@pytest.mark.parametrize("c", [*(MADE[k] for k in MADE if k != "PowerLaw"), Gaussian2D(add_rotation=True)], ids=repr)
def test_dimensions_make_the_components_have_the_dimension_of_the_data(c):
    # Stretching data and coordinates, and every parameter with them, must stretch the component like the data.
    stretch = {"data": 3.0, "x": 2.0, "y": 5.0}
    grids = [np.array([0.3, 1.0, 2.5]), np.array([0.2, -1.0, 0.7])][: len(c.coordinates)]
    at = {p.name: 0.5 + 0.1 * k for k, p in enumerate(c)} | {"rotation_angle": 0.0}
    before = value_and_gradients(c, grids, at)["f"]
    factor = {p.name: math.prod(stretch[n] ** e for n, e in p.dimension.items()) for p in c}
    scaled = {name: value * factor.get(name, 1.0) for name, value in at.items()}
    grids = [grid * stretch[n] for grid, n in zip(grids, c.coordinates, strict=True)]
    np.testing.assert_allclose(value_and_gradients(c, grids, scaled)["f"], 3.0 * before, rtol=1e-12)


# --- polynomials and images ------------------------------------------------------------------


def test_polynomials_pad_the_names_of_coefficients():
    assert [p.name for p in Polynomial(order=1)] == ["a0", "a1"]
    assert [p.name for p in Polynomial(order=10)][:2] == ["a00", "a01"]
    assert Polynomial(order=3, a3=2).options == {"order": 3}


@pytest.mark.parametrize(
    ("order", "error", "message"),
    [
        (0, ValueError, "order=0 must be from 1 to 40; for a constant use Offset"),
        (2.0, TypeError, "must be an integer"),
    ],
)
def test_polynomials_of_wrong_order(order, error, message):
    with pytest.raises(error, match=message):
        Polynomial(order=order)


@pytest.mark.parametrize("angle", [None, 0.0, 0.3, -1.2])
def test_gaussian2d_is_a_turned_product_of_two_gaussians(angle):
    at: dict[str, Any] = {"A": 14.0, "centre_x": 1.0, "centre_y": -1.0, "sigma_x": 1.1, "sigma_y": 2.0}
    c = Gaussian2D(add_rotation=angle is not None, **at)
    x, y = np.meshgrid(np.linspace(-2, 4, 7), np.linspace(-3, 3, 5))
    turn = angle or 0.0
    u = (x - 1) * np.cos(turn) - (y + 1) * np.sin(turn)
    v = (x - 1) * np.sin(turn) + (y + 1) * np.cos(turn)
    expected = 14 / (2 * np.pi * 1.1 * 2) * np.exp(-0.5 * (u / 1.1) ** 2 - 0.5 * (v / 2) ** 2)
    found = value_and_gradients(c, [x, y], at if angle is None else at | {"rotation_angle": angle})
    np.testing.assert_allclose(found["f"], expected, rtol=1e-13)
    assert [p.linear for p in c] == [True] + [False] * (len(c.parameters) - 1)
    assert c.signal_dimension == 2


def test_expression_rotates_as_gaussian2d():
    plain = "A/(2*pi*sigma_x*sigma_y)*exp(-(x-centre_x)**2/(2*sigma_x**2)-(y-centre_y)**2/(2*sigma_y**2))"
    at = {"A": 14.0, "centre_x": 1.0, "centre_y": -1.0, "sigma_x": 1.1, "sigma_y": 2.0, "rotation_angle": 0.3}
    c = Expression(plain, position=("centre_x", "centre_y"), add_rotation=True)
    x, y = np.meshgrid(np.linspace(-2, 4, 7), np.linspace(-3, 3, 5))
    found = value_and_gradients(c, [x, y], at)
    expected = value_and_gradients(Gaussian2D(add_rotation=True), [x, y], at)
    for name in ("f", *at):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-11, atol=1e-13)
    assert c.rotation_angle.value == 0
    assert [p.name for p in c if p.linear] == ["A"]


@pytest.mark.parametrize(("center", "px", "py"), [(None, 0, 0), ((2.5, -1), 2.5, -1), (("c", "d"), 0.5, 0.25)])
def test_rotation_of_expressions_about_a_centre(center, px, py):
    c = Expression("a*x + b*y*y + c*x*y + d", add_rotation=True, rotation_center=center)
    at = {"a": 2.0, "b": 3.0, "c": 0.5, "d": 0.25, "rotation_angle": 0.7}
    x, y = np.array([0.1, 2.0, -3.0]), np.array([1.0, 0.5, 2.0])
    u = px + (x - px) * np.cos(0.7) - (y - py) * np.sin(0.7)
    v = py + (x - px) * np.sin(0.7) + (y - py) * np.cos(0.7)
    found = value_and_gradients(c, [x, y], at)["f"]
    np.testing.assert_allclose(found, 2 * u + 3 * v * v + 0.5 * u * v + 0.25, rtol=1e-13)


# --- Expression ----------------------------------------------------------------------------------


def test_expression_finds_parameters_and_linearity():
    c = Expression("a*exp(-((x-c)/w)**2) + b*k", name="peak", position="c", a=3, w={"value": 2, "min": 0})
    assert [p.name for p in c.parameters] == ["a", "b", "c", "k", "w"]
    # b*k: linear in either, but not in both together; the first one is taken.
    assert [p.name for p in c if p.linear] == ["a", "b"]
    assert (c.a.value, c.w.value, c.w.min, c.b.value) == (3, 2, 0, 1)
    assert c.position == "c"
    assert c.name == "peak"
    assert Expression("a*x").name == "Expression"


def test_expression_with_definitions_and_coordinates():
    c = Expression("h*exp(-u**2); u = (x - c)/w")
    assert [p.name for p in c] == ["c", "h", "w"]
    nelson = Expression("b1 - b2*x1*exp(-b3*x2)", coordinates=("x1", "x2"))
    assert nelson.coordinates == ("x1", "x2")
    assert [p.name for p in nelson] == ["b1", "b2", "b3"]
    assert Expression("a*x + b*y").coordinates == ("x", "y")
    assert [p.name for p in Expression("a*x + b*y", coordinates=("x",))] == ["a", "b", "y"]


def test_expression_with_renamed_parameters():
    c = Expression("A/pi*g/((x-c)**2+g**2)", rename_pars={"g": "gamma", "c": "centre"})
    assert [p.name for p in c] == ["A", "centre", "gamma"]
    found = value_and_gradients(c, [np.array(ORACLE["Lorentzian"]["x"])], ORACLE["Lorentzian"]["at"])
    np.testing.assert_allclose(found["f"], ORACLE["Lorentzian"]["f"], rtol=1e-13)


def test_a_value_makes_e_and_pi_parameters():
    c = Expression("E*x + b", name="m", E=70)
    assert [(p.name, p.value, p.linear) for p in c] == [("E", 70, True), ("b", 1, True)]
    both = Expression("E*x**2 + pi*x + b*exp(1)", E=3, pi=2.0)
    assert [p.name for p in both] == ["E", "b", "pi"]
    found = value_and_gradients(both, [np.array([2.0])], {"E": 3.0, "b": 5.0, "pi": 2.0})
    assert found["f"] == pytest.approx([3 * 4 + 2 * 2 + 5 * math.e], rel=1e-15)
    assert [p.name for p in Expression("a*exp(-E/k)", coordinates=("E",))] == ["a", "k"]
    assert [p.name for p in Expression("E*x", rename_pars={"E": "modulus"})] == ["modulus"]
    assert [p.name for p in Expression("a*x + exp(1)*b", rename_pars={"a": "E"})] == ["E", "b"]
    assert [p.name for p in Expression("b*(x - E)", position="E")] == ["E", "b"]
    turned = Expression("pi*x + E*y", pi=2.0, parameters=["E"], add_rotation=True)
    assert [p.name for p in turned] == ["E", "pi", "rotation_angle"]
    # After half a turn about the origin, pi x + E y is its negative.
    at = {"E": 3.0, "pi": 2.0, "rotation_angle": math.pi}
    assert value_and_gradients(turned, [np.array([5.0]), np.array([7.0])], at)["f"] == pytest.approx([-31.0], rel=1e-14)


def test_e_stays_a_parameter_in_copies_and_files(tmp_path):
    model = Model([Expression("E*x + pi", name="m", E=70)])
    again = [
        model.copy(),
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        Model.from_json(model.to_json()),
    ]
    for name in ("model.toml", "model.json"):
        model.to_file(tmp_path / name)
        again.append(Model.from_file(tmp_path / name))
    for other in again:
        assert [(p.name, p.value) for p in other["m"]] == [("E", 70)]
        assert other["m"].kernel == model["m"].kernel
        assert other == model


def test_e_that_may_be_the_other_is_noted_once():
    with pytest.warns(UserWarning, match=r"formula 'E\*x \+ b \+ 1/7': E is Euler's number, 2.71828.*E=\.\.\."):
        constant = Expression("E*x + b + 1/7")
    assert [p.name for p in constant] == ["b"]
    with pytest.warns(UserWarning, match="e is a parameter; for Euler's number write E"):
        gompertz = Expression("A*exp(-exp(mu*e/A*(lam - x) + 1))")
    assert [p.name for p in gompertz] == ["A", "e", "lam", "mu"]
    with pytest.warns(UserWarning, match="e is a parameter"):
        Expression("a*e**(-x/t)")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Expression("E*x + b + 1/7")
        Expression("e*x + b")
        Expression("a*x + b*sin(c*x)/(1 + d*x + exp(e*x))")
        Expression("a*(1 - e**2)/(1 + e*cos(x))", e=0.2)
        Expression("a*sin(2*pi*x)*I")
        Expression("E*x", E={"value": 2, "min": 0})


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Expression("a*x", parameters=("E",)), ValueError, r"no parameter \['E'\]; the formula has \['a'\]"),
        (lambda: Expression("E*x", parameters="E"), TypeError, r"must be a sequence of names, such as \('E',\)"),
        (lambda: Expression("a + b"), ValueError, "does not depend on x; for a constant use Offset"),
        (lambda: Expression("a*y"), ValueError, "does not depend on x"),
        (lambda: Expression("a*x +"), FormulaError, "not a valid expression"),
        (lambda: Expression("a*foo(x)"), FormulaError, "unknown function 'foo'"),
        (lambda: Expression("x.__class__"), FormulaError, "underscores"),
        (lambda: Expression(5), FormulaError, "must be text"),  # type: ignore[arg-type]
        (lambda: Expression("sin*x"), ValueError, "uses the function 'sin' without arguments in parentheses"),
        (lambda: Expression("name*x"), ValueError, r"'name' can't be a parameter's name.*rename_pars=\{'name': ...\}"),
        (lambda: Expression("kernel*x"), ValueError, "'kernel' can't be a parameter's name"),
        (lambda: Expression("Fe.A*x"), ValueError, "parameters of other components belong in a tie"),
        (lambda: Expression("a*x", b=2), TypeError, "Expression has no parameter 'b'; it has a"),
        (
            lambda: Expression("a*x", position="c"),
            ValueError,
            r"position='c': no parameter \['c'\]; the formula has \['a'\]",
        ),
        (lambda: Expression("a*x", coordinates=("t",)), ValueError, r"\['t'\] do not occur in the formula"),
        (lambda: Expression("a*x", coordinates=()), ValueError, "must name at least one coordinate, each once"),
        (lambda: Expression("a*x", coordinates=("x", "x")), ValueError, "each once"),
        (lambda: Expression("a*x", coordinates="x"), TypeError, r"must be a sequence of names, such as \('x',\)"),
        (lambda: Expression("a*x", rename_pars={"b": "c"}), ValueError, r"has no name \['b'\]; it has \['a', 'x'\]"),
        (lambda: Expression("a*x+b", rename_pars={"a": "b"}), ValueError, "that nothing else in the formula has"),
        (lambda: Expression("a*x", rename_pars={"a": "1a"}), ValueError, r"\['1a'\] must be names"),
        (lambda: Expression("a*x", rename_pars={"a": "sin"}), ValueError, "uses the function 'sin'"),
        (lambda: Expression("a*x", add_rotation=True), ValueError, "add_rotation=True needs a formula of x and y"),
        (lambda: Expression("x*y*rotation_angle", add_rotation=True), ValueError, "which the formula has already"),
        (
            lambda: Expression("a*x*y", add_rotation=True, rotation_center=("c", 0)),
            ValueError,
            "'c' is neither a number nor a parameter of the formula",
        ),
        (
            lambda: Expression("a*x*y", add_rotation=True, rotation_center="a"),
            ValueError,
            "must be two parameters or numbers",
        ),
    ],
)
def test_wrong_expressions_say_what_would_be_right(make, error, message):
    with pytest.raises(error, match=message):
        make()


# --- Function --------------------------------------------------------------------------------------


def ramp(x, height, width=2.0):
    """Rise from 0 at x=0 to height at x=width."""
    return height * min(max(x / width, 0.0), 1.0)


@component(linear=("height",))
def tent(x, height=3.0, width=2.0):
    """Tent about zero."""
    return height * max(0.0, 1 - abs(x) / width)


def test_function_takes_parameters_from_the_signature():
    c = Function(ramp, linear=("height",), width={"min": 0})
    assert c.name == "ramp"
    assert [(p.name, p.value, p.min, p.linear) for p in c] == [("height", 1, -math.inf, True), ("width", 2, 0, False)]
    assert c.kernel.function.__code__.co_code == ramp.__code__.co_code
    assert c.kernel.gradient is None
    assert c.coordinates == ("x",)


def test_function_with_gradient_and_other_coordinates():
    def plane(x, y, a, b):
        return a * x + b * y

    def slopes(x, y, a, b):
        return x, y

    c = Function(plane, "plane", gradient=slopes)
    assert c.coordinates == ("x", "y")
    assert c.signal_dimension == 2
    assert c.kernel.gradient is not None
    assert c.kernel.gradient.__code__.co_code == slopes.__code__.co_code
    other = Function(lambda t, a: a * t, "line", coordinates=("t",))
    assert (other.coordinates, [p.name for p in other]) == (("t",), ["a"])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Function(5), TypeError, "function must be callable, not int"),  # type: ignore[arg-type]
        (lambda: Function(lambda t, a: a * t), ValueError, r"\['t', 'a'\] must begin with the coordinate\(s\) \['x'\]"),
        (lambda: Function(lambda x, *a: x), TypeError, "plain arguments only; a is not one"),
        (lambda: Function(lambda x, *, a: x), TypeError, "plain arguments only; a is not one"),
        (lambda: Function(ramp, linear=("tilt",)), ValueError, r"no parameter \['tilt'\]; the function has \['height'"),
        (lambda: Function(ramp, linear="height"), TypeError, r"must be a sequence of names, such as \('height',\)"),
        (lambda: Function(ramp, coordinates="x"), TypeError, "must be a sequence of names"),
        (lambda: Function(ramp, coordinates=()), ValueError, "must begin with the coordinate"),
        (
            lambda: Function(ramp, gradient=lambda x, height: 1.0),  # type: ignore[arg-type, return-value]
            ValueError,
            "gradient takes 2 arguments, the function 3",
        ),
        (lambda: Function(lambda x, active: x), ValueError, "'active' can't be a parameter's name"),
        (lambda: Function(lambda x, linear: x), ValueError, "'linear' can't be a parameter's name"),
        (lambda: Function(lambda x, _by_name: x), ValueError, "'_by_name' can't be a parameter's name"),
        (lambda: Function(lambda x, a="wide": x, "f"), TypeError, "a: value='wide' must be a number"),
        (lambda: component(colour="red"), TypeError, r"unknown option\(s\) \['colour'\]; known: gradient"),  # type: ignore[call-overload]
    ],
)
def test_wrong_functions_say_what_would_be_right(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_registered_functions_make_components():
    c = tent(name="roof", height=5)
    assert isinstance(c, Function)
    assert (c.name, c.height.value, c.width.value, c.height.linear) == ("roof", 5, 2, True)
    assert tent.__doc__ == "Tent about zero."
    assert tent().name == "tent"


def test_a_name_is_registered_once():
    def tent(x, a):
        return a * x

    with pytest.raises(ValueError, match=r"'tent' is registered already, by .*\.tent; .* choose another"):
        component(tent)


def test_a_function_can_be_defined_again():
    for factor in (1.0, 2.0):

        @component
        def defined_again(x, a=factor):
            return a * x

    assert defined_again().a.value == 2


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, Component.copy])
def test_functions_are_copied(duplicate):
    c = Function(ramp, height=4)
    assert duplicate(c) == c
    assert Model([c]).copy()[0].kernel == c.kernel


def test_functions_are_pickled_by_reference():
    m = Model([Function(ramp, height=4), tent(height=6)])
    assert b"registered" in pickle.dumps(m)
    assert pickle.loads(pickle.dumps(m)) == m


def test_only_registered_functions_are_stored_and_only_by_name():
    m = Model([tent(height=6)])
    stored = m.to_dict()
    assert stored["components"][0]["options"] == {"registered": "tent"}
    assert Model.from_json(m.to_json()) == m
    with pytest.raises(
        ValueError, match="'ramp' is made of a Python function, which is never stored; register it by name"
    ):
        Model([Function(ramp)]).to_json()


def test_reading_an_unregistered_function_says_what_to_import():
    stored = Model([tent()]).to_dict()
    stored["components"][0]["options"]["registered"] = "squircle"
    with pytest.raises(ValueError, match=r"components\[0\]: no function 'squircle' is registered .*import the module"):
        Model.from_dict(stored)


def test_library_components_need_no_computer_algebra():
    code = (
        "import sys; from xfit import Model; from xfit.components import Gaussian, PowerLaw, Polynomial\n"
        "m = Model([PowerLaw(), Gaussian(), Polynomial()]); m[1].A.twin = m[0].A\n"
        "m.table(), m.to_json(), m[1].A.value, m[1].kernel\n"
        "assert 'sympy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_functions_keep_the_names_of_their_arguments():
    c = Function(lambda x, E, pi, e: E * x + pi * e, linear=("E",))
    assert [p.name for p in c] == ["E", "pi", "e"]
