"""SAMFire: maps fitted from seeds, every pixel from its good neighbours, by a graph of tasks that grows as it runs."""

from xfit.samfire.goodness import AIC, BIC, AICc, Goodness, RedChisq
from xfit.samfire.request import Samfire, samfire
from xfit.samfire.run import Snapshot
from xfit.samfire.strategies import GlobalStrategy, Histogram, LocalStrategy, Nearest, ReducedChiSquared

__all__ = [
    "AIC",
    "BIC",
    "AICc",
    "GlobalStrategy",
    "Goodness",
    "Histogram",
    "LocalStrategy",
    "Nearest",
    "RedChisq",
    "ReducedChiSquared",
    "Samfire",
    "Snapshot",
    "samfire",
]
