"""Tests of formulas: what is read, what is refused, printing, derivatives, linear parameters."""

from __future__ import annotations

import contextlib

import mpmath
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from xfit.formulas import parser
from xfit.formulas.calculus import derivative, linear_parameters
from xfit.formulas.parser import FormulaError, names, parse, substitute, symbol, to_text

x, a, b, n = (symbol(name) for name in "xabn")


# --- grammar ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a*x + b", a * x + b),
        ("-x**2", -(x**2)),
        ("2**3**2 * x", 512 * x),
        ("a - (b - x)", a - b + x),
        ("+x / 2", x / 2),
        ("1_000 * x", 1000 * x),
        ("2*pi*x + E", 2 * sympy.pi * x + sympy.E),
        ("arctan2(a, b)", sympy.atan2(a, b)),
        ("min(a, b) + Max(a, x)", sympy.Min(a, b) + sympy.Max(a, x)),
        ("log10(x)", sympy.log(x) / sympy.log(10)),
        ("where(x > n, a, 0)", sympy.Piecewise((a, x > n), (0, True))),
        ("where(1 > 2, a, b)", b),
        ("sqrt(1000) * log(1000)", sympy.sqrt(1000) * sympy.log(1000)),
        ("gamma * x", symbol("gamma") * x),
        ("abs(exp(a*log(x)))", sympy.exp(a * sympy.log(sympy.Abs(x)))),
        ("tan(x + pi/2)", -1 / sympy.tan(x)),
    ],
)
def test_grammar(text: str, expected: sympy.Expr) -> None:
    """Operators, constants, functions and their other spellings are read."""
    assert parse(text) == expected


def test_floats_keep_their_value() -> None:
    """A decimal number is the nearest float, not a fraction."""
    assert float(parse("0.1 * 1")) == 0.1


def test_substitutions() -> None:
    """Definitions after semicolons are put in, in whatever order they stand."""
    expected = parse("a*exp(-(x - b)**2) + (x - b)")
    assert parse("a*g + z; g = exp(-z**2); z = x - b") == expected
    assert parse("a*g + z; z = x - b; g = exp(-z**2);") == expected
    assert names("a*g + z; z = x - b; g = exp(-z**2)") == ("a", "b", "x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a*u; u = v; v = u", "circle"),
        ("u; u = u", "circle"),
        ("u*x; u = 1; u = 2", "twice"),
        ("a*x; u = 3", "not used"),
        ("a*x; u", "definition"),
        ("a*x; u == 3", "definition"),
        ("a*exp(x); exp = 3", "function or constant"),
        ("; u = 3", "empty"),
        ("a*2u; 2u = 3", "definition"),
        ("f0; " + "; ".join(f"f{k} = (f{k + 1} + a)*(f{k + 1} + b)" for k in range(30)) + "; f30 = x", "written out"),
    ],
)
def test_substitutions_refused(text: str, message: str) -> None:
    """Circular, repeated, unused, malformed and exploding definitions are refused."""
    with pytest.raises(FormulaError, match=message):
        parse(text)


def test_dotted_and_quoted_names() -> None:
    """A dot names the parameter of a component, backticks any component."""
    assert parse("2*Fe.A") == 2 * symbol("Fe.A")
    assert names("Fe.A + `line with offset`.a * x") == ("Fe.A", "line with offset.a", "x")
    with pytest.raises(FormulaError, match="component"):
        parse("`line`")


@pytest.mark.parametrize("component", ["lambda", "a.b", "__x", "µ", "Fe^3+", "((", "a; b", "1st line", "2 = 3"])
def test_odd_component_names(component: str) -> None:
    """Names of components that are no identifiers are read and printed in backticks."""
    expr = parse(f"`{component}`.A + 1")
    assert expr == symbol(f"{component}.A") + 1
    assert parse(to_text(expr)) == expr


# --- refusals -----------------------------------------------------------------------------------------------------

