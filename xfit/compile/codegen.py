"""Formula to kernel source: sympy, common subexpressions, invariants hoisted, plain Python that numba compiles.

Two kernels are written from one formula. Both add the component's value to ``f`` and fill its rows of the Jacobian for a tile of
channels: ``kernel`` those of one pixel, ``f[i]``, ``jac[k, i]`` with parameters ``p[k]``; ``lane_kernel`` those of eight pixels side by
side, where each of these numbers is a vector (`xfit.kernels.vector`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xfit import calculus, formula
from xfit.interpolation import Table, is_even
from xfit.kernel_description import FormulaKernel
from xfit.kernels.layout import LANE_PITCH, LANE_TILE, LANES, LINEAR, OTHER, PITCH

if TYPE_CHECKING:
    import sympy

#: Operations of an expression beyond which looking for common factors takes too long.
_MOST_FACTORED = 500

_HEADER = """\
import math

from numba import carray, njit
from xfit.kernels.vector import load, reals, select, store
"""

#: Where the functions that kernels call are; a kernel imports those that it names.
_MODULES = {
    "besselfunctions": ("besselj0", "besselj1", "jinc", "jinc_prime"),
    "errorfunctions": ("erf", "erfc", "erfcx", "erfcx_prime"),
    "faddeeva": ("wofz",),
    "gammafunctions": ("digamma", "gamma", "lgamma", "trigamma"),
    "lookup": ("lookup1", "lookup2"),
    "special": (
        *("atan", "cos", "exp", "heaviside", "log", "maximum", "minimum", "power", "sign", "sin", "square", "tanh"),
    ),
}


@dataclass(frozen=True)
class _Split:
    """A formula's value and gradients as straight-line code.

    Attributes
    ----------
    invariant : list of (str, str)
        What depends on parameters only.
    constant : list of (str, str)
        What of that depends on constants only: parameters that are seldom fitted.
    common : list of (str, str)
        What depends on coordinates and constants only.
    costly : list of str
        Names among these that take longer to compute than to load.
    by_constants : bool
        Whether a constant enters what is costly.
    varying : list of (str, str)
        The rest.
    outputs : list of str
        Value and gradients.
    """

    invariant: list[tuple[str, str]]
    constant: list[tuple[str, str]]
    common: list[tuple[str, str]]
    costly: list[str]
    by_constants: bool
    varying: list[tuple[str, str]]
    outputs: list[str]


def kernel_source(kernel: FormulaKernel) -> str:
    """Write the source of a component's two kernels.

    Parameters
    ----------
    kernel : FormulaKernel
        Formula, and the names in it. What depends on its constants and coordinates alone can be shared by all pixels.

    Returns
    -------
    str
        Python source that defines ``kernel`` and ``lane_kernel``.
    """
    coordinates, parameters = kernel.coordinates, kernel.parameters
    expr = expression_of(kernel)
    split = _split(expr, coordinates, parameters, kernel.constants)
    bodies = [_body(split, coordinates, parameters), _lane_body(split, coordinates, parameters)]
    if split.costly:
        bodies.insert(0, _common_body(split, coordinates, parameters))
    body = "\n\n\n".join("\n".join(lines) for lines in bodies) + "\n"
    scratch = LANES + len(split.costly) * LANE_TILE * (1 + LANES)
    amplitudes = amplitude_codes(expr, parameters)
    proportional = _proportional(expr, parameters, amplitudes)
    tables = "".join(_table_source(k, lookup.table) for k, lookup in enumerate(kernel.lookups))
    return f"{_HEADER}{_imports(body)}{tables}\nAMPLITUDES = {amplitudes!r}\nPROPORTIONAL = {proportional}\nSCRATCH = {scratch}\n\n\n{body}"


def _imports(body: str) -> str:
    """Import what a kernel calls."""
    called = set(re.findall(r"\b([a-z]\w*)\(", body))
    wanted = {module: [name for name in names if name in called] for module, names in _MODULES.items()}
    return "".join(
        f"from xfit.compile.{module} import {', '.join(names)}\n" for module, names in wanted.items() if names
    )


def expression_of(kernel: FormulaKernel) -> sympy.Expr:
    """Parse a kernel's formula, with functions given by tables in the place of the names that stand for them."""
    import sympy

    from xfit.formula_functions import Interpolated

    calls = {}
    for k, lookup in enumerate(kernel.lookups):
        arguments = [formula.parse(text) for text in lookup.arguments]
        zeros = [sympy.Integer(0)] * len(arguments)
        calls[formula.symbol(lookup.name)] = Interpolated(sympy.Integer(k), *zeros, *arguments)
    return formula.parse(kernel.expression).xreplace(calls)


