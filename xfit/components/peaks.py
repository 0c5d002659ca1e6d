"""Symmetric peaks of one coordinate."""

from __future__ import annotations

from xfit.components.pieces import beyond_one, gamma_ratio, log1p, voigt, voigt_height
from xfit.modeling import estimators
from xfit.modeling.component import Component, Derived, Spec, library
from xfit.modeling.estimators import Estimator

_AREA = {"data": 1.0, "x": 1.0}
_DATA = {"data": 1.0}
_X = {"x": 1.0}

_FWHM = "full width at half maximum"


@library
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
        "area": Derived("where(sigma < 0, -A, A)", _AREA, "area"),
        "fwhm": Derived("2*sqrt(2*log(2))*abs(sigma)", _X, _FWHM),
        "height": Derived("A/(sigma*sqrt(2*pi))", _DATA, "height"),
    }
    position = "centre"
    estimator = Estimator(estimators.gaussian, channels=3)


@library
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
        "sigma": Derived("abs(fwhm)/(2*sqrt(2*log(2)))", _X, "standard deviation"),
        "area": Derived("height*abs(fwhm)*sqrt(pi/log(2))/2", _AREA, "area"),
    }
    position = "centre"
    estimator = Estimator(estimators.gaussian_hf, channels=3)


@library
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
        "area": Derived("where(gamma < 0, -A, A)", _AREA, "area"),
        "fwhm": Derived("2*abs(gamma)", _X, _FWHM),
        "height": Derived("A/(pi*gamma)", _DATA, "height"),
    }
    position = "centre"
    estimator = Estimator(estimators.lorentzian, channels=3)


@library
class Voigt(Component):
    r"""Voigt peak by its area: a Gaussian convolved with a Lorentzian.

    .. math:: f(x) = \frac{\mathrm{area}}{\sigma\sqrt{2\pi}} \Re\,
        w\left(\frac{x - \mathrm{centre} + i\gamma}{\sigma\sqrt{2}}\right),
        \quad w(z) = e^{-z^2} \operatorname{erfc}(-iz)

    Parameters
    ----------
    name : str, optional
        Name of the component.
    area : float
        Area, in units of the data times x; at least zero by default.
    centre : float
        Position of the maximum, in units of x.
    gamma : float
        Half width at half maximum of the Lorentzian, in units of x; at least zero by default.
    sigma : float
        Standard deviation of the Gaussian, in units of x; at least zero by default.

    Notes
    -----
    Parameterised as HyperSpy's Voigt. With ``gamma = 0`` it is a Gaussian, with ``sigma = 0`` a Lorentzian; gradients
    are exact there too. The full width at half maximum is ``0.5346 f + sqrt(0.2166 f**2 + g**2)`` to 0.02 %, where f
    and g are those of the Lorentzian, ``2 gamma``, and of the Gaussian, ``2.3548 sigma``: J. J. Olivero and R. L.
    Longbothum (1977), J. Quant. Spectrosc. Radiat. Transfer 17, 233, doi:10.1016/0022-4073(77)90161-3.
    """

    formula = f"area*{voigt('(x-centre)', 'sigma**2', 'gamma')}"
    specs = {
        "area": Spec(1.0, min=0.0, linear=True, dimension=_AREA, description="area"),
        "centre": Spec(10.0, dimension=_X, description="position of the maximum"),
        "gamma": Spec(0.2, min=0.0, dimension=_X, description="half width at half maximum of the Lorentzian"),
        "sigma": Spec(0.1, min=0.0, dimension=_X, description="standard deviation of the Gaussian"),
    }
    derived = {
        "fwhm": Derived(
            "0.5346*2*gamma + sqrt(0.2166*(2*gamma)**2 + 8*log(2)*sigma**2)",
            _X,
            "full width at half maximum, to 0.02 %",
        ),
        "gwidth": Derived("2*sqrt(2*log(2))*abs(sigma)", _X, "full width at half maximum of the Gaussian"),
        "lwidth": Derived("2*gamma", _X, "full width at half maximum of the Lorentzian"),
        "height": Derived(f"area*{voigt_height('sigma', 'gamma')}", _DATA, "height"),
    }
    position = "centre"
    estimator = Estimator(estimators.voigt, channels=4)


@library
class PseudoVoigt(Component):
    r"""Sum of a Gaussian and a Lorentzian of the same width, by its area.

    .. math:: f(x) = A \left[(1 - \eta) \frac{2}{w}\sqrt{\frac{\ln 2}{\pi}} \exp\left(-\frac{4\ln 2\,u^2}{w^2}\right)
        + \eta\,\frac{2}{\pi} \frac{w}{4u^2 + w^2}\right], \quad u = x - \mathrm{centre}

    Parameters
    ----------
    name : str, optional
        Name of the component.
    A : float
        Area, in units of the data times x; at least zero by default.
    centre : float
        Position of the maximum, in units of x.
    fwhm : float
        Full width at half maximum w of both, in units of x; at least zero by default.
    fraction : float
        Share :math:`\eta` of the Lorentzian in the area, from 0 to 1 by default.

    Notes
    -----
    lmfit's PseudoVoigtModel is the same function of ``sigma = fwhm/2``. G. K. Wertheim et al. (1974), Rev. Sci.
    Instrum. 45, 1369, doi:10.1063/1.1686503.
    """

    formula = (
        "A*((1-fraction)*2*sqrt(log(2)/pi)/fwhm*exp(-4*log(2)*(x-centre)**2/fwhm**2)"
        " + fraction*2/pi*fwhm/(4*(x-centre)**2 + fwhm**2))"
    )
    specs = {
        "A": Spec(1.0, min=0.0, linear=True, dimension=_AREA, description="area"),
        "centre": Spec(0.0, dimension=_X, description="position of the maximum"),
        "fwhm": Spec(1.0, min=0.0, dimension=_X, description="full width at half maximum"),
        "fraction": Spec(0.5, min=0.0, max=1.0, dimension={}, description="share of the Lorentzian in the area"),
    }
    derived = {
        "area": Derived("where(fwhm < 0, -A, A)", _AREA, "area"),
        "height": Derived("A*2/fwhm*((1-fraction)*sqrt(log(2)/pi) + fraction/pi)", _DATA, "height"),
    }
    position = "centre"
    estimator = Estimator(estimators.pseudo_voigt, channels=4)


