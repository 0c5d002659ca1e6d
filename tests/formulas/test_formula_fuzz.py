"""Random formulas of the whole grammar: each is read, differentiated and printed in a bounded time, with
the right numbers, or refused.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import mpmath
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from xfit.engine.codegen.kernel_source import kernel_source
from xfit.formulas import calculus, parser
from xfit.formulas.gradient import gradient
from xfit.formulas.graph import Graph, graph_of, written_out
from xfit.formulas.graph_printer import straight_line_of_graph
from xfit.formulas.kernel_spec import FormulaKernel
from xfit.formulas.parser import FormulaError
from xfit.formulas.straight_line import StraightLine, straight_line

_SETTINGS = partial(
    settings,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)

# --- an evaluation of its own ---------------------------------------------------------------------------------------

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.Pow: lambda a, b: a**b,
}


def _faddeeva(x: Any, y: Any) -> list[Any]:
    """w(z), w'(z), w''(z) by their definition and w' = 2 i / sqrt(pi) - 2 z w (NIST Handbook 2010, 7.10)."""
    z = mpmath.mpc(x, y)
    w = mpmath.exp(-z * z) * mpmath.erfc(-1j * z)
    first = 2j / mpmath.sqrt(mpmath.pi) - 2 * z * w
    return [w, first, -2 * w - 2 * z * first]


def _voigt(x: Any, sigma: Any, gamma: Any) -> Any:
    scale = sigma * mpmath.sqrt(2)
    return _faddeeva(x / scale, gamma / scale)[0].real / (scale * mpmath.sqrt(mpmath.pi))


def _jinc(x: Any) -> Any:
    return 2 * mpmath.besselj(1, x) / x if x else mpmath.mpf(1)


def _jinc_prime(x: Any) -> Any:
    return -2 * mpmath.besselj(2, x) / x if x else mpmath.mpf(0)


def _erfcx(x: Any) -> Any:
    return mpmath.exp(x * x) * mpmath.erfc(x)


def _cbrt(x: Any) -> Any:
    return mpmath.sign(x) * mpmath.cbrt(abs(x))


_VALUES: dict[str, Callable[..., Any]] = {
    **{name: getattr(mpmath, name) for name in ("exp", "log", "sqrt", "sin", "cos", "tan", "asin", "acos", "atan")},
    **{name: getattr(mpmath, name) for name in ("sinh", "cosh", "tanh", "erf", "erfc", "gamma", "loggamma", "digamma")},
    "log10": lambda x: mpmath.log(x, 10),
    "log2": lambda x: mpmath.log(x, 2),
    "cbrt": _cbrt,
    "abs": abs,
    "sign": mpmath.sign,
    "heaviside": lambda x: (mpmath.sign(x) + 1) / 2,
    "atan2": mpmath.atan2,
    "minimum": min,
    "maximum": max,
    "trigamma": lambda x: mpmath.psi(1, x),
    "erfcx": _erfcx,
    "erfcx_prime": lambda x: 2 * x * _erfcx(x) - 2 / mpmath.sqrt(mpmath.pi),
    "besselj0": lambda x: mpmath.besselj(0, x),
    "besselj1": lambda x: mpmath.besselj(1, x),
    "jinc": _jinc,
    "jinc_prime": _jinc_prime,
    "voigt": _voigt,
    **{
        f"wofz_{order}{part}": lambda x, y, k=k, part=part: getattr(_faddeeva(x, y)[k], part)
        for k, order in enumerate(("", "prime_", "second_"))
        for part in ("real", "imag")
    },
}


class _NoValueError(ArithmeticError):
    """There is no real value, or one that doubles could not hold."""


def _evaluated(text: str, values: Mapping[str, Any]) -> Any:
    """Value of a formula by a walk over Python's syntax tree with mpmath, which shares nothing with xfit's reader."""
    head, *rest = text.split(";")
    definitions = {
        name.strip(): ast.parse(value.strip(), mode="eval").body for name, _, value in (r.partition("=") for r in rest)
    }
    constants = {"pi": mpmath.pi + 0, "E": mpmath.e + 0}

    def at(node: Any) -> Any:
        value = _of(node)
        if (
            not isinstance(value, bool)
            and (isinstance(value, mpmath.mpc) or not 1e-250 < abs(value) < 1e250)
            and value != 0
        ):
            raise _NoValueError
        return value

    def _of(node: Any) -> Any:
        if isinstance(node, ast.Constant):
            return mpmath.mpf(node.value)
        if isinstance(node, ast.Name):
            return at(definitions[node.id]) if node.id in definitions else {**constants, **values}[node.id]
        if isinstance(node, ast.UnaryOp):
            return -at(node.operand)
        if isinstance(node, ast.BinOp):
            return _ARITHMETIC[type(node.op)](at(node.left), at(node.right))
        if node.func.id == "where":
            test = node.args[0]
            holds = _COMPARE[type(test.ops[0])](at(test.left), at(test.comparators[0]))
            return at(node.args[1 if holds else 2])
        return _VALUES[node.func.id](*map(at, node.args))

    return at(ast.parse(head.strip(), mode="eval").body)


# --- what xfit makes of it --------------------------------------------------------------------------------------------

_CODE: dict[str, Any] = {
    **_VALUES,
    "lgamma": mpmath.loggamma,
    "select": lambda condition, one, other: one if condition else other,
    "square": lambda x: x * x,
    "power": lambda x, y: mpmath.mpf(x) ** y,
    "log_of_size": lambda x: mpmath.log(abs(x)) if x else mpmath.mpf("-1e300"),
    "parity": lambda n: mpmath.nan if n != mpmath.floor(n) else 1 - 2 * (int(n) % 2),
    "wofz": lambda x, y: [part for w in _faddeeva(x, y) for part in (w.real, w.imag)],
    "math": mpmath,
}


def _run(lines: StraightLine, coordinates: Mapping[str, Any], parameters: Mapping[str, Any]) -> list[Any]:
    """Value and derivatives that straight-line code gives, in mpmath's numbers."""
    scope = {f"x{k}": value for k, value in enumerate(coordinates.values())}
    scope |= {f"p{k}": value for k, value in enumerate(parameters.values())}
    for name, code in (*lines.invariant, *lines.common, *lines.varying):
        scope[name] = eval(code, _CODE, scope)
    return [eval(code, _CODE, scope) for code in lines.outputs]


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in parser.names(text) if name != "x")


