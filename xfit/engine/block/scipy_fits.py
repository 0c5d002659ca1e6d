"""Pixels fitted one by one by SciPy's optimizers and ODRPACK, on the compiled loss and its derivatives."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import scipy.optimize

from xfit.engine.block.optimizers import Optimizer
from xfit.engine.block.pixel_problem import ENORMOUS, PixelProblem, Pixels, UnknownDerivativeError
from xfit.engine.pixel.status import CONVERGED, MAX_NFEV, NONFINITE_DERIVATIVE, STALLED

# Untyped: what is passed on is the user's, and checked before.
optimize: Any = scipy.optimize

#: Where an optimizer ended, and the status if that is no minimum.
Ended = tuple[np.ndarray, int]

#: Options that `multifit` and these functions set themselves.
_TAKEN = (
    "fun",
    "func",
    "x0",
    "jac",
    "jacobian",
    "bounds",
    "ranges",
    "args",
    "method",
    "hess",
    "hessp",
    "loss",
    "f_scale",
    "callback",
    "constraints",
    "minimizer_kwargs",
    "workers",
    "vectorized",
    "updating",
    "x_scale",
    "full_output",
    "task",
    "weight_x",
    "jac_x",
    "delta0",
    "step_delta",
    "scale_delta",
    "f",
    "xdata",
    "ydata",
    "beta0",
    "weight_y",
    "jac_beta",
    "fix_beta",
    "fix_x",
)

#: How often methods are begun again at most that stop next to bounds or in valleys.
_RESTARTS = 20

#: What is this close to a bound, relative to itself, may lie on it.
_NEAR = 1e-3


def check_options(optimizer: Optimizer, options: Mapping[str, Any]) -> None:
    """Refuse options that an optimizer does not know.

    Raises
    ------
    TypeError
        Naming them and, where that can be found out, the ones that it knows.
    """
    taken = sorted(set(options) & set(_TAKEN))
    if taken:
        raise TypeError(f"option(s) {taken} can't be given: they follow from the model and the fit's own arguments")
    if optimizer.engine == "minimize":
        _check_of_minimize(optimizer, options)
        return
    known = _known_options(optimizer)
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise TypeError(
            f"unknown option(s) {unknown} for optimizer {optimizer.name!r}; it knows: {', '.join(known) or 'none'}"
        )


def _known_options(optimizer: Optimizer) -> list[str]:
    """Options of functions that take theirs as arguments."""
    if optimizer.engine == "odr":
        function: Any = _odrpack().odr_fit
    else:
        name = optimizer.name if optimizer.engine == "global" else "least_squares"
        function = getattr(optimize, name)
    names = [n for n, p in inspect.signature(function).parameters.items() if p.kind != p.VAR_KEYWORD]
    return [name for name in names if name not in _TAKEN]


def _check_of_minimize(optimizer: Optimizer, options: Mapping[str, Any]) -> None:
    """Let SciPy minimise a parabola with the options, to hear what it does not know."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", optimize.OptimizeWarning)
        warnings.filterwarnings("ignore", category=RuntimeWarning)
        try:
            optimize.minimize(
                lambda p: float((p[0] - 0.5) ** 2),
                np.zeros(1),
                method=optimizer.name,
                jac=(lambda p: 2 * (p - 0.5)) if optimizer.gradient != "no" else None,
                hess=(lambda p: np.array([[2.0]])) if optimizer.gradient == "Hessian" else None,
                options=dict(options),
            )
        except optimize.OptimizeWarning as warning:
            raise TypeError(
                f"{str(warning).strip()} (optimizer {optimizer.name!r}); scipy.optimize.show_options('minimize', "
                f"{optimizer.name!r}) lists those that there are"
            ) from None


