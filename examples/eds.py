"""EDS: elements from a few counts, by their likelihood
======================================================

Energy-dispersive X-ray spectra of a steel with carbides of chromium: 48 x 48 pixels of 450 channels with some 250
counts each, so that three channels of four are empty. Where lines lie, how wide they are and how strong a K-beta line
is against its K-alpha is known, so that the model is linear: an amount of each element, and the background. Three ways
to fit it:

- the likelihood of counts (``loss="poisson"``), which is what a few counts ask for;
- least squares with amounts that are not negative (``optimizer="nnls"``), without weights;
- least squares with the data as their variance, where channels that happen to have few counts weigh most.
"""

# sphinx_gallery_thumbnail_number = 2
from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import xfit
from xfit.components import Expression, Gaussian

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--output", type=Path, default=Path("output/eds"), help="folder for the figures")
output: Path = parser.parse_args().output
output.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(2)

# %%
# The sample
# ----------
# Grains of austenite, and carbides along a boundary between two of them, where chromium is high and nickel low.
# Energies of lines are in keV; a detector widens them the more, the higher the energy is (130 eV at manganese's
# K-alpha).

LINES = {"Cr": (5.4147, 5.9467, 0.13), "Fe": (6.4038, 7.0580, 0.13), "Ni": (7.4781, 8.2647, 0.13)}


def sigma(energy: float) -> float:
    """Standard deviation of a line, in keV: Fano's statistics of 3.66 eV for an electron
    and a hole, and 50 eV of noise.
    """
    return np.sqrt((0.050 / 2.3548) ** 2 + 0.1158 * 3.66e-3 * energy)


n = 48
x = np.linspace(0, 6, n)
boundary = 3.0 + 0.8 * np.sin(x * 1.1)
distance = x[None, :] - boundary[:, None]  # of each pixel (row: y) from the boundary, in micrometres
carbide = np.exp(-((distance / 0.45) ** 2)) * (np.sin(3 * x[:, None] + 1) > -0.2)
true = {"Cr": 40 + 90 * carbide, "Fe": 120 - 60 * carbide, "Ni": 30 - 24 * carbide}  # counts in both lines of a pixel

energy = np.arange(4.5, 9.0, 0.01)
density = 25 * (1.2 - 0.1 * energy) + np.zeros((n, n, 1))  # bremsstrahlung, counts per keV
for element, (alpha, beta, ratio) in LINES.items():
    for place, share in ((alpha, 1 / (1 + ratio)), (beta, ratio / (1 + ratio))):
        shape = np.exp(-((energy - place) ** 2) / (2 * sigma(place) ** 2)) / (sigma(place) * np.sqrt(2 * np.pi))
        density = density + (true[element] * share)[..., None] * shape
axes_of = {
    "y": ("y", x, {"units": "um"}),
    "x": ("x", x, {"units": "um"}),
    "energy": ("energy", energy, {"units": "keV", "is_binned": 1}),
}
da = xr.DataArray(rng.poisson(density * 0.01), dims=("y", "x", "energy"), coords=axes_of, attrs={"units": "counts"})
print(f"{float(da.sum('energy').mean()):.0f} counts in a pixel, {float((da == 0).mean()):.0%} of the channels empty")

# %%
# Model
# -----
# Lines have their counts as area; that of a K-beta line follows its K-alpha by a tie. Counts are integrals over
# channels, which the attribute ``is_binned`` of the coordinate says.

components = [Expression("level*(1 - slope*(x - 6.5))", name="background", level=10.0, slope=0.18)]
for element, (alpha, beta, _) in LINES.items():
    for line, place in (("Ka", alpha), ("Kb", beta)):
        components.append(Gaussian(name=f"{element}_{line}", A=50, centre=place, sigma=float(sigma(place))))
model = xfit.Model(components)
model["background.slope"].free = False
model["background.level"].min = 0
for component in model:
    if isinstance(component, Gaussian):
        component.centre.free = component.sigma.free = False
