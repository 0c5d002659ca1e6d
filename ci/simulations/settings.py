"""Simulated maps of one truth, each fitted in one way: what errors are tried on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from scipy import special

import xfit
from ci.simulations.pulls import Outcome, of_fit, of_intervals
from xfit.components import Exponential, Expression, Gaussian, Offset

X = np.linspace(-6, 6, 60)
TRUTH = {"g.A": 50.0, "g.centre": 0.3, "g.sigma": 1.2, "o.offset": 4.0}
LEVELS = (0.6826894921370859, 0.9544997361036416)

#: Why errors do not hold somewhere, and what to do.
REASONS = {
    "few channels": (
        "The scale of the errors is itself known from few degrees of freedom: pulls follow Student's "
        "distribution. Use `conf_interval`, which allows for it."
    ),
    "correlated": (
        "Errors assume that the noise of channels is independent. Multiply the variance by the number of "
        "channels over which it is correlated, or give `xfit.noise.Poisson(correlation=)`."
    ),
    "weights of counts": (
        "Channels that happened to count less weigh more, so that everything is pulled low "
        '(Neyman\'s chi-squared). Use `loss="poisson"`, or `reweight=True`.'
    ),
    "less than one count": (
        "With so few counts the likelihood is far from normal, and in many pixels the line has "
        "hardly any counts. Profiles are right for the area at best, and find other minima in many pixels. Sum pixels "
        "or channels first."
    ),
    "overdispersion": "The counts scatter more than counts do. Use `scale_covariance=True`.",
    "other minima": (
        "What deviates by more than `loss_scale` has little influence, and with one of a single standard "
        "deviation so much of the good data that there are other minima, some with small errors. Use `loss_scale=2` or "
        "more."
    ),
    "one-sided": (
        "Outliers to one side pull every value that way, less so the less influence the loss gives them. "
        'Mask them, or use `"cauchy"` or `"arctan"`.'
    ),
    "truncated": (
        "A value cannot be beyond its bound: near one it is not normally distributed, and where it touches "
        "there is no error. Use no bound where it is not needed for the fit to work."
    ),
    "as if fixed": (
        "Where a parameter is at its bound, the errors of the others are those of a fit in which it is "
        "fixed there, and they are off with it; where it is not, they are not quite as far off as their errors say. "
        "Over all pixels together they nearly hold."
    ),
    "wrong constant": (
        "A parameter that is fixed is taken to be known exactly; others make up for what it is off. Free it."
    ),
    "channels too wide": (
        "The model is taken at the middle of a channel and not integrated over it: a line as narrow "
        "as a channel comes out wider. Use narrower channels, or a formula of the integral, such as a difference of "
        "`erf`."
    ),
    "detection limit": (
        "A line of about the size of its own error has its position and width wherever noise is "
        "highest, and on average an area above the truth. Fix position and width."
    ),
    "chosen for being high": (
        "Where the line is at the limit of what the criterion sees, it is chosen where noise has "
        "made it higher. Fit the line in every pixel, with position and width fixed."
    ),
    "skewed": (
        "The likelihood is skewed: values that are too low have errors that are too small, values that are too "
        "high errors that are too large. Use `conf_interval`."
    ),
    "resampled": (
        "The bootstrap of robust losses draws from the residuals, which are smaller than the deviations by "
        "the root of the degrees of freedom over the channels. Use standard errors, or many more channels than "
        "parameters."
    ),
    "penalty": (
        "`ridge` gives biased values by design, and errors of the scatter about them; the result's `bias` says "
        "how much."
    ),
}


@dataclass(frozen=True)
class Setting:
    """One way of simulating and fitting.

    Attributes
    ----------
    run : callable
        ``run(n, seed)`` simulates and fits so many pixels and gives the outcomes of parameters.
    n : int
        Pixels for the table.
    exceptions : mapping of str to str
        Where errors do not hold: beginnings of the outcomes' names, with keys of `REASONS`.
    """

    run: Callable[[int, int], Iterator[Outcome]]
    n: int = 4000
    exceptions: Mapping[str, str] = field(default_factory=dict)

    def reason(self, parameter: str) -> str | None:
        """Why the errors of a parameter do not hold, if they don't."""
        return next((why for name, why in self.exceptions.items() if parameter.startswith(name)), None)


