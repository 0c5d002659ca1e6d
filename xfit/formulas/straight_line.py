"""A formula's value and gradients as straight-line code: what is shared named once, what does
not vary taken out of the loop.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xfit.formulas import calculus, parser

if TYPE_CHECKING:
    import sympy

#: Operations of an expression beyond which looking for common factors takes too long.
_MOST_FACTORED = 500


@dataclass(frozen=True)
class StraightLine:
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
    guards : list of str
        Names among what is common of conditions that hold in nearly every channel, whatever the parameters: a loop in
        which they do is faster.
    """

    invariant: list[tuple[str, str]]
    constant: list[tuple[str, str]]
    common: list[tuple[str, str]]
    costly: list[str]
    by_constants: bool
    varying: list[tuple[str, str]]
    outputs: list[str]
    guards: list[str] = field(default_factory=list)


def straight_line(
    expr: sympy.Expr, coordinates: tuple[str, ...], parameters: tuple[str, ...], constants: tuple[str, ...]
) -> StraightLine:
    """Value and gradients with common subexpressions shared and what no coordinate enters taken out of the loop."""
    import sympy

    from xfit.formulas.special_functions import written_out

    names = {parser.symbol(name): sympy.Symbol(f"x{d}", real=True) for d, name in enumerate(coordinates)}
    names |= {parser.symbol(name): sympy.Symbol(f"p{k}", real=True) for k, name in enumerate(parameters)}
    outputs = [expr, *(calculus.derivative(expr, name) for name in parameters)]
    outputs = [_factored(written_out(out.xreplace(names))) for out in outputs]
    named, guards, outputs = _powers_by_logarithms(outputs)
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
    return StraightLine(
        hoister.invariant,
        [(name, code) for name, code in hoister.invariant if name in hoister.constant],
        hoister.common,
        hoister.costly,
        hoister.by_constants,
        hoister.varying,
        codes,
        [name for name, _ in hoister.common if sympy.Symbol(name, real=True) in guards],
    )


def _powers_by_logarithms(
    outputs: list[sympy.Expr],
) -> tuple[dict[sympy.Symbol, sympy.Expr], set[sympy.Symbol], list[sympy.Expr]]:
    """Write powers whose base's logarithm is needed anyway as exponentials of it: one logarithm serves both.

    Such a logarithm stands in the derivative with respect to an exponent. Where the base is zero, the product of the
    two is zero, as its limit is for positive exponents. Where the base is negative, the power is that of its magnitude
    times one or minus one for whole exponents, otherwise NaN; its derivative with respect to the exponent is NaN there.

    Returns
    -------
    named : dict
        Logarithms, and whether bases are positive or zero.
    guards : set of sympy.Symbol
        The latter.
    outputs : list of sympy.Expr
        Written with these.
    """
    import sympy

    from xfit.formulas.code_printer import Parity, SizeLogarithm

    logs = {term for out in outputs for term in out.atoms(sympy.log) if not term.args[0].is_number}
    powers = {p for out in outputs for p in out.atoms(sympy.Pow) if sympy.log(p.base) in logs and not p.exp.is_number}
    bases = sorted({p.base for p in powers}, key=str)
    named: dict[sympy.Symbol, sympy.Expr] = {}
    logarithms: dict[sympy.Expr, sympy.Symbol] = {}
    guards: dict[sympy.Expr, sympy.Symbol] = {}
    rules: dict[sympy.Expr, sympy.Expr] = {}
    for k, base in enumerate(bases):
        logarithms[base] = sympy.Symbol(f"l{k}", real=True)
        # A logarithm that stands in the formula itself is infinite at zero.
        at_zero = sympy.log(base) in outputs[0].atoms(sympy.log)
        named[logarithms[base]] = sympy.log(sympy.Abs(base)) if at_zero else SizeLogarithm(base)
        guards[base] = sympy.Symbol(f"g{k}", real=True)
        named[guards[base]] = sympy.Ge(base, 0)
        rules[sympy.log(base)] = sympy.Piecewise((logarithms[base], guards[base]), (sympy.nan, True))
    for power in powers:
        sign = sympy.Piecewise((sympy.Integer(1), guards[power.base]), (Parity(power.exp), True))
        rules[power] = sympy.exp(power.exp * logarithms[power.base]) * sign
    return named, set(guards.values()), [out.xreplace(rules) for out in outputs]


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
    from xfit.formulas.code_printer import PARTS, Entry, Faddeeva, Found
    from xfit.formulas.special_functions import Interpolated

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

    from xfit.formulas.code_printer import Faddeeva, Found

    # A condition is no number either, and what it compares is named by itself where it is costly and occurs elsewhere.
    if isinstance(expr, Faddeeva | Found) or expr.is_Boolean or expr.is_Relational:
        return False
    return expr.has(sympy.Function) or any(not power.exp.is_Integer for power in expr.atoms(sympy.Pow))


def print_code(expr: sympy.Expr) -> str:
    """Print an expression as Python source in terms of `math` and `xfit.engine.math.elementary`.

    Integer powers become products and reciprocals, so that no call hides in them; conditions become
    selects, which vectorise.
    """
    from xfit.formulas.code_printer import KernelPrinter

    return str(KernelPrinter().doprint(expr))
