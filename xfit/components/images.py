"""Components of two coordinates."""

from __future__ import annotations

from typing import Any

from xfit.component import Component, Derived, FormulaKernel, Spec

_X = {"x": 1.0}
_Y = {"y": 1.0}


class Gaussian2D(Component):
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

    coordinates = ("x", "y")
    position = ("centre_x", "centre_y")
    specs = {
        "A": Spec(1.0, min=0.0, linear=True, dimension={"data": 1.0, "x": 1.0, "y": 1.0}, description="volume"),
        "centre_x": Spec(0.0, dimension=_X, description="position of the maximum along x"),
        "centre_y": Spec(0.0, dimension=_Y, description="position of the maximum along y"),
        "sigma_x": Spec(1.0, min=0.0, dimension=_X, description="standard deviation along x"),
        "sigma_y": Spec(1.0, min=0.0, dimension=_Y, description="standard deviation along y"),
    }

    derived = {
        "fwhm_x": Derived("2*sqrt(2*log(2))*sigma_x", _X, "full width at half maximum along x"),
        "fwhm_y": Derived("2*sqrt(2*log(2))*sigma_y", _Y, "full width at half maximum along y"),
        "height": Derived("A/(2*pi*sigma_x*sigma_y)", {"data": 1.0}, "height"),
    }

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
        u, v = "(x-centre_x)", "(y-centre_y)"
        if "rotation_angle" in self:
            cos, sin = "cos(rotation_angle)", "sin(rotation_angle)"
            u, v = f"({u}*{cos} - {v}*{sin})", f"({u}*{sin} + {v}*{cos})"
        text = f"A/(2*pi*sigma_x*sigma_y)*exp(-{u}**2/(2*sigma_x**2) - {v}**2/(2*sigma_y**2))"
        return FormulaKernel(text, self.coordinates, tuple(self._by_name))