HOSTILE = [
    *("", "   ", ";", "x +", "x y", "x = 1", "x == 1", "x < 1", "x ^ 2", "x // 2", "x % 2", "a @ b", "~x", "not x"),
    *("__import__('os')", "__import__('os').system('ls')", "import os", "__class__", "x.__class__", "__x.a"),
    *("().__class__.__bases__", "x.y.z", "a.b.c.d", "exp.__call__(x)", "a.exp(x)", "(lambda: 0)()", "lambda: x"),
    *("x[0]", "x[0:1]", "[x]", "{x}", "{x: 1}", "(x, 1)", "exp(x=1)", "exp(*x)", "exp(**x)", "exp()", "exp(x, a)"),
    *("9**9**9**9", "2**2**2**2**2", "(9**9)**(9**9)", "((((10**18*x)**64)**64)**64)**64", "1e999*x", "1e200*1e200*x"),
    *(
        "(" * 10_000,
        "(" * 10_000 + "x" + ")" * 10_000,
        "-" * 3000 + "x",
        "x" * 5000,
        "+".join(["x"] * 1500),
        "x**" * 900,
    ),
    *(
        "x\0",
        "\0",
        "x\x1b",
        "\ud800",
        "'x'",
        "b'x'",
        "f'{x}'",
        "f'{__import__(1)}'",
        "'a' * 10**9",
        "x := 1",
        "(x := 1)",
    ),
    *("[i for i in x]", "(i for i in x)", "{i for i in x}", "x if a else b", "x and a", "yield x", "await x", "..."),
    *("True", "None", "1j*x", "gamma(10**6)", "exp(10**9)", "gamma(699)*x", "10" * 10 + "*x", "evil(x)", "eval(x)"),
    *("ехр(x)", "ｅｘｐ(x)", "𝐱 + 1", "x²", "ａ.__class__", "_＿x", "x×2", "x\u200b+1", "`a` + 1", "`a.b", "`lambda"),
    *("1/0", "x/(1-1)", "x/0.0", "log(0)*x", "sqrt(-1)*x", "minimum(sqrt(-1), x)", "where(sqrt(-1) > 1, x, 2)"),
    *(
        "where(x, 1, 2)",
        "where(0 < x < 1, 1, 2)",
        "where(x in a, 1, 2)",
        "where(x > 1, 1)",
        "where(where(x > 1, 2, a) > x, 1, 2)",
        "x; y = __import__('os')",
    ),
    "minimum(a, " * 40 + "x" + ")" * 40,
    *("cbrt(" * 50 + "x" + ")" * 50, "tanh(sqrt(" * 20 + "x" + "))" * 20, "log10(" * 30 + "0.5" + ")" * 30),
    *("tanh((" * 8 + "x" + ")**0.5)" * 8, "cbrt(cbrt(cbrt(cbrt(u)))) + u; u = " + "cbrt(" * 6 + "x" + ")" * 6),
    *("log(log(0.5))*x", "asin(2)*x", "x**60*x**60", "((x + 1)**64)**64", "exp(700)*exp(700)*x"),
]


@pytest.mark.parametrize("text", HOSTILE, ids=[ascii(text[:24]) for text in HOSTILE])
def test_hostile_text(text: str) -> None:
    """Text that is not a formula raises an error, and nothing of it is run."""
    with pytest.raises(FormulaError):
        parse(text)


def test_not_text() -> None:
    """Something other than text is refused by name."""
    with pytest.raises(FormulaError, match="int"):
        parse(3)


_PIECES = [
    *"xab123.,;=()[]{}<>!+-*/%`'\"\\ \n#^~@_:",
    "**",
    "lambda ",
    "exp(",
    "where(",
    "1e9",
    "__",
    "Fe.A",
    "10**9",
    "é",
]


@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(_PIECES), max_size=14).map("".join)))
@settings(max_examples=300, deadline=None)
@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
def test_random_text(text: str) -> None:
    """Random text is read or refused by name; nothing else happens."""
    with contextlib.suppress(FormulaError):
        parse(text)


# --- printing -----------------------------------------------------------------------------------------------------

_LEAVES = st.one_of(
    st.sampled_from(["x", "a", "b", "Fe.A", "`two words`.A", "pi", "E"]),
    st.integers(0, 50).map(str),
    st.integers(1, 4000).map(lambda k: repr(k / 64)),
)


def _grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    unary = sorted(name for name, arity in parser.FUNCTIONS.items() if arity == 1)
    return st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(inner, st.integers(-3, 3)).map(lambda t: f"({t[0]})**({t[1]})"),
        st.tuples(st.sampled_from(unary), inner).map(lambda t: f"{t[0]}({t[1]})"),
        st.tuples(st.sampled_from(["atan2", "minimum", "maximum"]), inner, inner).map(
            lambda t: f"{t[0]}({t[1]}, {t[2]})"
        ),
        st.tuples(inner, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), inner, inner).map(
            lambda t: f"where(x*({t[0]}) {t[1]} {t[2]}, {t[3]}, -x)"
        ),
        inner.map(lambda t: f"-{t}"),
    )