def model(**values: float) -> xfit.Model:
    """A line on a level, started beside the truth."""
    made = xfit.Model([Gaussian(name="g", A=40.0, centre=0.5, sigma=1.0), Offset(name="o", offset=3.0)])
    made.set({name.replace("__", "."): value for name, value in values.items()})
    return made


def copies() -> list[xfit.Component]:
    """The model's components, for another one."""
    return [component.copy() for component in model()]


def curve(x: np.ndarray = X, **truth: float) -> np.ndarray:
    """The line on the level at the truth, or elsewhere: parameters by name, A, centre, sigma, offset."""
    p = {name.partition(".")[2]: value for name, value in TRUTH.items()} | truth
    return (
        p["A"] / p["sigma"] / np.sqrt(2 * np.pi) * np.exp(-((x - p["centre"]) ** 2) / (2 * p["sigma"] ** 2))
        + p["offset"]
    )


def spectra(values: np.ndarray, x: np.ndarray = X) -> xr.DataArray:
    """An array of many spectra."""
    return xr.DataArray(np.asarray(values, float), dims=("copy", "x"), coords={"x": x})


def normal(n: int, seed: int, mean: np.ndarray | None = None, sd: Any = 1.0, x: np.ndarray = X) -> xr.DataArray:
    """Spectra with normal noise."""
    mean = curve(x) if mean is None else mean
    return spectra(mean + sd * np.random.default_rng(seed).normal(size=(n, x.size)), x)


def counts(n: int, seed: int, mean: np.ndarray, x: np.ndarray = X) -> xr.DataArray:
    """Spectra of counts."""
    return spectra(np.random.default_rng(seed).poisson(mean, (n, x.size)), x)


def least_squares(n: int, seed: int, sd: Any = 1.0, x: np.ndarray = X, **options: Any) -> Iterator[Outcome]:
    """Normal noise."""
    return of_fit(normal(n, seed, sd=sd, x=x).fit.multifit(model(), **options), TRUTH)


def of_counts(level: float, **options: Any) -> Callable[[int, int], Iterator[Outcome]]:
    """Counts, so many per channel under the line, which rises to 4.2 times as many."""
    truth = TRUTH | {"g.A": 12.5 * level, "o.offset": level}

    def run(n: int, seed: int) -> Iterator[Outcome]:
        da = counts(n, seed, curve(A=12.5 * level, offset=level))
        return of_fit(da.fit.multifit(model(g__A=10 * level, o__offset=0.8 * level), **options), truth)

    return run


def overdispersed(n: int, seed: int, **options: Any) -> Iterator[Outcome]:
    """Negative binomial counts of three times a Poisson variance."""
    mean = curve(A=1250, offset=100)
    da = spectra(np.random.default_rng(seed).negative_binomial(mean / 2, 1 / 3, (n, X.size)))
    fit = da.fit.multifit(model(g__A=1000, o__offset=80), loss="poisson", **options)
    return of_fit(fit, TRUTH | {"g.A": 1250.0, "o.offset": 100.0})


def detector(n: int, seed: int) -> Iterator[Outcome]:
    """Counts of 30 and more, read out with a gain of 2 and noise of variance 9."""
    random = np.random.default_rng(seed)
    mean = curve(A=750, offset=60)
    da = spectra(2 * random.poisson(mean / 2, (n, X.size)) + 3 * random.normal(size=(n, X.size)))
    noise = xfit.noise.Poisson(gain=2.0, offset=9.0)
    fit = da.fit.multifit(model(g__A=600, o__offset=50), variance=noise, reweight=True, scale_covariance=False)
    return of_fit(fit, TRUTH | {"g.A": 750.0, "o.offset": 60.0})


def correlated(n: int, seed: int, variance: float) -> Iterator[Outcome]:
    """Noise of variance one that is smoothed over three channels."""
    raw = np.random.default_rng(seed).normal(size=(n, X.size + 2)) / np.sqrt(3)
    da = spectra(curve() + raw[:, :-2] + raw[:, 1:-1] + raw[:, 2:])
    return of_fit(da.fit.multifit(model(), variance=variance, scale_covariance=False), TRUTH)


def log_cosh(data: float, model: float, weight: float) -> tuple[float, float, float]:
    """A smooth absolute deviation, with its derivatives."""
    s = (model - data) * math.sqrt(weight)
    t = math.tanh(s)
    value = 2 * (abs(s) + math.log1p(math.exp(-2 * abs(s))) - math.log(2.0))
    return value, 2 * t * math.sqrt(weight), 2 * weight * (1 - t * t)


