"""Steps of one coordinate: from one level to another."""

from __future__ import annotations

from xfit.modeling import estimators
from xfit.modeling.component import Component, Derived, Spec, library
from xfit.modeling.estimators import Estimator

_DATA = {"data": 1.0}
_X = {"x": 1.0}
_PER_X = {"x": -1.0}


@library
class Arctan(Component):
    r"""Step of an arctangent about zero.

    .. math:: f(x) = A \arctan(k (x - x_0))

    Parameters
    ----------
    name : str, optional
        Name of the component.
    A : float
        Height of the step over pi, in units of the data.
    k : float
        Steepness, in units of 1/x.
    x0 : float
        Position of the step, in units of x.

    Notes
    -----
    Parameterised as HyperSpy's Arctan.
    """

    formula = "A*atan(k*(x-x0))"
    specs = {
        "A": Spec(1.0, linear=True, dimension=_DATA, description="height of the step over pi"),
        "k": Spec(1.0, dimension=_PER_X, description="steepness"),
        "x0": Spec(1.0, dimension=_X, description="position of the step"),
    }
    position = "x0"
    estimator = Estimator(estimators.arctan, channels=4)


@library
class EELSArctan(Component):
    r"""Step of an arctangent above zero, as of an ionisation edge.

    .. math:: f(x) = A \left(\frac{\pi}{2} + \arctan(k (x - x_0))\right)

    Parameters
    ----------
    name : str, optional
        Name of the component.
    A : float
        Height of the step over pi, in units of the data.
    k : float
        Steepness, in units of 1/x.
    x0 : float
        Position of the step, in units of x.

    Notes
    -----
    Parameterised as eXSpy's EELSArctan.
    """

    formula = "A*(pi/2 + atan(k*(x-x0)))"
    specs = {
        "A": Spec(1.0, linear=True, dimension=_DATA, description="height of the step over pi"),
        "k": Spec(1.0, dimension=_PER_X, description="steepness"),
        "x0": Spec(1.0, dimension=_X, description="position of the step"),
    }
    position = "x0"
    estimator = Estimator(estimators.eels_arctan, channels=4)


@library
class Erf(Component):
    r"""Step of an error function about zero: a sharp step seen with a Gaussian resolution.

    .. math:: f(x) = \frac{A}{2} \operatorname{erf}\left(\frac{x - \mathrm{origin}}{\sqrt{2}\,\sigma}\right)

    Parameters
    ----------
    name : str, optional
        Name of the component.
    A : float
        Height of the step, in units of the data; at least zero by default.
    origin : float
        Position of the step, in units of x.
    sigma : float
        Standard deviation of the resolution, in units of x; negative for a step down.

    Notes
    -----
    Parameterised as HyperSpy's Erf.
    """

    formula = "A/2*erf((x-origin)/(sqrt(2)*sigma))"
    specs = {
        "A": Spec(1.0, min=0.0, linear=True, dimension=_DATA, description="height of the step"),
        "origin": Spec(0.0, dimension=_X, description="position of the step"),
        "sigma": Spec(1.0, dimension=_X, description="standard deviation of the resolution"),
    }
    derived = {
        "fwhm": Derived("2*sqrt(2*log(2))*abs(sigma)", _X, "full width at half maximum of the derivative"),
    }
    position = "origin"
    estimator = Estimator(estimators.erf, channels=4)


@library
class HeavisideStep(Component):
    r"""Sharp step.

    .. math:: f(x) = A \begin{cases} 0 & x < n \\ 1/2 & x = n \\ 1 & x > n \end{cases}

    Parameters
    ----------
    name : str, optional
        Name of the component.
    A : float
        Height of the step, in units of the data.
    n : float
        Position of the step, in units of x; fixed.

    Notes
    -----
    Parameterised as HyperSpy's HeavisideStep, where ``n`` is free. It has no gradient, so a fit can't move it, and is
    fixed here; for a step that is to be found use `Erf` or `Logistic`.
    """

    formula = "A*heaviside(x-n)"
    specs = {
        "A": Spec(1.0, linear=True, dimension=_DATA, description="height of the step"),
        "n": Spec(0.0, free=False, dimension=_X, description="position of the step"),
    }
    position = "n"
    is_background = True
    estimator = Estimator(estimators.heaviside, channels=4)


@library
class Logistic(Component):
    r"""Logistic (sigmoid) step.

    .. math:: f(x) = \frac{a}{1 + b \exp(-c (x - \mathrm{origin}))}

    Parameters
    ----------
    name : str, optional
        Name of the component.
    a : float
        Height of the step, in units of the data.
    b : float
        Value of the exponential term at the origin, without unit; fixed by default.
    c : float
        Steepness, in units of 1/x.
    origin : float
        Position, in units of x; where b is 1, that of half the height.

    Notes
    -----
    Parameterised as HyperSpy's Logistic, where ``b`` is free. Only ``b * exp(c * origin)`` enters the function,
    so a fit can't tell b from the origin, and b is fixed here. To have b fitted, fix the origin. Below 1e-260 of its
    height the function is constant.
    """

    formula = "a/(1 + b*exp(-t)); t = where(c*(x-origin) > -600, c*(x-origin), -600)"
    specs = {
        "a": Spec(1.0, linear=True, dimension=_DATA, description="height of the step"),
        "b": Spec(1.0, free=False, dimension={}, description="value of the exponential term at the origin"),
        "c": Spec(1.0, dimension=_PER_X, description="steepness"),
        "origin": Spec(0.0, dimension=_X, description="position"),
    }
    position = "origin"
    estimator = Estimator(estimators.logistic, channels=4, takes=("b",))
