"""Formula to kernel source: sympy, common subexpressions, invariants hoisted, plain Python that numba compiles.

Two kernels are written from one formula. Both add the component's value to ``f`` and fill its rows of the Jacobian for
a tile of channels: ``kernel`` those of one pixel, ``f[i]``, ``jac[k, i]`` with parameters ``p[k]``; ``lane_kernel``
those of eight pixels side by side, where each of these numbers is a vector (`xfit.engine.math.vector`).
"""

from __future__ import annotations

import re

import numpy as np

from xfit.engine.math.layout import LANE_PITCH, LANE_TILE, LANES, LINEAR, OTHER, PITCH
from xfit.formulas.gradient import gradient
from xfit.formulas.graph import Graph, graph_of
from xfit.formulas.kernel_expression import expression_of
from xfit.formulas.kernel_spec import FormulaKernel
from xfit.formulas.linearity import conflicts, decided_by, left_without
from xfit.formulas.spline_table import Table, is_even
from xfit.formulas.straight_line import StraightLine, straight_line

#: Parts of the derivatives, written out, beyond which they are made of the formula's graph.
MOST_FOR_SYMPY = 1400

_HEADER = """\
import math

from numba import carray, njit
"""

#: Where the functions that kernels call are; a kernel imports those that it names.
_MODULES = {
    "engine.math.bessel_functions": ("besselj0", "besselj1", "jinc", "jinc_prime"),
    "engine.math.error_functions": ("erf", "erfc", "erfcx", "erfcx_prime"),
    "engine.math.faddeeva": ("wofz",),
    "engine.math.gamma_functions": ("digamma", "gamma", "lgamma", "trigamma"),
    "engine.math.spline_lookup": ("lookup1", "lookup2"),
    "engine.math.powers": ("log_of_size", "parity"),
    "engine.math.elementary": (
        *(
            "atan",
            "bspline",
            "bspline_prime",
            "cos",
            "exp",
            "heaviside",
            "log",
            "maximum",
            "minimum",
            "power",
            "sign",
            "sin",
            "square",
            "tanh",
        ),
    ),
    "engine.math.vector": ("any_lane", "load", "negation", "reals", "select", "store"),
}


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
    # Not at the top: it would make `import xfit` wait for sympy.
    from xfit.formulas.graph_printer import straight_line_of_graph

    coordinates, parameters = kernel.coordinates, kernel.parameters
    expr = expression_of(kernel)
    graph, output = graph_of(expr, coordinates)
    if _is_short(graph, output, parameters):
        split = straight_line(expr, coordinates, parameters, kernel.constants)
    else:
        split = straight_line_of_graph(graph, output, coordinates, parameters, kernel.constants)
    bodies = [_body(split, coordinates, parameters), _lane_body(split, coordinates, parameters)]
    if split.costly:
        bodies.insert(0, _common_body(split, coordinates, parameters))
    body = "\n\n\n".join("\n".join(lines) for lines in bodies) + "\n"
    scratch = LANES + len(split.costly) * LANE_TILE * (1 + LANES)
    amplitudes = amplitude_codes(graph, output, parameters)
    proportional = _proportional(graph, output, parameters, amplitudes)
    tables = "".join(_table_source(k, lookup.table) for k, lookup in enumerate(kernel.lookups))
    return (
        f"{_HEADER}{_imports(body)}{tables}\nAMPLITUDES = {amplitudes!r}\nPROPORTIONAL = {proportional}\nSCRATCH = "
        f"{scratch}\n\n\n{body}"
    )


def _imports(body: str) -> str:
    """Import what a kernel calls."""
    called = set(re.findall(r"\b([a-z]\w*)\(", body))
    wanted = {module: [name for name in names if name in called] for module, names in _MODULES.items()}
    return "".join(f"from xfit.{module} import {', '.join(names)}\n" for module, names in wanted.items() if names)


def _table_source(k: int, table: Table) -> str:
    """Write a table's polynomials as constants, with what the functions in
    `xfit.engine.math.spline_lookup` need to find them.
    """
    grids = [(float(grid[0]), _inverse_step(grid)) for grid in table.knots]
    arrays = [table.pieces, *(table.knots if len(grids) == 1 else ())]
    written = [f'np.frombuffer(bytes.fromhex("{a.tobytes().hex()}")).reshape({a.shape})' for a in arrays]
    numbers = [repr(number) for grid in grids for number in grid]
    return f"import numpy as np\nTABLE_{k} = ({', '.join([*written, *numbers])})\n"


def _inverse_step(grid: np.ndarray) -> float:
    """One over the step of an even grid, zero for another one."""
    return float((grid.size - 1) / (grid[-1] - grid[0])) if is_even(grid) else 0.0


