"""XPS: the oxide on silicon, through its Shirley background
==========================================================

Photoelectrons of silicon's 2p level while an oxide is sputtered away: two doublets, of the element and, 4 eV deeper, of
the oxide. Electrons that lose energy on their way out make a step below each line: in a channel it is in proportion to
the line's sum over all channels of higher kinetic energy (D. A. Shirley (1972), Phys. Rev. B 5, 4709,
doi:10.1103/PhysRevB.5.4709). In xfit the background is a part of the line, fitted with it; nothing is subtracted first,
so that its uncertainty is in the errors.

The doublet's splitting and ratio are known and held (0.60 eV, 1:2), and so is the analyser's resolution. From the ratio
of the two areas follows the thickness of the oxide (M. P. Seah and S. J. Spencer (2002), Surf. Interface Anal. 33, 640,
doi:10.1002/sia.1433).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from scipy.special import voigt_profile

import xfit
from xfit.components import Offset, PESVoigt

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--output", type=Path, default=Path("output/xps"), help="folder for the figures")
output: Path = parser.parse_args().output
output.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(5)

# %%
# The data
# --------
# 40 spectra, from 6 nm of oxide down to none. Aluminium's K-alpha line of 1486.6 eV; kinetic energies rise, as the
# model has it. Electrons from the element have to come through the oxide, those of the oxide too: amounts follow from
# the mean free path of 3.5 nm and the ratio 0.93 of what both give when they are infinitely thick.

PHOTON, MEAN_FREE_PATH, R0 = 1486.6, 3.5, 0.93
kinetic = np.arange(1376.0, 1392.0, 0.05)
minutes = np.linspace(0, 39, 40)
thickness = np.maximum(6.0 - 0.17 * minutes, 0.05)  # nm
area = {
    "Si": 30000 * np.exp(-thickness / MEAN_FREE_PATH),
    "oxide": 30000 * R0 * (1 - np.exp(-thickness / MEAN_FREE_PATH)),
}
centre = {"Si": PHOTON - 99.4, "oxide": PHOTON - 103.5}
fwhm, gamma = {"Si": 0.35, "oxide": 1.15}, {"Si": 0.06, "oxide": 0.08}
RESOLUTION, SPLITTING, RATIO, SHIRLEY = 0.40, 0.60, 0.5, 0.0018

expected = np.full((40, kinetic.size), 250.0)
for state in ("Si", "oxide"):
    sigma = np.hypot(fwhm[state], RESOLUTION) / 2.35482
    doublet = sum(
        r * voigt_profile(kinetic - centre[state] + d, sigma, gamma[state]) for r, d in ((1, 0.0), (RATIO, SPLITTING))
    )
    above = np.cumsum(doublet[::-1])[::-1] - doublet  # in channels of higher kinetic energy
    expected = expected + area[state][:, None] * (doublet + SHIRLEY * above)
da = xr.DataArray(
    rng.poisson(expected),
    dims=("time", "energy"),
    coords={
        "time": ("time", minutes, {"units": "min"}),
        "energy": ("energy", kinetic, {"units": "eV", "long_name": "kinetic energy"}),
    },
    attrs={"units": "counts"},
)

# %%
# Model and fit
# -------------
# Both states have the Shirley background of the same material, so that its strength is tied.

model = xfit.Model(
    [
        *(
            PESVoigt(spin_orbit_splitting=True, name=state, area=15000, centre=centre[state] + 0.1)
            for state in ("Si", "oxide")
        ),
        Offset(name="level", offset=200),
    ]
)
for state, width in (("Si", 0.4), ("oxide", 1.0)):
    line = model[state]
    line.FWHM.set(value=width, min=0.05, max=3)
    line.gamma.set(value=0.1, min=0)
    line.resolution.value = RESOLUTION
    line.spin_orbit_splitting_energy.value = SPLITTING
    line.spin_orbit_branching_ratio.value = RATIO
model["Si"].shirley_background.set(value=0.001, min=0, free=True)
model["oxide"].shirley_background.twin = model["Si"].shirley_background
model["oxide"].gamma.set(value=0.08, free=False)  # of a line whose width is disorder, the Lorentzian's can't be told
result = da.fit.multifit(model, loss="poisson", covariance=True)
print(result.isel(time=10).fit.table())

# %%
# Thickness
# ---------
# ``d = L ln(1 + r / R0)`` of the ratio r of the areas; its error follows from their covariance.

silicon, oxide = result.fit["Si.area"], result.fit["oxide.area"]
ratio = oxide / silicon
measured = MEAN_FREE_PATH * np.log1p(ratio / R0)
slope = MEAN_FREE_PATH / (R0 + ratio)
covariance = result.covariance.sel(param=["Si.area", "oxide.area"], param_=["Si.area", "oxide.area"]).values
gradient = np.stack([-ratio / silicon, 1 / silicon], axis=-1)  # of r
error = slope * np.sqrt(np.einsum("ti,tij,tj->t", gradient, covariance, gradient))

# %%
# Check
# -----

pull = (measured - thickness) / error
print(
    f"thickness: errors from {1e3 * float(error.min()):.1f} to {1e3 * float(error.max()):.1f} pm, pulls "
    f"{float(pull.mean()):+.2f} +- {float(pull.std()):.2f}"
)
# Of 40 spectra, a mean pull is known to 0.16, a standard deviation to 0.11; three times that.
assert abs(float(pull.mean())) < 0.5
assert 0.65 < float(pull.std()) < 1.35
assert bool((result.status == 1).all())
shirley = result.fit["Si.shirley_background"]
np.testing.assert_allclose(shirley.mean(), SHIRLEY, rtol=0.005)

# %%
# Figures
# -------
# The step that each doublet leaves is part of its curve.

result.fit.plot(da, time=10.0).savefig(output / "spectrum.png", dpi=110)

figure = Figure(figsize=(9, 4.4), layout="constrained")
upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
upper.errorbar(minutes, measured, error, fmt="o", ms=3, color="#0072B2", label="fit")
upper.plot(minutes, thickness, color="0.4", lw=1, label="true")
upper.set(ylabel="thickness of the oxide (nm)")
upper.legend(frameon=False)
lower.errorbar(minutes, 1e3 * (measured - thickness), 1e3 * error, fmt="o", ms=3, color="#0072B2")
lower.axhline(0, color="0.4", lw=1)
lower.set(xlabel="sputtering (min)", ylabel="fit - true (pm)")
figure.savefig(output / "thickness.png", dpi=110)
