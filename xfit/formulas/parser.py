"""Formulas: text to sympy by a whitelist walk over Python's syntax tree (never eval), and back."""

from __future__ import annotations

import ast
import difflib
import math
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from xfit.formulas.syntax import (
    ALIASES,
    CONSTANTS,
    FUNCTIONS,
    MAX_CALLS,
    MAX_EXPONENT,
    MAX_EXTREMA,
    MAX_FACTORED,
    MAX_INTEGER,
    MAX_NODES,
    MAX_SIMPLIFIED,
    WAY_OUT,
    FormulaError,
    dotted,
    refuse,
    statements,
)

if TYPE_CHECKING:
    import sympy

__all__ = ["ALIASES", "CONSTANTS", "FUNCTIONS", "FormulaError", "names", "parse", "substitute", "symbol", "to_text"]

#: Functions that overflow, or take sympy long, for large constants.
_STEEP = {
    "exp",
    "sinh",
    "cosh",
    "tanh",
    "erf",
    "erfc",
    "gamma",
    "loggamma",
    "digamma",
    "trigamma",
    "erfcx",
    "erfcx_prime",
}
_STEEP |= {"besselj0", "besselj1", "jinc", "jinc_prime", "wofz_real", "wofz_imag", "wofz_prime_real", "wofz_prime_imag"}
_STEEP |= {"wofz_second_real", "wofz_second_imag", "voigt"}

_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "StrictLessThan",
    ast.LtE: "LessThan",
    ast.Gt: "StrictGreaterThan",
    ast.GtE: "GreaterThan",
    ast.Eq: "Equality",
    ast.NotEq: "Unequality",
}


def symbol(name: str) -> sympy.Symbol:
    """Return the symbol of a name; equal names give equal symbols.

    Parameters
    ----------
    name : str
        Of a coordinate, a parameter, or a parameter of a component ("Fe.A").
    """
    import sympy

    return sympy.Symbol(name, real=True)