@library
class Moffat(Component):
    r"""Moffat peak by its height.

    .. math:: f(x) = h \left[1 + \left(\frac{x - \mathrm{centre}}{\sigma}\right)^2\right]^{-\beta}

    Parameters
    ----------
    name : str, optional
        Name of the component.
    height : float
        Height, in units of the data; at least zero by default.
    centre : float
        Position of the maximum, in units of x.
    sigma : float
        Width, in units of x; at least zero by default.
    beta : float
        Exponent, at least zero by default: 1 is a Lorentzian, 0 a constant.

    Notes
    -----
    Parameterised as lmfit's MoffatModel; astropy's Moffat1D calls sigma gamma and beta alpha. The full width at half
    maximum is ``2 sigma sqrt(2**(1/beta) - 1)``. It has a height, for the area is infinite up to ``beta = 1/2``;
    `PearsonVII` is the same peak by its area. A. F. J. Moffat (1969), Astron. Astrophys. 3, 455.
    """

    formula = f"height*exp(-beta*{log1p('((x-centre)/sigma)**2')})"
    specs = {
        "height": Spec(1.0, min=0.0, linear=True, dimension=_DATA, description="height"),
        "centre": Spec(0.0, dimension=_X, description="position of the maximum"),
        "sigma": Spec(1.0, min=0.0, dimension=_X, description="width"),
        "beta": Spec(1.0, min=0.0, dimension={}, description="exponent"),
    }
    derived = {
        "fwhm": Derived(f"2*abs(sigma)*sqrt({beyond_one('beta')})", _X, _FWHM),
        "area": Derived(
            f"height*abs(sigma)*sqrt(pi)/((b - 1/2)*{gamma_ratio('b')}); b = maximum(beta, 1/2)",
            _AREA,
            "area, infinite up to a beta of one half",
        ),
    }
    position = "centre"
    estimator = Estimator(estimators.moffat, channels=4)


@library
class PearsonVII(Component):
    r"""Pearson VII peak by its area and full width at half maximum: from Lorentzian to Gaussian, and beyond the former.

    .. math:: f(x) = \frac{A k\,\Gamma(m)}{\sqrt\pi\,\Gamma(m - 1/2)}
        \left[1 + k^2 (x - \mathrm{centre})^2\right]^{-m}, \quad
        k = \frac{2\sqrt{2^{1/m} - 1}}{\mathrm{fwhm}}

    Parameters
    ----------
    name : str, optional
        Name of the component.
    A : float
        Area, in units of the data times x; at least zero by default.
    centre : float
        Position of the maximum, in units of x.
    fwhm : float
        Full width at half maximum, in units of x; at least zero by default.
    expon : float
        Exponent m, at least 1/2 by default: 1 is a Lorentzian, a large one a Gaussian.

    Notes
    -----
    lmfit's Pearson7Model is the same function of ``sigma = 1/k``, which, other than the width, grows with the exponent.
    At ``expon = 1/2`` the area that is left below a finite peak is nil, and the function is zero. M. M. Hall et al.
    (1977), J. Appl. Cryst. 10, 66, doi:10.1107/S0021889877012849.
    """

    # Gamma(m) / Gamma(m + 1/2): for large exponents by the asymptotic series of its logarithm, to 1e-15 there.
    formula = (
        f"A*k/sqrt(pi)*(expon - 1/2)*ratio*exp(-expon*{log1p('(k*(x-centre))**2')});k = "
        "2*sqrt(2*exp(y)*sinh(y))/fwhm; y = log(2)/(2*expon);ratio = where(expon > 12, exp(-series)/sqrt(z), "
        "exp(loggamma(expon) - loggamma(expon + 1/2)));series = r*(1/64 + r*(-5/2048 + r*(61/49152 + r*(-1385/1048576 "
        "+ r*50521/20971520))));r = 1/z**2; z = expon - 1/4"
    )
    specs = {
        "A": Spec(1.0, min=0.0, linear=True, dimension=_AREA, description="area"),
        "centre": Spec(0.0, dimension=_X, description="position of the maximum"),
        "fwhm": Spec(1.0, min=0.0, dimension=_X, description="full width at half maximum"),
        "expon": Spec(1.5, min=0.5, dimension={}, description="exponent"),
    }
    derived = {
        "area": Derived("where(fwhm < 0, -A, A)", _AREA, "area"),
        "height": Derived(
            f"A*2*sqrt({beyond_one('expon')})/fwhm/sqrt(pi)*(expon - 1/2)*{gamma_ratio('expon')}", _DATA, "height"
        ),
    }
    position = "centre"
    estimator = Estimator(estimators.pearson7, channels=4)
