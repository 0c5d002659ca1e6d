"""A formula as a graph in which equal parts are one node: derivatives of any order of size linear
in it, in a time that is too.

Expressions of sympy are trees: written out, derivatives of products and of nested functions grow with the square of the
formula and worse, and sympy asks of every part what it could be. Here a node is made once, by its operation and its
operands, with nothing but arithmetic of numbers done at once; the derivatives of functions are those that sympy and
`xfit.formulas.special_functions` have.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from xfit.formulas.syntax import FormulaError, refuse

if TYPE_CHECKING:
    import sympy

#: Comparisons by sympy's names.
RELATIONS = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne"}

#: Constant on either side of where they change: their derivatives are zero.
STEPS = ("sign", "Heaviside")

#: Functions with a kink where an operand passes zero, or another operand.
KINKS = (*STEPS, "Abs", "Min", "Max")

#: Operations within one another that sympy, which calls itself for each of them, is given.
_DEEPEST_FOR_SYMPY = 40

#: Fractions with longer numbers are floats.
_LONGEST = 10**18


class Graph:
    """Nodes by their numbers; operands have smaller numbers than what is made of them.

    Parameters
    ----------
    coordinates : sequence of str
        Names that vary within a spectrum: what they do not enter is put together first.

    Attributes
    ----------
    operation : list of str
        Of each node: "number", "symbol", "add", "subtract", "multiply", "divide", "negate", "whole power", "power",
        "where", a comparison of `RELATIONS`, or a function by sympy's name.
    operands : list of tuple
        Numbers of nodes; of a number its value, of a symbol its name, of a whole power base and exponent.
    mask : list of int
        Bits of the symbols that enter a node.
    size : list of int
        Parts of a node when it is written out.
    depth : list of int
        Operations within one another.
    sign : list of int
        2 for what is positive, 1 for what is not negative, 0 for what may be either.
    bit : dict
        Bit of each symbol, by its name.
    coordinates : int
        Bits of the coordinates.
    given_partials : dict
        Of nodes whose derivatives are not those of what they are made of: what they are functions of, each with the
        derivative.
    """

    def __init__(self, coordinates: Sequence[str] = ()) -> None:
        self.operation: list[str] = []
        self.operands: list[tuple[Any, ...]] = []
        self.mask: list[int] = []
        self.size: list[int] = []
        self.depth: list[int] = []
        self.sign: list[int] = []
        self.bit: dict[str, int] = {}
        self._known: dict[tuple[Any, ...], int] = {}
        self.given_partials: dict[int, list[tuple[int, int]]] = {}
        self._read: dict[Any, int] = {}
        self.coordinates = sum(self._bit_of(name) for name in coordinates)

    # --- making nodes

    def _bit_of(self, name: str) -> int:
        return self.bit.setdefault(name, 1 << len(self.bit))

    def node(self, operation: str, *operands: Any) -> int:
        """Return the node of an operation, made if there is none."""
        key = (operation, *map(_exactly, operands)) if operation == "number" else (operation, *operands)
        if key in self._known:
            return self._known[key]
        self._known[key] = number = len(self.operation)
        self.operation.append(operation)
        self.operands.append(operands)
        parts = self.parts(number)
        bit = self._bit_of(operands[0]) if operation == "symbol" else 0
        mask = 0
        for part in parts:
            mask |= self.mask[part]
        self.mask.append(mask | bit)
        self.size.append(1 + sum(self.size[part] for part in parts))
        self.depth.append(1 + max((self.depth[part] for part in parts), default=0))
        self.sign.append(self._sign(operation, operands))
        return number

    def _sign(self, operation: str, operands: tuple[Any, ...]) -> int:
        """2 for what is positive, 1 for what is not negative, 0 for what may be either."""
        if operation == "number":
            return 2 if operands[0] > 0 else int(operands[0] == 0)
        if operation in ("exp", "cosh", "erfc", "erfcx"):
            return 2
        if operation == "whole power":
            sign = self.sign[operands[0]]
            return sign if operands[1] % 2 else max(sign, 1)
        if operation in ("add", "multiply", "divide", "power"):
            one, other = (self.sign[operand] for operand in operands)
            if operation == "power":
                return one
            return (max if operation == "add" else min)(one, other) if one and other else 0
        return int(operation == "Abs")

    def parts(self, node: int) -> tuple[int, ...]:
        """Nodes that a node is made of."""
        operation, operands = self.operation[node], self.operands[node]
        if operation in ("number", "symbol"):
            return ()
        if operation == "Interpolated":
            return operands[1:]
        return operands[:1] if operation == "whole power" else operands

    def number(self, value: float | Fraction) -> int:
        """Node of a number."""
        if isinstance(value, Fraction) and max(abs(value.numerator), value.denominator) > _LONGEST:
            value = _float(value)
        if isinstance(value, float) and not math.isfinite(value):
            raise FormulaError("a number overflows")
        return self.node("number", value)

    def symbol(self, name: str) -> int:
        """Node of a name."""
        return self.node("symbol", name)

    def value(self, node: int) -> float | Fraction | None:
        """Value of a number; None for other nodes."""
        return self.operands[node][0] if self.operation[node] == "number" else None

    def is_value(self, node: int, value: int) -> bool:
        """Whether a node is a certain number."""
        return self.operation[node] == "number" and bool(self.operands[node][0] == value)

    def add(self, one: int, other: int) -> int:
        """Sum."""
        a, b = self.value(one), self.value(other)
        if a is not None and b is not None:
            return self.number(a + b)
        if a == 0:
            return other
        if b == 0:
            return one
        if self.operation[other] == "negate":
            return self.subtract(one, self.operands[other][0])
        if self.operation[one] == "negate":
            return self.subtract(other, self.operands[one][0])
        return self.node("add", one, other)

    def subtract(self, one: int, other: int) -> int:
        """Difference."""
        a, b = self.value(one), self.value(other)
        if a is not None and b is not None:
            return self.number(a - b)
        if one == other:
            return self.number(Fraction(0))
        if b == 0:
            return one
        if a == 0:
            return self.negate(other)
        return self.node("subtract", one, other)

    def negate(self, node: int) -> int:
        """Node with the other sign."""
        value = self.value(node)
        if value is not None:
            return self.number(-value)
        if self.operation[node] == "negate":
            return int(self.operands[node][0])
        if self.operation[node] == "subtract":
            return self.subtract(*reversed(self.operands[node]))
        if self.operation[node] == "multiply" and self.value(self.operands[node][1]) is not None:
            return self.multiply(self.operands[node][0], self.negate(self.operands[node][1]))
        return self.node("negate", node)

    def multiply(self, one: int, other: int) -> int:
        """Product."""
        a, b = self.value(one), self.value(other)
        if a is not None and b is not None:
            return self.number(a * b)
        if a is not None:
            one, other, a, b = other, one, b, a
        if b == 0:
            return other
        if b == 1:
            return one
        if b == -1:
            return self.negate(one)
        for node, beside in ((one, other), (other, one)):
            if self.operation[node] == "negate":
                return self.negate(self.multiply(self.operands[node][0], beside))
        if one == other:
            return self.whole_power(one, 2)
        if self.is_steady(one) and not self.is_steady(other):
            one, other = other, one
        if self.is_steady(other) and self.operation[one] == "multiply":
            # What no coordinate enters is put together: it is worked out once a pixel.
            moving, steady = self.operands[one]
            if self.is_steady(steady) and not (b is None and self.is_steady(moving)):
                return self.multiply(moving, self.multiply(steady, other))
        (core, factor), (other_core, other_factor) = self._factors(one), self._factors(other)
        if not self.is_steady(other) and (factor is not None or other_factor is not None):
            factors = [each for each in (factor, other_factor) if each is not None]
            return self.multiply(self.multiply(core, other_core), self.product(factors))
        in_order = b is not None or self.is_steady(one) != self.is_steady(other)
        return self.node("multiply", *((one, other) if in_order else sorted((one, other))))

    def _factors(self, node: int) -> tuple[int, int | None]:
        """What varies in a product, and what no coordinate enters."""
        if self.operation[node] == "multiply" and not self.is_steady(node) and self.is_steady(self.operands[node][1]):
            return self.operands[node]
        return node, None

    def divide(self, one: int, other: int) -> int:
        """Quotient."""
        a, b = self.value(one), self.value(other)
        if b == 0:
            raise FormulaError("division by zero")
        if a is not None and b is not None:
            return self.number(a / b)
        if a == 0 or b == 1:
            return one
        if b is not None and math.frexp(b)[0] == 0.5:
            # A power of two has an exact inverse.
            return self.multiply(one, self.number(1 / b))
        if self.operation[one] == "negate":
            return self.negate(self.divide(self.operands[one][0], other))
        if self.operation[other] == "negate":
            return self.negate(self.divide(one, self.operands[other][0]))
        if a != 1 and not (self.is_steady(one) and self.is_steady(other)):
            # One division serves all that is divided by the same.
            return self.multiply(one, self.divide(self.number(Fraction(1)), other))
        return self.node("divide", one, other)

    def whole_power(self, base: int, exponent: int) -> int:
        """Power with a whole number as its exponent."""
        value = self.value(base)
        if exponent == 0:
            return self.number(Fraction(1))
        if exponent == 1:
            return base
        if exponent < 0:
            return self.divide(self.number(Fraction(1)), self.whole_power(base, -exponent))
        if value is not None:
            return self.number(_power(value, exponent))
        if self.operation[base] == "whole power":
            return self.whole_power(self.operands[base][0], exponent * self.operands[base][1])
        if self.operation[base] == "negate":
            inner = self.whole_power(self.operands[base][0], exponent)
            return inner if exponent % 2 == 0 else self.negate(inner)
        return self.node("whole power", base, exponent)

    def power(self, base: int, exponent: int) -> int:
        """Power."""
        value = self.value(exponent)
        if value is not None and value == int(value):
            return self.whole_power(base, int(value))
        number = self.value(base)
        if value is not None and number is not None:
            return self.number(_power(float(number), float(value)))
        if value is None and (self.sign[base] == 2 or (self.sign[base] and self.operation[base] == "add")):
            # The logarithm is needed for the derivative anyway; a sum of squares is zero where all of them are alone.
            return self.call("exp", self.multiply(exponent, self.call("log", base)))
        return self.node("power", base, exponent)

    def where(self, condition: int, one: int, other: int) -> int:
        """One node where a condition holds, the other elsewhere."""
        return one if one == other else self.node("where", condition, one, other)

    def sum(self, terms: Iterable[int]) -> int:
        """Sum of nodes, what does not vary first."""
        return self._together(terms, self.add, Fraction(0))

    def product(self, factors: Iterable[int]) -> int:
        """Product of nodes, what does not vary first."""
        return self._together(factors, self.multiply, Fraction(1))

    def _together(self, nodes: Iterable[int], operation: Any, neutral: Fraction) -> int:
        groups: dict[int, list[int]] = {}
        for node in nodes:
            groups.setdefault(self._variation(node), []).append(node)
        result = self.number(neutral)
        for _, group in sorted(groups.items()):
            inner = group[0]
            for node in group[1:]:
                inner = operation(inner, node)
            result = operation(result, inner)
        return result

    def is_steady(self, node: int) -> bool:
        """Whether no coordinate enters a node."""
        return not self.mask[node] & self.coordinates

    def _variation(self, node: int) -> int:
        """0 for numbers, 1 for what no coordinate enters, 2 for what coordinates alone enter, 3 for the rest."""
        mask = self.mask[node]
        if not mask & self.coordinates:
            return int(bool(mask))
        return 3 if mask & ~self.coordinates else 2

    # --- reading sympy's expressions

    def read(self, expr: sympy.Basic, bound: Mapping[Any, int] | None = None) -> int:
        """Return the node of an expression of sympy; symbols may be bound to nodes."""
        known = self._read if bound is None else dict(bound)
        return self._reading(expr, known)

    def _reading(self, expr: Any, known: dict[Any, int]) -> int:
        if expr not in known:
            known[expr] = self._made(expr, known)
        return known[expr]

    def _made(self, expr: Any, known: dict[Any, int]) -> int:
        import sympy

        if expr.is_Symbol:
            return self.symbol(str(expr.name))
        if expr.is_Rational:
            return self.number(Fraction(int(expr.p), int(expr.q)))
        if expr.is_Number or expr.is_NumberSymbol:
            return self.number(float(expr))
        if isinstance(expr, sympy.Piecewise):
            return self._piecewise(expr.args, known)
        if isinstance(expr, sympy.core.relational.Relational):
            return self.node(RELATIONS[expr.rel_op], *(self._reading(side, known) for side in (expr.lhs, expr.rhs)))
        if expr.is_Add:
            return self.sum([self._reading(arg, known) for arg in expr.args])
        if expr.is_Mul:
            return self._product(expr.args, known)
        if expr.is_Pow:
            base, exponent = expr.args
            if base == sympy.E:
                return self.call("exp", self._reading(exponent, known))
            return self.power(self._reading(base, known), self._reading(exponent, known))
        if expr.is_Function or isinstance(expr, sympy.Min | sympy.Max):
            return self._function(expr, known)
        raise FormulaError(f"it contains {expr}, which can't be computed")

    def _product(self, factors: Sequence[Any], known: dict[Any, int]) -> int:
        above, below = [], []
        for factor in factors:
            exponent = factor.args[1] if factor.is_Pow else None
            if exponent is not None and exponent.is_Integer and exponent < 0:
                below.append(self.whole_power(self._reading(factor.args[0], known), -int(exponent)))
            else:
                above.append(self._reading(factor, known))
        # Quotients of what does not vary are worked out before the loop.
        fixed, varying = self._by_variation(below)
        steady, moving = self._by_variation(above)
        top = self.multiply(self.product(moving), self.divide(self.product(steady), self.product(fixed)))
        return self.divide(top, self.product(varying))

    def _by_variation(self, nodes: Sequence[int]) -> tuple[list[int], list[int]]:
        return [n for n in nodes if self.is_steady(n)], [n for n in nodes if not self.is_steady(n)]

    def _piecewise(self, branches: Sequence[Any], known: dict[Any, int]) -> int:
        import sympy

        *others, (last, condition) = branches
        if condition != sympy.true:
            raise FormulaError(f"no value where {condition} does not hold")
        node = self._reading(last, known)
        for value, condition in reversed(others):
            node = self._branch(condition, self._reading(value, known), node, known)
        return node

    def _branch(self, condition: Any, one: int, other: int, known: dict[Any, int]) -> int:
        """One node where a condition holds, the other elsewhere; sympy combines conditions
        that lead to equal values.
        """
        import sympy

        if condition in (sympy.true, sympy.false):
            return one if condition == sympy.true else other
        if isinstance(condition, sympy.Not):
            return self._branch(condition.args[0], other, one, known)
        if isinstance(condition, sympy.And):
            for part in condition.args:
                one = self._branch(part, one, other, known)
            return one
        if isinstance(condition, sympy.Or):
            for part in condition.args:
                other = self._branch(part, one, other, known)
            return other
        if not isinstance(condition, sympy.core.relational.Relational):
            raise FormulaError(f"{condition} is no comparison")
        return self.where(self._reading(condition, known), one, other)

    def _function(self, expr: Any, known: dict[Any, int]) -> int:
        name = type(expr).__name__
        if name == "Interpolated":
            return self._looked_up(expr, known)
        if name == "Heaviside":
            return self.call(name, self._reading(expr.args[0], known))
        if name == "polygamma":
            return self._polygamma(expr, known)
        operands = [self._reading(arg, known) for arg in expr.args]
        if name in ("Min", "Max"):
            inner = operands[0]
            for node in operands[1:]:
                inner = self.call(name, inner, node)
            return inner
        if name == "voigt":
            return self._voigt(operands)
        return self.call(name, *operands)

    def _polygamma(self, expr: Any, known: dict[Any, int]) -> int:
        order = expr.args[0]
        if order not in (0, 1):
            raise FormulaError("trigamma has no derivative in closed form")
        return self.call(("digamma", "trigamma")[int(order)], self._reading(expr.args[1], known))

    def _looked_up(self, expr: Any, known: dict[Any, int]) -> int:
        count = (len(expr.args) - 1) // 2
        description = tuple(int(number) for number in expr.args[: 1 + count])
        return self.node("Interpolated", description, *(self._reading(arg, known) for arg in expr.args[1 + count :]))

    def _voigt(self, operands: Sequence[int]) -> int:
        """Voigt profile, written out; its derivatives are not those of what it is written
        as, which cancel in the wings.
        """
        from xfit.formulas.special_functions import voigt

        arguments = arguments_of(3)
        bound = dict(zip(arguments, operands, strict=True))
        written = voigt(*arguments)
        node = self.read(written.written_out(), bound)
        self.given_partials[node] = [(part, self.read(written.fdiff(k + 1), bound)) for k, part in enumerate(operands)]
        return node

    def call(self, name: str, *operands: int) -> int:
        """Value of a function."""
        values = [self.value(operand) for operand in operands]
        if values and all(value is not None for value in values):
            return self.number(_number(name, values))
        inverse = {"exp": "log", "log": "exp"}.get(name)
        if inverse is not None and self.operation[operands[0]] == inverse:
            return int(self.operands[operands[0]][0])
        return self.node(name, *operands)

    # --- what a node is made of

    def below(self, nodes: Iterable[int], *, conditions: bool = True) -> list[int]:
        """All nodes that some are made of, themselves too, in order.

        Parameters
        ----------
        nodes : iterable of int
        conditions : bool
            Whether also what only decides: comparisons in ``where``, and where a step is.
        """
        seen: set[int] = set()
        waiting = list(nodes)
        while waiting:
            node = waiting.pop()
            if node in seen:
                continue
            seen.add(node)
            parts = self.parts(node)
            if not conditions:
                parts = () if self.operation[node] in STEPS else parts[1:] if self.operation[node] == "where" else parts
            waiting += parts
        return sorted(seen)

    def suits_sympy(self, node: int, most: int) -> bool:
        """Whether a node, written out, has so few parts, and so few within one another,
        that sympy handles it in no time.
        """
        return self.size[node] <= most and self.depth[node] <= _DEEPEST_FOR_SYMPY

    def bits(self, names: Iterable[str]) -> int:
        """Bits of names, of those that occur."""
        return sum(self.bit.get(name, 0) for name in names)


def graph_of(expr: sympy.Expr, coordinates: Sequence[str] = ()) -> tuple[Graph, int]:
    """Return the graph of an expression, and the node that it is.

    Raises
    ------
    FormulaError
        For an expression that has no finite real value, or is nested too deeply.
    """
    from xfit.formulas.parser import to_text

    graph = Graph(coordinates)
    try:
        return graph, graph.read(expr)
    except (FormulaError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise refuse(to_text(expr), reason) from None


def written_out(graph: Graph, node: int) -> sympy.Expr:
    """Return a node as an expression of sympy, as it is: nothing is simplified."""
    made: dict[int, Any] = {}
    for each in graph.below([node]):
        made[each] = _expression(graph, each, [made[part] for part in graph.parts(each)])
    return made[node]


def _expression(graph: Graph, node: int, parts: Sequence[Any]) -> Any:
    import sympy

    operation, operands = graph.operation[node], graph.operands[node]
    if operation == "symbol":
        return sympy.Symbol(operands[0], real=True)
    if operation == "number":
        value = operands[0]
        exact = isinstance(value, Fraction)
        return sympy.Rational(value.numerator, value.denominator) if exact else sympy.Float(value, 17)
    minus = sympy.Integer(-1)
    if operation in ("add", "multiply"):
        return (sympy.Add if operation == "add" else sympy.Mul)(*parts, evaluate=False)
    if operation == "subtract":
        return sympy.Add(parts[0], sympy.Mul(minus, parts[1], evaluate=False), evaluate=False)
    if operation == "divide":
        inverse = sympy.Pow(parts[1], minus, evaluate=False)
        return inverse if parts[0] == 1 else sympy.Mul(parts[0], inverse, evaluate=False)
    if operation == "negate":
        return sympy.Mul(minus, *parts, evaluate=False)
    if operation in ("power", "whole power"):
        return sympy.Pow(parts[0], parts[1] if operation == "power" else operands[1], evaluate=False)
    if operation in RELATIONS.values():
        sign = next(sign for sign, name in RELATIONS.items() if name == operation)
        return sympy.Rel(*parts, sign, evaluate=False)
    if operation == "where":
        return sympy.Piecewise((parts[1], parts[0]), (parts[2], sympy.true), evaluate=False)
    if operation in ("digamma", "trigamma"):
        return sympy.polygamma(("digamma", "trigamma").index(operation), *parts, evaluate=False)
    if operation == "Heaviside":
        return sympy.Heaviside(*parts, sympy.S.Half, evaluate=False)
    further = operands[0] if operation == "Interpolated" else ()
    return function_of_sympy(operation)(*further, *parts, evaluate=False)


def _exactly(value: Any) -> tuple[Any, ...]:
    """Equal for numbers that are the same to the sign of zero: one and one as a float are printed alike."""
    return (float(value).hex(),) if isinstance(value, float) else (value.numerator, value.denominator)


def _float(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        raise FormulaError("a number overflows") from None


def _power(base: float | Fraction, exponent: float) -> float | Fraction:
    """Power of numbers."""
    try:
        if isinstance(base, Fraction) and isinstance(exponent, int):
            longest = max(abs(base.numerator), base.denominator).bit_length() * abs(exponent)
            value: Any = base**exponent if longest < 120 else float(base) ** exponent
        else:
            value = float(base) ** exponent
    except (OverflowError, ZeroDivisionError):
        raise FormulaError("a power of numbers overflows") from None
    if isinstance(value, complex):
        raise FormulaError(f"{base}**{exponent} is not a real number")
    return value


def _number(name: str, values: Sequence[Any]) -> float:
    """Value of a function of numbers."""
    import sympy

    arguments = [sympy.Float(float(value), 17) for value in values]
    value = function_of_sympy(name)(*arguments).evalf(17)
    if not (value.is_real and value.is_finite):
        raise FormulaError(f"{name}({', '.join(map(str, values))}) is not a finite real number")
    return float(value)


def function_of_sympy(name: str) -> Any:
    """What sympy, or `xfit.formulas.special_functions`, has by a function's name."""
    import sympy

    from xfit.formulas import special_functions

    if name in ("digamma", "trigamma"):
        return lambda x: sympy.polygamma(("digamma", "trigamma").index(name), x)
    if name == "Heaviside":
        return lambda x: sympy.Heaviside(x, sympy.S.Half)
    return getattr(special_functions, name, None) or getattr(sympy, name)


@lru_cache(maxsize=8)
def arguments_of(count: int) -> tuple[Any, ...]:
    """Symbols that stand for the arguments of a function."""
    import sympy

    return tuple(sympy.Dummy(f"u{k}", real=True) for k in range(count))
