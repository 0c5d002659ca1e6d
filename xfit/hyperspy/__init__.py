"""HyperSpy's signals and models in xfit, and xfit's results in HyperSpy's models."""

from xfit.hyperspy.conversion import Conversion, Link
from xfit.hyperspy.fitting import fit, multifit, put_result
from xfit.hyperspy.model_files import StoredHyperSpyModels, open_models
from xfit.hyperspy.models import convert
from xfit.hyperspy.signals import from_hyperspy, to_hyperspy

__all__ = [
    "Conversion",
    "Link",
    "StoredHyperSpyModels",
    "convert",
    "fit",
    "from_hyperspy",
    "multifit",
    "open_models",
    "put_result",
    "to_hyperspy",
]
