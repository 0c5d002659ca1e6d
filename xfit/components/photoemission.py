"""Components for photoemission spectra."""

from __future__ import annotations

from typing import Any

from xfit.components.pieces import voigt
from xfit.formulas.kernel_spec import FormulaKernel
from xfit.modeling import estimators
from xfit.modeling.component import Component, Derived, Spec, library
from xfit.modeling.estimators import Estimator

_AREA = {"data": 1.0, "x": 1.0}
_DATA = {"data": 1.0}
_X = {"x": 1.0}


@library
class Doniach(Component):
    r"""Doniach-Sunjic line of a metal: skewed by electrons excited along with the one that is seen.

    .. math:: f(x) = A\,\frac{\cos\left(\frac{\pi\alpha}{2} + (1 - \alpha) \arctan\frac{u}{\sigma}\right)}
        {(\sigma^2 + u^2)^{(1 - \alpha)/2}}, \quad
        u = x - \mathrm{centre} + \frac{2.35482\,\sigma}{2\tan(\pi/(2 - \alpha))}

    Parameters
    ----------
    name : str, optional
        Name of the component.
    A : float
        Factor, in units of the data times x to the power 1 - alpha.
    alpha : float
        Asymmetry, from 1e-8 (a Lorentzian) to 1 by default.
    centre : float
        Position, in units of x.
    sigma : float
        Half width at half maximum of the Lorentzian at alpha = 0, in units of x; at least 1e-8 by default.

    Notes
    -----
    Parameterised as HyperSpy's Doniach, which has no upper bound for alpha. Its shift, which is to put the maximum at
    the centre, is kept, though for that it would have to be ``sigma/tan(pi/(2 - alpha))``: the maximum lies
    ``0.17741 sigma tan(pi alpha/(2 (2 - alpha)))`` above the centre. S. Doniach and M. Sunjic (1970), J. Phys. C 3,
    285, doi:10.1088/0022-3719/3/2/010.
    """

    # The cotangent of pi/(2 - alpha), written as a tangent that is exact where alpha is small.
    formula = (
        "A*cos(pi*alpha/2 + (1-alpha)*atan(u/sigma))*(sigma**2 + u**2)**(-(1-alpha)/2);"
        "u = x - centre - 1.17741*sigma*tan(pi*alpha/(2*(2-alpha)))"
    )
    specs = {
        "A": Spec(1.0, linear=True, description="factor"),
        "alpha": Spec(0.5, min=1e-8, max=1.0, dimension={}, description="asymmetry"),
        "centre": Spec(0.0, dimension=_X, description="position"),
        "sigma": Spec(1.0, min=1e-8, dimension=_X, description="half width at half maximum at alpha = 0"),
    }
    position = "centre"
    derived = {
        # The cosine of pi*alpha/(2*(2 - alpha)), written as a sine that is exact where alpha is next to one.
        "height": Derived("A*sin(pi*(1 - alpha)/(2 - alpha))**(2 - alpha)*sigma**(alpha - 1)", _DATA, "height"),
        "maximum": Derived(
            "centre + 0.17741*sigma*sin(pi*alpha/(2*(2 - alpha)))/sin(pi*(1 - alpha)/(2 - alpha))",
            _X,
            "position of the maximum",
        ),
    }
    estimator = Estimator(estimators.doniach, channels=4, takes=("alpha",))


