"""Skewed peaks and resonances of one coordinate."""

from __future__ import annotations

from xfit.components.pieces import sine, tailed
from xfit.modeling import estimators
from xfit.modeling.component import Component, Derived, Spec, library
from xfit.modeling.estimators import Estimator

_AREA = {"data": 1.0, "x": 1.0}
_DATA = {"data": 1.0}
_X = {"x": 1.0}

_DELTA = sine("shape", "1")


@library
class SkewNormal(Component):
    r"""Skew normal peak.

    .. math:: f(x) = 2A\,\phi(t)\,\Phi(\mathrm{shape} \cdot t), \quad t = \frac{x - x_0}{\mathrm{scale}}, \quad
        \phi(t) = \frac{e^{-t^2/2}}{\sqrt{2\pi}}, \quad \Phi(t) = \frac{1}{2} \operatorname{erfc}\frac{-t}{\sqrt 2}

    Parameters
    ----------
    name : str, optional
        Name of the component.
    A : float
        Area over scale, in units of the data; at least zero by default.
    shape : float
        Skewness parameter: zero for a Gaussian, positive for a tail to the right.
    scale : float
        Width, in units of x; at least zero by default.
    x0 : float
        Position, in units of x; that of the maximum for a Gaussian only.

    Notes
    -----
    Parameterised as HyperSpy's SkewNormal: the area is ``A * scale``, the mean ``x0 + scale * sqrt(2/pi) * d`` with
    ``d = shape/sqrt(1 + shape**2)``, the variance ``scale**2 * (1 - 2 * d**2/pi)``. A. Azzalini (1985), Scand. J.
    Statist. 12, 171.
    """

    formula = "A*exp(-t**2/2)/sqrt(2*pi)*erfc(-shape*t/sqrt(2)); t = (x-x0)/scale"
    specs = {
        "A": Spec(1.0, min=0.0, linear=True, dimension=_DATA, description="area over scale"),
        "shape": Spec(0.0, dimension={}, description="skewness parameter"),
        "scale": Spec(1.0, min=0.0, dimension=_X, description="width"),
        "x0": Spec(0.0, dimension=_X, description="position"),
    }
    derived = {
        "area": Derived("A*abs(scale)", _AREA, "area"),
        "mean": Derived(f"x0 + scale*sqrt(2/pi)*{_DELTA}", _X, "mean"),
        "variance": Derived(f"scale**2*(1 - d**2); d = sqrt(2/pi)*{_DELTA}", {"x": 2.0}, "variance"),
        "skewness": Derived(
            f"where(scale < 0, -g, g); g = (4-pi)/2*d**3/(1 - d**2)**(3/2); d = sqrt(2/pi)*{_DELTA}", {}, "skewness"
        ),
    }
    position = "x0"
    estimator = Estimator(estimators.skew_normal, channels=4)


@library
class SplitVoigt(Component):
    r"""Pseudo-Voigt peak with a width for either side, by its area.

    .. math:: f(x) = \frac{2A}{\sigma_1 + \sigma_2}
        \left[\frac{1 - \eta}{\sqrt{2\pi}} \exp\left(-\frac{u^2}{2\sigma^2}\right)
        + \frac{\eta}{\pi} \frac{1}{1 + u^2/\sigma^2}\right], \quad u = x - \mathrm{centre}, \quad
        \sigma = \begin{cases} \sigma_1 & u \le 0 \\ \sigma_2 & u > 0 \end{cases}

    Parameters
    ----------
    name : str, optional
        Name of the component.
    A : float
        Area, in units of the data times x; at least zero by default.
    sigma1, sigma2 : float
        Widths on the left and on the right, in units of x; at least zero by default. Each is the standard deviation of
        the Gaussian and the half width at half maximum of the Lorentzian.
    centre : float
        Position of the maximum, in units of x.
    fraction : float
        Share :math:`\eta` of the Lorentzian in the area, from 0 to 1 by default.

    Notes
    -----
    Parameterised as HyperSpy's SplitVoigt, whose bounds are 1e-8 and 1e8 for A, 1e-8 and 50 for the widths, whatever
    their units, and 1e-8 for the fraction, whose default of zero is outside.
    """

    formula = (
        "2*A/(sigma1+sigma2)*((1-fraction)/sqrt(2*pi)*exp(-t**2/2) + fraction/pi/(1 + t**2));"
        "t = (x-centre)/where(x > centre, sigma2, sigma1)"
    )
    specs = {
        "A": Spec(1.0, min=0.0, linear=True, dimension=_AREA, description="area"),
        "sigma1": Spec(1.0, min=0.0, dimension=_X, description="width on the left"),
        "sigma2": Spec(1.0, min=0.0, dimension=_X, description="width on the right"),
        "centre": Spec(0.0, dimension=_X, description="position of the maximum"),
        "fraction": Spec(0.0, min=0.0, max=1.0, dimension={}, description="share of the Lorentzian in the area"),
    }
    derived = {
        "area": Derived(
            "where(minimum(sigma1, sigma2) < 0, A*(abs(sigma1) + abs(sigma2))/(sigma1 + sigma2), A)", _AREA, "area"
        ),
        "height": Derived("2*A/(sigma1+sigma2)*((1-fraction)/sqrt(2*pi) + fraction/pi)", _DATA, "height"),
        # A polynomial through the roots of the equation for half of the height, between 1.1774 and 1.
        "fwhm": Derived(
            "(abs(sigma1)+abs(sigma2))*(1.177411 - f*(0.109735 + f*(0.045773 + f*(0.019784 - f*(0.001852 - "
            "f*(0.009993 - 0.006022*f))))));f = fraction",
            _X,
            "full width at half maximum, to 1e-6",
        ),
    }
    position = "centre"
    estimator = Estimator(estimators.split_voigt, channels=5)