def robust(
    loss: Any, share: float = 0.0, one_sided: bool = False, **options: Any
) -> Callable[[int, int], Iterator[Outcome]]:
    """Normal noise, a share of it ten times as wide, or spikes of up to twenty standard deviations upwards."""

    def run(n: int, seed: int) -> Iterator[Outcome]:
        random = np.random.default_rng(seed)
        da = normal(n, seed + 1)
        hit = random.random(da.shape) < share
        da = da + hit * (random.uniform(5, 20, da.shape) if one_sided else 10 * random.normal(size=da.shape))
        return of_fit(da.fit.multifit(model(), loss=loss, variance=1.0, **options), TRUTH)

    return run


def bounded(distance: float, together: bool = False) -> Callable[[int, int], Iterator[Outcome]]:
    """A level whose lower bound is so many of its errors below the truth; pixels that touch it apart
    from the others, or together.
    """

    def run(n: int, seed: int) -> Iterator[Outcome]:
        da = normal(n, seed)
        options: dict[str, Any] = {"variance": 1.0, "scale_covariance": False}
        error = float(da[:1].fit.multifit(model(), **options).fit.stderr("o.offset")[0])
        m = model(o__offset=4.5)
        m["o.offset"].set(min=TRUTH["o.offset"] - distance * error)
        fit = da.fit.multifit(m, **options)
        if together:
            yield from of_fit(fit, TRUTH)
            return
        touched = (fit["at_bound"].sel(param="o.offset") != 0).values
        yield from of_fit(fit, TRUTH, among=~touched, where="the level not at its bound")
        yield from of_fit(fit, TRUTH, ["g.A", "g.centre", "g.sigma"], touched, "the level at its bound")

    return run


def tied(n: int, seed: int, nonlinear: bool = False) -> Iterator[Outcome]:
    """A second line whose area, or width, follows the first."""
    m = xfit.Model([*copies(), Gaussian(name="h", A=20.0, centre=4.2)])
    m["h.A"].tie("0.5*g.A")
    m["h.sigma"].tie("sqrt(g.sigma**2 + 0.25)" if nonlinear else "g.sigma")
    truth = TRUTH | {"h.A": 25.0, "h.centre": 4.0, "h.sigma": 1.3 if nonlinear else 1.2}
    mean = curve() + curve(A=25, centre=4, sigma=truth["h.sigma"], offset=0)
    truth |= {"g.fwhm": 1.2 * math.sqrt(8 * math.log(2)), "h.height": 25 / truth["h.sigma"] / math.sqrt(2 * math.pi)}
    return of_fit(normal(n, seed, mean).fit.multifit(m, variance=1.0, scale_covariance=False), truth)


def binned(width: float) -> Callable[[int, int], Iterator[Outcome]]:
    """Counts that are integrals over channels as wide as this many of the line's sigmas."""

    def run(n: int, seed: int) -> Iterator[Outcome]:
        step = width * TRUTH["g.sigma"]
        x = step * np.arange(-math.ceil(6 / step), math.ceil(6 / step) + 1)
        edges = np.append(x - step / 2, x[-1] + step / 2)
        area, level = 5000.0, 100.0
        mean = area * np.diff(special.ndtr((edges - 0.3) / 1.2)) + level * step
        fit = counts(n, seed, mean, x).fit.multifit(model(g__A=4000, o__offset=80), loss="poisson", binned=True)
        return of_fit(fit, TRUTH | {"g.A": area, "o.offset": level})

    return run


def integral(n: int, seed: int) -> Iterator[Outcome]:
    """Channels as wide as the line's sigma, with a formula of the integral."""
    step = TRUTH["g.sigma"]
    x = step * np.arange(-6, 7)
    edges = np.append(x - step / 2, x[-1] + step / 2)
    mean = 5000.0 * np.diff(special.ndtr((edges - 0.3) / 1.2)) + 120.0
    text = "A*(erf((x + h - centre)/(sigma*sqrt(2))) - erf((x - h - centre)/(sigma*sqrt(2))))/2"
    line = Expression(text, name="g", A=4000.0, centre=0.5, sigma=1.0, h=step / 2)
    line.h.free = False
    m = xfit.Model([line, Offset(name="o", offset=100.0)])
    fit = counts(n, seed, mean, x).fit.multifit(m, loss="poisson")
    return of_fit(fit, TRUTH | {"g.A": 5000.0, "o.offset": 120.0})


