"""The pieces in which the engine is compiled: what is in each."""

from __future__ import annotations

from dataclasses import dataclass

from xfit.engine.codegen.machine_code import object_code
from xfit.engine.linear import fit as linear_fit
from xfit.engine.math.entries import APART, CompiledEntry
from xfit.engine.math.jit import inner
from xfit.engine.pixel import attempts, lanes, objective, profile
from xfit.engine.waves import clocks, wavefront

# A process that compiles imports this alone, and waits for each import: no options, no descriptions of models.


@dataclass(frozen=True)
class Unit:
    """What is compiled in one piece.

    Attributes
    ----------
    entries : tuple of CompiledEntry
        Functions that Python calls.
    variant : str
        Which of their versions.
    called : tuple of str
        Symbols of functions that other pieces call.
    seconds : float
        How long it takes to compile, about, on a processor with AVX-512.
    """

    entries: tuple[CompiledEntry, ...] = ()
    variant: str = ""
    called: tuple[str, ...] = ()
    seconds: float = 5.0


UNITS = {
    "rows": Unit(called=("xfit_prepare", "xfit_write"), seconds=3.0),
    "alone": Unit(
        called=("xfit_write_all", "xfit_gram_of_one", "xfit_jacobian_of", "xfit_deviations_of_trial"), seconds=8.0
    ),
    "pixel": Unit((attempts.fit_singly,), called=("xfit_minimise_one",), seconds=10.0),
    "lanes": Unit((lanes.fit_side_by_side,), seconds=8.0),
    "lanes-gram": Unit(called=("xfit_gram_of_lanes", "xfit_relax_lanes"), seconds=6.0),
    "evaluate": Unit((objective.evaluate_pixels,)),
    "objective": Unit(
        (objective.begin_pixel, objective.loss_at, objective.deviations_at, objective.end_pixel), seconds=10.0
    ),
    "profile": Unit((profile.profile_pixels,), seconds=4.0),
    "linear": Unit((linear_fit.fit_alike, linear_fit.fit_weighted), "float64", seconds=8.0),
    "linear-single": Unit((linear_fit.fit_alike, linear_fit.fit_weighted), "float32", seconds=8.0),
    "linear-alone": Unit((linear_fit.fit_linear_singly,), seconds=10.0),
    "wave": Unit((wavefront.rank, wavefront.begin_at, clocks.advance)),
    "ties": Unit(called=("xfit_apply_ties", "xfit_tie_derivatives")),
    "axis": Unit(called=("xfit_set_response", "xfit_add_whole")),
    "loss": Unit(called=("xfit_apply_loss",)),
}


def compile_unit(name: str) -> bytes:
    """Machine code of a piece, compiled by this process."""
    unit = UNITS[name]
    functions = [(entry.symbol(unit.variant), *entry.compiled(unit.variant)) for entry in unit.entries]
    called = [APART[symbol] for symbol in unit.called]
    return object_code([*functions, *((each.symbol, inner(each.function), each.signature) for each in called)])
