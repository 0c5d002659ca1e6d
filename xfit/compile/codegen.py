"""Formula to kernel source: sympy, common subexpressions, invariants hoisted, plain Python that numba compiles.

Two kernels are written from one formula. Both add the component's value to ``f`` and fill its rows of the Jacobian for a tile of
channels: ``kernel`` those of one pixel, ``f[i]``, ``jac[k, i]`` with parameters ``p[k]``; ``lane_kernel`` those of eight pixels side by
side, where each of these numbers is a vector (`xfit.kernels.vector`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xfit import formula
from xfit.kernels.layout import LANE_PITCH, LANE_TILE, LINEAR, OTHER, PITCH

if TYPE_CHECKING:
    import sympy

#: Part of every cache key: raise it whenever the source below or the contract of a kernel changes.
CODEGEN_VERSION = 11

_HEADER = """\
import math

from numba import carray
from xfit.compile.special import {special}
from xfit.kernels.vector import load, reals, select, store

"""

_SPECIAL = (
    *("atan", "cos", "digamma", "exp", "heaviside", "log", "maximum", "minimum", "power", "sign", "sin", "square"),
    "tanh",
)


@dataclass(frozen=True)
class _Split:
    """A formula's value and gradients as straight-line code.

    What depends on parameters only, then costly functions of coordinates only, which all pixels share, then the rest.
    """

    invariant: list[tuple[str, str]]
    shared: list[tuple[str, str]]
    varying: list[tuple[str, str]]
    outputs: list[str]


def kernel_source(expression: str, coordinates: tuple[str, ...], parameters: tuple[str, ...]) -> str:
    """Write the source of a component's two kernels.

    Parameters
    ----------
    expression : str
        Formula of the coordinates and parameters, as `xfit.formula.parse` reads it.
    coordinates, parameters : tuple of str
        Names in the order in which the engine passes them.

    Returns
    -------
    str
        Python source that defines ``kernel`` and ``lane_kernel``.
    """
    split = _split(formula.parse(expression), coordinates, parameters)
    lines = [_HEADER.format(special=", ".join(_SPECIAL)) + f"AMPLITUDES = {amplitude_codes(expression, parameters)!r}"]
    lines += [f"SCRATCH = {len(split.shared) * LANE_TILE}", "", ""]
    lines += [*_body(split, coordinates, parameters), "", "", *_lane_body(split, coordinates, parameters), ""]
    return "\n".join(lines)


def amplitude_codes(expression: str, parameters: tuple[str, ...]) -> tuple[int, ...]:
    """Say which parameters are amplitudes, and which derivatives grow with them.

    The engine sets amplitudes to their best values at every point that it visits, for which it must know how
    the Jacobian changes with them.

    Returns
    -------
    tuple of int
        For each parameter `LINEAR` if the formula is linear in it and no derivative depends on it but in proportion; the
        position of the amplitude that the derivative is proportional to; or `OTHER`.
    """
    expr = formula.parse(expression)
    symbols = [formula.symbol(name) for name in parameters]
    derivatives = [formula.derivative(expr, name) for name in parameters]
    linear: list[int] = []
    for k, slope in enumerate(derivatives):
        if slope != 0 and not slope.free_symbols & {symbols[k], *(symbols[j] for j in linear)}:
            linear.append(k)
    codes = [OTHER] * len(parameters)
    for k, slope in enumerate(derivatives):
        if k in linear:
            codes[k] = LINEAR
            continue
        grows = [j for j in linear if symbols[j] in slope.free_symbols]
        if not grows:
            continue
        if len(grows) > 1 or not _vanishes_at_zero(slope, symbols[grows[0]]):
            return (OTHER,) * len(parameters)
        codes[k] = grows[0]
    return tuple(codes)


def _vanishes_at_zero(expr: sympy.Expr, symbol: sympy.Symbol) -> bool:
    """Whether an expression is zero where a symbol is, in every branch."""
    import sympy

    if isinstance(expr, sympy.Piecewise):
        return all(_vanishes_at_zero(value, symbol) for value, _ in expr.args)
    return bool(sympy.expand(expr.subs(symbol, 0)) == 0)


def _body(split: _Split, coordinates: tuple[str, ...], parameters: tuple[str, ...]) -> list[str]:
    lines = ["def kernel(x_, ldx, p_, f_, jac_, n, scratch_):"]
    lines += [f"    x = carray(x_, ({len(coordinates)}, ldx))"]
    lines += [f"    p = carray(p_, ({max(len(parameters), 1)},))"]
    lines += [f"    f = carray(f_, ({PITCH},))", f"    jac = carray(jac_, ({max(len(parameters), 1)}, {PITCH}))"]
    lines += [f"    p{k} = p[{k}]" for k in range(len(parameters))]
    lines += [f"    {name} = {code}" for name, code in split.invariant]
    lines += ["    for i in range(n):"]
    lines += [f"        x{d} = x[{d}, i]" for d in range(len(coordinates))]
    lines += [f"        {name} = {code}" for name, code in (*split.shared, *split.varying)]
    lines += [f"        f[i] += {split.outputs[0]}"]
    lines += [f"        jac[{k}, i] = {code}" for k, code in enumerate(split.outputs[1:])]
    return lines


def _lane_body(split: _Split, coordinates: tuple[str, ...], parameters: tuple[str, ...]) -> list[str]:
    at = {name: f"shared[{row * LANE_TILE} + i]" for row, (name, _) in enumerate(split.shared)}
    lines = ["def lane_kernel(x_, ldx, p, f, jac, n, shared_):"]
    lines += [f"    x = carray(x_, ({len(coordinates)}, ldx))"]
    if split.shared:
        lines += [f"    shared = carray(shared_, ({len(split.shared) * LANE_TILE},))", "    for i in range(n):"]
        lines += [f"        x{d} = x[{d}, i]" for d in range(len(coordinates))]
        for name, code in split.shared:
            lines += [f"        {name} = {code}", f"        {at[name]} = {name}"]
    lines += [f"    p{k} = load(p, {k})" for k in range(len(parameters))]
    lines += [f"    {name} = {code}" for name, code in split.invariant]
    lines += ["    for i in range(n):"]
    lines += [f"        x{d} = x[{d}, i]" for d in range(len(coordinates))]
    lines += [f"        {name} = {code}" for name, code in at.items()]
    lines += [f"        {name} = {code}" for name, code in split.varying]
    lines += [f"        store(f, i, load(f, i) + ({split.outputs[0]}))"]
    lines += [f"        store(jac, {k * LANE_PITCH} + i, reals({code}))" for k, code in enumerate(split.outputs[1:])]
    return lines


def _split(expr: sympy.Expr, coordinates: tuple[str, ...], parameters: tuple[str, ...]) -> _Split:
    """Value and gradients with common subexpressions shared and what no coordinate enters taken out of the loop."""
    import sympy

    names = {formula.symbol(name): sympy.Symbol(f"x{d}", real=True) for d, name in enumerate(coordinates)}
    names |= {formula.symbol(name): sympy.Symbol(f"p{k}", real=True) for k, name in enumerate(parameters)}
    outputs = [expr, *(formula.derivative(expr, name) for name in parameters)]
    outputs = [out.xreplace(names) for out in outputs]
    logarithms, outputs = _powers_by_logarithms(outputs)
    symbols = sympy.numbered_symbols("t", real=True)
    replacements, reduced = sympy.cse([*logarithms.values(), *outputs], symbols=symbols, order="none")
    assignments = [*replacements, *zip(logarithms, reduced, strict=False)]
    reduced = reduced[len(logarithms) :]
    hoister = _Hoister({sympy.Symbol(f"x{d}", real=True) for d in range(len(coordinates))})
    for symbol, sub in _in_order(assignments):
        hoister.assign(symbol, sub)
    codes = [hoister.code(out) for out in reduced]
    return _Split(hoister.invariant, hoister.shared, hoister.varying, codes)


def _powers_by_logarithms(outputs: list[sympy.Expr]) -> tuple[dict[sympy.Symbol, sympy.Expr], list[sympy.Expr]]:
    """Write powers whose base's logarithm is needed anyway as exponentials of it: one logarithm serves both.

    Such a logarithm stands in the derivative with respect to an exponent, which is NaN for a negative base; then so is the
    power, even where the exponent happens to be an integer.
    """
    import sympy

    found: dict[sympy.Expr, sympy.Symbol] = {}
    for out in outputs:
        for term in out.atoms(sympy.log):
            if not term.args[0].is_number:
                found.setdefault(term, sympy.Symbol(f"l{len(found)}", real=True))
    powers = {p for out in outputs for p in out.atoms(sympy.Pow) if sympy.log(p.base) in found and not p.exp.is_number}
    bases = {p.base for p in powers}
    logarithms = {symbol: term for term, symbol in found.items() if term.args[0] in bases}
    rules = {p: sympy.exp(p.exp * found[sympy.log(p.base)]) for p in powers}
    rules |= {term: symbol for symbol, term in logarithms.items()}
    return logarithms, [out.xreplace(rules) for out in outputs]


def _in_order(assignments: list[tuple[sympy.Symbol, sympy.Expr]]) -> list[tuple[sympy.Symbol, sympy.Expr]]:
    """Order assignments so that each symbol is set before it is used."""
    waiting = dict(assignments)
    ordered = []
    while waiting:
        ready = [symbol for symbol, expr in waiting.items() if not expr.free_symbols & set(waiting)]
        ordered += [(symbol, waiting.pop(symbol)) for symbol in ready]
    return ordered


class _Hoister:
    """Prints expressions in order, moving what does not vary with the channel before the loop."""

    def __init__(self, coordinates: set[sympy.Symbol]) -> None:
        self.varies: set[sympy.Symbol] = set(coordinates)
        self.of_coordinates: set[sympy.Symbol] = set(coordinates)
        self.invariant: list[tuple[str, str]] = []
        self.shared: list[tuple[str, str]] = []
        self.varying: list[tuple[str, str]] = []
        self._hoisted: dict[sympy.Expr, sympy.Symbol] = {}

    def assign(self, symbol: sympy.Symbol, expr: sympy.Expr) -> None:
        """Emit ``symbol = expr`` in the loop, or before it if nothing in it varies."""
        if expr.free_symbols & self.varies:
            code = self.code(expr)
            self.varies.add(symbol)
            if expr.free_symbols <= self.of_coordinates and _is_costly(expr):
                self.of_coordinates.add(symbol)
                self.shared.append((symbol.name, code))
            else:
                self.varying.append((symbol.name, code))
        else:
            self.invariant.append((symbol.name, print_code(expr)))

    def code(self, expr: sympy.Expr) -> str:
        """Source of an expression in the loop, its invariant parts replaced by hoisted names."""
        return print_code(self._hoist(expr))

    def _hoist(self, expr: sympy.Expr) -> sympy.Expr:
        import sympy

        if expr.is_Atom:
            return expr
        if not expr.free_symbols & self.varies:
            return self._name(expr) if expr.free_symbols else expr
        if isinstance(expr, sympy.Add | sympy.Mul):
            fixed = [arg for arg in expr.args if not arg.free_symbols & self.varies]
            rest = [self._hoist(arg) for arg in expr.args if arg.free_symbols & self.varies]
            if any(arg.free_symbols for arg in fixed):
                fixed = [self._name(expr.func(*fixed))]
            return expr.func(*fixed, *rest, evaluate=False)
        args = [self._hoist(arg) for arg in expr.args]
        pair = sympy.functions.elementary.piecewise.ExprCondPair
        return pair(*args) if isinstance(expr, pair) else expr.func(*args, evaluate=False)

    def _name(self, expr: sympy.Expr) -> sympy.Expr:
        import sympy

        if expr.is_Atom:
            return expr
        if expr not in self._hoisted:
            symbol = sympy.Symbol(f"h{len(self._hoisted)}", real=True)
            self._hoisted[expr] = symbol
            self.invariant.append((symbol.name, print_code(expr)))
        return self._hoisted[expr]


def _is_costly(expr: sympy.Expr) -> bool:
    """Whether an expression takes longer to compute than to load."""
    import sympy

    return expr.has(sympy.Function) or any(not power.exp.is_Integer for power in expr.atoms(sympy.Pow))


def print_code(expr: sympy.Expr) -> str:
    """Print an expression as Python source in terms of `math` and `xfit.compile.special`.

    Integer powers become products and reciprocals, so that no call hides in them; conditions become
    selects, which vectorise.
    """
    from xfit.compile.printer import KernelPrinter

    return str(KernelPrinter().doprint(expr))