def missing(n: int, seed: int, as_mask: bool) -> Iterator[Outcome]:
    """A third of the channels of each pixel left out, by a mask or as NaN."""
    da = normal(n, seed)
    use = xr.DataArray(np.random.default_rng(seed + 1).random(da.shape) > 1 / 3, dims=da.dims, coords=da.coords)
    options: dict[str, Any] = {"variance": 1.0, "scale_covariance": False}
    spoilt = da.where(use, 1e3 if as_mask else np.nan)
    return of_fit(spoilt.fit.multifit(model(), where=use if as_mask else None, **options), TRUTH)


def through_response(n: int, seed: int) -> Iterator[Outcome]:
    """A line seen through an asymmetric response."""
    shift = np.arange(-15, 31) * (X[1] - X[0])
    kernel = np.where(shift >= 0, np.exp(-shift / 0.8), 0) + np.exp(-(shift**2) / 0.1)
    kernel /= kernel.sum()
    wide = X[0] - shift[-1] + (X[1] - X[0]) * np.arange(X.size + shift.size - 1)
    mean = np.convolve(curve(wide, offset=0), kernel, mode="valid") + TRUTH["o.offset"]
    m = xfit.Model(copies(), response=xr.DataArray(kernel, dims="x", coords={"x": shift}))
    return of_fit(normal(n, seed, mean).fit.multifit(m, variance=1.0, scale_covariance=False), TRUTH)


def fixed_width(n: int, seed: int, width: float) -> Iterator[Outcome]:
    """The line's width fixed."""
    m = model(g__sigma=width)
    m["g.sigma"].free = False
    fit = normal(n, seed).fit.multifit(m, variance=1.0, scale_covariance=False)
    return of_fit(fit, TRUTH, ["g.A", "g.centre", "o.offset"])


def faint(n: int, seed: int, shape_free: bool) -> Iterator[Outcome]:
    """A line of one and a half times the error that its area has when position and width are known."""
    m = model(g__A=2.0, g__centre=0.3, g__sigma=1.2)
    m["g.A"].set(min=None)
    m["g.centre"].set(free=shape_free, min=-4, max=4)
    m["g.sigma"].set(free=shape_free, min=0.3, max=4)
    fit = normal(n, seed, curve(A=1.5)).fit.multifit(m, variance=1.0, scale_covariance=False)
    names = ["g.A", "g.centre", "g.sigma", "o.offset"] if shape_free else ["g.A", "o.offset"]
    return of_fit(fit, TRUTH | {"g.A": 1.5}, names)


def selected(area: float) -> Callable[[int, int], Iterator[Outcome]]:
    """A line of this area over a level, or the level alone, as BIC chooses."""

    def run(n: int, seed: int) -> Iterator[Outcome]:
        candidates = {"level": xfit.Model([Offset(name="o", offset=3.0)]), "line": model(g__A=area)}
        da = normal(n, seed, curve(A=area))
        best = da.fit.select(candidates, criterion="bic", variance=1.0, scale_covariance=False)
        chosen = (best["selected"] == 1).values
        yield from of_fit(best, TRUTH | {"g.A": area}, among=chosen, where="the line chosen")

    return run


def intervals(
    level: float | None = None,
    x: np.ndarray = X,
    method: str = "profile",
    names: list[str] | None = None,
    **options: Any,
) -> Callable[[int, int], Iterator[Outcome]]:
    """Intervals of the line on the level: of counts of this level, or of normal noise."""

    def run(n: int, seed: int) -> Iterator[Outcome]:
        if level is None:
            da, m, truth = normal(n, seed, x=x), model(), TRUTH
        else:
            da, m = counts(n, seed, curve(A=12.5 * level, offset=level)), model(g__A=10 * level, o__offset=0.8 * level)
            truth = TRUTH | {"g.A": 12.5 * level, "o.offset": level}
        again = {key: value for key, value in options.items() if key == "variance"}
        fit = da.fit.multifit(m, **options)
        return of_intervals(fit.fit.conf_interval(da, names, method=method, level=LEVELS, seed=seed, **again), truth)

    return run


