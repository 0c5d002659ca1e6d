"""Decays after a pulse, and what approaches a level."""

from __future__ import annotations

from xfit.components.pieces import tailed
from xfit.modeling import estimators
from xfit.modeling.component import Component, Derived, Spec, library
from xfit.modeling.estimators import Estimator

_DATA = {"data": 1.0}
_X = {"x": 1.0}


@library
class Decay(Component):
    r"""Exponential decay that begins at a time, with nothing before it.

    .. math:: f(x) = A \exp\left(-\frac{x - t_0}{\tau}\right) \quad\text{for } x \ge t_0\text{, else } 0

    Convolved with a model's response it is the decay as an instrument sees it, or a tracer's in tissue: an
    `Exponential` is, by contrast, never zero, and what it has before the data comes into them through a response.

    Parameters
    ----------
    name : str, optional
        Name of the component.
    A : float
        Value at the beginning, in units of the data.
    tau : float
        Decay time, in units of x.
    t0 : float
        Where it begins, in units of x; fixed by default.

    Notes
    -----
    At ``t0`` itself the value is ``A``. The derivative with respect to ``t0`` is that on either side, ``f/tau`` from
    ``t0`` on and 0 before: which channel is the first jumps from one to the next, which no derivative tells. To fit the
    time of a pulse take `DoubleExponentialDecay`, whose onset is as wide as a Gaussian response.
    """

    formula = "where(x < t0, 0, A*exp(-(x-t0)/tau))"
    specs = {
        "A": Spec(1.0, linear=True, dimension=_DATA, description="value at the beginning"),
        "tau": Spec(1.0, dimension=_X, description="decay time"),
        "t0": Spec(0.0, free=False, dimension=_X, description="where it begins"),
    }
    derived = {
        "area": Derived("A*tau", {"data": 1.0, "x": 1.0}, "area"),
        "half_life": Derived("tau*log(2)", _X, "time over which it halves"),
    }
    position = "t0"
    estimator = Estimator(estimators.decay, channels=2, takes=("t0",))


@library
class DoubleExponentialDecay(Component):
    r"""Sum of two exponential decays, convolved with a Gaussian instrument response.

    .. math:: f(x) = \sum_{i=1}^{2} \frac{A_i}{2} \exp\left(\frac{\sigma^2}{2\tau_i^2} - \frac{t}{\tau_i}\right)
        \operatorname{erfc}\left(\frac{1}{\sqrt{2}}\left(\frac{\sigma}{\tau_i} - \frac{t}{\sigma}\right)\right),
        \quad t = x - \mathrm{centre}

    Parameters
    ----------
    name : str, optional
        Name of the component.
    A1, A2 : float
        Value of each decay at its start, without the response, in units of the data; at least zero by default.
    tau1, tau2 : float
        Decay times, in units of x; at least zero by default.
    centre : float
        Time of the pulse, in units of x.
    sigma : float
        Standard deviation of the response, in units of x; at least zero by default.

    Notes
    -----
    Computed without the exponential's overflow, see `ExponentiallyModifiedGaussian`. The area of each decay is
    ``A * tau``. For a single decay fix ``A2`` at zero, and with it ``tau2``.
    """

    formula = f"A1*tau1*{tailed('t', 'sigma', 'tau1')} + A2*tau2*{tailed('t', 'sigma', 'tau2')}; t = x - centre"
    specs = {
        "A1": Spec(1.0, min=0.0, linear=True, dimension=_DATA, description="start of the first decay"),
        "tau1": Spec(1.0, min=0.0, dimension=_X, description="time of the first decay"),
        "A2": Spec(1.0, min=0.0, linear=True, dimension=_DATA, description="start of the second decay"),
        "tau2": Spec(10.0, min=0.0, dimension=_X, description="time of the second decay"),
        "centre": Spec(0.0, dimension=_X, description="time of the pulse"),
        "sigma": Spec(0.1, min=0.0, dimension=_X, description="standard deviation of the response"),
    }
    derived = {
        "area": Derived("A1*tau1 + A2*tau2", {"data": 1.0, "x": 1.0}, "area"),
        "lifetime": Derived("(A1*tau1**2 + A2*tau2**2)/(A1*tau1 + A2*tau2)", _X, "mean time, weighted by intensity"),
    }
    position = "centre"
    estimator = Estimator(estimators.double_decay, channels=6)


@library
class RC(Component):
    r"""Exponential approach to a level, as a capacitor is charged through a resistor.

    .. math:: f(x) = V_0 + V_{\mathrm{max}} \left(1 - e^{-x/\tau}\right)

    Parameters
    ----------
    name : str, optional
        Name of the component.
    V0 : float
        Value at zero, in units of the data.
    Vmax : float
        Change from zero to the level that is approached, in units of the data.
    tau : float
        Time constant, in units of x.

    Notes
    -----
    Parameterised as HyperSpy's RC. Near zero, where one and the exponential cancel, by a hyperbolic tangent.
    """

    formula = "V0 + Vmax*where(x/tau > -1, 2*t/(1 + t), 1 - exp(-x/tau)); t = tanh(x/(2*tau))"
    specs = {
        "V0": Spec(0.0, linear=True, dimension=_DATA, description="value at zero"),
        "Vmax": Spec(1.0, linear=True, dimension=_DATA, description="change to the level that is approached"),
        "tau": Spec(1.0, dimension=_X, description="time constant"),
    }
    estimator = Estimator(estimators.saturation, channels=4)