class _Builder:
    """Builds the expression of one text; only what is named here can come out."""

    def __init__(
        self,
        text: str,
        definitions: Mapping[str, ast.expr],
        quoted: Mapping[str, str],
        parameters: Collection[str],
        evaluate: bool,
    ) -> None:
        self.text = text
        self.definitions = definitions
        self.quoted = quoted
        self.parameters = parameters
        self.evaluate = evaluate
        self.open: list[str] = []
        self.done: dict[str, sympy.Expr] = {}
        self.sizes: dict[str, int] = {}
        self.heights: dict[str, int] = {}
        self.height = 0
        self.parts = 0
        self.extrema = 0

    def build(self, node: ast.AST) -> sympy.Expr:
        """Build the expression of a node."""
        handlers: dict[type[ast.AST], Callable[[Any], sympy.Expr]] = {
            ast.Constant: self._constant,
            ast.Name: self._name,
            ast.Attribute: self._attribute,
            ast.UnaryOp: self._unary,
            ast.BinOp: self._binary,
            ast.Call: self._call,
        }
        handler = handlers.get(type(node))
        if handler is None:
            raise refuse(
                self.text, f"{type(node).__name__} is not allowed; use numbers, names, + - * / ** and functions"
            )
        self._count(1)
        beside, self.height = self.height, 0
        expr = handler(node)
        self.height = max(beside, self.height)
        _check_coefficient(self.text, expr)
        return expr

    def _count(self, parts: int) -> None:
        """Count parts as if every definition were written out wherever it is used."""
        self.parts += parts
        if self.parts > MAX_NODES:
            raise refuse(self.text, f"more than {MAX_NODES} parts when its definitions are written out; {WAY_OUT}")

    def _nest(self) -> None:
        """Count a call around what was built last: sympy's time doubles with each of some functions."""
        self.height += 1
        if self.height > MAX_CALLS:
            raise refuse(self.text, f"more than {MAX_CALLS} functions or powers within one another; {WAY_OUT}")

    def _constant(self, node: ast.Constant) -> sympy.Expr:
        import sympy

        value = node.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise refuse(self.text, f"{value!r} is not a real number")
        if isinstance(value, int):
            if abs(value) > MAX_INTEGER:
                raise refuse(self.text, f"integers beyond {MAX_INTEGER:.0e} are not allowed; write a float")
            return sympy.Integer(value)
        if not math.isfinite(value):
            raise refuse(self.text, "a number overflows")
        return sympy.Float(value, 17)

    def _name(self, node: ast.Name) -> sympy.Expr:
        import sympy

        name = node.id
        if name in CONSTANTS and name not in self.parameters:
            return {"pi": sympy.pi, "E": sympy.E}[name]
        if name in self.definitions:
            return self._defined(name)
        _check_name(self.text, name)
        if name in self.quoted:
            raise refuse(self.text, f"`{self.quoted[name]}` names a component; a parameter of it is needed")
        return symbol(name)

    def _defined(self, name: str) -> sympy.Expr:
        if name in self.open:
            raise refuse(self.text, f"the definitions {' -> '.join([*self.open, name])} go in a circle")
        if name in self.done:
            self._count(self.sizes[name])
            self.height = max(self.height, self.heights[name])
        else:
            before = self.parts
            self.open.append(name)
            self.done[name] = self.build(self.definitions[name])
            self.open.pop()
            self.sizes[name] = self.parts - before
            self.heights[name] = self.height
        return self.done[name]

    def _attribute(self, node: ast.Attribute) -> sympy.Expr:
        return symbol(dotted(self.text, node, self.quoted))

    def _unary(self, node: ast.UnaryOp) -> sympy.Expr:
        import sympy

        if isinstance(node.op, ast.USub):
            return self._made(sympy.Mul, sympy.Integer(-1), self.build(node.operand))
        if isinstance(node.op, ast.UAdd):
            return self.build(node.operand)
        raise refuse(self.text, f"the operator {type(node.op).__name__} is not allowed")

    def _binary(self, node: ast.BinOp) -> sympy.Expr:
        import sympy

        left, right = self.build(node.left), self.build(node.right)
        if isinstance(node.op, ast.Add):
            return self._made(sympy.Add, left, right)
        if isinstance(node.op, ast.Sub):
            return self._made(sympy.Add, left, self._made(sympy.Mul, sympy.Integer(-1), right))
        if isinstance(node.op, ast.Mult):
            return self._made(sympy.Mul, left, right)
        if isinstance(node.op, ast.Div):
            if right.is_number and right.is_zero:
                raise refuse(self.text, "division by zero")
            return self._made(sympy.Mul, left, self._made(sympy.Pow, right, sympy.Integer(-1)))
        if isinstance(node.op, ast.Pow):
            return self._power(left, right)
        raise refuse(self.text, f"the operator {type(node.op).__name__} is not allowed; use + - * / **")

    def _made(self, kind: Any, *args: sympy.Expr) -> sympy.Expr:
        """Make a sum, product or power; of long formulas as it is written, but for numbers:
        sympy asks much of each part.
        """
        if self.evaluate or all(arg.is_Number for arg in args):
            return kind(*args)
        if kind.is_Pow:
            return args[0] if args[1] == 1 else kind(*args, evaluate=False)
        parts = [part for arg in args for part in (arg.args if isinstance(arg, kind) else (arg,))]
        number = kind(*(part for part in parts if part.is_Number))
        others = [part for part in parts if not part.is_Number]
        if number == 0 and kind.is_Mul:
            return number
        together = [*([] if number == kind.identity else [number]), *others]
        return together[0] if len(together) == 1 else kind(*together, evaluate=False)

    def _power(self, base: sympy.Expr, exponent: sympy.Expr) -> sympy.Expr:
        import sympy

        if not exponent.is_Integer:
            self._nest()
        if exponent.is_number:
            value = _real(self.text, exponent)
            if abs(value) > MAX_EXPONENT:
                raise refuse(self.text, f"the exponent {value:g} is beyond {MAX_EXPONENT}")
            factor = base if base.is_number else base.as_coeff_Mul()[0]
            if factor != 1:
                _bounded_number(self.text, factor, value)
            if base.is_Rational and not exponent.is_Integer and max(abs(base.p), base.q) > MAX_FACTORED:
                base = sympy.Float(base, 17)
        return self._made(sympy.Pow, base, exponent)

    def _call(self, node: ast.Call) -> sympy.Expr:
        if not isinstance(node.func, ast.Name):
            raise refuse(self.text, "only functions can be called, by their plain name")
        name = ALIASES.get(node.func.id, node.func.id)
        if name not in FUNCTIONS:
            close = difflib.get_close_matches(name, [*FUNCTIONS, *ALIASES], 1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise refuse(self.text, f"unknown function {node.func.id!r}; {hint}known: {', '.join(FUNCTIONS)}")
        if node.keywords or any(isinstance(arg, ast.Starred) for arg in node.args):
            raise refuse(self.text, f"{name}() takes plain arguments only")
        if len(node.args) != FUNCTIONS[name]:
            raise refuse(self.text, f"{name}() takes {FUNCTIONS[name]} argument(s), not {len(node.args)}")
        if name == "where":
            return self._where(node)
        args = [self.build(arg) for arg in node.args]
        self._nest()
        if name in ("minimum", "maximum"):
            self.extrema += 1
            if self.extrema > MAX_EXTREMA:
                raise refuse(self.text, f"more than {MAX_EXTREMA} calls of minimum() and maximum(); {WAY_OUT}")
        if name in _STEEP and all(arg.is_number for arg in args):
            for arg in args:
                if abs(_real(self.text, arg)) > 700:
                    raise refuse(self.text, f"{name}() of a constant beyond 700")
        expr = _apply(name, args, self.evaluate or all(arg.is_number for arg in args))
        if expr.is_number:
            _real(self.text, expr)
        return expr

    def _where(self, node: ast.Call) -> sympy.Expr:
        import sympy

        condition = node.args[0]
        if not isinstance(condition, ast.Compare) or len(condition.ops) != 1:
            raise refuse(self.text, "where() needs one comparison first, as in where(x > a, b, c)")
        relation = _COMPARISONS.get(type(condition.ops[0]))
        if relation is None:
            raise refuse(self.text, "where() compares with < <= > >= == or !=")
        left, right = self.build(condition.left), self.build(condition.comparators[0])
        evaluate = self.evaluate or (left.is_Number and right.is_Number)
        test = getattr(sympy, relation)(left, right, evaluate=evaluate)
        if test.has(sympy.Piecewise):
            raise refuse(self.text, "the comparison in where() must not contain another where()")
        one, other = self.build(node.args[1]), self.build(node.args[2])
        if test in (sympy.true, sympy.false):
            return one if test == sympy.true else other
        return sympy.Piecewise((one, test), (other, sympy.true), evaluate=self.evaluate)


def _apply(name: str, args: list[sympy.Expr], evaluate: bool) -> sympy.Expr:
    """Apply a whitelisted function."""
    import sympy

    if name in ("log10", "log2"):
        factor = 1 / sympy.log(10 if name == "log10" else 2)
        return sympy.Mul(factor, sympy.log(args[0], evaluate=evaluate), evaluate=evaluate)
    if name == "cbrt":
        size = sympy.Pow(sympy.Abs(args[0], evaluate=evaluate), sympy.Rational(1, 3), evaluate=evaluate)
        return sympy.Mul(sympy.sign(args[0], evaluate=evaluate), size, evaluate=evaluate)
    if name == "sqrt":
        return sympy.Pow(args[0], sympy.S.Half, evaluate=evaluate)
    if name == "heaviside":
        return sympy.Heaviside(args[0], sympy.S.Half, evaluate=evaluate)
    if name in ("digamma", "trigamma"):
        return sympy.polygamma(("digamma", "trigamma").index(name), args[0], evaluate=evaluate)
    from xfit.formulas.special_functions import FUNCTIONS as OURS

    if name in OURS:
        return OURS[name](*args, evaluate=evaluate)
    known = {"abs": "Abs", "minimum": "Min", "maximum": "Max"}
    return getattr(sympy, known.get(name, name))(*args, evaluate=evaluate)


def _in_whitelist(text: str, expr: sympy.Expr) -> sympy.Expr:
    """Undo simplifications of sympy that lead to functions outside the whitelist; all values are real here."""
    import sympy

    if expr.has(sympy.re, sympy.im, sympy.conjugate, sympy.cot):
        expr = expr.replace(sympy.re, lambda arg: arg).replace(sympy.im, lambda arg: sympy.Integer(0))
        expr = expr.replace(sympy.conjugate, lambda arg: arg).replace(sympy.cot, lambda arg: 1 / sympy.tan(arg))
    expr = expr.xreplace({sympy.EulerGamma: sympy.Float(float(sympy.EulerGamma), 17)})
    known = {*FUNCTIONS, *ALIASES, "Piecewise", "polygamma"}
    for function in expr.atoms(sympy.Function):
        if type(function).__name__ not in known:
            raise refuse(text, f"it contains {function}, which can't be computed")
    return expr


def _check_readable(text: str, expr: sympy.Expr) -> None:
    """Refuse what grew, from allowed parts, beyond what may be written: its print could not be read again."""
    import sympy

    for power in expr.atoms(sympy.Pow):
        if power.exp.is_number and abs(_real(text, power.exp)) > MAX_EXPONENT:
            raise refuse(text, f"the exponent {power.exp} is beyond {MAX_EXPONENT}")
    for call in expr.atoms(sympy.exp):
        if call.args[0].is_number and abs(_real(text, call.args[0])) > 700:
            raise refuse(text, "exp() of a constant beyond 700")


def _real(text: str, expr: sympy.Expr) -> float:
    try:
        value = float(expr.evalf(17))
    except (TypeError, OverflowError, ValueError):
        raise refuse(text, f"{expr} is not a real number") from None
    if not math.isfinite(value):
        raise refuse(text, f"{expr} is not finite")
    return value


def _bounded_number(text: str, base: sympy.Expr, exponent: float) -> None:
    value = _real(text, base)
    if value != 0 and abs(exponent * math.log(abs(value))) > 700:
        raise refuse(text, "a power of numbers overflows")
    if value == 0 and exponent < 0:
        raise refuse(text, "division by zero")


def _check_coefficient(text: str, expr: sympy.Expr) -> None:
    """Refuse an expression whose leading number a float can't hold."""
    coefficient = expr.as_coeff_Mul()[0]
    if coefficient.is_zero:
        return
    try:
        value = float(coefficient)
    except OverflowError:
        value = math.inf
    if value == 0 or not math.isfinite(value):
        raise refuse(text, "a number overflows or underflows")


def _check_name(text: str, name: str) -> None:
    if name.startswith("__"):
        raise refuse(text, f"names must not begin with two underscores: {name!r}")


def _parts_written_out(tree: ast.expr, definitions: Mapping[str, ast.expr], known: dict[str, int]) -> int:
    """Parts of a formula with its definitions written out; of those that go in a circle, any number."""
    parts = 0
    for node in ast.walk(tree):
        parts += isinstance(node, ast.Constant | ast.Name | ast.BinOp | ast.UnaryOp | ast.Call | ast.Attribute)
        if isinstance(node, ast.Name) and node.id in definitions:
            if node.id not in known:
                known[node.id] = 0
                known[node.id] = _parts_written_out(definitions[node.id], definitions, known)
            parts += known[node.id]
    return parts


@lru_cache(maxsize=1024)
def parse(text: str, parameters: tuple[str, ...] = ()) -> sympy.Expr:
    """Parse a formula.

    Parameters
    ----------
    text : str
        Numbers, names, ``+ - * / **``, parentheses, the functions in `FUNCTIONS`, ``pi`` and ``E``;
        ``Fe.A`` is the parameter A of the component Fe, with backticks around names that are no identifiers. After
        ``;`` follow definitions: ``"a*z; z = exp(-x/tau)"``.
    parameters : tuple of str
        Which of the names in `CONSTANTS` are parameters in this formula.

    Returns
    -------
    sympy.Expr
        Simplified as sympy does by itself; long formulas are as they are written.

    Raises
    ------
    FormulaError
        For anything else.
    """
    tree, definitions, quoted = statements(text)
    evaluate = _parts_written_out(tree, definitions, {}) <= MAX_SIMPLIFIED
    builder = _Builder(text, definitions, quoted, parameters, evaluate)
    try:
        expr = builder.build(tree)
        unused = [name for name in definitions if name not in builder.done]
        expr = _in_whitelist(text, expr)
        _check_readable(text, expr)
    except FormulaError:
        raise
    except RecursionError:
        raise refuse(text, "nested too deeply") from None
    except (TypeError, ValueError, ArithmeticError, NotImplementedError, AttributeError) as error:
        # Comparing what is not real, for instance.
        raise refuse(text, f"{error}") from None
    if unused:
        raise refuse(text, f"{', '.join(unused)} defined but not used")
    import sympy

    if expr.has(sympy.zoo, sympy.nan, sympy.oo, -sympy.oo, sympy.I):
        raise refuse(text, "it is not a finite real number")
    return expr


@lru_cache(maxsize=1024)
def names(text: str, parameters: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the names that a formula uses, sorted, functions, constants and definitions left out.

    Parameters
    ----------
    text, parameters : str, tuple of str
        As for `parse`.
    """
    tree, definitions, quoted = statements(text)
    found: set[str] = set()
    for expression in (tree, *definitions.values()):
        called = {id(node.func) for node in ast.walk(expression) if isinstance(node, ast.Call)}
        attributes = [node for node in ast.walk(expression) if isinstance(node, ast.Attribute)]
        bases = {id(node.value) for node in attributes}
        found |= {dotted(text, node, quoted) for node in attributes}
        for node in ast.walk(expression):
            if isinstance(node, ast.Name) and id(node) not in called | bases:
                found.add(node.id)
    return tuple(sorted(found - set(definitions) - (set(CONSTANTS) - set(parameters))))


# --- sympy to text ------------------------------------------------------------------------------------------------


def to_text(expr: sympy.Expr) -> str:
    """Print an expression as text that `parse` reads back, where it is told of parameters
    that are called as constants are.
    """
    import sympy

    from xfit.formulas.printer import FormulaPrinter

    if symbol("pi") in expr.free_symbols:
        expr = expr.xreplace({sympy.pi: sympy.Float(math.pi, 17)})
    return str(FormulaPrinter().doprint(expr))


def substitute(text: str, replacements: Mapping[str, str], parameters: tuple[str, ...] = ()) -> str:
    """Rename names in a formula, leaving everything else as it is written.

    Parameters
    ----------
    text, parameters : str, tuple of str
        As for `parse`.
    replacements : mapping of str to str
        Old and new names; dotted ones for parameters of components.
    """
    expr = parse(text, parameters)
    present = {str(s): s for s in expr.free_symbols}
    mapping = {present[old]: symbol(new) for old, new in replacements.items() if old in present}
    return to_text(expr.xreplace(mapping)) if mapping else text
