"""Components for electron energy-loss spectra."""

from __future__ import annotations

from xfit.modeling import estimators
from xfit.modeling.component import Component, Derived, Spec, library
from xfit.modeling.estimators import Estimator

_DATA = {"data": 1.0}
_X = {"x": 1.0}


@library
class DoublePowerLaw(Component):
    r"""Two power laws of the same exponent, the second one shifted: a background with plural scattering.

    .. math:: f(x) = A \left[(x - \mathrm{origin})^{-r}
        + \mathrm{ratio}\,(x - \mathrm{origin} - \mathrm{shift})^{-r}\right]
        \quad\text{for } x > \mathrm{left\_cutoff}\text{, else } 0

    Each of the two terms is zero up to its own singularity.

    Parameters
    ----------
    name : str, optional
        Name of the component.
    A : float
        Factor, in units of the data times x to the power r; at least zero by default.
    left_cutoff : float
        Up to it the function is zero, in units of x; fixed.
    origin : float
        Position of the first singularity, in units of x.
    r : float
        Exponent; from 1 to 5 by default.
    ratio : float
        Strength of the shifted power law relative to the other one, without unit.
    shift : float
        How far the second singularity lies behind the first one, in units of x.

    Notes
    -----
    Parameterised as eXSpy's DoublePowerLaw. There ``left_cutoff`` is free, though it has no gradient and makes the
    covariance singular, and the function is NaN between the first and the second singularity.
    """

    formula = (
        "A*(where(x > left_cutoff, where(u > 0, u**(-r), 0), 0)"
        " + ratio*where(x > left_cutoff, where(v > 0, v**(-r), 0), 0)); u = x-origin; v = x-origin-shift"
    )
    specs = {
        "A": Spec(1e-5, min=0.0, linear=True, description="factor"),
        "left_cutoff": Spec(0.0, free=False, dimension=_X, description="zero below"),
        "origin": Spec(0.0, dimension=_X, description="position of the first singularity"),
        "r": Spec(3.0, min=1.0, max=5.0, dimension={}, description="exponent"),
        "ratio": Spec(1.0, dimension={}, description="relative strength of the second power law"),
        "shift": Spec(20.0, dimension=_X, description="distance of the second singularity from the first"),
    }
    position = "origin"
    is_background = True
    estimator = Estimator(estimators.double_power_law, channels=2, takes=("origin", "left_cutoff", "shift", "ratio"))


@library
class VolumePlasmonDrude(Component):
    r"""Volume plasmon of the Drude model: energy-loss function of free electrons.

    .. math:: f(E) = I \frac{E_p^2\,\Gamma E}{(E^2 - E_p^2)^2 + (\Gamma E)^2} \quad\text{for } E > 0\text{, else } 0

    Parameters
    ----------
    name : str, optional
        Name of the component.
    fwhm : float
        Width (damping) of the plasmon, in units of x.
    intensity : float
        Factor, in units of the data.
    plasmon_energy : float
        Plasmon energy, in units of x.

    Notes
    -----
    Parameterised as eXSpy's VolumePlasmonDrude, whose gradient with respect to ``fwhm`` lacks a factor of the plasmon
    energy. R. F. Egerton (2011), Electron Energy-Loss Spectroscopy in the Electron Microscope, section 3.3.1,
    doi:10.1007/978-1-4419-9583-4.
    """

    formula = (
        "intensity*where(x > 0, plasmon_energy**2*fwhm*x/(((x-plasmon_energy)*(x+plasmon_energy))**2 + (fwhm*x)**2), 0)"
    )
    specs = {
        "fwhm": Spec(1.5, dimension=_X, description="width of the plasmon"),
        "intensity": Spec(1.0, linear=True, dimension=_DATA, description="factor"),
        "plasmon_energy": Spec(15.0, dimension=_X, description="plasmon energy"),
    }
    position = "plasmon_energy"
    derived = {
        "maximum": Derived(
            "where(u > 0, sqrt((w + u)/6), sqrt(2/(w - u))*plasmon_energy**2);"
            "u = 2*plasmon_energy**2 - fwhm**2; w = sqrt(u**2 + 12*plasmon_energy**4)",
            _X,
            "position of the maximum",
        ),
    }
    estimator = Estimator(estimators.drude, channels=4)