def _table_source(k: int, table: Table) -> str:
    """Write a table's polynomials as constants, with what the functions in `xfit.compile.lookup` need to find them."""
    grids = [(float(grid[0]), _inverse_step(grid)) for grid in table.points]
    arrays = [table.pieces, *(table.points if len(grids) == 1 else ())]
    written = [f'np.frombuffer(bytes.fromhex("{a.tobytes().hex()}")).reshape({a.shape})' for a in arrays]
    numbers = [repr(number) for grid in grids for number in grid]
    return f"import numpy as np\nTABLE_{k} = ({', '.join([*written, *numbers])})\n"


def _inverse_step(grid: np.ndarray) -> float:
    """One over the step of an even grid, zero for another one."""
    return float((grid.size - 1) / (grid[-1] - grid[0])) if is_even(grid) else 0.0


def amplitude_codes(expr: sympy.Expr, parameters: tuple[str, ...]) -> tuple[int, ...]:
    """Say which parameters are amplitudes, and which derivatives grow with them.

    The engine sets amplitudes to their best values at every point that it visits, for which it must know how
    the Jacobian changes with them.

    Returns
    -------
    tuple of int
        For each parameter `LINEAR` if the formula is linear in it and no derivative depends on it but in proportion; the
        position of the amplitude that the derivative is proportional to; or `OTHER`.
    """
    symbols = [formula.symbol(name) for name in parameters]
    derivatives = [calculus.derivative(expr, name) for name in parameters]
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


def _proportional(expr: sympy.Expr, parameters: tuple[str, ...], codes: tuple[int, ...]) -> int:
    """Position of the one amplitude that a formula is in proportion to; -1 if there is none."""
    found = [k for k, code in enumerate(codes) if code == LINEAR]
    one = len(found) == 1 and _vanishes_at_zero(expr, formula.symbol(parameters[found[0]]))
    return found[0] if one else -1


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
    lines += [f"        {name} = {code}" for name, code in (*split.common, *split.varying)]
    lines += [f"        f[i] += {split.outputs[0]}"]
    lines += [f"        jac[{k}, i] = {code}" for k, code in enumerate(split.outputs[1:])]
    return lines


def _common_body(split: _Split, coordinates: tuple[str, ...], parameters: tuple[str, ...]) -> list[str]:
    """Source of a function that computes what all pixels share: numbers first, so that it vectorises, then vectors of them."""
    count = len(split.costly) * LANE_TILE
    lines = ['@njit(error_model="numpy", fastmath={"contract"})', "def common(x_, ldx, p_, scratch_, n):"]
    lines += [
        f"    x = carray(x_, ({len(coordinates)}, ldx))",
        f"    p = carray(p_, ({len(parameters) * LANES or 1},))",
    ]
    lines += [f"    numbers = carray(scratch_, ({LANES + count},))"]
    lines += [f"    p{k} = p[{k * LANES}]" for k in range(len(parameters))]
    lines += [f"    {name} = {code}" for name, code in split.constant]
    lines += ["    for i in range(n):"]
    lines += [f"        x{d} = x[{d}, i]" for d in range(len(coordinates))]
    lines += [f"        {name} = {code}" for name, code in split.common]
    lines += [f"        numbers[{LANES + row * LANE_TILE} + i] = {name}" for row, name in enumerate(split.costly)]
    for row in range(len(split.costly)):
        lines += ["    for i in range(n):"]
        number = f"numbers[{LANES + row * LANE_TILE} + i]"
        lines += [f"        store(scratch_, {_shared_row(row, split)} + i, reals({number}))"]
    return lines


def _shared_row(row: int, split: _Split) -> int:
    """Where in the scratch, in vectors, the values of a costly expression begin."""
    return 1 + (len(split.costly) * LANE_TILE) // LANES + row * LANE_TILE