@library
class ExponentiallyModifiedGaussian(Component):
    r"""Gaussian convolved with an exponential decay, by its area.

    .. math:: f(x) = \frac{A}{2\tau} \exp\left(\frac{\sigma^2}{2\tau^2} - \frac{u}{\tau}\right)
        \operatorname{erfc}\left(\frac{1}{\sqrt{2}}\left(\frac{\sigma}{\tau} - \frac{u}{\sigma}\right)\right), \quad
        u = x - \mathrm{centre}

    Parameters
    ----------
    name : str, optional
        Name of the component.
    A : float
        Area, in units of the data times x; at least zero by default.
    centre : float
        Position of the Gaussian, in units of x; the mean is ``centre + tau``.
    sigma : float
        Standard deviation of the Gaussian, in units of x; at least zero by default.
    tau : float
        Decay length, in units of x: positive for a tail to the right, negative for one to the left, zero for none.

    Notes
    -----
    Computed in forms without the exponential's overflow, see Y. Kalambet et al. (2011), J. Chemometrics 25, 352,
    doi:10.1002/cem.1343; exact through ``tau = 0``. lmfit's ExponentialGaussianModel has the rate ``gamma = 1/tau``.
    """

    formula = f"A*{tailed('(x-centre)', 'sigma', 'tau')}"
    specs = {
        "A": Spec(1.0, min=0.0, linear=True, dimension=_AREA, description="area"),
        "centre": Spec(0.0, dimension=_X, description="position of the Gaussian"),
        "sigma": Spec(1.0, min=0.0, dimension=_X, description="standard deviation of the Gaussian"),
        "tau": Spec(1.0, dimension=_X, description="decay length"),
    }
    derived = {
        "area": Derived("A", _AREA, "area"),
        "mean": Derived("centre + tau", _X, "mean"),
        "variance": Derived("sigma**2 + tau**2", {"x": 2.0}, "variance"),
        "skewness": Derived(f"2*{sine('tau', 'sigma')}**3", {}, "skewness"),
    }
    position = "centre"
    estimator = Estimator(estimators.exponentially_modified, channels=4)


@library
class LogNormal(Component):
    r"""Log-normal peak by its area.

    .. math:: f(x) = \frac{A}{x \sigma\sqrt{2\pi}} \exp\left(-\frac{\ln^2(x/\mathrm{centre})}{2\sigma^2}\right)
        \quad\text{for } x > 0\text{, else } 0

    Parameters
    ----------
    name : str, optional
        Name of the component.
    A : float
        Area, in units of the data times x; at least zero by default.
    centre : float
        Median, in units of x; at least zero by default. The maximum is at ``centre * exp(-sigma**2)``.
    sigma : float
        Standard deviation of the logarithm of x, without unit; at least zero by default.

    Notes
    -----
    lmfit's LognormalModel has the logarithm of the median as its center.
    """

    # Not down to zero, where 1/x overflows.
    formula = "A/(sigma*sqrt(2*pi))*where(x > 1e-300, exp(-log(x/centre)**2/(2*sigma**2))/x, 0)"
    specs = {
        "A": Spec(1.0, min=0.0, linear=True, dimension=_AREA, description="area"),
        "centre": Spec(1.0, min=0.0, dimension=_X, description="median"),
        "sigma": Spec(0.25, min=0.0, dimension={}, description="standard deviation of the logarithm"),
    }
    derived = {
        "area": Derived("where(sigma < 0, -A, A)", _AREA, "area"),
        "mean": Derived("centre*exp(sigma**2/2)", _X, "mean"),
        "mode": Derived("centre*exp(-sigma**2)", _X, "position of the maximum"),
        "fwhm": Derived(
            "centre*where(s < 20, 2*exp(-s**2)*sinh(k*s), exp(s*(k - s))); s = abs(sigma); k = sqrt(2*log(2))",
            _X,
            "full width at half maximum",
        ),
        "height": Derived("A*exp(sigma**2/2)/(sigma*sqrt(2*pi)*centre)", _DATA, "height"),
    }
    position = "centre"
    estimator = Estimator(estimators.log_normal, channels=3)


