"""EELS: the composition of a core-shell particle, seen through its low-loss spectrum
===================================================================================

A particle of iron in a shell of oxide, mapped by electron energy-loss spectroscopy: 40 x 40 spectra with the oxygen K
edge and the iron L3 edge on the background that lower edges leave. Electrons that excite a plasmon as well arrive at a
larger loss, so that edges are smeared to the right, the more the thicker the particle. A microscope records the
low-loss spectrum of each pixel too; with it as the model's
:doc:`response </convolution>`, every edge is convolved with what its pixel does to electrons.

Edges are hydrogenic cross-sections by Egerton's method (see :doc:`/eels`). The data are simulated with NumPy, convolved
by ``numpy.convolve``, and have counting noise.
"""

# sphinx_gallery_thumbnail_number = 2
from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import xfit
from xfit.components import EELSCLEdge, Gaussian, PowerLaw
from xfit.components.core_loss.cross_sections import edge_of, effective_angle, hydrogenic

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--output", type=Path, default=Path("output/eels"), help="folder for the figures")
output: Path = parser.parse_args().output
output.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(1)

# %%
# The particle
# ------------
# Metal within 12 nm of the centre, FeO from there to 20 nm, on a support of 15 nm of carbon. What a pixel has of an
# element is its density (atoms per cubic nanometre) times the length of the beam's way through it, in atoms per barn,
# times the 5e7 electrons of the beam.

n = 40
y, x = (xr.DataArray(np.linspace(-24, 24, n), dims=d, attrs={"units": "nm"}) for d in ("y", "x"))
outer = 2 * np.sqrt(np.maximum(20.0**2 - y**2 - x**2, 0)).values
inner = 2 * np.sqrt(np.maximum(12.0**2 - y**2 - x**2, 0)).values
ELECTRONS, BARN = 5e7, 1e-10  # a barn in square nanometres
oxygen = 47.8 * (outer - inner) * BARN * ELECTRONS
iron = (47.8 * (outer - inner) + 84.9 * inner) * BARN * ELECTRONS
thickness = (15 + outer) / 100  # over the mean free path between two plasmon losses, of some 100 nm

# %%
# The low-loss spectrum is the zero-loss peak and plasmons at 23 eV, of which an electron excites a random number, by
# Poisson's distribution.

shift = np.arange(-5.0, 100.0)
spectrum_of_n = [
    np.exp(-((shift - 23 * k) ** 2) / (2 * s**2)) / (s * np.sqrt(2 * np.pi)) for k, s in enumerate((0.8, 4.0, 5.7, 7.0))
]
share_of_n = [
    np.exp(-thickness),
    thickness * np.exp(-thickness),
    thickness**2 / 2 * np.exp(-thickness),
    thickness**3 / 6 * np.exp(-thickness),
]
low_loss = sum(share[..., None] * spectrum for share, spectrum in zip(share_of_n, spectrum_of_n, strict=True))
low_loss = xr.DataArray(low_loss, dims=("y", "x", "energy"), coords={"y": y, "x": x, "energy": shift})

# %%
# Edges are computed on a grid that goes beyond the data by the length of the low-loss spectrum, for losses come from
# there. Iron has white lines, transitions of its 2p electrons into empty 3d states.

losses = np.arange(450.0, 950.0)
grid = np.arange(losses[0] - shift[-1], losses[-1] - shift[0] + 0.5)


def cross_section(name: str) -> np.ndarray:
    """Mean over each channel of one atom's cross-section, in barn/eV: 200 keV, 10 mrad of
    convergence, 20 mrad of collection.
    """
    edge = edge_of(name)
    angle = np.array([effective_angle(200, edge.onset, 10, 20)])
    return sum(hydrogenic(edge, grid + part, angle, 200)[:, 0] for part in (-0.25, 0.25)) / 2


def line(area: float, centre: float, sigma: float) -> np.ndarray:
    """Gaussian on the grid."""
    return area / (sigma * np.sqrt(2 * np.pi)) * np.exp(-((grid - centre) ** 2) / (2 * sigma**2))


