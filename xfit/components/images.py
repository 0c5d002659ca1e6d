"""Components of two coordinates."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from xfit.components.pieces import beyond_one, log1p
from xfit.formulas.kernel_spec import FormulaKernel
from xfit.modeling import estimators
from xfit.modeling.component import Component, Derived, Spec, library
from xfit.modeling.estimators import Estimator

_DATA = {"data": 1.0}
_X = {"x": 1.0}
_Y = {"y": 1.0}


class _Turned(Component):
    """A component that may be rotated about its centre: subclasses give its formula along its axes u and v."""

    coordinates = ("x", "y")
    position = ("centre_x", "centre_y")
    profile: ClassVar[str]

    def __init__(self, add_rotation: bool = False, name: str | None = None, **values: Any) -> None:
        if not isinstance(add_rotation, bool):
            raise TypeError(f"add_rotation={add_rotation!r} must be True or False")
        specs = dict(self.specs)
        if add_rotation:
            specs["rotation_angle"] = Spec(0.0, dimension={}, description="rotation about the centre, in radians")
        self._begin(name, {key: spec.make(key) for key, spec in specs.items()}, values)

    @property
    def options(self) -> dict[str, Any]:
        """Whether there is a rotation."""
        return {"add_rotation": "rotation_angle" in self}

    @property
    def kernel(self) -> FormulaKernel:
        """Formula, along rotated axes if there is a rotation."""
        axes = "u = x-centre_x; v = y-centre_y"
        if "rotation_angle" in self:
            axes = (
                "u = (x-centre_x)*cos(rotation_angle) - (y-centre_y)*sin(rotation_angle);"
                "v = (x-centre_x)*sin(rotation_angle) + (y-centre_y)*cos(rotation_angle)"
            )
        return FormulaKernel(f"{self.profile}; {axes}", self.coordinates, tuple(self._by_name))


@library
class Gaussian2D(_Turned):
    r"""Two-dimensional Gaussian by its volume.

    .. math:: f(x, y) = \frac{A}{2\pi\sigma_x\sigma_y}
        \exp\left(-\frac{(x - c_x)^2}{2\sigma_x^2} - \frac{(y - c_y)^2}{2\sigma_y^2}\right)

    Parameters
    ----------
    add_rotation : bool
        Whether it may be rotated about its centre: adds the parameter ``rotation_angle``.
    name : str, optional
        Name of the component.
    A : float
        Volume, in units of the data times x times y; at least zero by default.
    centre_x, centre_y : float
        Position of the maximum.
    sigma_x, sigma_y : float
        Standard deviations along x and y; at least zero by default.
    rotation_angle : float
        In radians.

    Notes
    -----
    Parameterised as HyperSpy's Gaussian2D. With a rotation, HyperSpy 2.5 replaces x and y one after the other, which
    shears; here both are replaced at once.
    """

    profile = "A/(2*pi*sigma_x*sigma_y)*exp(-u**2/(2*sigma_x**2) - v**2/(2*sigma_y**2))"
    specs = {
        "A": Spec(1.0, min=0.0, linear=True, dimension={"data": 1.0, "x": 1.0, "y": 1.0}, description="volume"),
        "centre_x": Spec(0.0, dimension=_X, description="position of the maximum along x"),
        "centre_y": Spec(0.0, dimension=_Y, description="position of the maximum along y"),
        "sigma_x": Spec(1.0, min=0.0, dimension=_X, description="standard deviation along x"),
        "sigma_y": Spec(1.0, min=0.0, dimension=_Y, description="standard deviation along y"),
    }
    derived = {
        "fwhm_x": Derived("2*sqrt(2*log(2))*abs(sigma_x)", _X, "full width at half maximum along x"),
        "fwhm_y": Derived("2*sqrt(2*log(2))*abs(sigma_y)", _Y, "full width at half maximum along y"),
        "height": Derived("A/(2*pi*sigma_x*sigma_y)", {"data": 1.0}, "height"),
        "sigma_major": Derived("maximum(abs(sigma_x), abs(sigma_y))", _X, "larger standard deviation"),
        "sigma_minor": Derived("minimum(abs(sigma_x), abs(sigma_y))", _X, "smaller standard deviation"),
        "ellipticity": Derived(
            "maximum(abs(sigma_x), abs(sigma_y))/minimum(abs(sigma_x), abs(sigma_y))",
            {},
            "larger over smaller standard deviation",
        ),
    }
    estimator = Estimator(estimators.gaussian2d, channels=9, takes=("rotation_angle",))


@library
class Lorentzian2D(_Turned):
    r"""Two-dimensional Lorentzian by its height.

    .. math:: f(x, y) = h \left[1 + \frac{(x - c_x)^2}{\gamma_x^2} + \frac{(y - c_y)^2}{\gamma_y^2}\right]^{-1}

    Parameters
    ----------
    add_rotation : bool
        Whether it may be rotated about its centre: adds the parameter ``rotation_angle``.
    name : str, optional
        Name of the component.
    height : float
        Height, in units of the data; at least zero by default. The volume is infinite.
    centre_x, centre_y : float
        Position of the maximum.
    gamma_x, gamma_y : float
        Half widths at half maximum along x and y; at least zero by default.
    rotation_angle : float
        In radians.
    """

    profile = "height/(1 + u**2/gamma_x**2 + v**2/gamma_y**2)"
    specs = {
        "height": Spec(1.0, min=0.0, linear=True, dimension=_DATA, description="height"),
        "centre_x": Spec(0.0, dimension=_X, description="position of the maximum along x"),
        "centre_y": Spec(0.0, dimension=_Y, description="position of the maximum along y"),
        "gamma_x": Spec(1.0, min=0.0, dimension=_X, description="half width at half maximum along x"),
        "gamma_y": Spec(1.0, min=0.0, dimension=_Y, description="half width at half maximum along y"),
    }
    derived = {
        "fwhm_x": Derived("2*abs(gamma_x)", _X, "full width at half maximum along x"),
        "fwhm_y": Derived("2*abs(gamma_y)", _Y, "full width at half maximum along y"),
    }
    estimator = Estimator(estimators.lorentzian2d, channels=9, takes=("rotation_angle",))


@library
class Moffat2D(_Turned):
    r"""Two-dimensional Moffat peak by its height.

    .. math:: f(x, y) = h \left[1 + \frac{(x - c_x)^2}{\sigma_x^2} + \frac{(y - c_y)^2}{\sigma_y^2}\right]^{-\beta}

    Parameters
    ----------
    add_rotation : bool
        Whether it may be rotated about its centre: adds the parameter ``rotation_angle``.
    name : str, optional
        Name of the component.
    height : float
        Height, in units of the data; at least zero by default.
    centre_x, centre_y : float
        Position of the maximum.
    sigma_x, sigma_y : float
        Widths along x and y; at least zero by default.
    beta : float
        Exponent, at least zero by default: 1 is a Lorentzian, 0 a constant.
    rotation_angle : float
        In radians.

    Notes
    -----
    astropy's Moffat2D has one width, gamma, and calls beta alpha. Half widths at half maximum are
    ``sqrt(2**(1/beta) - 1)`` times sigma; above ``beta = 1`` the volume is
    ``pi * height * sigma_x * sigma_y / (beta - 1)``. A. F. J. Moffat (1969), Astron. Astrophys. 3, 455.
    """

    profile = f"height*exp(-beta*{log1p('(u**2/sigma_x**2 + v**2/sigma_y**2)')})"
    specs = {
        "height": Spec(1.0, min=0.0, linear=True, dimension=_DATA, description="height"),
        "centre_x": Spec(0.0, dimension=_X, description="position of the maximum along x"),
        "centre_y": Spec(0.0, dimension=_Y, description="position of the maximum along y"),
        "sigma_x": Spec(1.0, min=0.0, dimension=_X, description="width along x"),
        "sigma_y": Spec(1.0, min=0.0, dimension=_Y, description="width along y"),
        "beta": Spec(1.0, min=0.0, dimension={}, description="exponent"),
    }
    derived = {
        "volume": Derived(
            "pi*height*abs(sigma_x*sigma_y)/(maximum(beta, 1) - 1)",
            {"data": 1.0, "x": 1.0, "y": 1.0},
            "volume, infinite up to a beta of one",
        ),
        "fwhm_x": Derived(f"2*abs(sigma_x)*sqrt({beyond_one('beta')})", _X, "full width at half maximum along x"),
        "fwhm_y": Derived(f"2*abs(sigma_y)*sqrt({beyond_one('beta')})", _Y, "full width at half maximum along y"),
    }
    estimator = Estimator(estimators.moffat2d, channels=9, takes=("rotation_angle",))


@library
class AiryDisk(Component):
    r"""Airy disk: the image of a point through a circular aperture.

    .. math:: f(x, y) = \mathrm{amplitude} \left(\frac{2 J_1(u)}{u}\right)^2, \quad
        u = 3.8317\,\frac{\sqrt{(x - c_x)^2 + (y - c_y)^2}}{\mathrm{radius}}

    Parameters
    ----------
    name : str, optional
        Name of the component.
    amplitude : float
        Height, in units of the data; at least zero by default.
    centre_x, centre_y : float
        Position of the maximum.
    radius : float
        Radius of the first dark ring, in units of x, which must be those of y; at least zero by default.

    Notes
    -----
    Parameterised as astropy's AiryDisk2D. G. B. Airy (1835), Trans. Camb. Phil. Soc. 5, 283.
    """

    coordinates = ("x", "y")
    position = ("centre_x", "centre_y")
    # The constant is half the first zero of J1, squared. Near the centre, where the distance has no derivative, by the
    # power series of 2 J1(u) / u in q = u**2 / 4, whose next term is below 1e-16.
    formula = (
        "amplitude*where(q < 0.0625, near, jinc(2*sqrt(q)))**2;near = 1 - q/2*(1 - q/6*(1 - q/12*(1 - q/20*(1 - "
        "q/30*(1 - q/42)))));q = 3.6704926605309645*((x-centre_x)**2 + (y-centre_y)**2)/radius**2"
    )
    specs = {
        "amplitude": Spec(1.0, min=0.0, linear=True, dimension=_DATA, description="height"),
        "centre_x": Spec(0.0, dimension=_X, description="position of the maximum along x"),
        "centre_y": Spec(0.0, dimension=_Y, description="position of the maximum along y"),
        "radius": Spec(1.0, min=0.0, dimension=_X, description="radius of the first dark ring"),
    }
    derived = {
        "fwhm": Derived("0.8436659602162362*abs(radius)", _X, "full width at half maximum"),
    }
    estimator = Estimator(estimators.airy, channels=9)


@library
class Plane(Component):
    r"""Plane.

    .. math:: f(x, y) = \mathrm{slope}_x\,x + \mathrm{slope}_y\,y + \mathrm{intercept}

    Parameters
    ----------
    name : str, optional
        Name of the component.
    slope_x, slope_y : float
        Slopes, in units of the data over x and over y.
    intercept : float
        Value at the origin, in units of the data.

    Notes
    -----
    Parameterised as astropy's Planar2D.
    """

    coordinates = ("x", "y")
    formula = "slope_x*x + slope_y*y + intercept"
    specs = {
        "slope_x": Spec(0.0, linear=True, dimension=_DATA | {"x": -1.0}, description="slope along x"),
        "slope_y": Spec(0.0, linear=True, dimension=_DATA | {"y": -1.0}, description="slope along y"),
        "intercept": Spec(0.0, linear=True, dimension=_DATA, description="value at the origin"),
    }
    is_background = True
    estimator = Estimator(estimators.surface, channels=3)


@library
class Polynomial2D(Component):
    r"""Polynomial of two coordinates.

    .. math:: f(x, y) = \sum_{i + j \le \mathrm{order}} a_{ij}\,x^i y^j

    Parameters
    ----------
    order : int
        Degree, from 1 to 9.
    name : str, optional
        Name of the component.
    a0_0, a0_1, ... : float
        Coefficients, the power of x before that of y, in units of the data over powers of x and y.

    Notes
    -----
    As astropy's Polynomial2D, whose coefficients are called c0_0, c0_1 and so on.
    """

    coordinates = ("x", "y")
    is_background = True

    def __init__(self, order: int = 2, name: str | None = None, **values: Any) -> None:
        if isinstance(order, bool) or not isinstance(order, int):
            raise TypeError(f"order={order!r} must be an integer")
        if not 1 <= order <= 9:
            raise ValueError(f"order={order} must be from 1 to 9; for a constant use Offset")
        specs = {}
        for i in range(order + 1):
            for j in range(order + 1 - i):
                powers = {axis: -float(n) for axis, n in (("x", i), ("y", j)) if n}
                specs[f"a{i}_{j}"] = Spec(
                    0.0, linear=True, dimension=_DATA | powers, description=f"coefficient of x^{i} y^{j}"
                )
        terms = tuple((key, int(key[1]), int(key[3])) for key in specs)
        estimator = Estimator(partial(estimators.surface, powers=terms), channels=len(specs))
        object.__setattr__(self, "estimator", estimator)
        self._begin(name, {key: spec.make(key) for key, spec in specs.items()}, values)

    @property
    def order(self) -> int:
        """Degree of the polynomial."""
        return max(int(parameter.name[1]) for parameter in self.parameters)

    @property
    def options(self) -> dict[str, Any]:
        """The order."""
        return {"order": self.order}

    @property
    def kernel(self) -> FormulaKernel:
        """Formula by Horner's scheme, in y and then in x."""
        order = self.order
        expression = ""
        for i in range(order, -1, -1):
            row = f"a{i}_{order - i}"
            for j in range(order - i - 1, -1, -1):
                row = f"a{i}_{j} + y*({row})"
            expression = f"{row} + x*({expression})" if expression else row
        return FormulaKernel(expression, self.coordinates, tuple(self._by_name))