@library
class BreitWignerFano(Component):
    r"""Breit-Wigner-Fano resonance: a discrete state that interferes with a continuum.

    .. math:: f(x) = \mathrm{amplitude}\,\frac{(q + \varepsilon)^2}{1 + \varepsilon^2}, \quad
        \varepsilon = \frac{x - \mathrm{centre}}{\gamma}

    Parameters
    ----------
    name : str, optional
        Name of the component.
    amplitude : float
        Level far from the resonance, in units of the data; at least zero by default.
    centre : float
        Position of the resonance, in units of x.
    gamma : float
        Half width at half maximum of the Lorentzian that is left for large q, in units of x; at least zero by default.
    q : float
        Asymmetry, without unit: zero for a dip, 1 for equal rise and dip, large for a peak.

    Notes
    -----
    lmfit's BreitWignerModel is the same function of ``sigma = 2 gamma``. U. Fano (1961), Phys. Rev. 124, 1866,
    doi:10.1103/PhysRev.124.1866.
    """

    formula = "amplitude*(q*gamma + x - centre)**2/(gamma**2 + (x-centre)**2)"
    specs = {
        "amplitude": Spec(1.0, min=0.0, linear=True, dimension=_DATA, description="level far from the resonance"),
        "centre": Spec(0.0, dimension=_X, description="position of the resonance"),
        "gamma": Spec(1.0, min=0.0, dimension=_X, description="half width at half maximum for large q"),
        "q": Spec(1.0, dimension={}, description="asymmetry"),
    }
    derived = {
        "height": Derived("amplitude*(1 + q**2)", _DATA, "height"),
        "maximum": Derived("centre + gamma/q", _X, "position of the maximum"),
    }
    position = "centre"
    estimator = Estimator(estimators.fano, channels=4)


@library
class DampedOscillator(Component):
    r"""Amplitude of a driven, damped harmonic oscillator over the frequency.

    .. math:: f(x) = \mathrm{amplitude} \bigg/ \sqrt{\left[1 - (x/\mathrm{centre})^2\right]^2
        + (2\sigma x/\mathrm{centre})^2}

    Parameters
    ----------
    name : str, optional
        Name of the component.
    amplitude : float
        Response at zero frequency, in units of the data; at least zero by default.
    centre : float
        Frequency of the undamped oscillator, in units of x; at least zero by default.
    sigma : float
        Damping ratio, without unit; at least zero by default, 1 where the oscillator no longer swings.

    Notes
    -----
    Parameterised as lmfit's DampedOscillatorModel.
    """

    formula = "amplitude*centre**2/sqrt(((centre-x)*(centre+x))**2 + (2*sigma*x*centre)**2)"
    specs = {
        "amplitude": Spec(1.0, min=0.0, linear=True, dimension=_DATA, description="response at zero frequency"),
        "centre": Spec(1.0, min=0.0, dimension=_X, description="frequency of the undamped oscillator"),
        "sigma": Spec(0.1, min=0.0, dimension={}, description="damping ratio"),
    }
    derived = {
        # From a damping ratio of 0.7 on it has its maximum at zero.
        "height": Derived(
            "where(2*s**2 < 1, amplitude/(2*s*sqrt((1 - s)*(1 + s))), amplitude); s = abs(sigma)", _DATA, "height"
        ),
        "maximum": Derived("where(2*sigma**2 < 1, centre*sqrt(1 - 2*sigma**2), 0)", _X, "position of the maximum"),
    }
    position = "centre"
    estimator = Estimator(estimators.oscillator, channels=3)
