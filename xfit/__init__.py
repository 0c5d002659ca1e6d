"""Curve fitting of hyperspectral data: labelled, chunked, at compiled speed."""

from xfit import accessor, components
from xfit._version import __version__
from xfit.component import Component
from xfit.components.function import component
from xfit.model import Model
from xfit.multifit import multifit
from xfit.parameters import Parameter

__all__ = ["Component", "Model", "Parameter", "__version__", "accessor", "component", "components", "multifit"]