@library
class PESCoreLineShape(Component):
    r"""Gaussian core line by its height and full width at half maximum, with a Shirley background.

    .. math:: f(x_i) = g(x_i) + \mathrm{shirley} \sum_{x_j > x_i} g(x_j), \quad
        g(x) = A \exp\left(-\frac{4\ln 2\,(x - \mathrm{origin} + \mathrm{ab})^2}{\mathrm{FWHM}^2}\right)

    The background at a channel is made of the electrons of all channels of larger kinetic energy that lost some of it:
    of all channels of the data, whether they are used or not, and in whatever order. Channels of the same x, of a
    window that was measured twice, count both for those below and not for each other.

    Parameters
    ----------
    name : str, optional
        Name of the component.
    A : float
        Height, in units of the data; at least zero by default.
    FWHM : float
        Full width at half maximum, in units of x.
    origin : float
        Position of the maximum but for the shift, in units of x.
    ab : float
        Shift to lower x, in units of x; fixed by default.
    shirley : float
        Background per channel over the line's sum above that channel; fixed at zero by default, which costs nothing.

    Notes
    -----
    Parameterised as eXSpy's PESCoreLineShape, whose ``FWHM`` is half the full width at half maximum; there the
    background is switched by an attribute too. D. A. Shirley (1972), Phys. Rev. B 5, 4709, doi:10.1103/PhysRevB.5.4709.
    Over a coordinate that falls with the kinetic energy, such as the binding energy, a negative ``shirley`` beside an
    `Offset` is the same background.
    """

    formula = "A*exp(-4*log(2)*(x-origin+ab)**2/FWHM**2)"
    specs = {
        "A": Spec(1.0, min=0.0, linear=True, dimension=_DATA, description="height"),
        "FWHM": Spec(1.0, dimension=_X, description="full width at half maximum"),
        "origin": Spec(0.0, dimension=_X, description="position of the maximum but for the shift"),
        "ab": Spec(0.0, free=False, dimension=_X, description="shift to lower x"),
        "shirley": Spec(0.0, free=False, dimension={}, description="background over the sum above"),
    }
    derived = {
        "area": Derived("A*abs(FWHM)*sqrt(pi/(4*log(2)))", {"data": 1.0, "x": 1.0}, "area without the background"),
    }
    position = "origin"
    summed = "shirley"
    estimator = Estimator(estimators.core_line, channels=3, takes=("ab", "shirley"))


@library
class PESVoigt(Component):
    r"""Voigt line of a core level: resolution of the instrument, spin-orbit doublet, Shirley background.

    .. math:: f(x_i) = g(x_i) + \mathrm{shirley\_background} \sum_{x_j > x_i} g(x_j), \quad
        g(x) = T A \left[V(x - x_0) + \rho V(x - x_0 + \Delta)\right], \quad
        x_0 = \mathrm{centre} - \mathrm{non\_isochromaticity}

    V is the Voigt profile of unit area (see `Voigt`) of a Gaussian with the full width at half maximum
    :math:`\sqrt{\mathrm{FWHM}^2 + \mathrm{resolution}^2}`; T is the transmission function. The second line, with its
    ratio :math:`\rho` and distance :math:`\Delta`, is there with ``spin_orbit_splitting=True`` only.

    Parameters
    ----------
    spin_orbit_splitting : bool
        Whether there is a second line: adds the two parameters that begin with ``spin_orbit``.
    name : str, optional
        Name of the component.
    area : float
        Area of the main line, in units of the data times x.
    centre : float
        Position of the main line, in units of x.
    FWHM : float
        Full width at half maximum of the Gaussian, in units of x.
    gamma : float
        Half width at half maximum of the Lorentzian, in units of x; at least zero by default.
    resolution : float
        Full width at half maximum of the instrument's Gaussian, in units of x; fixed by default.
    shirley_background : float
        Background per channel over the line's sum above that channel (see `PESCoreLineShape`); fixed at zero by
        default.
    non_isochromaticity : float
        Shift to lower x, in units of x; fixed by default.
    transmission_function : float
        Factor without unit; fixed by default.
    spin_orbit_branching_ratio : float
        Area of the second line over that of the main line; fixed by default.
    spin_orbit_splitting_energy : float
        How far the second line lies below the main line, in units of x; fixed by default.

    Notes
    -----
    Parameterised as eXSpy's PESVoigt, where ``gamma`` has no lower bound though the profile has no meaning below zero,
    and where ratio and energy of the second line are attributes that can't be fitted.
    """

    specs = {
        "area": Spec(1.0, linear=True, dimension=_AREA, description="area of the main line"),
        "centre": Spec(0.0, dimension=_X, description="position of the main line"),
        "FWHM": Spec(1.0, dimension=_X, description="full width at half maximum of the Gaussian"),
        "gamma": Spec(0.0, min=0.0, dimension=_X, description="half width at half maximum of the Lorentzian"),
        "resolution": Spec(0.0, free=False, dimension=_X, description="full width at half maximum of the instrument"),
        "shirley_background": Spec(0.0, free=False, dimension={}, description="background over the sum above"),
        "non_isochromaticity": Spec(0.0, free=False, dimension=_X, description="shift to lower x"),
        "transmission_function": Spec(1.0, free=False, dimension={}, description="factor"),
    }
    derived = {
        "fwhm": Derived(
            "0.5346*2*gamma + sqrt(0.2166*(2*gamma)**2 + FWHM**2 + resolution**2)",
            _X,
            "full width at half maximum of each line, to 0.02 %",
        ),
    }
    position = "centre"
    estimator = Estimator(
        estimators.pes_voigt,
        channels=4,
        takes=(
            "resolution",
            "shirley_background",
            "non_isochromaticity",
            "transmission_function",
            "spin_orbit_branching_ratio",
            "spin_orbit_splitting_energy",
        ),
    )

    def __init__(self, spin_orbit_splitting: bool = False, name: str | None = None, **values: Any) -> None:
        if not isinstance(spin_orbit_splitting, bool):
            raise TypeError(f"spin_orbit_splitting={spin_orbit_splitting!r} must be True or False")
        specs = dict(self.specs)
        if spin_orbit_splitting:
            specs["spin_orbit_branching_ratio"] = Spec(
                0.5, free=False, dimension={}, description="area of the second line over that of the main line"
            )
            specs["spin_orbit_splitting_energy"] = Spec(
                0.61, free=False, dimension=_X, description="how far the second line lies below the main line"
            )
        self._begin(name, {key: spec.make(key) for key, spec in specs.items()}, values)

    @property
    def options(self) -> dict[str, Any]:
        """Whether there is a second line."""
        return {"spin_orbit_splitting": "spin_orbit_branching_ratio" in self}

    @property
    def kernel(self) -> FormulaKernel:
        """Formula of one line, or of two."""
        line = voigt("u", "variance", "gamma")
        if "spin_orbit_branching_ratio" in self:
            second = voigt("(u + spin_orbit_splitting_energy)", "variance", "gamma")
            line = f"({line} + spin_orbit_branching_ratio*{second})"
        text = (
            f"area*transmission_function*{line}; u = x - centre + non_isochromaticity;"
            "variance = (FWHM**2 + resolution**2)/(8*log(2))"
        )
        return FormulaKernel(text, self.coordinates, tuple(self._by_name), summed="shirley_background")


