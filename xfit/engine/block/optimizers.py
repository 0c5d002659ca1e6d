"""The optimizers by name: what each can do, and the names that other programs have for them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from xfit.engine.losses import NAMES, OF_SCIPY, ROBUST, Loss

_DIFFERENTIABLE = (*NAMES, "kernel")
_ALL = (*NAMES, "kernel", "callable")
_SQUARES = ("ls",)
_OF_DEVIATIONS = ("ls", *OF_SCIPY)

#: Evaluations of methods that see values only, which creep along valleys, and that SciPy stops before.
_LONG = 20_000


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
    options : mapping
        Default options of a minimiser: the tolerances on the loss and on the parameters.
        Parameters are in units of their conditional errors at the start, the loss in units of what one degree of
        freedom has there.
    limit : str
        The option of a minimiser that limits evaluations or, where it has none, iterations.
    """

    name: str
    engine: str
    bounds: str
    gradient: str
    losses: tuple[str, ...]
    scope: str
    about: str
    options: Mapping[str, float] = field(default_factory=dict, hash=False)
    limit: str = "maxiter"


def _minimize(
    name: str, bounds: str, gradient: str, about: str, options: Mapping[str, float], limit: str = "maxiter"
) -> Optimizer:
    """A method of `scipy.optimize.minimize`."""
    return Optimizer(name, "minimize", bounds, gradient, _ALL, "local", about, options, limit)


def _global(name: str, about: str) -> Optimizer:
    """A function of `scipy.optimize` that searches a box for the least value of another; it is found by its name."""
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
    _minimize(
        "Nelder-Mead",
        "yes",
        "no",
        "simplex",
        {"xatol": 1e-7, "fatol": 1e-12, "maxfev": _LONG, "maxiter": _LONG},
        "maxfev",
    ),
    _minimize(
        "Powell",
        "yes",
        "no",
        "line searches",
        {"xtol": 1e-9, "ftol": 1e-14, "maxfev": _LONG, "maxiter": _LONG},
        "maxfev",
    ),
    _minimize("CG", "no", "yes", "conjugate gradients", {"gtol": 1e-8}),
    _minimize("BFGS", "no", "yes", "quasi-Newton", {"gtol": 1e-8}),
    _minimize("Newton-CG", "no", "Hessian", "truncated Newton", {"xtol": 1e-10}),
    _minimize("L-BFGS-B", "yes", "yes", "quasi-Newton in a box", {"ftol": 1e-15, "gtol": 1e-8}, "maxfun"),
    _minimize(
        "TNC", "yes", "yes", "truncated Newton in a box", {"ftol": 1e-15, "xtol": 1e-12, "gtol": 1e-10}, "maxfun"
    ),
    _minimize("COBYLA", "yes", "no", "linear approximations", {"tol": 1e-8, "maxiter": _LONG}),
    _minimize("COBYQA", "yes", "no", "quadratic approximations", {"final_tr_radius": 1e-8}, "maxfev"),
    _minimize("SLSQP", "yes", "yes", "sequential least squares", {"ftol": 1e-15}),
    _minimize(
        "trust-constr",
        "yes",
        "Hessian",
        "trust region, interior points",
        {"gtol": 1e-9, "xtol": 1e-11, "barrier_tol": 1e-12},
    ),
    _minimize("dogleg", "no", "Hessian", "trust region, dogleg", {"gtol": 1e-8}),
    _minimize("trust-ncg", "no", "Hessian", "trust region, conjugate gradients", {"gtol": 1e-8}),
    _minimize("trust-krylov", "no", "Hessian", "trust region, Krylov spaces", {"gtol": 1e-8}),
    _minimize("trust-exact", "no", "Hessian", "trust region, nearly exact", {"gtol": 1e-8}),
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
            f"unknown optimizer {name!r}; use one of: {', '.join(o.name for o in _KNOWN)} (xfit.optimizers() says what "
            "each can do)"
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

    ``errors`` says for which losses standard errors come with the result: all but Python functions of arrays, for every
    optimizer, for they are computed where it ended and not by how it went there.
    """
    from xfit.display import text_table

    rows = [(o.name, o.bounds, o.gradient, "yes", ", ".join(_words(o.losses)), o.scope, o.about) for o in _KNOWN]
    print(text_table(("optimizer", "bounds", "gradients", "errors", "losses", "scope", ""), rows))


def _words(losses: tuple[str, ...]) -> list[str]:
    """Losses as a table shows them."""
    if losses == _ALL:
        return ["all"]
    has_all = set(ROBUST) <= set(losses)
    words = [name for name in losses if name != "kernel" and not (has_all and name in ROBUST)]
    if has_all:
        words.append("robust")
    return words + (["LossKernel"] if "kernel" in losses else [])