def decay(n: int, seed: int, how: str) -> Iterator[Outcome]:
    """A decay of few counts, whose lifetime has a skewed likelihood; by standard errors, profile or bootstrap."""
    x = np.linspace(0, 10, 40)
    truth = {"d.A": 3.0, "d.tau": 4.0}
    da = counts(n, seed, 3 * np.exp(-x / 4), x)
    fit = da.fit.multifit(xfit.Model([Exponential(name="d", A=2.0, tau=3.0)]), loss="poisson")
    if how == "errors":
        return of_fit(fit, truth)
    return of_intervals(fit.fit.conf_interval(da, method=how, level=LEVELS, seed=seed), truth)


def optimizer(name: str, **options: Any) -> Callable[[int, int], Iterator[Outcome]]:
    """Another optimizer; of linear models with position and width fixed at the truth."""
    linear = name in ("lstsq", "nnls", "ridge")

    def run(n: int, seed: int) -> Iterator[Outcome]:
        m = model(g__centre=0.3, g__sigma=1.2) if linear else model()
        m["g.centre"].free = m["g.sigma"].free = not linear
        fit = normal(n, seed).fit.multifit(m, optimizer=name, variance=1.0, scale_covariance=False, **options)
        return of_fit(fit, TRUTH, ["g.A", "o.offset"] if linear else None)

    return run


def _with(function: Callable[..., Iterator[Outcome]], **options: Any) -> Callable[[int, int], Iterator[Outcome]]:
    """A setting's function with its options given."""
    return lambda n, seed: function(n, seed, **options)


WIDE = np.linspace(-6, 6, 9)
UNEQUAL = 0.5 + 1.5 * (X > 0)
KNOWN: dict[str, Any] = {"variance": 1.0, "scale_covariance": False}