def _lane_body(split: _Split, coordinates: tuple[str, ...], parameters: tuple[str, ...]) -> list[str]:
    lines = ["def lane_kernel(x_, ldx, p, f, jac, n, scratch_):"]
    lines += [f"    x = carray(x_, ({len(coordinates)}, ldx))"]
    lines += [f"    p{k} = load(p, {k})" for k in range(len(parameters))]
    lines += [f"    {name} = {code}" for name, code in split.invariant]
    reads = [f"        x{d} = x[{d}, i]" for d in range(len(coordinates))]
    common = [f"        {name} = {code}" for name, code in split.common]
    at = {name: _shared_row(row, split) for row, name in enumerate(split.costly)}
    if split.costly and not split.by_constants:
        lines += ["    common(x_, ldx, p, scratch_, n)"]
    elif split.costly:
        # The engine says in the first number whether constants are the same for all pixels.
        lines += ["    if carray(scratch_, (1,))[0] != 0.0:", "        common(x_, ldx, p, scratch_, n)", "    else:"]
        lines += ["        for i in range(n):", *(f"    {line}" for line in (*reads, *common))]
        lines += [f"            store(scratch_, {start} + i, reals({name}))" for name, start in at.items()]
    lines += ["    for i in range(n):", *reads]
    for name, code in split.common:
        lines += [f"        {name} = load(scratch_, {at[name]} + i)" if name in at else f"        {name} = {code}"]
    lines += [f"        {name} = {code}" for name, code in split.varying]
    lines += [f"        store(f, i, load(f, i) + ({split.outputs[0]}))"]
    lines += [f"        store(jac, {k * LANE_PITCH} + i, reals({code}))" for k, code in enumerate(split.outputs[1:])]
    return lines


def _split(
    expr: sympy.Expr, coordinates: tuple[str, ...], parameters: tuple[str, ...], constants: tuple[str, ...]
) -> _Split:
    """Value and gradients with common subexpressions shared and what no coordinate enters taken out of the loop."""
    import sympy

    from xfit.formula_functions import written_out

    names = {formula.symbol(name): sympy.Symbol(f"x{d}", real=True) for d, name in enumerate(coordinates)}
    names |= {formula.symbol(name): sympy.Symbol(f"p{k}", real=True) for k, name in enumerate(parameters)}
    outputs = [expr, *(calculus.derivative(expr, name) for name in parameters)]
    outputs = [_factored(written_out(out.xreplace(names))) for out in outputs]
    named, outputs = _powers_by_logarithms(outputs)
    differences, outputs = _differences_of_one_sign(outputs)
    named = {symbol: _at_once(term) for symbol, term in (named | differences).items()}
    outputs = [_at_once(out) for out in outputs]
    symbols = sympy.numbered_symbols("t", real=True)
    replacements, reduced = sympy.cse([*named.values(), *outputs], symbols=symbols, order="none")
    assignments = [*replacements, *zip(named, reduced, strict=False)]
    reduced = reduced[len(named) :]
    hoister = _Hoister(
        {sympy.Symbol(f"x{d}", real=True) for d in range(len(coordinates))},
        {sympy.Symbol(f"p{parameters.index(name)}", real=True) for name in constants},
    )
    for symbol, sub in _in_order(assignments):
        hoister.assign(symbol, sub)
    codes = [hoister.code(out) for out in reduced]
    return _Split(
        hoister.invariant,
        [(name, code) for name, code in hoister.invariant if name in hoister.constant],
        hoister.common,
        hoister.costly,
        hoister.by_constants,
        hoister.varying,
        codes,
    )


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


def _factored(expr: sympy.Expr) -> sympy.Expr:
    """Take common factors out of sums: derivatives of products have many."""
    import sympy

    return sympy.factor_terms(expr) if sympy.count_ops(expr) <= _MOST_FACTORED else expr


def _differences_of_one_sign(outputs: list[sympy.Expr]) -> tuple[dict[sympy.Symbol, sympy.Expr], list[sympy.Expr]]:
    """Name the sums of plain terms, such as ``x - centre``, that occur with both signs: one subtraction serves both."""
    import sympy

    plain = {
        add
        for out in outputs
        for add in out.atoms(sympy.Add)
        if all(term.is_Symbol or (term.is_Mul and len(term.args) == 2 and term.args[0].is_number) for term in add.args)
    }
    pairs = sorted((add for add in plain if -add in plain and not add.could_extract_minus_sign()), key=str)
    named = {sympy.Symbol(f"d{k}", real=True): add for k, add in enumerate(pairs)}
    rules = {add: symbol for symbol, add in named.items()} | {-add: -symbol for symbol, add in named.items()}
    return named, [out.xreplace(rules) for out in outputs]


