"""What is stored of a pixel belongs to one point, and what is called converged is at a minimum.

A seeded sample of the components of the library, losses, bounds and shapes of data; ``XFIT_ALL=1`` takes all of them.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from tests.support.one_point import Setting, cosines, disagreement, falls, fitted, settings, shapes
from xfit.engine.pixel.status import CONVERGED

ALL = list(settings())
SAMPLE = ALL if os.environ.get("XFIT_ALL") else [ALL[k] for k in np.random.default_rng(21).permutation(len(ALL))[:120]]


def _id(setting: Setting) -> str:
    return f"{setting.component}-{setting.loss}-{setting.bounds}-{setting.optimizer}"


@pytest.mark.parametrize("setting", SAMPLE, ids=_id)
def test_chisq_is_that_of_the_values(setting):
    da = shapes(setting.component, setting.loss == "poisson")
    fit = fitted(setting, da)
    found = disagreement(setting, da, fit)
    assert (found <= 1.0).all(), found


@pytest.mark.parametrize("setting", [s for s in SAMPLE if s.loss == "ls" and s.optimizer != "trf"], ids=_id)
def test_converged_is_at_a_minimum(setting):
    """The cosine of each column with the deviations is at most 1e-6, which differences tell to 1e-8 or so; where it is
    larger than that, the promised decrease is below a millionth of the residual variance, which is a cosine of 1e-3
    over the root of the channels.

    A minimum may have a kink, where the gradient does not vanish (a width that enters by its size is zero, a step lies
    on a channel): then no parameter lowers the loss by itself, by more than a ten-thousandth of the residual variance,
    a hundredth of a standard error.
    """
    da = shapes(setting.component, False)
    fit = fitted(setting, da)
    converged = (fit.status == CONVERGED).values
    noisy = fit.chisq.values > 1e-6
    found = np.where(converged & noisy, cosines(setting, da, fit), 0.0)
    kinks = found > 1e-5
    if kinks.any():
        assert (falls(setting, da, fit)[kinks] < 1e-4 / fit.dof.values[kinks]).all(), found