def _point(names: tuple[str, ...], seed: int) -> dict[str, Any]:
    """Values of names that depend on them in no simple way."""
    return {
        name: mpmath.mpf(int(1e6 * ((0.37 + 0.6180339887 * (k + 1) * (seed + 1)) % 1.9 + 0.05))) / 10**6
        for k, name in enumerate(names)
    }


def _derivative(text: str, point: Mapping[str, Any], name: str) -> Any:
    """Central difference: with 60 digits and a step of 1e-18 its error is of the order of 1e-36."""
    step = mpmath.mpf("1e-18")
    up, down = ({**point, name: point[name] + sign * step} for sign in (1, -1))
    return (_evaluated(text, up) - _evaluated(text, down)) / (2 * step)


def _compared(text: str, ways: list[StraightLine], names: tuple[str, ...]) -> int:
    """Compare value and derivatives where they are finite and real; the number of points at which that was so."""
    compared = 0
    for seed in range(3):
        with mpmath.workdps(60):
            point = _point((*names, "x"), seed)
            try:
                wanted = [_evaluated(text, point), *(_derivative(text, point, name) for name in names)]
                size = max(1, *(abs(value) for value in wanted))
                found = [_run(lines, {"x": point["x"]}, {name: point[name] for name in names}) for lines in ways]
            except (ArithmeticError, ValueError, TypeError, mpmath.libmp.NoConvergence):
                continue  # no real number, or beyond doubles, there
            if any(isinstance(value, mpmath.mpc) or not mpmath.isfinite(value) for value in wanted):
                continue
            compared += 1
            for got in found:
                # Constants are rounded to doubles, of which steep functions make more; wrong derivatives are wrong
                # altogether.
                for one, other in zip(got, wanted, strict=True):
                    assert abs(one - other) <= 1e-7 * size + 1e-7 * abs(other), (text, point, got, wanted)
    return compared


def _ways(text: str, names: tuple[str, ...]) -> list[StraightLine]:
    """Code by the formula's graph, and, of short formulas, by sympy."""
    expr = parser.parse(text)
    graph, output = graph_of(expr, ("x",))
    ways = [straight_line_of_graph(graph, output, ("x",), names, names[:1])]
    if graph.size[output] < 30:
        ways.append(straight_line(expr, ("x",), names, names[:1]))
    return ways


