"""Functions of sympy that HyperSpy's formulas may call and xfit's may not, written in xfit's words."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable

from xfit.formulas.parser import FormulaError


def respelt(text: str) -> str:
    """Write ``Piecewise``, logarithms to a base, and others of sympy's functions as xfit's parser has them.

    Parameters
    ----------
    text : str
        One expression, without substitutions.

    Returns
    -------
    str
        The same formula; the text itself where nothing in it needs that, or where it is none.

    Raises
    ------
    FormulaError
        For a ``Piecewise`` that says nothing about some values, and conditions that are no comparisons.

    Examples
    --------
    >>> respelt("Piecewise((a, x < 5), (b, True))")
    'where(x < 5, a, b)'
    >>> respelt("k*log(x, 10)")
    'k * (log(x) / log(10))'
    """
    if not re.search(rf"\b({'|'.join(_CALLS)})\s*\(", text):
        return text
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError:
        return text  # the parser says what is wrong with it
    new = _Respelling(text).visit(tree)
    return text if ast.dump(new) == ast.dump(ast.parse(text.strip(), mode="eval")) else ast.unparse(new)


class _Respelling(ast.NodeTransformer):
    """Replaces calls, the inner ones first."""

    def __init__(self, text: str) -> None:
        self.text = text

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Replace a call, if it is one of these."""
        self.generic_visit(node)
        make = _CALLS.get(node.func.id) if isinstance(node.func, ast.Name) else None
        return node if make is None or node.keywords else make(self.text, node)


def _piecewise(text: str, node: ast.Call) -> ast.AST:
    """``where`` in ``where``, the last pair innermost."""
    pairs = [each.elts for each in node.args if isinstance(each, ast.Tuple) and len(each.elts) == 2]
    if len(pairs) != len(node.args) or not pairs:
        raise FormulaError(f"formula {text!r}: Piecewise must have pairs (value, condition)")
    *first, (found, last) = pairs
    if not (isinstance(last, ast.Constant) and last.value is True):
        raise FormulaError(f"formula {text!r}: Piecewise has no value where no condition holds; end it with (0, True)")
    for value, condition in reversed(first):
        found = _chosen(text, condition, value, found)
    return found


def _chosen(text: str, condition: ast.expr, value: ast.expr, other: ast.expr) -> ast.expr:
    """One value where a condition holds, the other elsewhere; xfit's ``where`` takes one comparison."""
    name, parts = "", list[ast.expr]()
    if isinstance(condition, ast.BinOp) and isinstance(condition.op, ast.BitAnd | ast.BitOr):
        name, parts = type(condition.op).__name__[3:], [condition.left, condition.right]
    elif isinstance(condition, ast.Call) and isinstance(condition.func, ast.Name):
        name, parts = condition.func.id, condition.args
    if name == "And" and parts:
        for part in reversed(parts):
            value = _chosen(text, part, value, other)
        return value
    if name == "Or" and parts:
        for part in reversed(parts):
            other = _chosen(text, part, value, other)
        return other
    if not isinstance(condition, ast.Compare) or len(condition.ops) != 1:
        raise FormulaError(
            f"formula {text!r}: the condition {ast.unparse(condition)!r} must be a comparison such as x < 5, or "
            "several with & and |"
        )
    return _call("where", condition, value, other)


def _logarithm(text: str, node: ast.Call) -> ast.AST:
    if len(node.args) != 2:
        return node
    return ast.BinOp(_call("log", node.args[0]), ast.Div(), _call("log", node.args[1]))


def _rational(text: str, node: ast.Call) -> ast.AST:
    return ast.BinOp(node.args[0], ast.Div(), node.args[1]) if len(node.args) == 2 else node


def _bessel(text: str, node: ast.Call) -> ast.AST:
    order = node.args[0].value if len(node.args) == 2 and isinstance(node.args[0], ast.Constant) else None
    return _call(f"besselj{order}", node.args[1]) if order in (0, 1) else node


def _reciprocal(name: str) -> Callable[[str, ast.Call], ast.AST]:
    def made(text: str, node: ast.Call) -> ast.AST:
        return ast.BinOp(ast.Constant(1), ast.Div(), _call(name, *node.args))

    return made


def _call(name: str, *given: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), list(given), [])


_CALLS: dict[str, Callable[[str, ast.Call], ast.AST]] = {
    "Piecewise": _piecewise,
    "log": _logarithm,
    "Rational": _rational,
    "besselj": _bessel,
    "sec": _reciprocal("cos"),
    "csc": _reciprocal("sin"),
    "cot": _reciprocal("tan"),
    "sech": _reciprocal("cosh"),
    "csch": _reciprocal("sinh"),
    "coth": _reciprocal("tanh"),
}
