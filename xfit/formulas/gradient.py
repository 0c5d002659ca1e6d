"""Derivatives of a formula's graph, from the output back to the symbols: some times as many nodes as it has,
for any number of parameters.

The local derivatives of functions are those of sympy and `xfit.formulas.special_functions`. Steps, kinks and conditions
have the derivative that they have on either side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

from xfit.formulas.graph import STEPS, Graph, arguments_of, function_of_sympy
from xfit.formulas.syntax import FormulaError

#: Parts, written out, of what no coordinate enters, up to which each of these nodes is differentiated by itself.
_MOST_APART = 20_000


def gradient(graph: Graph, output: int, names: Sequence[str]) -> list[int]:
    """Return the derivatives of a node with respect to names.

    What no coordinate enters is differentiated by itself where that is no long way: its derivatives are then worked out
    once a pixel.

    Raises
    ------
    FormulaError
        Where there is none in closed form (of trigamma).
    """
    slopes = _Derivatives(graph, graph.bits(names)).of(output)
    zero = graph.number(Fraction(0))
    return [slopes.get(graph.symbol(name), zero) for name in names]


class _Derivatives:
    """Derivatives of nodes with respect to some symbols."""

    def __init__(self, graph: Graph, wanted: int) -> None:
        self.graph = graph
        self.wanted = wanted
        self.known: dict[int, dict[int, int]] = {}

    def of(self, output: int) -> dict[int, int]:
        """Derivatives of a node with respect to each symbol that it depends on."""
        if output not in self.known:
            self.known[output] = self._whole(output)
        return self.known[output]

    def _whole(self, output: int) -> dict[int, int]:
        graph = self.graph
        apart, found = self._from(output, apart=True)
        pairs = sum((graph.mask[node] & self.wanted).bit_count() for node in apart)
        if sum(graph.size[node] for node in apart) > _MOST_APART or pairs > 2 * len(graph.below([output])) + 64:
            apart, found = self._from(output, apart=False)
        for node, share in apart.items():
            for symbol, slope in self.of(node).items():
                found.setdefault(symbol, []).append(graph.multiply(share, slope))
        return {symbol: self._added(terms) for symbol, terms in found.items()}

    def _from(self, output: int, *, apart: bool) -> tuple[dict[int, int], dict[int, list[int]]]:
        """Derivatives with respect to nodes that no coordinate enters, if these are to be kept
        apart, and terms of the others.
        """
        graph = self.graph
        shares: dict[int, list[int]] = {output: [graph.number(Fraction(1))]}
        steady: dict[int, int] = {}
        found: dict[int, list[int]] = {}
        for node in _from_above(graph, output, self.wanted):
            if node not in shares:
                continue
            share = self._added(shares.pop(node))
            if graph.is_value(share, 0):
                continue
            if graph.operation[node] == "symbol":
                found.setdefault(node, []).append(share)
            elif apart and graph.is_steady(node) and node != output:
                steady[node] = share
            elif graph.operation[node] == "where":
                for symbol, slope in self._of_branches(node).items():
                    found.setdefault(symbol, []).append(graph.multiply(share, slope))
            else:
                for part, slope in _shared(graph, node, share):
                    if graph.mask[part] & self.wanted:
                        shares.setdefault(part, []).append(slope)
        return steady, found

    def _of_branches(self, node: int) -> dict[int, int]:
        """Derivatives of a ``where``: what belongs to the other branch does not enter,
        not even as zero times infinity.
        """
        graph = self.graph
        condition, *branches = graph.operands[node]
        yes, no = (self.of(branch) for branch in branches)
        zero = graph.number(Fraction(0))
        return {
            symbol: graph.where(condition, yes.get(symbol, zero), no.get(symbol, zero))
            for symbol in dict.fromkeys((*yes, *no))
        }

    def _added(self, terms: Sequence[int]) -> int:
        total = terms[0]
        for term in terms[1:]:
            total = self.graph.add(total, term)
        return total


def _from_above(graph: Graph, output: int, wanted: int) -> list[int]:
    """Nodes that a node is a function of and some symbols enter, each before all that it is a function of."""
    done: set[int] = set()
    order: list[int] = []
    waiting = [(output, False)]
    while waiting:
        node, is_left = waiting.pop()
        if is_left:
            order.append(node)
        elif node not in done and graph.mask[node] & wanted:
            done.add(node)
            waiting.append((node, True))
            waiting += [(part, False) for part in _operands(graph, node)]
    return order[::-1]


def _operands(graph: Graph, node: int) -> Sequence[int]:
    """What a node is a function of."""
    if node in graph.given_partials:
        return [part for part, _ in graph.given_partials[node]]
    # Branches are differentiated by themselves.
    return () if graph.operation[node] in (*STEPS, "where") else graph.parts(node)


def _shared(graph: Graph, node: int, share: int) -> Iterator[tuple[int, int]]:
    """Operands of a node, each with the derivative with respect to it, given that with respect to the node."""
    operation, operands = graph.operation[node], graph.operands[node]
    if operation in ("add", "subtract"):
        yield operands[0], share
        yield operands[1], share if operation == "add" else graph.negate(share)
    elif operation == "negate":
        yield operands[0], graph.negate(share)
    elif operation == "divide" and node not in graph.given_partials:
        above = graph.multiply(share, graph.divide(graph.number(Fraction(1)), operands[1]))
        yield operands[0], above
        yield operands[1], graph.negate(graph.multiply(above, node))
    else:
        for part, slope in _partials(graph, node):
            yield part, graph.multiply(share, slope)


def _partials(graph: Graph, node: int) -> Iterator[tuple[int, int]]:
    """Operands of a node, each with the derivative with respect to it."""
    operation, operands = graph.operation[node], graph.operands[node]
    if node in graph.given_partials:
        yield from graph.given_partials[node]
    elif operation == "multiply":
        yield operands
        yield operands[1], operands[0]
    elif operation == "whole power":
        base, exponent = operands
        yield base, graph.multiply(graph.whole_power(base, exponent - 1), graph.number(Fraction(exponent)))
    elif operation == "power":
        base, exponent = operands
        less = graph.subtract(exponent, graph.number(Fraction(1)))
        yield base, graph.multiply(graph.power(base, less), exponent)
        if graph.mask[exponent]:
            # At zero its limit for positive exponents, not zero times minus infinity.
            zero = graph.number(Fraction(0))
            slope = graph.multiply(node, graph.call("log", base))
            yield exponent, graph.where(graph.node("ne", base, zero), slope, zero)
    elif operation == "Abs":
        yield operands[0], graph.call("sign", operands[0])
    elif operation in ("Min", "Max"):
        above = graph.call("Heaviside", graph.subtract(*operands))
        below = graph.call("Heaviside", graph.subtract(*reversed(operands)))
        yield from zip(operands, (above, below) if operation == "Max" else (below, above), strict=True)
    elif operation == "Interpolated":
        description, *arguments = operands
        for k, argument in enumerate(arguments):
            orders = (description[0], *(order + (j == k) for j, order in enumerate(description[1:])))
            yield argument, graph.node("Interpolated", orders, *arguments)
    elif operation not in STEPS:
        bound = dict(zip(arguments_of(len(operands)), operands, strict=True))
        for k, operand in enumerate(operands):
            if graph.mask[operand]:
                yield operand, graph.read(_slope(operation, len(operands), k), bound)


@lru_cache(maxsize=256)
def _slope(name: str, count: int, k: int) -> Any:
    """Derivative of a function with respect to one of its arguments, an expression of sympy."""
    if name == "trigamma":
        raise FormulaError("there is no derivative of trigamma in closed form")
    arguments = arguments_of(count)
    return function_of_sympy(name)(*arguments).diff(arguments[k])
