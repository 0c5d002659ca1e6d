"""Curve fitting of hyperspectral data: labelled, chunked, at compiled speed."""

from xfit import accessor, components
from xfit._version import __version__
from xfit.component import Component, Derived, Spec
from xfit.components.function import component
from xfit.estimators import Estimator
from xfit.model import Model
from xfit.multifit import multifit
from xfit.parameters import Parameter

__all__ = [
    "Component",
    "Derived",
    "Estimator",
    "Model",
    "Parameter",
    "Spec",
    "__version__",
    "accessor",
    "component",
    "components",
    "multifit",
]