# --- formulas

_LEAVES = st.one_of(
    st.sampled_from(["x", "x", "a", "b", "c", "d", "pi", "E"]),
    st.integers(0, 12).map(str),
    st.sampled_from(["0.5", "2.25", "1e-3", "299792.458", "6562.8"]),
)
_UNARY = sorted(name for name, count in parser.FUNCTIONS.items() if count == 1)
_BINARY = sorted(name for name, count in parser.FUNCTIONS.items() if count == 2)
_COMPARISONS = ["<", "<=", ">", ">=", "==", "!="]


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, st.sampled_from("++--**/"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(inner, st.sampled_from([-2, -1, 2, 3, 4, 7, 64, 0.5, -0.5, 1.5])).map(
            lambda t: f"({t[0]})**({t[1]})"
        ),
        st.tuples(inner, inner).map(lambda t: f"({t[0]})**({t[1]})"),
        st.tuples(st.sampled_from(_UNARY), inner).map(lambda t: f"{t[0]}({t[1]})"),
        st.tuples(st.sampled_from(_UNARY), st.integers(2, 8), inner).map(
            lambda t: f"{t[0]}(" * t[1] + t[2] + ")" * t[1]
        ),
        st.tuples(st.sampled_from(_BINARY), inner, inner).map(lambda t: f"{t[0]}({t[1]}, {t[2]})"),
        st.tuples(inner, inner, inner).map(lambda t: f"voigt({t[0]}, {t[1]}, {t[2]})"),
        st.tuples(inner, st.sampled_from(_COMPARISONS), inner, inner, inner).map(
            lambda t: f"where({t[0]} {t[1]} {t[2]}, {t[3]}, {t[4]})"
        ),
        inner.map(lambda t: f"-{t}"),
        inner.map(lambda t: f"({t} + {t}*x)"),
    )


_FORMULAS = st.recursive(_LEAVES, _grown, max_leaves=12)


@st.composite
def _wide(draw: st.DrawFn) -> str:
    """Sums and products of many like terms, and chains of definitions."""
    term = draw(
        st.recursive(st.sampled_from(["x", "a@", "b@", "s", "2.5", "999999999999999989"]), _grown, max_leaves=5)
    )
    count = draw(st.integers(5, 60))
    kind = draw(st.sampled_from(["+", "-", "*", "/", "chain", "within"]))
    if kind == "chain":
        count = min(count, 9)
        steps = "; ".join(f"u{k} = {term.replace('@', str(k)).replace('x', f'u{k - 1}')}" for k in range(1, count))
        return f"a*u{count - 1}; {steps}; u0 = x + b"
    parts = [f"({term.replace('@', str(k))})" for k in range(count)]
    inside = (kind if kind != "within" else "+").join(parts)
    return f"{draw(st.sampled_from(_UNARY))}({inside})" if kind == "within" else inside


# --- tests


def _made(text: str) -> bool:
    """Read a formula, find its linear parameters, differentiate and print it; False where it is refused."""
    try:
        names = _names(text)
        expr = parser.parse(text)
        linear = calculus.linear_parameters(expr, names)
        source = kernel_source(FormulaKernel(text, ("x",), names))
    except FormulaError:
        return False
    assert set(linear) <= set(names)
    # As many lines as there are parts, some times: no derivative is written out.
    assert len(source) < 200_000 + 400 * len(text)
    return True


@given(st.one_of(_FORMULAS, _wide()))
@_SETTINGS(max_examples=200)
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_each_ends(text: str) -> None:
    """Any formula is read, differentiated and printed, or refused by name: it ends."""
    _made(text)


def _chain(step: str, count: int, start: str = "x + b") -> str:
    """Definitions that each name the one before; # stands for that and @ for a number."""
    steps = "; ".join(f"u{k} = {step.replace('#', f'u{k - 1}').replace('@', str(k))}" for k in range(1, count))
    return f"u{count - 1}; {steps}; u0 = {start}"


def _many(term: str, count: int, sign: str) -> str:
    return sign.join(term.replace("@", str(k)) for k in range(count))