def _is_short(graph: Graph, output: int, parameters: tuple[str, ...]) -> bool:
    """Whether a formula's derivatives, written out, are so short that sympy looks for what
    they have in common in no time.
    """
    if not graph.suits_sympy(output, MOST_FOR_SYMPY // max(len(parameters), 1)):
        return False
    slopes = gradient(graph, output, parameters)
    return (
        all(graph.suits_sympy(node, MOST_FOR_SYMPY) for node in slopes)
        and sum(graph.size[node] for node in slopes) <= MOST_FOR_SYMPY
    )


def amplitude_codes(graph: Graph, output: int, parameters: tuple[str, ...]) -> tuple[int, ...]:
    """Say which parameters are amplitudes, and which derivatives grow with them.

    The engine sets amplitudes to their best values at every point that it visits, for which it must know how
    the Jacobian changes with them.

    Returns
    -------
    tuple of int
        For each parameter `LINEAR` if the formula is linear in it and no derivative depends on it but in proportion;
        the position of the amplitude that the derivative is proportional to; or `OTHER`.
    """
    bits = [graph.bits([name]) for name in parameters]
    enters, never = conflicts(graph, output), decided_by(graph, output)
    plain = 0
    for node in graph.below([output], conditions=False):
        plain |= graph.mask[node] if graph.operation[node] == "symbol" else 0
    linear: dict[int, int] = {}
    taken = 0
    for k, bit in enumerate(bits):
        if bit & plain and not bit & never and not enters.get(bit, 0) & (taken | bit):
            linear[bit] = k
            taken |= bit
    codes = [OTHER] * len(parameters)
    for k, bit in enumerate(bits):
        if bit & taken:
            codes[k] = LINEAR
            continue
        grows = enters.get(bit, 0) & taken
        if not grows:
            continue
        if grows & (grows - 1) or bit & left_without(graph, output, grows):
            return (OTHER,) * len(parameters)
        codes[k] = linear[grows]
    return tuple(codes)


def _proportional(graph: Graph, output: int, parameters: tuple[str, ...], codes: tuple[int, ...]) -> int:
    """Position of the one amplitude that a formula is in proportion to; -1 if there is none."""
    found = [k for k, code in enumerate(codes) if code == LINEAR]
    one = len(found) == 1 and left_without(graph, output, graph.bits([parameters[found[0]]])) == 0
    return found[0] if one else -1


def _body(split: StraightLine, coordinates: tuple[str, ...], parameters: tuple[str, ...]) -> list[str]:
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


def _common_body(split: StraightLine, coordinates: tuple[str, ...], parameters: tuple[str, ...]) -> list[str]:
    """Source of a function that computes what all pixels share: numbers first, so that it
    vectorises, then vectors of them.
    """
    count = len(split.costly) * LANE_TILE
    lines = ['@njit(error_model="numpy", fastmath={"contract"})', "def common(x_, ldx, p_, scratch_, n):"]
    lines += [
        f"    x = carray(x_, ({len(coordinates)}, ldx))",
        f"    p = carray(p_, ({len(parameters) * LANES or 1},))",
    ]
    lines += [f"    numbers = carray(scratch_, ({LANES + count},))"]
    lines += [f"    p{k} = p[{k * LANES}]" for k in range(len(parameters))]
    lines += [f"    {name} = {code}" for name, code in split.constant]
    lines += ["    failed = 0"] if split.guards else []
    lines += ["    for i in range(n):"]
    lines += [f"        x{d} = x[{d}, i]" for d in range(len(coordinates))]
    lines += [f"        {name} = {code}" for name, code in split.common]
    lines += [f"        failed += 0 if {name} else 1" for name in split.guards]
    lines += [f"        numbers[{LANES + row * LANE_TILE} + i] = {name}" for row, name in enumerate(split.costly)]
    for row in range(len(split.costly)):
        lines += ["    for i in range(n):"]
        number = f"numbers[{LANES + row * LANE_TILE} + i]"
        lines += [f"        store(scratch_, {_shared_row(row, split)} + i, reals({number}))"]
    return [*lines, "    return failed"] if split.guards else lines


def _shared_row(row: int, split: StraightLine) -> int:
    """Where in the scratch, in vectors, the values of a costly expression begin."""
    return 1 + (len(split.costly) * LANE_TILE) // LANES + row * LANE_TILE


def _lane_body(split: StraightLine, coordinates: tuple[str, ...], parameters: tuple[str, ...]) -> list[str]:
    lines = ["def lane_kernel(x_, ldx, p, f, jac, n, scratch_):"]
    lines += [f"    x = carray(x_, ({len(coordinates)}, ldx))"]
    lines += [f"    p{k} = load(p, {k})" for k in range(len(parameters))]
    lines += [f"    {name} = {code}" for name, code in split.invariant]
    reads = [f"        x{d} = x[{d}, i]" for d in range(len(coordinates))]
    common = [f"        {name} = {code}" for name, code in split.common]
    at = {name: _shared_row(row, split) for row, name in enumerate(split.costly)}
    call = "failed = common(x_, ldx, p, scratch_, n)" if split.guards else "common(x_, ldx, p, scratch_, n)"
    if split.costly and not split.by_constants:
        lines += [f"    {call}"]
    elif split.costly:
        # The engine says in the first number whether constants are the same for all pixels.
        lines += ["    if carray(scratch_, (1,))[0] != 0.0:", f"        {call}", "    else:"]
        lines += ["        failing = reals(0.0) != 0.0"] if split.guards else []
        lines += ["        for i in range(n):", *_within([*reads, *common])]
        lines += [f"            failing = failing | negation({name})" for name in split.guards]
        lines += [f"            store(scratch_, {start} + i, reals({name}))" for name, start in at.items()]
        lines += ["        failed = 1 if any_lane(failing) else 0"] if split.guards else []
    loop = ["    for i in range(n):", *reads]
    for name, code in split.common:
        loop += [f"        {name} = load(scratch_, {at[name]} + i)" if name in at else f"        {name} = {code}"]
    loop += [f"        {name} = {code}" for name, code in split.varying]
    loop += [f"        store(f, i, load(f, i) + ({split.outputs[0]}))"]
    loop += [f"        store(jac, {k * LANE_PITCH} + i, reals({code}))" for k, code in enumerate(split.outputs[1:])]
    if not split.guards:
        return [*lines, *loop]
    known = {f"        {name} = {code}" for name, code in split.common if name in split.guards}
    # The same text, so that the numbers are the same: the compiler takes out what depends on a condition that always
    # holds.
    faster = [f"{line[: line.index('=')]}= reals(0.0) == 0.0" if line in known else line for line in loop]
    return [*lines, "    if failed == 0:", *_within(faster), "    else:", *_within(loop)]


def _within(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]
