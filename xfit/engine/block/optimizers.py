"""The optimizers by name: what each can do, and the names that other programs have for them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from xfit.engine.losses import NAMES, ROBUST, Loss

_DIFFERENTIABLE = (*NAMES, "kernel")
_ALL = (*NAMES, "kernel", "callable")
_SQUARES = ("ls",)
_OF_DEVIATIONS = ("ls", *ROBUST)


@dataclass(frozen=True)
class Optimizer:
    """An optimizer and what it can do.

    Attributes
    ----------
    name : str
        Name, as SciPy spells it where it is SciPy's.
    engine : {"kernel", "linear", "least_squares", "minimize", "global", "odr"}
        What runs it.
    bounds : {"no", "yes", "finite"}
        Whether it keeps bounds; "finite": it needs them on both sides of every free parameter.
    gradient : {"no", "yes", "Hessian"}
        What of the compiled derivatives it uses; "Hessian" is that of Gauss and Newton.
    losses : tuple of str
        Kinds of `xfit.engine.losses.Loss` that it can minimise.
    scope : {"local", "global"}
        What it looks for.
    about : str
        What it is.
    """

    name: str
    engine: str
    bounds: str
    gradient: str
    losses: tuple[str, ...]
    scope: str
    about: str


def _minimize(name: str, bounds: str, gradient: str, about: str) -> Optimizer:
    return Optimizer(name, "minimize", bounds, gradient, _ALL, "local", about)


def _global(name: str, about: str) -> Optimizer:
    return Optimizer(name, "global", "finite", "no", _ALL, "global", about)


_KNOWN = (
    Optimizer("lm", "kernel", "yes", "yes", _DIFFERENTIABLE, "local", "Levenberg-Marquardt, compiled"),
    Optimizer("varpro", "kernel", "yes", "yes", _SQUARES, "local", "the same with amplitudes projected out"),
    Optimizer("lstsq", "linear", "yes", "yes", _SQUARES, "global", "linear parameters in one solution"),
    Optimizer("nnls", "linear", "yes", "yes", _SQUARES, "global", "the same, none of them negative"),
    Optimizer("ridge", "linear", "yes", "yes", _SQUARES, "global", "the same with a penalty alpha * sum(p**2)"),
    Optimizer("trf", "least_squares", "yes", "yes", _OF_DEVIATIONS, "local", "trust region reflective"),
    Optimizer("dogbox", "least_squares", "yes", "yes", _OF_DEVIATIONS, "local", "dogleg in a box"),
    Optimizer("odr", "odr", "yes", "yes", _SQUARES, "local", "ODRPACK, by odrpack"),
    _minimize("Nelder-Mead", "yes", "no", "simplex"),
    _minimize("Powell", "yes", "no", "line searches"),
    _minimize("CG", "no", "yes", "conjugate gradients"),
    _minimize("BFGS", "no", "yes", "quasi-Newton"),
    _minimize("Newton-CG", "no", "Hessian", "truncated Newton"),
    _minimize("L-BFGS-B", "yes", "yes", "quasi-Newton in a box"),
    _minimize("TNC", "yes", "yes", "truncated Newton in a box"),
    _minimize("COBYLA", "yes", "no", "linear approximations"),
    _minimize("COBYQA", "yes", "no", "quadratic approximations"),
    _minimize("SLSQP", "yes", "yes", "sequential least squares"),
    _minimize("trust-constr", "yes", "Hessian", "trust region, interior points"),
    _minimize("dogleg", "no", "Hessian", "trust region, dogleg"),
    _minimize("trust-ncg", "no", "Hessian", "trust region, conjugate gradients"),
    _minimize("trust-krylov", "no", "Hessian", "trust region, Krylov spaces"),
    _minimize("trust-exact", "no", "Hessian", "trust region, nearly exact"),
    _global("differential_evolution", "a population"),
    _global("dual_annealing", "annealing"),
    _global("shgo", "simplicial homology"),
    Optimizer("basinhopping", "global", "yes", "yes", _ALL, "global", "hops and local searches"),
    _global("direct", "dividing rectangles"),
)

#: Names that users of HyperSpy, lmfit and SciPy know them by.
_SYNONYMS = {
    "leastsq": "lm",
    "mpfit": "lm",
    "levenbergmarquardt": "lm",
    "leastsquares": "trf",
    "ols": "lstsq",
    "ridgeregression": "ridge",
    "nelder": "neldermead",
    "newton": "newtoncg",
    "lbfgs": "lbfgsb",
}


def _plain(name: str) -> str:
    """Name without case, blanks and dashes."""
    return re.sub(r"[^a-z]", "", name.lower())


_BY_NAME = {_plain(optimizer.name): optimizer for optimizer in _KNOWN}


def optimizer_of(name: str) -> Optimizer:
    """Find an optimizer by its name, SciPy's spelling or HyperSpy's.

    Raises
    ------
    ValueError
        For an unknown name, listing those there are.
    """
    if not isinstance(name, str):
        raise TypeError(f"optimizer must be a name, not {type(name).__name__}; xfit.optimizers() prints all")
    plain = _plain(name)
    found = _BY_NAME.get(_SYNONYMS.get(plain, plain))
    if found is None:
        raise ValueError(
            f"unknown optimizer {name!r}; use one of: {', '.join(o.name for o in _KNOWN)} (xfit.optimizers() says what each can do)"
        )
    return found


def check_pair(optimizer: Optimizer, loss: Loss) -> None:
    """Refuse an optimizer that can't minimise a loss.

    Raises
    ------
    ValueError
        With the optimizers that can.
    """
    kind = "poisson" if loss.iterated else loss.kind
    if kind not in optimizer.losses:
        able = [o.name for o in _KNOWN if kind in o.losses]
        words = {"callable": "a Python function of arrays", "kernel": "a loss of your own"}
        what = "a variance that follows the model" if loss.iterated else words.get(kind, f"loss {kind!r}")
        raise ValueError(f"optimizer {optimizer.name!r} can't minimise {what}; use one of: {', '.join(able)}")


def optimizers() -> None:
    """Print what each optimizer can do.

    ``errors`` says for which losses standard errors come with the result: all but Python functions of arrays, for every optimizer,
    for they are computed where it ended and not by how it went there.
    """
    from xfit.display import text_table

    rows = [
        (o.name, o.bounds, o.gradient, "yes", ", ".join(_words(o.losses)), o.scope, o.about) for o in _KNOWN
    ]  # fmt: skip
    print(text_table(("optimizer", "bounds", "gradients", "errors", "losses", "scope", ""), rows))


def _words(losses: tuple[str, ...]) -> list[str]:
    """Losses as a table shows them."""
    if losses == _ALL:
        return ["all"]
    robust = [name for name in ROBUST if name in losses]
    words = [name for name in losses if name not in robust and name != "kernel"]
    if len(robust) == len(ROBUST):
        words.append("robust")
    return words + (["LossKernel"] if "kernel" in losses else [])
