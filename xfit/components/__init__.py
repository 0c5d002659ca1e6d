"""The component library: functions of one or two coordinates to build models from."""

from xfit.component import Component
from xfit.components.backgrounds import Exponential, Offset, Polynomial, PowerLaw
from xfit.components.expression import Expression
from xfit.components.function import Function
from xfit.components.images import Gaussian2D
from xfit.components.peaks import Gaussian, GaussianHF, Lorentzian

__all__ = [
    "Exponential",
    "Expression",
    "Function",
    "Gaussian",
    "Gaussian2D",
    "GaussianHF",
    "Lorentzian",
    "Offset",
    "Polynomial",
    "PowerLaw",
]

#: Types of components by the name that stored models use.
TYPES: dict[str, type[Component]] = {
    cls.__name__: cls
    for cls in (
        Exponential,
        Expression,
        Function,
        Gaussian,
        Gaussian2D,
        GaussianHF,
        Lorentzian,
        Offset,
        Polynomial,
        PowerLaw,
    )
}
