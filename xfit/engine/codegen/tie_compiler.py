"""Ties from formulas to instructions of the stack machine, values and exact derivatives
both, each formula by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from xfit.engine.evaluation.tie_machine import CODE, STACK, Ties
from xfit.formulas import calculus, parser
from xfit.formulas.ordering import in_order

if TYPE_CHECKING:
    import sympy

_FUNCTIONS = {"Abs": "abs"}
_RELATIONS = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne"}


class _Tape:
    """Instructions in the order in which the stack machine runs them."""

    def __init__(self, position: Mapping[str, int]) -> None:
        self.position = position
        self.operation: list[int] = []
        self.load: list[int] = []
        self.constant: list[float] = []

    def __len__(self) -> int:
        return len(self.operation)

    def emit(self, name: str, load: int = 0, constant: float = 0.0) -> None:
        """Append one instruction."""
        self.operation.append(CODE[name])
        self.load.append(load)
        self.constant.append(constant)

    def add(self, expr: sympy.Basic) -> int:
        """Append the instructions of an expression; return how deep its operands pile up."""
        if expr.is_Symbol:
            self.emit("load", load=self.position[str(expr)])
            return 1
        if getattr(expr, "is_number", False):
            self.emit("const", constant=float(expr))
            return 1
        name = type(expr).__name__
        if name == "Piecewise":
            return self._select(expr.args)
        if getattr(expr, "is_Relational", False):
            return self._operands(expr.args, _RELATIONS[expr.rel_op])
        if name in ("Add", "Mul", "Min", "Max", "Pow", "atan2"):
            return self._operands(expr.args, name.lower())
        if name == "Heaviside":
            # Its second argument, the value at zero, is one half throughout.
            return self._operands(expr.args[:1], "heaviside")
        if name == "polygamma":
            return self._operands(expr.args[1:], ("digamma", "trigamma")[int(expr.args[0])])
        name = _FUNCTIONS.get(name, name)
        if name not in CODE:
            raise parser.FormulaError(f"a tie can't use {name}(); it can use {', '.join(CODE)}")
        return self._operands(expr.args, name)

    def _operands(self, args: Sequence[sympy.Basic], name: str) -> int:
        depth = self.add(args[0])
        if len(args) == 1:
            self.emit(name)
        for arg in args[1:]:
            depth = max(depth, 1 + self.add(arg))
            self.emit(name)
        return depth

    def _undefined(self) -> int:
        self.emit("const", constant=math.nan)
        return 1

    def _select(self, branches: Sequence[sympy.Basic]) -> int:
        value, condition = branches[0].args
        if str(condition) == "True":
            return self.add(value)
        depth = max(self.add(condition), 1 + self.add(value))
        depth = max(depth, 2 + (self._select(branches[1:]) if len(branches) > 1 else self._undefined()))
        self.emit("select")
        return depth


def compile_ties(formulas: Mapping[str, str], parameters: Sequence[str]) -> Ties:
    """Compile ties to instructions.

    Parameters
    ----------
    formulas : mapping of str to str
        Full name of each tied parameter and its formula, in which others of them may be named.
    parameters : sequence of str
        Full names of all parameters in the engine's order.

    Returns
    -------
    Ties
        Arrays for `xfit.engine.evaluation.tie_machine`.

    Raises
    ------
    FormulaError
        For a function without derivative or a formula that is nested too deeply.
    ValueError
        For formulas in a circle.
    """
    position = {name: k for k, name in enumerate(parameters)}
    tape = _Tape(position)
    expressions = {name: parser.parse(text) for name, text in formulas.items()}
    followed = {
        name: sorted(map(str, expr.free_symbols), key=position.__getitem__) for name, expr in expressions.items()
    }
    order = [name for name in in_order(followed, lambda name: followed.get(name, ())) if name in followed]
    span, row, column = [0], [], []
    for name in order:
        _append(tape, expressions[name], name)
        span.append(len(tape))
    derivative_span = [len(tape)]
    for index, name in reversed(list(enumerate(order))):
        for source in followed[name]:
            _append(tape, calculus.derivative(expressions[name], source), name)
            row.append(index)
            column.append(position[source])
            derivative_span.append(len(tape))
    tied = [position[name] for name in order]
    return Ties(
        np.array(tied, np.int64),
        np.array(span, np.int64),
        np.array(row, np.int64),
        np.array(column, np.int64),
        np.array(derivative_span, np.int64),
        np.array(tape.operation, np.int64),
        np.array(tape.load, np.int64),
        np.array(tape.constant, np.float64),
    )


def _append(tape: _Tape, expr: sympy.Basic, name: str) -> None:
    from xfit.formulas.special_functions import written_out

    depth = tape.add(written_out(expr))
    if depth > STACK:
        raise parser.FormulaError(
            f"the tie of {name} is nested too deeply ({depth} operands at once, {STACK} are possible)"
        )