def _at_once(expr: sympy.Expr) -> sympy.Expr:
    """Write what one call computes together as entries of its tuple: w(z) and derivatives, a spline and its slopes."""
    from xfit.compile.printer import PARTS, Entry, Faddeeva, Found
    from xfit.formula_functions import Interpolated

    parts = {function: position for position, function in enumerate(PARTS)}

    def found(number: sympy.Expr, *rest: sympy.Expr) -> sympy.Expr:
        orders, arguments = rest[: len(rest) // 2], rest[len(rest) // 2 :]
        return Entry(Found(number, *arguments), sum((k + 1) * int(order) for k, order in enumerate(orders)))

    return expr.replace(Interpolated, found).replace(
        lambda e: type(e).__name__ in parts, lambda e: Entry(Faddeeva(*e.args), parts[type(e).__name__])
    )


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

    def __init__(self, coordinates: set[sympy.Symbol], constants: set[sympy.Symbol]) -> None:
        self.varies: set[sympy.Symbol] = set(coordinates)
        self.with_constants: set[sympy.Symbol] = set(constants)
        self.is_common: set[sympy.Symbol] = coordinates | constants
        self.invariant: list[tuple[str, str]] = []
        self.constant: set[str] = set()
        self.common: list[tuple[str, str]] = []
        self.costly: list[str] = []
        self.by_constants = False
        self.varying: list[tuple[str, str]] = []
        self._hoisted: dict[sympy.Expr, sympy.Symbol] = {}

    def assign(self, symbol: sympy.Symbol, expr: sympy.Expr) -> None:
        """Emit ``symbol = expr`` in the loop, or before it if nothing in it varies."""
        if not expr.free_symbols & self.varies:
            self._emit_invariant(symbol, expr)
            return
        code = self.code(expr)
        self.varies.add(symbol)
        if not expr.free_symbols <= self.is_common:
            self.varying.append((symbol.name, code))
            return
        self._note_common(symbol, expr)
        self.common.append((symbol.name, code))
        if _is_costly(expr):
            self.costly.append(symbol.name)
            self.by_constants |= symbol in self.with_constants

    def _emit_invariant(self, symbol: sympy.Symbol, expr: sympy.Expr) -> None:
        self.invariant.append((symbol.name, print_code(expr)))
        if expr.free_symbols <= self.is_common:
            self._note_common(symbol, expr)
            self.constant.add(symbol.name)

    def _note_common(self, symbol: sympy.Symbol, expr: sympy.Expr) -> None:
        self.is_common.add(symbol)
        if expr.free_symbols & self.with_constants:
            self.with_constants.add(symbol)

    def code(self, expr: sympy.Expr) -> str:
        """Source of an expression in the loop, its invariant parts replaced by hoisted names."""
        return print_code(self._hoist(expr))

    def _hoist(self, expr: sympy.Expr) -> sympy.Expr:
        import sympy

        pair = sympy.functions.elementary.piecewise.ExprCondPair
        if isinstance(expr, pair):
            # A branch with its condition is no number that could be named, even if neither of them varies.
            return pair(*(self._hoist(arg) for arg in expr.args))
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
        return expr.func(*(self._hoist(arg) for arg in expr.args), evaluate=False)

    def _name(self, expr: sympy.Expr) -> sympy.Expr:
        import sympy

        if expr.is_Atom:
            return expr
        if expr not in self._hoisted:
            symbol = sympy.Symbol(f"h{len(self._hoisted)}", real=True)
            self._hoisted[expr] = symbol
            self._emit_invariant(symbol, expr)
        return self._hoisted[expr]


def _is_costly(expr: sympy.Expr) -> bool:
    """Whether an expression takes longer to compute than to load, and is one number."""
    import sympy

    from xfit.compile.printer import Faddeeva, Found

    if isinstance(expr, Faddeeva | Found):
        return False
    return expr.has(sympy.Function) or any(not power.exp.is_Integer for power in expr.atoms(sympy.Pow))


def print_code(expr: sympy.Expr) -> str:
    """Print an expression as Python source in terms of `math` and `xfit.compile.special`.

    Integer powers become products and reciprocals, so that no call hides in them; conditions become
    selects, which vectorise.
    """
    from xfit.compile.printer import KernelPrinter

    return str(KernelPrinter().doprint(expr))
