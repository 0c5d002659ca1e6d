"""Backgrounds of one coordinate: smooth curves below the peaks."""

from __future__ import annotations

from functools import partial
from typing import Any

from xfit.formulas.kernel_spec import FormulaKernel
from xfit.modeling import estimators
from xfit.modeling.component import Component, Derived, Spec, library
from xfit.modeling.estimators import Estimator

_DATA = {"data": 1.0}
_X = {"x": 1.0}


@library
class Offset(Component):
    r"""Constant.

    .. math:: f(x) = \mathrm{offset}

    Parameters
    ----------
    name : str, optional
        Name of the component.
    offset : float
        The constant, in units of the data.
    """

    formula = "offset"
    specs = {"offset": Spec(0.0, linear=True, dimension=_DATA, description="constant")}
    is_background = True
    estimator = Estimator(estimators.offset, channels=1)


@library
class Polynomial(Component):
    r"""Polynomial.

    .. math:: f(x) = \sum_{i=0}^{\mathrm{order}} a_i x^i

    Parameters
    ----------
    order : int
        Degree, at least 1 (for a constant use `Offset`).
    name : str, optional
        Name of the component.
    a0, a1, ... : float
        Coefficients, in units of the data over powers of x; a00, a01, ... from order 10 on.

    Notes
    -----
    Parameterised as HyperSpy's Polynomial.
    """

    estimator = Estimator(estimators.polynomial, channels=3)

    def __init__(self, order: int = 2, name: str | None = None, **values: Any) -> None:
        if isinstance(order, bool) or not isinstance(order, int):
            raise TypeError(f"order={order!r} must be an integer")
        if not 1 <= order <= 40:
            raise ValueError(f"order={order} must be from 1 to 40; for a constant use Offset")
        digits = len(str(order))
        specs = {
            f"a{i:0{digits}d}": Spec(
                0.0,
                linear=True,
                dimension=_DATA | ({"x": -float(i)} if i else {}),
                description=f"coefficient of x^{i}",
            )
            for i in range(order + 1)
        }
        estimator = Estimator(partial(estimators.polynomial, names=tuple(specs)), channels=order + 1)
        object.__setattr__(self, "estimator", estimator)
        self._begin(name, {key: spec.make(key) for key, spec in specs.items()}, values)

    @property
    def order(self) -> int:
        """Degree of the polynomial."""
        return len(self.parameters) - 1

    @property
    def options(self) -> dict[str, Any]:
        """The order."""
        return {"order": self.order}

    @property
    def kernel(self) -> FormulaKernel:
        """Formula by Horner's scheme."""
        names = tuple(self._by_name)
        expression = names[-1]
        for name in reversed(names[:-1]):
            expression = f"{name} + x*({expression})"
        return FormulaKernel(expression, self.coordinates, names)


@library
class PowerLaw(Component):
    r"""Power law.

    .. math:: f(x) = A (x - \mathrm{origin})^{-r} \quad\text{for } x > \mathrm{left\_cutoff}\text{, else } 0

    Parameters
    ----------
    name : str, optional
        Name of the component.
    A : float
        Factor, in units of the data times x to the power r; at least zero by default.
    left_cutoff : float
        Below it the function is zero, in units of x; fixed.
    origin : float
        Position of the singularity, in units of x; fixed by default.
    r : float
        Exponent; from 1 to 5 by default.

    Notes
    -----
    Parameterised as HyperSpy's PowerLaw. ``left_cutoff`` has no gradient and should stay fixed.
    """

    formula = "where(x > left_cutoff, A*(x-origin)**(-r), 0)"
    specs = {
        "A": Spec(1e6, min=0.0, linear=True, description="factor"),
        "left_cutoff": Spec(0.0, free=False, dimension=_X, description="zero below"),
        "origin": Spec(0.0, free=False, dimension=_X, description="position of the singularity"),
        "r": Spec(3.0, min=1.0, max=5.0, dimension={}, description="exponent"),
    }
    position = "origin"
    is_background = True
    estimator = Estimator(estimators.power_law, channels=2, takes=("origin", "left_cutoff"))


@library
class Exponential(Component):
    r"""Exponential decay.

    .. math:: f(x) = A \exp(-x / \tau)

    Parameters
    ----------
    name : str, optional
        Name of the component.
    A : float
        Value at zero, in units of the data.
    tau : float
        Decay length, in units of x.

    Notes
    -----
    Parameterised as HyperSpy's Exponential. It has no beginning, and grows without limit to the left; convolved with a
    response, what lies before the data comes into them: see `Decay`.
    """

    formula = "A*exp(-x/tau)"
    specs = {
        "A": Spec(1.0, linear=True, dimension=_DATA, description="value at zero"),
        "tau": Spec(1.0, dimension=_X, description="decay length"),
    }
    derived = {
        "half_life": Derived("tau*log(2)", _X, "length over which it halves"),
    }
    estimator = Estimator(estimators.exponential, channels=2)