def _values(expr: sympy.Expr) -> list[complex]:
    points = [{x: 0.7, a: 1.3, b: 0.4}, {x: -1.2, a: 0.6, b: 2.1}]
    extra = {symbol("Fe.A"): 0.9, symbol("two words.A"): 1.7}
    return [complex(expr.subs({**point, **extra}).evalf(20)) for point in points]


@given(st.recursive(_LEAVES, _grow, max_leaves=6))
@settings(max_examples=100, deadline=None)
def test_round_trip(text: str) -> None:
    """An expression, printed and read again, is the same, or at least has the same values."""
    try:
        expr = parse(text)
    except FormulaError:
        return
    again = parse(to_text(expr))
    if again == expr:
        return
    try:
        pairs = list(zip(_values(expr), _values(again), strict=True))
    except (TypeError, ValueError, OverflowError):  # has no value there
        return
    for value, value_again in pairs:
        assert value_again == pytest.approx(value, rel=1e-6, abs=1e-9, nan_ok=True), (text, to_text(expr))


def test_deepest_calls_round_trip() -> None:
    """As many functions within one another as are allowed are read, at once, and printed."""
    expr = parse("tanh(sqrt(" * 4 + "x" + "))" * 4)
    assert parse(to_text(expr)) == expr


@pytest.mark.parametrize("text", ["10**17*10**17*x", "gamma(40)*x", "-x/10**17/10**17", "digamma(1)*x", "0.1*x", "x/3"])
def test_numbers_round_trip(text: str) -> None:
    """Numbers that grow beyond what may be written are printed as floats."""
    assert float(parse(to_text(parse(text))).subs(x, 2)) == pytest.approx(float(parse(text).subs(x, 2)), rel=1e-15)


def test_substitute() -> None:
    """Names are exchanged at the same time, dotted ones too, and texts without them stay as they are."""
    assert parse(substitute("a*x + b", {"a": "b", "b": "a"})) == b * x + a
    assert parse(substitute("a*x", {"a": "two words.A"})) == symbol("two words.A") * x
    assert parse(substitute("Fe.A*x", {"Fe.A": "a"})) == a * x
    assert substitute("a * x +  1", {"b": "c"}) == "a * x +  1"


# --- derivatives --------------------------------------------------------------------------------------------------

#: All but what has no derivative, and what takes a width: see test_special_functions.
_DIFFERENTIABLE = [(name, arity) for name, arity in parser.FUNCTIONS.items() if name not in ("trigamma", "voigt")]


def _number(expr: sympy.Expr, at: mpmath.mpf) -> mpmath.mpf:
    return mpmath.mpf(str(expr.subs(x, sympy.Float(str(at), 50)).evalf(40)))


def _agrees(text: str, at: float) -> bool:
    expr = parse(text)
    slope = derivative(expr, "x")
    assert parse(to_text(slope)).free_symbols <= {x}
    with mpmath.workdps(50):
        point, step = mpmath.mpf(at), mpmath.mpf("1e-12")
        expected = (_number(expr, point + step) - _number(expr, point - step)) / (2 * step)
        return bool(abs(_number(slope, point) - expected) <= 1e-12 * (1 + abs(expected)))


@pytest.mark.parametrize(("name", "arity"), _DIFFERENTIABLE)
def test_derivative_of_functions(name: str, arity: int) -> None:
    """The derivative of every function is that of central differences, also within another function."""
    forms = {
        1: ["{}(x)", "{}(x**2)", "x*{}(sin(x))", "{}(0.4 + log(1 + x)/3)"],
        2: ["{}(x, 0.4)", "{}(0.4, x)", "{}(x**2, sin(x))"],
        3: ["{}(x > 0.5, x**2, sin(x))", "{}(x**2 <= 0.5, exp(x), x)"],
    }
    for form in forms[arity]:
        for at in (0.3, 0.45, 0.8):
            assert _agrees(form.format(name), at), (form, at)


@pytest.mark.parametrize(
    "text", ["abs(x)", "cbrt(x)", "sign(x)*x", "heaviside(x)*x**2", "maximum(x, x**3)", "abs(x**3)"]
)
def test_derivative_left_of_a_kink(text: str) -> None:
    """Where the argument is negative the derivative is that of the left side."""
    assert _agrees(text, -0.7)