WHITE = line(160, 709.5, 1.7) + line(70, 722.6, 2.1)
sharp = oxygen[..., None] * cross_section("O_K") + iron[..., None] * (cross_section("Fe_L3") + WHITE)
smeared = np.array([[np.convolve(sharp[i, j], low_loss[i, j], mode="valid") for j in range(n)] for i in range(n)])
background = 2e10 * (1 + outer / 15)[..., None] * losses**-3.0
counts = rng.poisson(smeared + background)
energy = xr.DataArray(losses, dims="energy", attrs={"units": "eV", "long_name": "energy loss"})
spectra = xr.DataArray(
    counts, dims=("y", "x", "energy"), coords={"y": y, "x": x, "energy": energy}, attrs={"units": "counts"}
)

# %%
# Model
# -----
# White lines are found on the mean spectrum of the particle, and their places and widths held for the map, where noise
# is larger.

beam = {"beam_energy": 200, "convergence_angle": 10, "collection_angle": 20}
model = xfit.Model(
    [
        PowerLaw(name="background", A=3e10, r=3),
        EELSCLEdge("O_K", **beam, name="O"),
        EELSCLEdge("Fe_L3", **beam, name="Fe"),
        Gaussian(name="L3", A=1000, centre=708, sigma=2),
        Gaussian(name="L2", A=500, centre=721, sigma=2),
    ],
    response=low_loss.where(xr.DataArray(outer > 0, dims=("y", "x"))).mean(("y", "x")),
)
particle = spectra.where(xr.DataArray(outer > 0, dims=("y", "x")))
mean = particle.mean(("y", "x"))
first = mean.fit(model)
for name in ("L3", "L2"):
    for parameter in (model[name].centre, model[name].sigma):
        parameter.set(value=float(first.fit[f"{name}.{parameter.name}"]), free=False)
print(first.fit.table())

# %%
# Map
# ---
# Every pixel has the low-loss spectrum of its own, and the likelihood of counts. For comparison, the same without any
# response.

model.response = low_loss
result = spectra.fit.multifit(model, loss="poisson")
model.response = None
single = spectra.fit.multifit(model, loss="poisson")
print(result.fit.report())

# %%
# Check
# -----
# With the low-loss spectra, edges have the size that went in, and their errors are right: deviations are one error
# large (a pull is a deviation over its error). Without, what is smeared to the right is taken for background: a quarter
# of the oxygen is lost, and less of the iron.

inside = outer > 8
truth = {"O": oxygen, "Fe": iron}
for name, true in truth.items():
    pull = ((result.fit[f"{name}.intensity"] - true) / result.fit.stderr(f"{name}.intensity")).values[inside]
    ratio = [float((f.fit[f"{name}.intensity"] / true).values[inside].mean()) for f in (result, single)]
    print(
        f"{name:2s}: pulls {pull.mean():+.2f} +- {pull.std():.2f}; measured over true {ratio[0]:.3f}, without response "
        f"{ratio[1]:.3f}"
    )
    # Of 1000 pixels, the mean pull is known to 0.03 and their spread to 0.02. That white lines can't be negative adds a
    # little.
    assert abs(pull.mean()) < 0.2
    assert 0.9 < pull.std() < 1.15
    assert abs(ratio[0] - 1) < 0.02
    assert ratio[1] < 0.95

# %%
# Figures
# -------

place = {"y": float(y[20]), "x": float(x[12])}
result.fit.plot(spectra, response=low_loss, **place).savefig(output / "spectrum.png", dpi=110)

figure = Figure(figsize=(12, 3.6), layout="constrained")
axes = figure.subplots(1, 3, sharex=True, sharey=True)
ratio = result.fit["O.intensity"] / result.fit["Fe.intensity"]
without = single.fit["O.intensity"] / single.fit["Fe.intensity"]
exact = xr.DataArray(np.where(outer > 0, oxygen / np.maximum(iron, 1e-9), np.nan), coords=ratio.coords, dims=ratio.dims)
for ax, image, title in zip(
    axes, (exact, ratio, without), ("true", "with the low-loss spectra", "without"), strict=True
):
    shown = image.where(xr.DataArray(outer > 8, dims=("y", "x")))
    mesh = ax.pcolormesh(x, y, shown, vmin=0, vmax=1.2, cmap="viridis")
    ax.set(title=title, xlabel="x (nm)", aspect="equal")
axes[0].set_ylabel("y (nm)")
figure.colorbar(mesh, ax=axes, label="atoms of oxygen for one of iron")
figure.savefig(output / "ratio.png", dpi=110)