def fit_by_scipy(
    optimizer: Optimizer,
    pixels: Pixels,
    which: np.ndarray,
    options: Mapping[str, Any],
    grad: str,
    last: np.ndarray,
    chained: bool,
) -> None:
    """Fit the listed pixels and write their rows.

    Parameters
    ----------
    which : int64 (any,)
        Which pixels, in this order.
    options : mapping
        What the user asked of the optimizer.
    grad : {"exact", "2-point", "3-point", "cs"}
        Derivatives: compiled, or SciPy's finite differences.
    last : float64 (n_parameters,)
        Where the pixel before ended, for fits along a path; changed in place.
    chained : bool
        Whether fits begin there.
    """
    problem = PixelProblem(pixels)
    run = {"least_squares": _least_squares, "minimize": _minimize, "global": _search, "odr": _odr}[optimizer.engine]
    for i in which:
        if not problem.begin(int(i)):
            continue
        start = problem.start
        if chained:
            before = last[pixels.free]
            start = problem.inside(np.where(np.isnan(before), start, before))
        if problem.loss(start) >= ENORMOUS:
            problem.end(start, STALLED)
            continue
        attempts = 1 + _RESTARTS if _stops_early(optimizer) else 1
        for _ in range(attempts):
            before = problem.loss(start)
            theta, status = _tried(run, optimizer, problem, start, options, grad)
            theta = _onto_bounds(problem, theta)
            problem.end(theta, status)
            if problem.converged or status == MAX_NFEV or not problem.loss(theta) < before - 1e-12 * abs(before):
                break
            start = theta
        if problem.converged:
            last[pixels.free] = problem.inside(theta)


def _tried(
    run: Callable[..., Ended],
    optimizer: Optimizer,
    problem: PixelProblem,
    start: np.ndarray,
    options: Mapping[str, Any],
    grad: str,
) -> Ended:
    """Run an optimizer; where it meets a derivative that is not finite, or ends at no point, the
    best point that was seen counts.
    """
    try:
        theta, status = run(optimizer, problem, start, dict(options), grad)
    except UnknownDerivativeError:
        return problem.best[1], NONFINITE_DERIVATIVE
    if not np.isfinite(theta).all():
        return problem.best[1], STALLED
    return theta, status


def _stops_early(optimizer: Optimizer) -> bool:
    """Whether a method goes on when it is begun again where it stopped: those that see values only, and ODRPACK."""
    return optimizer.engine == "odr" or (optimizer.engine == "minimize" and optimizer.gradient == "no")


def _onto_bounds(problem: PixelProblem, theta: np.ndarray) -> np.ndarray:
    """Move what lies next to a bound onto it, where that makes the loss no larger: interior
    points come close, but never there.
    """
    theta = problem.inside(theta)
    lower, upper = problem.bounds
    for bound in (lower, upper):
        near = (
            np.isfinite(bound) & (theta != bound) & (abs(theta - bound) <= _NEAR * np.maximum(abs(bound), abs(theta)))
        )
        for j in np.flatnonzero(near):
            moved = theta.copy()
            moved[j] = bound[j]
            if problem.loss(moved) <= problem.loss(theta):
                theta = moved
    return theta


def _status(problem: PixelProblem, success: bool, exhausted: bool) -> int:
    """Status of a fit that is at no minimum by what its derivatives say; without
    derivatives it is the optimizer's word.
    """
    if problem.pixels.loss.function is not None and success:
        return CONVERGED
    return MAX_NFEV if exhausted else STALLED


def _least_squares(
    optimizer: Optimizer, problem: PixelProblem, start: np.ndarray, options: dict[str, Any], grad: str
) -> Ended:
    """Trust region reflective, or dogleg in a box."""
    count = 0

    def deviations(theta: np.ndarray) -> np.ndarray:
        nonlocal count
        count += 1
        return problem.deviations(theta)[0]

    loss = problem.pixels.loss
    settings = {"ftol": 1e-14, "xtol": 1e-14, "gtol": 1e-14} | _limit("max_nfev", problem) | options
    found = optimize.least_squares(
        deviations,
        start,
        jac=problem.jacobian if grad == "exact" else grad,
        bounds=problem.bounds,
        method=optimizer.name,
        x_scale="jac",
        loss="linear" if loss.kind == "ls" else loss.name,
        f_scale=loss.scale,
        **settings,
    )
    problem.nfev = count
    return found.x, _status(problem, found.success, found.status == 0)