@library
class SEE(Component):
    r"""Secondary electron emission of a metal.

    .. math:: f(x) = A\,\frac{x - \Phi}{(x - \Phi + B)^4} \quad\text{for } x > \Phi\text{, else } 0

    Parameters
    ----------
    name : str, optional
        Name of the component.
    A : float
        Factor, in units of the data times x cubed; at least zero by default.
    B : float
        Work function that the electrons overcome, in units of x.
    Phi : float
        Where emission begins, in units of x.

    Notes
    -----
    Parameterised as eXSpy's SEE. M. S. Chung and T. E. Everhart (1974), J. Appl. Phys. 45, 707, doi:10.1063/1.1663306.
    """

    formula = "A*where(x > Phi, (x-Phi)/(x-Phi+B)**4, 0)"
    specs = {
        "A": Spec(1.0, min=0.0, linear=True, dimension={"data": 1.0, "x": 3.0}, description="factor"),
        "B": Spec(0.0, dimension=_X, description="work function that the electrons overcome"),
        "Phi": Spec(1.0, dimension=_X, description="where emission begins"),
    }
    position = "Phi"
    derived = {
        # Where B is not above zero there is a pole, of infinite area, at Phi - B.
        "area": Derived("A/(6*maximum(B, 0)**2)", {"data": 1.0, "x": 1.0}, "area"),
        "height": Derived("27*A/(256*maximum(B, 0)**3)", _DATA, "height"),
        "maximum": Derived("Phi + maximum(B, 0)/3 + maximum(-B, 0)", _X, "position of the maximum"),
    }
    estimator = Estimator(estimators.secondary_electrons, channels=4)
