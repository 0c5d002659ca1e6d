"""Curve fitting of hyperspectral data: labelled, chunked, at compiled speed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from xfit import accessor, components, noise
from xfit._version import __version__
from xfit.component import Component, Derived, Spec
from xfit.components.function import component
from xfit.estimators import Estimator
from xfit.losses import LossKernel
from xfit.masks import signal_range
from xfit.model import Model
from xfit.multifit import multifit
from xfit.parameters import Parameter
from xfit.registry import optimizers
from xfit.selection import compare_nested

__all__ = [
    "Component",
    "Derived",
    "Estimator",
    "LossKernel",
    "Model",
    "Parameter",
    "Spec",
    "__version__",
    "accessor",
    "compare_nested",
    "component",
    "components",
    "models",
    "multifit",
    "noise",
    "optimizers",
    "samfire",
    "signal_range",
]


def __getattr__(name: str) -> Any:
    """Import what schedules work, or stores, when it is first asked for: `import xfit` does not wait for it."""
    if name == "samfire":
        return import_module("xfit.samfire")
    if name == "models":
        return import_module("xfit.stored.models").models
    raise AttributeError(f"module 'xfit' has no attribute {name!r}")
