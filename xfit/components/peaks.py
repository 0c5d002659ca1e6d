"""Peaks of one coordinate."""

from __future__ import annotations

from xfit import estimators
from xfit.component import Component, Derived, Spec
from xfit.estimators import Estimator

_AREA = {"data": 1.0, "x": 1.0}
_DATA = {"data": 1.0}
_X = {"x": 1.0}

_FWHM = "full width at half maximum"


class Gaussian(Component):
    r"""Gaussian peak by its area.

    .. math:: f(x) = \frac{A}{\sigma\sqrt{2\pi}} \exp\left(-\frac{(x - \mathrm{centre})^2}{2\sigma^2}\right)

    Parameters
    ----------
    name : str, optional
        Name of the component.
    A : float
        Area, in units of the data times x; at least zero by default.
    centre : float
        Position of the maximum, in units of x.
    sigma : float
        Standard deviation, in units of x; at least zero by default.

    Notes
    -----
    Parameterised as HyperSpy's Gaussian.
    """

    formula = "A/(sigma*sqrt(2*pi))*exp(-(x-centre)**2/(2*sigma**2))"
    specs = {
        "A": Spec(1.0, min=0.0, linear=True, dimension=_AREA, description="area"),
        "centre": Spec(0.0, dimension=_X, description="position of the maximum"),
        "sigma": Spec(1.0, min=0.0, dimension=_X, description="standard deviation"),
    }
    derived = {
        "fwhm": Derived("2*sqrt(2*log(2))*sigma", _X, _FWHM),
        "height": Derived("A/(sigma*sqrt(2*pi))", _DATA, "height"),
    }
    position = "centre"
    estimator = Estimator(estimators.gaussian, channels=3)


class GaussianHF(Component):
    r"""Gaussian peak by its height and full width at half maximum.

    .. math:: f(x) = h \exp\left(-\frac{4\ln 2\,(x - \mathrm{centre})^2}{\mathrm{fwhm}^2}\right)

    Parameters
    ----------
    name : str, optional
        Name of the component.
    centre : float
        Position of the maximum, in units of x.
    fwhm : float
        Full width at half maximum, in units of x; at least zero by default.
    height : float
        Height, in units of the data; at least zero by default.

    Notes
    -----
    Parameterised as HyperSpy's GaussianHF.
    """

    formula = "height*exp(-4*log(2)*(x-centre)**2/fwhm**2)"
    specs = {
        "centre": Spec(0.0, dimension=_X, description="position of the maximum"),
        "fwhm": Spec(1.0, min=0.0, dimension=_X, description="full width at half maximum"),
        "height": Spec(1.0, min=0.0, linear=True, dimension=_DATA, description="height"),
    }
    derived = {
        "sigma": Derived("fwhm/(2*sqrt(2*log(2)))", _X, "standard deviation"),
        "area": Derived("height*fwhm*sqrt(pi/log(2))/2", _AREA, "area"),
    }
    position = "centre"
    estimator = Estimator(estimators.gaussian_hf, channels=3)


class Lorentzian(Component):
    r"""Lorentzian (Cauchy) peak by its area.

    .. math:: f(x) = \frac{A}{\pi} \frac{\gamma}{(x - \mathrm{centre})^2 + \gamma^2}

    Parameters
    ----------
    name : str, optional
        Name of the component.
    A : float
        Area, in units of the data times x; at least zero by default.
    centre : float
        Position of the maximum, in units of x.
    gamma : float
        Half width at half maximum, in units of x.

    Notes
    -----
    Parameterised as HyperSpy's Lorentzian.
    """

    formula = "A/pi*gamma/((x-centre)**2+gamma**2)"
    specs = {
        "A": Spec(1.0, min=0.0, linear=True, dimension=_AREA, description="area"),
        "centre": Spec(0.0, dimension=_X, description="position of the maximum"),
        "gamma": Spec(1.0, dimension=_X, description="half width at half maximum"),
    }
    derived = {
        "fwhm": Derived("2*abs(gamma)", _X, _FWHM),
        "height": Derived("A/(pi*gamma)", _DATA, "height"),
    }
    position = "centre"
    estimator = Estimator(estimators.lorentzian, channels=3)
