"""The component library: functions of one or two coordinates to build models from."""

from xfit.components.backgrounds import Bleasdale, Exponential, Offset, Polynomial, PowerLaw, Vignetting
from xfit.components.core_loss.component import EELSCLEdge
from xfit.components.decays import RC, Decay, DoubleExponentialDecay
from xfit.components.eels import DoublePowerLaw, VolumePlasmonDrude
from xfit.components.expression import Expression
from xfit.components.function import Function
from xfit.components.images import AiryDisk, Gaussian2D, Lorentzian2D, Moffat2D, Plane, Polynomial2D
from xfit.components.patterns import ScalableFixedPattern
from xfit.components.peaks import Gaussian, GaussianHF, Lorentzian, Moffat, PearsonVII, PseudoVoigt, Voigt
from xfit.components.photoemission import SEE, Doniach, PESCoreLineShape, PESVoigt
from xfit.components.skewed import (
    BreitWignerFano,
    DampedOscillator,
    ExponentiallyModifiedGaussian,
    LogNormal,
    SkewNormal,
    SplitVoigt,
)
from xfit.components.steps import Arctan, EELSArctan, Erf, HeavisideStep, Logistic
from xfit.modeling.component import Component

__all__ = [
    "RC",
    "SEE",
    "AiryDisk",
    "Arctan",
    "Bleasdale",
    "BreitWignerFano",
    "DampedOscillator",
    "Decay",
    "Doniach",
    "DoubleExponentialDecay",
    "DoublePowerLaw",
    "EELSArctan",
    "EELSCLEdge",
    "Erf",
    "Exponential",
    "ExponentiallyModifiedGaussian",
    "Expression",
    "Function",
    "Gaussian",
    "Gaussian2D",
    "GaussianHF",
    "HeavisideStep",
    "LogNormal",
    "Logistic",
    "Lorentzian",
    "Lorentzian2D",
    "Moffat",
    "Moffat2D",
    "Offset",
    "PESCoreLineShape",
    "PESVoigt",
    "PearsonVII",
    "Plane",
    "Polynomial",
    "Polynomial2D",
    "PowerLaw",
    "PseudoVoigt",
    "ScalableFixedPattern",
    "SkewNormal",
    "SplitVoigt",
    "Vignetting",
    "Voigt",
    "VolumePlasmonDrude",
]

#: Types of components by the name that stored models use.
TYPES: dict[str, type[Component]] = {
    cls.__name__: cls
    for cls in (
        AiryDisk,
        Arctan,
        Bleasdale,
        BreitWignerFano,
        DampedOscillator,
        Decay,
        Doniach,
        DoubleExponentialDecay,
        DoublePowerLaw,
        EELSArctan,
        EELSCLEdge,
        Erf,
        Exponential,
        ExponentiallyModifiedGaussian,
        Expression,
        Function,
        Gaussian,
        Gaussian2D,
        GaussianHF,
        HeavisideStep,
        LogNormal,
        Logistic,
        Lorentzian,
        Lorentzian2D,
        Moffat,
        Moffat2D,
        Offset,
        PESCoreLineShape,
        PESVoigt,
        PearsonVII,
        Plane,
        Polynomial,
        Polynomial2D,
        PowerLaw,
        PseudoVoigt,
        RC,
        SEE,
        ScalableFixedPattern,
        SkewNormal,
        SplitVoigt,
        Vignetting,
        Voigt,
        VolumePlasmonDrude,
    )
}
