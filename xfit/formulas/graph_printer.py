"""A formula's graph printed as straight-line code: each node computed once, what does not
vary taken out of the loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from xfit.formulas.code_printer import FUNCTIONS, PARTS
from xfit.formulas.gradient import gradient
from xfit.formulas.graph import RELATIONS, Graph
from xfit.formulas.straight_line import StraightLine

_SIGNS = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"} | {
    name: sign for sign, name in RELATIONS.items()
}

#: How deep an expression may be in one line of code.
_DEEPEST = 8

#: Cheap to compute: nothing worth keeping for all pixels.
_ARITHMETIC = (*_SIGNS, "number", "symbol", "negate", "whole power", "where")


def straight_line_of_graph(
    graph: Graph, output: int, coordinates: Sequence[str], parameters: Sequence[str], constants: Sequence[str]
) -> StraightLine:
    """Value and gradients of a formula as code; see `xfit.formulas.straight_line.straight_line`."""
    outputs = [output, *gradient(graph, output, parameters)]
    names = {name: f"x{d}" for d, name in enumerate(coordinates)} | {n: f"p{k}" for k, n in enumerate(parameters)}
    printer = _Printer(graph, outputs, names, graph.bits([*coordinates, *constants]))
    return printer.printed()


class _Printer:
    """Prints nodes in order, those that are used more than once, or are taken out of the loop, by a name."""

    def __init__(self, graph: Graph, outputs: Sequence[int], names: dict[str, str], common: int) -> None:
        self.graph = graph
        self.outputs = outputs
        self.names = names
        self.common = common
        self.by_constants = False
        self.costly: list[str] = []
        self.lines: dict[str, list[tuple[str, str]]] = {"invariant": [], "constant": [], "common": [], "varying": []}
        self.order = graph.below(outputs)
        self.code: dict[int, str] = {}
        self.depth: dict[int, int] = {}
        self.calls: dict[tuple[Any, ...], str] = {}
        self.is_costly: dict[int, bool] = {}
        self.uses = self._counted()
        self.wanted = self._wanted_names()

    def _counted(self) -> dict[int, int]:
        uses = dict.fromkeys(self.order, 0)
        for node in self.order:
            for part in self.graph.parts(node):
                uses[part] += 1
        for node in self.outputs:
            uses[node] += 1
        return uses

    def _wanted_names(self) -> set[int]:
        """Nodes that are named for what they are used in: the bases of higher powers, and
        what varies less than its user.
        """
        graph = self.graph
        wanted = {node for node in self.outputs if self._kind(node) == "common"}
        for node in self.order:
            if graph.operation[node] == "whole power" and graph.operands[node][1] > 2:
                wanted.add(graph.operands[node][0])
            wanted |= {part for part in graph.parts(node) if self._kind(part) != self._kind(node)}
        return wanted

    def _kind(self, node: int) -> str:
        """Where a node is computed."""
        mask = self.graph.mask[node]
        if self.graph.is_steady(node):
            return "invariant"
        return "common" if not mask & ~self.common else "varying"

    def printed(self) -> StraightLine:
        """All of it."""
        for node in self.order:
            self._print(node)
        lines = self.lines
        return StraightLine(
            lines["invariant"],
            lines["constant"],
            lines["common"],
            self.costly,
            self.by_constants,
            lines["varying"],
            [self.code[node] for node in self.outputs],
        )

    def _print(self, node: int) -> None:
        graph = self.graph
        operation = graph.operation[node]
        parts = graph.parts(node)
        code = self._written(node)
        depth = 1 + max((self.depth[part] for part in parts), default=0)
        self.is_costly[node] = operation not in _ARITHMETIC or any(self.is_costly[part] for part in parts)
        is_leaf = operation in ("number", "symbol")
        is_condition = operation in RELATIONS.values()
        if not is_leaf and not is_condition and (self.uses[node] > 1 or node in self.wanted or depth > _DEEPEST):
            code, depth = self._named(node, code), 0
        self.code[node], self.depth[node] = code, 0 if is_leaf else depth

    def _named(self, node: int, code: str) -> str:
        name = f"t{node}"
        kind, mask = self._kind(node), self.graph.mask[node]
        self.lines[kind].append((name, code))
        if kind == "invariant" and not mask & ~self.common:
            self.lines["constant"].append((name, code))
        if kind == "common" and self.is_costly[node] and node in self.wanted:
            self.costly.append(name)
            self.by_constants |= bool(mask & ~self.graph.coordinates)
        return name

    def _written(self, node: int) -> str:
        """Source of a node in terms of its operands."""
        graph = self.graph
        operation, operands = graph.operation[node], graph.operands[node]
        if operation == "number":
            return _number(operands[0])
        if operation == "symbol":
            return self.names[operands[0]]
        code = [self.code[part] for part in graph.parts(node)]
        if operation == "multiply":
            return self._product(*operands)
        if operation in _SIGNS:
            return f"({code[0]} {_SIGNS[operation]} {code[1]})"
        if operation == "negate":
            return f"(-{code[0]})"
        if operation == "whole power":
            return _whole_power(code[0], operands[1])
        if operation == "power":
            return _power(code[0], code[1])
        if operation == "where":
            return f"select({', '.join(code)})"
        if operation == "Interpolated":
            number, *orders = operands[0]
            entry = sum((k + 1) * order for k, order in enumerate(orders))
            return self._entry(node, f"lookup{len(code)}({', '.join(code)}, *TABLE_{number})", entry)
        if operation in PARTS:
            return self._entry(node, f"wofz({', '.join(code)})", PARTS.index(operation))
        return f"{_FUNCTIONS.get(operation, operation)}({', '.join(code)})"

    def _product(self, one: int, other: int) -> str:
        """Source of a product; of a quotient where nothing else is divided by the same."""
        for node, beside in ((one, other), (other, one)):
            operation, operands = self.graph.operation[node], self.graph.operands[node]
            if operation == "divide" and self.graph.is_value(operands[0], 1) and self.code[node].startswith("("):
                return f"({self.code[beside]} / {self.code[operands[1]]})"
        return f"({self.code[one]} * {self.code[other]})"

    def _entry(self, node: int, call: str, entry: int) -> str:
        """One of several numbers that a call gives."""
        key = (call, self._kind(node))
        if key not in self.calls:
            self.calls[key] = f"c{node}"
            self.lines[self._kind(node)].append((f"c{node}", call))
            if self._kind(node) == "invariant" and not self.graph.mask[node] & ~self.common:
                self.lines["constant"].append((f"c{node}", call))
        return f"{self.calls[key]}[{entry}]"


_FUNCTIONS = FUNCTIONS | {"Heaviside": "heaviside"}


def _number(value: float | Fraction) -> str:
    """Source of a number."""
    if isinstance(value, Fraction) and value.denominator != 1 and max(abs(value.numerator), value.denominator) < 2**53:
        code = f"({value.numerator}.0/{value.denominator}.0)"
    else:
        code = repr(float(value))
    return f"({code})" if code.startswith("-") else code


def _power(base: str, exponent: str) -> str:
    """Source of a power."""
    if exponent in ("(1.0/2.0)", "0.5"):
        return f"math.sqrt({base})"
    if exponent in ("(-1.0/2.0)", "(-0.5)"):
        return f"(1.0/math.sqrt({base}))"
    return f"power({base}, {exponent})"


def _whole_power(base: str, exponent: int) -> str:
    """Source of a power with a positive whole number: products, as
    `xfit.formulas.code_printer.KernelPrinter` writes them.
    """
    if exponent == 1:
        return base
    half = f"square({_whole_power(base, exponent // 2)})"
    return half if exponent % 2 == 0 else f"({base}*{half})"