for element, (_, _, ratio) in LINES.items():
    model[f"{element}_Kb.A"].tie(f"{ratio}*{element}_Ka.A")

# %%
# Three fits
# ----------

fits = {
    "likelihood of counts": da.fit.multifit(model, loss="poisson"),
    "nnls, no weights": da.fit.multifit(model, optimizer="nnls"),
    "least squares, data as variance": da.fit.multifit(model, variance=np.maximum(da, 1), scale_covariance=False),
}

# %%
# Check
# -----
# The likelihood is not biased, and its errors are what values scatter by. Without weights values are not biased either
# and scatter a little more, but errors are too small: noise is taken to be the same in all channels, empty ones and
# peaks. With the data as variance, a quarter of the counts is lost.

print(f"{'':34s}{'measured / true':>18s}{'scatter (counts)':>18s}{'error says':>12s}")
measured = {}
for name, result in fits.items():
    for element, (_, _, ratio) in LINES.items():
        counts, error = (1 + ratio) * result.fit[f"{element}_Ka.A"], (1 + ratio) * result.fit.stderr(f"{element}_Ka.A")
        away = (counts - true[element]).values
        measured[name, element] = bias, scatter, said = (
            float(counts.mean()) / true[element].mean(),
            away.std(),
            float(np.sqrt((error**2).mean())),
        )
        print(f"{name:32s}{element:2s}{bias:18.3f}{scatter:18.2f}{said:12.2f}")

for element in LINES:
    bias, scatter, said = measured["likelihood of counts", element]
    # The mean of 2304 pixels is known to 0.3 % (scatter over 48, over 50 counts); a standard deviation of as many to
    # 1.5 %.
    assert abs(bias - 1) < 0.01
    assert abs(scatter / said - 1) < 0.06
    assert measured["least squares, data as variance", element][0] < 0.85

# %%
# Figures
# -------

figure = Figure(figsize=(12, 3.6), layout="constrained")
single, whole = figure.subplots(1, 2)
styles = {"likelihood of counts": ("#0072B2", "-"), "least squares, data as variance": ("#D55E00", "--")}
curves = {name: fits[name].fit.evaluate() for name in styles}
for ax, title in ((single, "one pixel"), (whole, "all pixels, and the sum of their fits")):
    data = da[20, 24] if ax is single else da.sum(("y", "x"))
    ax.step(energy, data, where="mid", color="0.6", lw=0.8, label="counts")
    for name, (color, style) in styles.items():
        curve = curves[name][20, 24] if ax is single else curves[name].sum(("y", "x"))
        ax.plot(energy, curve, color=color, ls=style, lw=1.3, label=name)
    ax.set(title=title, xlabel="energy (keV)", ylabel="counts per channel")
    ax.legend(frameon=False, fontsize="small")
for element, (alpha, _, _) in LINES.items():
    whole.annotate(
        element,
        (alpha, float(da.sum(("y", "x")).sel(energy=alpha, method="nearest"))),
        xytext=(0, 4),
        textcoords="offset points",
        ha="center",
    )
whole.margins(y=0.12)
figure.savefig(output / "spectra.png", dpi=110)

figure = Figure(figsize=(12, 3.4), layout="constrained")
axes = figure.subplots(1, 4, sharex=True, sharey=True)
images = {"true": true["Cr"], **{name: 1.13 * result.fit["Cr_Ka.A"] for name, result in fits.items()}}
for ax, (name, image) in zip(axes, images.items(), strict=True):
    mesh = ax.pcolormesh(x, x, image, vmin=0, vmax=140, cmap="viridis")
    ax.set_title(name, fontsize="medium")
    ax.set(xlabel="x (um)", aspect="equal")
axes[0].set_ylabel("y (um)")
figure.colorbar(mesh, ax=axes, label="counts of chromium")
figure.savefig(output / "chromium.png", dpi=110)