@library
class Bleasdale(Component):
    r"""Bleasdale-Nelder curve.

    .. math:: f(x) = (a + b x)^{-1/c} \quad\text{where } a + b x > 0\text{, else } 0

    Parameters
    ----------
    name : str, optional
        Name of the component.
    a : float
        Value of the base at zero, in units of the data to the power -c.
    b : float
        Slope of the base, in those units over x.
    c : float
        Exponent, without unit.

    Notes
    -----
    Parameterised as HyperSpy's Bleasdale, which takes ``b`` for a linear parameter. J. K. A. Bleasdale and J. A. Nelder
    (1960), Nature 188, 342, doi:10.1038/188342a0.
    """

    formula = "where(a + b*x > 0, (a + b*x)**(-1/c), 0)"
    specs = {
        "a": Spec(1.0, description="base at zero"),
        "b": Spec(1.0, description="slope of the base"),
        "c": Spec(1.0, dimension={}, description="exponent"),
    }
    estimator = Estimator(estimators.bleasdale, channels=3, takes=("c",))


@library
class Vignetting(Component):
    r"""Vignetting of a lens: the fourth power of a cosine, if asked for times lines that fall at both edges.

    .. math:: f(x) = h \cos^4\left(\frac{x - x_0}{2\pi\,\mathrm{period}}\right) \left[1 - a\,R(\mathrm{left} - x)
        - b\,R(x - \mathrm{right})\right], \quad
        R(t) = \frac{t}{2} \operatorname{erfc}\left(\frac{-t}{\sigma\sqrt{2}}\right)
        + \frac{\sigma}{\sqrt{2\pi}} \exp\left(-\frac{t^2}{2\sigma^2}\right)

    R is t where that is positive, else 0, convolved with a Gaussian.

    Parameters
    ----------
    side_vignetting : bool
        Whether there are edges: adds the parameters from ``left_slope`` on. Without them the bracket is 1.
    name : str, optional
        Name of the component.
    optical_center : float
        Position of the maximum of the cosine, in units of x.
    height : float
        Height of the cosine, in units of the data.
    period : float
        Length over which the cosine falls, in units of x; the function repeats after ``2 pi**2`` times this.
    left_slope, right_slope : float
        Slopes a and b beyond the edges, in units of 1/x.
    left, right : float
        Positions of the edges, in units of x.
    sigma : float
        Standard deviation of the Gaussian that rounds the edges, in units of x; at least zero by default.

    Notes
    -----
    Parameterised as eXSpy's Vignetting. There the edges need ``left`` and ``right``, which are NaN by default, and are
    rounded by a convolution of the whole function over 100 channels of width one, which fails; here their convolution
    is exact.
    """

    specs = {
        "optical_center": Spec(0.0, dimension=_X, description="position of the maximum of the cosine"),
        "height": Spec(0.0, linear=True, dimension=_DATA, description="height of the cosine"),
        "period": Spec(1.0, dimension=_X, description="length over which the cosine falls"),
    }
    position = "optical_center"
    estimator = Estimator(
        estimators.vignetting, channels=4, takes=("left_slope", "right_slope", "left", "right", "sigma")
    )

    def __init__(self, side_vignetting: bool = False, name: str | None = None, **values: Any) -> None:
        if not isinstance(side_vignetting, bool):
            raise TypeError(f"side_vignetting={side_vignetting!r} must be True or False")
        specs = dict(self.specs)
        if side_vignetting:
            slope = {"x": -1.0}
            specs["left_slope"] = Spec(0.0, dimension=slope, description="slope beyond the left edge")
            specs["right_slope"] = Spec(0.0, dimension=slope, description="slope beyond the right edge")
            specs["left"] = Spec(-1.0, dimension=_X, description="position of the left edge")
            specs["right"] = Spec(1.0, dimension=_X, description="position of the right edge")
            specs["sigma"] = Spec(1.0, min=0.0, dimension=_X, description="standard deviation that rounds the edges")
        self._begin(name, {key: spec.make(key) for key, spec in specs.items()}, values)

    @property
    def options(self) -> dict[str, Any]:
        """Whether there are edges."""
        return {"side_vignetting": "sigma" in self}

    @property
    def kernel(self) -> FormulaKernel:
        """Formula, with the edges if there are any."""
        text = "height*cos((x-optical_center)/(2*pi*period))**4"
        if "sigma" in self:
            ramp = "({0}/2*erfc(-{0}/(sigma*sqrt(2))) + sigma/sqrt(2*pi)*exp(-{0}**2/(2*sigma**2)))"
            edges = f"left_slope*{ramp.format('(left-x)')} - right_slope*{ramp.format('(x-right)')}"
            text = f"{text}*(1 - {edges})"
        return FormulaKernel(text, self.coordinates, tuple(self._by_name))