def _limit(name: str, problem: PixelProblem) -> dict[str, int]:
    """Limit of evaluations, where the user has set one."""
    limits = problem.pixels.limits
    return {name: limits.max_nfev} if limits.max_nfev == limits.first_limit else {}


class _Scaled:
    """The loss as minimisers see it: parameters in units of their conditional errors at the start, zero there."""

    def __init__(self, problem: PixelProblem, start: np.ndarray) -> None:
        self.problem, self.start = problem, start
        self.level = max(problem.loss(start) / max(problem.used - start.size, 1), 1e-300)
        curvature = np.diag(problem.hessian(start)) / 2
        if problem.pixels.loss.function is not None:
            _, jacobian = problem.deviations(start)
            curvature = (jacobian**2).sum(0)
        size = np.where(start != 0, abs(start), 1.0)
        with np.errstate(divide="ignore", over="ignore"):
            scale = np.sqrt(self.level / curvature)
        self.scale = np.where(np.isfinite(scale) & (scale > 0), scale, size)

    def theta(self, u: np.ndarray) -> np.ndarray:
        """Parameters at the scaled ones."""
        return self.problem.inside(self.start + self.scale * u)

    def value(self, u: np.ndarray) -> float:
        """Scaled loss."""
        return self.problem.loss(self.theta(u)) / self.level

    def gradient(self, u: np.ndarray) -> np.ndarray:
        """Its gradient."""
        return self.problem.gradient(self.theta(u)) * self.scale / self.level

    def hessian(self, u: np.ndarray) -> np.ndarray:
        """Its second derivatives."""
        return self.problem.hessian(self.theta(u)) * np.outer(self.scale, self.scale) / self.level

    @property
    def bounds(self) -> Any:
        """Scaled bounds; None if there are none."""
        lower, upper = self.problem.bounds
        if not (np.isfinite(lower) | np.isfinite(upper)).any():
            return None
        return optimize.Bounds((lower - self.start) / self.scale, (upper - self.start) / self.scale, True)


def _minimize(
    optimizer: Optimizer, problem: PixelProblem, start: np.ndarray, options: dict[str, Any], grad: str
) -> Ended:
    """Any method of `scipy.optimize.minimize`."""
    scaled = _Scaled(problem, start)
    exact = grad == "exact" and problem.pixels.loss.function is None
    gradient: Any = None if optimizer.gradient == "no" else scaled.gradient if exact else _differences(grad)
    settings: dict[str, Any] = {
        **optimizer.options,
        **_limit(optimizer.limit, problem),
        **options,
    }
    if optimizer.name == "Nelder-Mead":
        # SciPy's own is a few thousandths of an error wide where parameters are zero, as they are here.
        settings.setdefault("initial_simplex", np.vstack([np.zeros(start.size), np.eye(start.size)]))
    with warnings.catch_warnings():
        # What is not at the minimum gets a status; a warning for each pixel helps nobody.
        warnings.simplefilter("ignore")
        found = optimize.minimize(
            scaled.value,
            np.zeros(start.size),
            method=optimizer.name,
            jac=gradient,
            hess=_hessian(optimizer, scaled, exact),
            bounds=scaled.bounds if optimizer.bounds == "yes" else None,
            options=settings,
        )
    message = str(found.message).lower()
    return scaled.theta(found.x), _status(
        problem, found.success, ("max" in message and "iter" in message) or "evaluations" in message
    )


def _hessian(optimizer: Optimizer, scaled: _Scaled, exact: bool) -> Any:
    """Second derivatives for the methods that use them; approximated by the method where
    derivatives are differences.
    """
    if optimizer.gradient != "Hessian":
        return None
    return scaled.hessian if exact else optimize.BFGS() if optimizer.name == "trust-constr" else "2-point"