SETTINGS: dict[str, dict[str, Setting]] = {
    "Least squares, normal noise": {
        "known variance": Setting(_with(least_squares, **KNOWN)),
        "known variance of each channel": Setting(
            _with(least_squares, sd=UNEQUAL, variance=xr.DataArray(UNEQUAL**2, dims="x"), scale_covariance=False)
        ),
        "variance known but for a factor, scaled": Setting(
            _with(least_squares, sd=UNEQUAL, variance=xr.DataArray(9 * UNEQUAL**2, dims="x"))
        ),
        "no variance, scaled": Setting(_with(least_squares)),
        "no variance, scaled, 9 channels": Setting(_with(least_squares, x=WIDE), exceptions={"": "few channels"}),
        "noise smoothed over 3 channels": Setting(_with(correlated, variance=1.0), exceptions={"": "correlated"}),
        "noise smoothed over 3 channels, variance times 3": Setting(_with(correlated, variance=3.0)),
    },
    "Counts": {
        **{
            f'`loss="poisson"`, {level:g} per channel': Setting(of_counts(level, loss="poisson"))
            for level in (1000, 30, 3)
        },
        '`loss="poisson"`, 0.3 per channel': Setting(
            of_counts(0.3, loss="poisson"), exceptions={"": "less than one count"}
        ),
        **{
            f'`variance="poisson"`, {level:g} per channel': Setting(
                of_counts(level, variance="poisson", scale_covariance=False), exceptions={"": "weights of counts"}
            )
            for level in (1000, 30, 3)
        },
        **{
            f'`variance="poisson", reweight=True`, {level:g} per channel': Setting(
                of_counts(level, variance="poisson", reweight=True, scale_covariance=False)
            )
            for level in (30, 3)
        },
        "a detector's noise, `reweight=True`": Setting(detector),
        '`loss="poisson"`, overdispersed': Setting(overdispersed, exceptions={"": "overdispersion"}),
        '`loss="poisson"`, overdispersed, scaled': Setting(_with(overdispersed, scale_covariance=True)),
    },
    "Other losses": {
        **{f"{name}, normal noise": Setting(robust(name)) for name in ("huber", "soft_l1", "cauchy")},
        "arctan, `loss_scale=1`, normal noise": Setting(robust("arctan"), exceptions={"": "other minima"}),
        "arctan, `loss_scale=2`, normal noise": Setting(robust("arctan", loss_scale=2.0)),
        "a loss of one's own, normal noise": Setting(robust(xfit.LossKernel(log_cosh))),
        **{
            f"{name}, 10 % of the noise ten times as wide": Setting(robust(name, 0.1))
            for name in ("ls", "huber", "soft_l1", "cauchy")
        },
        "arctan, `loss_scale=2`, 10 % of the noise ten times as wide": Setting(robust("arctan", 0.1, loss_scale=2.0)),
        "a loss of one's own, 10 % of the noise ten times as wide": Setting(robust(xfit.LossKernel(log_cosh), 0.1)),
        **{
            f"{name}, 3 % spikes upwards": Setting(
                robust(name, 0.03, one_sided=True), exceptions={"o.offset": "one-sided"}
            )
            for name in ("ls", "huber", "soft_l1")
        },
        "cauchy, 3 % spikes upwards": Setting(robust("cauchy", 0.03, one_sided=True)),
        "arctan, `loss_scale=2`, 3 % spikes upwards": Setting(robust("arctan", 0.03, one_sided=True, loss_scale=2.0)),
    },
    "Bounds": {
        "five errors away": Setting(bounded(5.0, together=True)),
        "half an error away, all pixels": Setting(bounded(0.5, together=True), exceptions={"o.offset": "truncated"}),
        "half an error away": Setting(
            bounded(0.5), exceptions={"o.offset": "truncated", "g.A": "as if fixed", "g.sigma": "as if fixed"}
        ),
        "the truth at the bound": Setting(
            bounded(0.0), exceptions={"o.offset": "truncated", "g.A": "as if fixed", "g.sigma": "as if fixed"}
        ),
    },
    "Ties and fixed parameters": {
        "linear ties": Setting(_with(tied)),
        "a nonlinear tie": Setting(_with(tied, nonlinear=True)),
        "width fixed at the truth": Setting(_with(fixed_width, width=1.2)),
        "width fixed 10 % too small": Setting(_with(fixed_width, width=1.08), exceptions={"": "wrong constant"}),
    },
    "Channels": {
        "binned counts, channels of sigma/8": Setting(binned(0.125)),
        "binned counts, channels of sigma": Setting(binned(1.0), exceptions={"": "channels too wide"}),
        "counts in channels of sigma, the integral as a formula": Setting(integral),
        "a third masked": Setting(_with(missing, as_mask=True)),
        "a third NaN": Setting(_with(missing, as_mask=False)),
        "through a response": Setting(through_response),
    },
    "Faint lines and selection": {
        "1.5 errors high, position and width fixed": Setting(_with(faint, shape_free=False)),
        "1.5 errors high, all free": Setting(_with(faint, shape_free=True), exceptions={"": "detection limit"}),
        "`select`, line 20 errors high": Setting(selected(30.0)),
        "`select`, line 3 errors high": Setting(selected(4.5), exceptions={"": "chosen for being high"}),
    },
    "Intervals": {
        "profile, known variance": Setting(intervals(**KNOWN), n=2000),
        "profile, no variance, 9 channels": Setting(intervals(x=WIDE), n=2000),
        "profile, 30 counts per channel": Setting(intervals(30, loss="poisson"), n=2000),
        "profile, 3 counts per channel": Setting(intervals(3, loss="poisson"), n=2000),
        "profile, 0.3 counts per channel": Setting(
            intervals(0.3, loss="poisson"), n=2000, exceptions={"": "less than one count"}
        ),
        "bootstrap, known variance": Setting(intervals(method="bootstrap", **KNOWN), n=1000),
        "bootstrap, huber": Setting(
            intervals(method="bootstrap", loss="huber", variance=1.0), n=1000, exceptions={"": "resampled"}
        ),
        "a decay of few counts, standard errors": Setting(_with(decay, how="errors"), exceptions={"d.tau": "skewed"}),
        "a decay of few counts, profile": Setting(_with(decay, how="profile"), n=2000),
        "a decay of few counts, bootstrap": Setting(_with(decay, how="bootstrap"), n=1000),
    },
    "Optimizers": {
        "varpro": Setting(optimizer("varpro")),
        "lstsq": Setting(optimizer("lstsq")),
        "nnls": Setting(optimizer("nnls")),
        "ridge": Setting(optimizer("ridge", alpha=0.01), exceptions={"": "penalty"}),
        "trf": Setting(optimizer("trf"), n=500),
        "L-BFGS-B": Setting(optimizer("L-BFGS-B"), n=300),
        "Nelder-Mead": Setting(optimizer("Nelder-Mead"), n=300),
    },
}
