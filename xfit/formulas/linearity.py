"""Which parameters a formula is linear in: by its structure, and where parts may cancel, exactly in a finite field.

The second derivative along a random direction is zero where, and only where, a formula is linear in all that the
direction is of. It is computed modulo a prime at random points: numbers are exact there, and nothing underflows. What
is no arithmetic, as the value of ``exp`` and its derivatives, is a random number for each set of arguments: two of them
cancel if they are the same, and no identity between functions is known. So a derivative that comes out as zero is zero
(but for one chance in 1e18 for each power of the formula's degree; two points are tried), and what vanishes by such an
identity alone counts as not linear.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

from xfit.formulas.graph import KINKS, RELATIONS, STEPS, Graph

#: A prime.
_PRIME = 2**61 - 1

#: Nodes that are evaluated before the rest counts as not linear.
_MOST_EVALUATED = 100_000

_ARITHMETIC = ("add", "subtract", "negate")


def bits_of(mask: int) -> Iterator[int]:
    """Bits of a mask, one by one."""
    while mask:
        bit = mask & -mask
        yield bit
        mask ^= bit


def conflicts(graph: Graph, output: int) -> dict[int, int]:
    """Which symbols may enter the derivative with respect to each symbol, by the structure of a formula.

    What only decides, where a step or a branch is, is left out.

    Returns
    -------
    dict
        By the bit of each symbol the bits of the others, and its own where it enters its own derivative.
    """
    found: dict[int, int] = {}
    masks: dict[int, int] = {}
    for node in graph.below([output], conditions=False):
        operation = graph.operation[node]
        parts = [masks.get(part, 0) for part in graph.parts(node)]
        if operation == "where":
            parts = parts[1:]
        elif operation in STEPS:
            parts = []
        masks[node] = graph.mask[node] if operation == "symbol" else _union(parts)
        if operation == "multiply":
            pairs = [(parts[0], parts[1]), (parts[1], parts[0])]
        elif operation == "divide":
            pairs = [(parts[0], parts[1]), (parts[1], parts[0] | parts[1])]
        elif operation in (*_ARITHMETIC, *STEPS, "where", "number", "symbol"):
            pairs = []
        else:
            pairs = [(masks[node], masks[node])]
        for one, other in pairs:
            for bit in bits_of(one) if other else ():
                found[bit] = found.get(bit, 0) | other
    return found


def decided_by(graph: Graph, output: int) -> int:
    """Bits of what decides where a kink, a step or a branch is: nothing is linear in it,
    though it may be on either side.
    """
    found = 0
    for node in graph.below([output]):
        if graph.operation[node] in KINKS:
            found |= graph.mask[node]
        elif graph.operation[node] == "where":
            found |= graph.mask[graph.operands[node][0]]
    return found


def left_without(graph: Graph, output: int, bit: int) -> int:
    """Bits of what a formula depends on where one symbol is zero, and the first bit of all where
    it is a number other than zero.

    Only products, quotients and sums are looked at: 0 says for certain that the formula is zero there.
    """
    left: dict[int, int] = {}
    for node in graph.below([output], conditions=False):
        operation = graph.operation[node]
        parts = [left[part] for part in graph.parts(node) if part in left]
        if operation == "symbol":
            left[node] = 0 if graph.mask[node] == bit else graph.mask[node]
        elif operation == "number":
            left[node] = int(graph.operands[node][0] != 0)
        elif operation in ("multiply", "whole power") or (operation == "divide" and parts[0] == 0):
            left[node] = 0 if 0 in parts else _union(parts)
        elif operation in (*_ARITHMETIC, "where") or operation == "divide":
            left[node] = _union(parts)
        else:
            left[node] = graph.mask[node] & ~bit or 1
    return left[output]


def _union(masks: Sequence[int]) -> int:
    found = 0
    for mask in masks:
        found |= mask
    return found


def linear_names(graph: Graph, output: int, names: Sequence[str]) -> tuple[str, ...]:
    """Names in which a formula is jointly linear, taken in order: each that is linear
    together with all taken before.
    """
    kinked = decided_by(graph, output)
    together = conflicts(graph, output)
    exact = _Exact(graph, output)
    chosen: list[str] = []
    taken = 0
    for name in names:
        bit = graph.bits([name])
        if bit & kinked:
            continue
        if together.get(bit, 0) & (taken | bit) and not (exact.is_linear(bit) and exact.is_linear(taken | bit)):
            continue
        chosen.append(name)
        taken |= bit
    return tuple(chosen)


class _Exact:
    """Values of a formula and its derivatives along directions, modulo a prime, at two points."""

    def __init__(self, graph: Graph, output: int) -> None:
        self.graph = graph
        self.output = output
        self.order = graph.below([output])
        self.points: list[_Point] = []
        self.evaluated = 0

    def is_linear(self, mask: int) -> bool:
        """Whether the formula is linear in all of some symbols, given by their bits; False where that is not known."""
        if not self.points:
            self.points = [_Point(self.graph, self.order, seed) for seed in (1, 2)]
        moving = [node for node in self.order if self.graph.mask[node] & mask]
        self.evaluated += len(moving)
        if self.evaluated > _MOST_EVALUATED:
            return False
        return all(point.curvature(moving, mask, self.output) == 0 for point in self.points)


class _Point:
    """Values of nodes at random values of the symbols."""

    def __init__(self, graph: Graph, order: Sequence[int], seed: int) -> None:
        self.graph = graph
        self.random = random.Random(seed)
        self.opaque: dict[tuple[Any, ...], int] = {}
        self.values: dict[int, int] = {}
        self.inverses: dict[int, int] = {}
        for node in order:
            self.values[node] = self._value(node)

    def _unknown(self, *key: Any) -> int:
        """A random number that is always the same for the same key."""
        if key not in self.opaque:
            self.opaque[key] = self.random.randrange(2, _PRIME)
        return self.opaque[key]

    def _inverse(self, value: int) -> int:
        """One over a value; a divisor that is zero everywhere leaves a random number, which cancels with none."""
        if value == 0:
            return self.random.randrange(2, _PRIME)
        if value not in self.inverses:
            self.inverses[value] = pow(value, -1, _PRIME)
        return self.inverses[value]

    def _value(self, node: int) -> int:
        operation, operands = self.graph.operation[node], self.graph.operands[node]
        if operation == "symbol":
            return self._unknown("symbol", operands[0])
        if operation == "number":
            exact = Fraction(operands[0])
            return exact.numerator * self._inverse(exact.denominator % _PRIME) % _PRIME
        parts = [self.values[part] for part in self.graph.parts(node)]
        if operation == "add":
            return (parts[0] + parts[1]) % _PRIME
        if operation == "subtract":
            return (parts[0] - parts[1]) % _PRIME
        if operation == "negate":
            return -parts[0] % _PRIME
        if operation == "multiply":
            return parts[0] * parts[1] % _PRIME
        if operation == "divide":
            return parts[0] * self._inverse(parts[1]) % _PRIME
        if operation == "whole power":
            return pow(parts[0], operands[1], _PRIME)
        if operation == "where":
            return (parts[0] * parts[1] + (1 - parts[0]) * parts[2]) % _PRIME
        return self._unknown(self._name(node), *parts)

    def _name(self, node: int) -> Any:
        operation = self.graph.operation[node]
        return (operation, self.graph.operands[node][0]) if operation == "Interpolated" else operation

    def curvature(self, moving: Sequence[int], mask: int, output: int) -> int:
        """Second derivative along a random direction in some symbols."""
        slopes: dict[int, tuple[int, int]] = {}
        for node in moving:
            if self.graph.operation[node] not in RELATIONS.values():
                slopes[node] = self._slopes(node, mask, slopes)
        return slopes.get(output, (0, 0))[1]

    def _slopes(self, node: int, mask: int, slopes: dict[int, tuple[int, int]]) -> tuple[int, int]:
        """First and second derivative of a node along the direction."""
        graph, values = self.graph, self.values
        operation, operands = graph.operation[node], graph.operands[node]
        if operation == "symbol":
            return self._unknown("direction", operands[0]), 0
        parts = graph.parts(node)
        value = [values[part] for part in parts]
        first = [slopes.get(part, (0, 0))[0] for part in parts]
        second = [slopes.get(part, (0, 0))[1] for part in parts]
        if operation == "add":
            return (first[0] + first[1]) % _PRIME, (second[0] + second[1]) % _PRIME
        if operation == "subtract":
            return (first[0] - first[1]) % _PRIME, (second[0] - second[1]) % _PRIME
        if operation == "negate":
            return -first[0] % _PRIME, -second[0] % _PRIME
        if operation == "multiply":
            (a, b), (a1, b1), (a2, b2) = value, first, second
            return (a1 * b + a * b1) % _PRIME, (a2 * b + 2 * a1 * b1 + a * b2) % _PRIME
        if operation == "divide":
            inverse = self._inverse(value[1])
            slope = (first[0] - values[node] * first[1]) * inverse % _PRIME
            return slope, (second[0] - 2 * slope * first[1] - values[node] * second[1]) * inverse % _PRIME
        if operation == "where":
            c = value[0]
            return (c * first[1] + (1 - c) * first[2]) % _PRIME, (c * second[1] + (1 - c) * second[2]) % _PRIME
        if operation == "whole power":
            n = operands[1]
            once = n * pow(value[0], n - 1, _PRIME)
            twice = n * (n - 1) * pow(value[0], n - 2, _PRIME)
            return once * first[0] % _PRIME, (twice * first[0] ** 2 + once * second[0]) % _PRIME
        return self._of_function(self._name(node), value, first, second)

    def _of_function(self, name: Any, value: list[int], first: list[int], second: list[int]) -> tuple[int, int]:
        slope = curvature = 0
        for i, rise in enumerate(first):
            partial = self._unknown("derivative", name, i, *value)
            slope += partial * rise
            curvature += partial * second[i]
            for j in range(i + 1):
                twice = self._unknown("second derivative", name, i, j, *value)
                curvature += twice * rise * first[j] * (1 if i == j else 2)
        return slope % _PRIME, curvature % _PRIME