_FAMILIES = {
    **{f"{name} within itself": f"{name}(" * 8 + "a*x + b" + ")" * 8 for name in _UNARY},
    **{f"{name} within itself": f"{name}(" * 8 + "a*x" + ", b)" * 8 for name in _BINARY},
    "voigt within itself": "voigt(" * 8 + "a*x" + ", b, c)" * 8,
    "sums of branches": "a*exp(-(x - c)**2); c = " + _many("c@*where(abs(x - @) < 0.5, 1, 0)", 20, " + "),
    "branches within branches": "a*" + "".join(f"where(x > {k}, {k}*b, " for k in range(20)) + "x" + ")" * 20,
    "products of branches": _many("where(x > a@, b@, c@*x)", 40, "*"),
    "products": _many("(x - a@)", 100, "*"),
    "products of functions": _many("sin(a@*x + b@)", 60, "*"),
    "quotients": _many("(a@*x + b@)", 60, "/"),
    "powers of sums": "((a + b + c + x)**8 - (a + b - c - x)**8)**8",
    "roots of products": "(" + _many("(a@ - x)", 60, "*") + ")**(1/3)",
    "sums within a function": "tanh(" + _many("v@*tanh(w@*x + b@)", 60, " + ") + ")",
    "lines": _many("a@*exp(-(x - c@)**2/(2*s@**2))", 60, " + "),
    "continued fraction": "1/(a + b*" * 50 + "x" + ")" * 50,
    "powers of powers": "a**(b**(c**(d**(f**(g**(h**x))))))",
    "large numbers": "a*x*" + _many("(10**17 + @)**(1/7)", 40, "*"),
    "roots of numbers": "a*x*(" + _many("sqrt(@ + 2)", 30, " + ") + ")**64",
    "comparisons of numbers": "where(" + _many("sin(@ + 1)", 60, " + ") + " > 0, a, b)*x",
    "squares of squares": _chain("#*(a@ + #)", 7),
    "branches of branches": _chain("where(x > a@, # + b@, #*c@)", 7),
    "functions of functions": _chain("exp(-#*a@) + #", 7),
}


@pytest.mark.parametrize("family", _FAMILIES)
def test_families_end(family: str) -> None:
    """What grows beyond all bounds when it is written out or simplified has derivatives of
    some times its own size, at once.
    """
    text = _FAMILIES[family]
    _made(text)
    try:
        graph, output = graph_of(parser.parse(text), ("x",))
        slopes = gradient(graph, output, _names(text))
    except FormulaError:
        return
    assert len(graph.below([output, *slopes])) < 12 * len(graph.below([output])) + 40


@given(_FORMULAS)
@_SETTINGS(max_examples=200)
def test_numbers(text: str) -> None:
    """Value and derivatives are those of an evaluation that shares nothing with xfit's."""
    try:
        names = _names(text)
        ways = _ways(text, names)
    except FormulaError:
        return
    _compared(text, ways, names)


@pytest.mark.parametrize(
    "text",
    [
        "a*voigt(x - c, s, g) + where(x > c, a*x**b, exp(-g*x))",
        "a*(1 + ((x - c)/s)**2)**(-b)*(x - d)/(x + d)**2",
        "a*abs(x - c)**b + maximum(a*x, c)*minimum(b, x) + sign(x - c)*s",
        "where(x > c, where(x > 2*c, sqrt(x - c)*a, b/x), where(x < 0, a, log(x + 2)*b))*d",
        "exp(-x/a)*erfcx((x - c)/s)*jinc(b*x) + gamma(a + x)*besselj1(c*x)/digamma(d + x)",
        "(a + x)/(b + x)/(c + x)*(d - x)*(s - x)**2/(g - x)**3",
        "tanh(p*h + q*g); h = tanh(a*g + b); g = tanh(c*x + d)",
        "wofz_real(x/a, b)*atan2(a*x, c) + wofz_imag(x, c*b)",
        "a**(b*x) + (a*x)**0.5 + (x**2*a)**b + x**-3*c",
    ],
)
def test_numbers_of_all_kinds(text: str) -> None:
    """Formulas that have a value and derivatives at the points of comparison, so that these are compared."""
    names = _names(text)
    assert _compared(text, _ways(text, names), names) > 0