def _differences(grad: str) -> str:
    """Finite differences; a Python function has no other derivatives."""
    return "2-point" if grad == "exact" else grad


def _search(
    optimizer: Optimizer, problem: PixelProblem, start: np.ndarray, options: dict[str, Any], grad: str
) -> Ended:
    """Global optimizers; the last steps to the minimum are taken along the derivatives."""
    lower, upper = problem.bounds
    function = getattr(optimize, optimizer.name)
    settings = dict(options)
    seed = settings.pop("seed", None)
    known = inspect.signature(function).parameters
    if "rng" in known and "rng" not in settings:
        # The same for every pixel: its numbers must not depend on those fitted before.
        settings["rng"] = np.random.default_rng(0 if seed is None else seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if optimizer.name == "basinhopping":
            scaled = _Scaled(problem, start)
            exact = grad == "exact" and problem.pixels.loss.function is None
            local = {"method": "L-BFGS-B", "jac": scaled.gradient if exact else None, "bounds": scaled.bounds}
            found = function(scaled.value, np.zeros(start.size), minimizer_kwargs=local, **settings)
            best = scaled.theta(found.x)
        else:
            if "x0" in known:
                settings.setdefault("x0", start)
            box = "bounds" if "bounds" in known else "ranges"
            found = function(problem.loss, **{box: list(zip(lower, upper, strict=True))}, **settings)
            # Some return nothing but the place.
            best = problem.inside(np.atleast_1d(getattr(found, "x", found)))
    if not np.isfinite(best).all() or problem.loss(best) > problem.loss(start):
        best = start
    theta, status = _polished(problem, best, grad)
    return theta, status


def _polished(problem: PixelProblem, start: np.ndarray, grad: str) -> Ended:
    """Go from a point near the minimum into it."""
    from xfit.engine.block.optimizers import optimizer_of

    loss = problem.pixels.loss
    if loss.kind in optimizer_of("trf").losses and not loss.iterated:
        return _least_squares(optimizer_of("trf"), problem, start, {}, "exact")
    return _minimize(optimizer_of("L-BFGS-B"), problem, start, {}, grad)


def _odrpack() -> Any:
    """Import odrpack, or say what to install."""
    try:
        import odrpack
    except ImportError as error:
        raise ImportError("optimizer 'odr' needs the package odrpack: pip install odrpack") from error
    return odrpack


def _odr(optimizer: Optimizer, problem: PixelProblem, start: np.ndarray, options: dict[str, Any], grad: str) -> Ended:
    """ODRPACK's trust region, for ordinary least squares: coordinates are known exactly."""
    lower, upper = problem.bounds
    gradient = problem.gradient(start)
    # It does not get away from bounds by itself: what the loss would push further out is held.
    held = ((start <= lower) & (gradient > 0)) | ((start >= upper) & (gradient < 0))
    if held.all():
        return start, _status(problem, True, False)
    # What is fitted are deviations in units of their standard deviations, to nothing: so there is no weight to get
    # wrong.
    target = np.zeros_like(problem.deviations(start)[0])

    def deviations(x: np.ndarray, beta: np.ndarray) -> np.ndarray:
        problem.nfev += 1
        return problem.deviations(beta)[0]

    def jacobian(x: np.ndarray, beta: np.ndarray) -> np.ndarray:
        return problem.jacobian(beta).T.copy()

    found = _odrpack().odr_fit(
        deviations,
        np.arange(float(target.size)),
        target,
        np.clip(start, np.nextafter(lower, np.inf), np.nextafter(upper, -np.inf)),
        task="OLS",
        bounds=(lower, upper) if np.isfinite([lower, upper]).any() else None,
        fix_beta=held,
        jac_beta=jacobian,
        # odrpack 0.7 uses the one only where it has the other, needed or not.
        jac_x=lambda x, beta: np.zeros_like(x),
        **({"sstol": 1e-14, "partol": 1e-14} | options),
    )
    theta = np.where(held, start, found.beta)
    return theta, _status(problem, found.success, found.stopreason.lower().startswith("iteration"))
