"""Raman: overlapping bands of carbon on an uneven axis
======================================================

A map of carbon whose order changes along it: the bands D, G and D' overlap, and lie on the fluorescence of the sample.
Pixels of a spectrograph are even in wavelength, so that they are uneven in Raman shift: at one end of these spectra a
channel is an eighth wider than at the other, and gathers an eighth more light. xfit takes the coordinate as it is; with
the attribute ``is_binned``, the model is multiplied by the width of each channel. Nothing is interpolated.

Bands are Voigt profiles: Lorentzians of the material, widened by the spectrograph, whose resolution is known from the
line of a lamp and held. The width of D' is tied to that of G, from which it can't be told. Fluorescence is a parabola.
"""

# sphinx_gallery_thumbnail_number = 2
from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from scipy.special import voigt_profile

import xfit
from xfit.components import Polynomial, Voigt

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--output", type=Path, default=Path("output/raman"), help="folder for the figures")
output: Path = parser.parse_args().output
output.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(3)

# %%
# The data
# --------
# A laser of 532 nm; 800 pixels from 559 to 595.5 nm. The more disorder, the stronger D is against G, and the wider both
# are; strain moves G.

edges = 1e7 * (1 / 532.0 - 1 / np.linspace(559.0, 595.5, 801))  # of the pixels, in 1/cm
shift, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
print(f"from {shift[0]:.0f} to {shift[-1]:.0f} 1/cm in channels of {width[0]:.2f} to {width[-1]:.2f} 1/cm")

RESOLUTION = 1.8  # standard deviation, 1/cm
n = 32
place = np.linspace(0, 1, n)
disorder = 0.5 - 0.45 * np.cos(np.pi * (0.7 * place[None, :] + 0.3 * place[:, None]))
strain = 2.5 * np.exp(-((place[None, :] - 0.5) ** 2 + (place[:, None] - 0.5) ** 2) / 0.05)
true = {
    "D.area": 24000 * disorder,
    "D.centre": np.full((n, n), 1349.0),
    "D.gamma": 14 + 10 * disorder,
    "G.area": np.full((n, n), 16000.0),
    "G.centre": 1582 - strain,
    "G.gamma": 7 + 8 * disorder,
    "D'.area": 3500 * disorder,
    "D'.centre": np.full((n, n), 1619.0),
    "D'.gamma": 7 + 8 * disorder,
}
expected = (400 + 0.25 * (shift - 1400) - 2e-4 * (shift - 1400) ** 2) * (0.8 + 0.4 * place[None, :, None]) + np.zeros(
    (n, 1, 1)
)
for band in ("D", "G", "D'"):
    area, centre, gamma = (true[f"{band}.{name}"][..., None] for name in ("area", "centre", "gamma"))
    expected = expected + area * voigt_profile(shift - centre, RESOLUTION, gamma)
axes_of = {
    "y": ("y", 10 * place, {"units": "um"}),
    "x": ("x", 10 * place, {"units": "um"}),
    "shift": ("shift", shift, {"units": "1/cm", "long_name": "Raman shift", "is_binned": 1}),
}
da = xr.DataArray(rng.poisson(expected * width), dims=("y", "x", "shift"), coords=axes_of, attrs={"units": "counts"})

# %%
# Model and fit
# -------------

model = xfit.Model(
    [
        Voigt(name="D", area=12000, centre=1350, gamma=20, sigma=RESOLUTION),
        Voigt(name="G", area=12000, centre=1580, gamma=12, sigma=RESOLUTION),
        Voigt(name="D'", area=1500, centre=1620, gamma=12, sigma=RESOLUTION),
        Polynomial(2, name="fluorescence", a0=300),
    ]
)
for band in ("D", "G", "D'"):
    model[band].sigma.free = False
model["D'"].gamma.twin = model["G"].gamma
model["D'"].centre.set(min=1605, max=1635)
result = da.fit.multifit(model, loss="poisson")
print(result.fit.report())

# %%
# Check
# -----
# Pulls, deviations from the truth over their errors, have to scatter by one about zero.

good = result.status == 1
for name, values in true.items():
    pull = ((result.fit[name] - values) / result.fit.stderr(name)).where(good)
    print(f"{name:10s} pulls {float(pull.mean()):+.2f} +- {float(pull.std()):.2f}")
    # A mean of 1024 is known to 0.03, a standard deviation to 0.02; D' is weak where disorder is small, and there not
    # Gaussian.
    if not name.startswith("D'"):
        assert abs(float(pull.mean())) < 0.12
        assert 0.93 < float(pull.std()) < 1.07
assert float(good.mean()) > 0.99

# %%
# Figures
# -------
# The ratio of the areas of D and G is a measure of disorder; its error follows from those of both, which are nearly
# independent.

result.fit.plot(da, y=da.y[16], x=da.x[24]).savefig(output / "spectrum.png", dpi=110)

ratio = result.fit["D.area"] / result.fit["G.area"]
figure = Figure(figsize=(12, 3.8), layout="constrained")
axes = figure.subplots(1, 3, sharey=True)
for ax, image, label, style in zip(
    axes,
    (ratio, result.fit["G.centre"], 2 * result.fit["G.gamma"]),
    ("area of D over that of G", "position of G (1/cm)", "width of G without resolution (1/cm)"),
    ({}, {"cmap": "cividis"}, {}),
    strict=True,
):
    figure.colorbar(ax.pcolormesh(da.x, da.y, image, **style), ax=ax, label=label)
    ax.set(xlabel="x (um)", aspect="equal")
axes[0].set_ylabel("y (um)")
figure.savefig(output / "maps.png", dpi=110)
