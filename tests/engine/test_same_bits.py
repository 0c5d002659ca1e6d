"""The same bits, however many pixels are fitted side by side and with whichever instructions of the processor."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT
from tests.support.widths import OTHER_WIDTH, WITHOUT_AVX512

#: Fits of all kinds that are made side by side, with pixels that need more; prints a hash of all numbers.
FITS = """
import hashlib
import numpy as np, xarray as xr
from xfit import Model
from xfit.components import Gaussian, Lorentzian, Offset, Polynomial, PowerLaw
random = np.random.default_rng(5)
x = np.linspace(1, 10, 211)
shapes = np.exp(-((x - 4 - random.normal(0, 0.3, (21, 1))) ** 2) / 2 / random.uniform(0.3, 0.9, (21, 1)) ** 2)
clean = 5 + 40 * shapes + 30 / x
clean[3] = 5
counts = random.poisson(clean).astype(float)
counts[7, 20:30] = np.nan
counts[9] *= 1e-5
da = xr.DataArray(counts, dims=("p", "e"), coords={"e": x})
def model():
    made = Model(
        [Gaussian(name="g", A=50, centre=4.5, sigma=0.5), PowerLaw(name="b", A=20, r=1), Offset(name="o", offset=4)]
    )
    made["g.sigma"].min, made["g.sigma"].max = 0.1, 0.8
    return made
tied = model()
tied["o.offset"].tie("0.1*b.A")
line = Model([Polynomial(3, name="p")])
fits = [
    da.fit.multifit(model()),
    da.fit.multifit(model(), variance=da.fillna(1.0) + 1, covariance=True),
    da.fit.multifit(model(), loss="poisson"),
    da.fit.multifit(model(), loss="huber"),
    da.fit.multifit(tied),
    da.fit.multifit(line, optimizer="lstsq"),
    da.fit.multifit(line, optimizer="lstsq", variance=da.fillna(1.0) + 1),
    da.astype("f4").fit.multifit(line, optimizer="nnls"),
]
whole = hashlib.sha256()
for fit in fits:
    for name in ("value", "stderr", "chisq", "loss", "status", "nfev"):
        whole.update(fit[name].values.tobytes())
print(whole.hexdigest())
"""


def bits(**variables: str) -> str:
    """Hash of the fits in a process of its own; machine code of all widths is kept in the usual place."""
    done = subprocess.run(
        [sys.executable, "-c", FITS],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


#: What is compared with this process: in CI one other width, with ``XFIT_TEST_EVERY_WIDTH`` all widths.
OTHERS = [OTHER_WIDTH]
if os.environ.get("XFIT_TEST_EVERY_WIDTH"):
    OTHERS += [{"XFIT_LANES": lanes} for lanes in ("1", "4", "8")] + [{"XFIT_LANES": "4", **WITHOUT_AVX512}]


@pytest.mark.slow
@pytest.mark.parametrize("other", OTHERS, ids=str)
def test_widths_and_instruction_sets(other):
    assert bits(**other) == bits()


def test_a_width_that_is_none(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "import xfit.engine.math.layout"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "XFIT_LANES": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ValueError: XFIT_LANES is '3'; it must be 1, 2, 4 or 8" in done.stderr