@pytest.mark.parametrize("count", [5, 20])
def test_numbers_of_long_formulas(count: int) -> None:
    """The same of formulas with many terms and parameters."""
    text = (
        "*".join(f"(1 + a{k}/(x + b{k}))" for k in range(count))
        + "*s + "
        + "+".join(f"a{k}*exp(-(x - b{k})**2/(2*s**2))" for k in range(count))
    )
    names = _names(text)
    assert _compared(text, _ways(text, names), names) == 3


def test_a_derivative_written_out() -> None:
    """Derivatives of long expressions, as ties have them, are those of the graph, as an expression of sympy."""
    text = "*".join(f"(1 + a{k}/(x + b{k}))" for k in range(60))
    slope = calculus.derivative(parser.parse(text), "a7")
    with mpmath.workdps(60):
        point = _point((*_names(text), "x"), 1)
        found = slope.xreplace({parser.symbol(name): _float(value) for name, value in point.items()}).evalf(20)
        assert float(found) == pytest.approx(float(_derivative(text, point, "a7")), rel=1e-12)


def _float(value: Any) -> Any:
    import sympy

    return sympy.Float(str(value), 40)


@given(_FORMULAS)
@_SETTINGS(max_examples=150)
def test_what_is_linear(text: str) -> None:
    """Along any direction in the parameters that are said to be linear, second differences vanish."""
    try:
        names = _names(text)
        linear = calculus.linear_parameters(parser.parse(text), names)
    except FormulaError:
        return
    if not linear:
        return
    with mpmath.workdps(60):
        point = _point((*names, "x"), 2)
        step = {name: mpmath.mpf(k + 3) / 7 for k, name in enumerate(linear)}
        try:
            up, at, down = (
                _evaluated(text, {**point, **{n: point[n] + sign * step[n] for n in linear}}) for sign in (1, 0, -1)
            )
        except (ArithmeticError, ValueError, TypeError, mpmath.libmp.NoConvergence):
            return
        assert abs(up - 2 * at + down) <= mpmath.mpf("1e-40") * (abs(up) + abs(at) + abs(down)), (text, linear)


@given(_FORMULAS)
@_SETTINGS(max_examples=100)
def test_graphs_as_expressions(text: str) -> None:
    """What is read into a graph, written out and read again is the same node."""
    try:
        graph, node = graph_of(parser.parse(text), ("x",))
    except FormulaError:
        return
    expr = written_out(graph, node)
    assert Graph(("x",)).read(expr) is not None
    assert graph.size[graph.read(expr)] == graph.size[node]


_MEMORY = """
import resource, sys
from xfit.formulas import calculus, parser
from xfit.engine.codegen.kernel_source import kernel_source
from xfit.formulas.kernel_spec import FormulaKernel

def made(text):
    try:
        names = tuple(n for n in parser.names(text) if n != "x")
        calculus.linear_parameters(parser.parse(text), names)
        kernel_source(FormulaKernel(text, ("x",), names))
    except parser.FormulaError:
        pass

made("a*exp(-x)*gamma(x) + voigt(x, a, b) + where(x > a, b, x**a)")
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
worst = 0.0
for text in sys.stdin.read().split("\\n"):
    before = peak()
    made(text)
    worst = max(worst, peak() - before)
print(worst)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the resource module is of Unix")
def test_memory() -> None:
    """The largest formulas take no more than 100 MiB beyond what was in use."""
    texts = [
        "*".join(f"(x - a{k})" for k in range(200)),
        "+".join(f"a{k}*voigt(x - c{k}, s{k}, g{k})" for k in range(60)),
        "tanh(" + "+".join(f"v{i}*tanh(w{i}*x + b{i})" for i in range(60)) + ")",
        "cbrt(" * 8 + "a*x + b" + ")" * 8,
        "gamma(" * 8 + "a*x" + ")" * 8,
        "u6; "
        + "; ".join(f"u{k} = where(x > a{k}, u{k - 1} + b{k}, u{k - 1}*c{k})" for k in range(1, 7))
        + "; u0 = x + b",
        "((a + b + c + d + x)**64 - (a - b + c - d - x)**64)**64",
    ]
    run = subprocess.run(
        [sys.executable, "-c", _MEMORY], input="\n".join(texts), capture_output=True, text=True, check=True
    )
    assert float(run.stdout) < 100