@pytest.mark.parametrize(
    "text", ["abs(log(x))", "cbrt(log(x))", "abs(sqrt(x) - 2)", "abs(log(x)**3)", "abs(x**2.5 - 1)"]
)
def test_derivative_of_absolute_values(text: str) -> None:
    """Absolute values of what is real only for some arguments have a plain derivative."""
    slope = derivative(parse(text), "x")
    assert not slope.has(sympy.re, sympy.im, sympy.Derivative)
    assert _agrees(text, 0.3)
    assert _agrees(text, 1.7)


def test_no_derivative() -> None:
    """Trigamma has no derivative among the functions, which is said; trigamma of something else is a constant."""
    with pytest.raises(FormulaError, match="closed form"):
        derivative(parse("trigamma(x)"), "x")
    assert derivative(parse("a*trigamma(x)"), "a") == parse("trigamma(x)")
    assert derivative(parse("digamma(a*x)"), "a") == parse("x*trigamma(a*x)")


# --- linear parameters --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "candidates", "expected"),
    [
        ("a*b*x", "ab", "a"),
        ("a*b*x", "ba", "b"),
        ("a*x + b", "ab", "ab"),
        ("(a + b*x)**(-1/c)", "abc", ""),
        ("A*exp(-(x - c)**2/(2*s**2))", "Acs", "A"),
        ("where(x > n, A, 0)", "nA", "A"),
        ("where(x > n, A, B*x) + C", "nABC", "ABC"),
        ("where(a > 0, a, -a)", "a", ""),
        ("A*heaviside(x - n)", "nA", "A"),
        ("A*abs(x - n)", "nA", "A"),
        ("minimum(a, b*x)", "ab", ""),
        ("A*minimum(x, n)", "nA", "A"),
        ("(a + b)**2 - a**2 - 2*a*b", "ab", "a"),
        ("a*digamma(b) + c", "abc", "ac"),
    ],
)
def test_linear_parameters(text: str, candidates: str, expected: str) -> None:
    """Parameters are taken in order, each linear together with those before; kinks and steps are not linear."""
    assert linear_parameters(parse(text), tuple(candidates)) == tuple(expected)


_LINE = "{w}*exp(-(x - {l}*(1 + v/299792.458))**2/(2*({l}*b/299792.458)**2))"
_DOUBLET = _LINE.format(w=0.61, l=2796.352) + " + " + _LINE.format(w=0.31, l=2803.531)
_HYPERFINE = " + ".join(_LINE.format(w=k / 37, l=f"93.{171617 + 331 * k}123456") for k in range(1, 16))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"(c0 + c1*(x - 2800))*exp(-N*({_DOUBLET}))", ("c0", "c1")),
        (f"A*({_DOUBLET}) + d", ("A", "d")),
        (f"(0.0479*x/(exp(0.0479*x/T) - 1) - 1.7)*(1 - exp(-tau*({_HYPERFINE})))*f", ("f",)),
        (
            " + ".join(f"a{k}*where(abs(x - {k}) < 0.5, 1, 0)" for k in range(6)) + " + b**2",
            tuple(f"a{k}" for k in range(6)),
        ),
        ("a*(b + x)/(b + 1) + c/(1 + 1/x)", ("a", "c")),
        ("exp(log(a) + log(x)) + log(exp(b*x))", ("a", "b")),
        ("a*x**n + (b**2 + 2*b*c*x + c**2*x**2 - (b + c*x)**2)*d", ("a", "b", "c", "d")),
        # Next to nothing everywhere, and yet not linear.
        ("a*x + 1e-200*b**2", ("a",)),
        ("exp(-(x - 2796)**2*1e6)*(b + b**2)", ()),
        ("a + (a*b)**2*1e-30", ()),
        # An identity of functions alone makes it linear.
        ("a*x + sin(b)**2 + cos(b)**2", ("a",)),
    ],
)
def test_linear_parameters_without_values(text: str, expected: tuple[str, ...]) -> None:
    """Linearity does not depend on where a formula has values that can be told from zero, nor on how large they are."""
    candidates = tuple(n for n in names(text) if n != "x")
    assert linear_parameters(parse(text), candidates) == expected


def test_linear_parameters_of_tiny_products() -> None:
    """A second derivative that is tiny everywhere, as of a product of many ratios, is not taken for zero."""
    expr = parse("/".join(f"(a{k}*x + b{k})" for k in range(15)))
    assert linear_parameters(expr, [f"{name}{k}" for k in range(15) for name in "ab"]) == ("a0", "b0")
