"""SAMFire: the gas of a galaxy from one seed
==========================================

SAMFire carries the fit from pixel to pixel over Abell 478 and switches lines off where there are none.

Data and model are those of examples/abell478.py. A fit of every pixel from the same start finds lines everywhere, of
noise where there is no gas, and there velocities that mean nothing; SAMFire begins in the pixel with the best fit and
gives each pixel those of its neighbours' lines that the Bayesian information criterion (BIC) finds in it.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from abell478 import DATA, air_to_vacuum, make_model
from matplotlib.colors import ListedColormap

import xfit

# %%
# Data, the seed, and what an outlier is
# --------------------------------------

LINES = ["Ha", "NII_6550", "NII_6585"]

#: Velocities that differ from the median of the pixels around by more than this (km/s) and five errors are outliers.
FAR = 150.0


def load() -> xr.Dataset:
    """Flux and variance over the wavelength in vacuum."""
    cube = xr.open_zarr(DATA)
    return cube.assign_coords(wavelength=air_to_vacuum(cube.wavelength).assign_attrs(cube.wavelength.attrs))


def best_pixel(result: xr.Dataset) -> tuple[int, int]:
    """Pixel whose reduced chi-squared is nearest to one among those with a bright line."""
    bright = result.fit["Ha.flux"] > 20 * result.fit.stderr("Ha.flux")
    far = abs(result.red_chisq - 1).where(bright)
    place = far.argmin(("y", "x"))
    return int(place["y"]), int(place["x"])


def outliers(velocity: xr.DataArray, error: xr.DataArray) -> xr.DataArray:
    """Where a velocity is far from the median of the 5 x 5 pixels around it."""
    around = velocity.rolling(y=5, x=5, center=True, min_periods=4).construct(y="dy", x="dx").median(("dy", "dx"))
    return abs(velocity - around) > np.maximum(FAR, 5 * error)


# %%
# Both ways
# ---------


def main() -> None:
    """Fit the map both ways, print what differs, draw both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("output/abell478"), help="folder of what is written")
    output: Path = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    cube, model = load(), make_model()

    options = {"variance": cube.variance, "scale_covariance": False}
    every = cube.flux.fit.multifit(model, "wavelength", **options).compute()
    seed = best_pixel(every)
    began = time.perf_counter()
    spread = cube.flux.fit.samfire(
        model,
        "wavelength",
        seeds=[seed],
        optional=LINES,
        criterion="bic",
        goodness=xfit.samfire.RedChisq(1.0),
        **options,
    ).compute()
    print(f"{spread.status.size} spectra from the seed {seed} in {time.perf_counter() - began:.2f} s")
    summary = compare(every, spread)
    for words, number in summary.items():
        print(f"{words:72s} {number}")
    draw(every, spread, output / "samfire.png")
    print(f"wrote {output / 'samfire.png'}")


# %%
# What differs
# ------------


def compare(every: xr.Dataset, spread: xr.Dataset) -> dict[str, str]:
    """What the two results say of the gas."""
    gas = spread.active.sel(part=LINES).any("part")
    significance = every.fit["Ha.flux"] / every.fit.stderr("Ha.flux")
    wild = {
        name: outliers(result.fit["Ha.velocity"], result.fit.stderr("Ha.velocity"))
        for name, result in (("multifit", every), ("samfire", spread))
    }
    return {
        "good fits": f"{int((spread.status == 1).sum())} of {spread.status.size}",
        "pixels with a line": f"{int(gas.sum())}",
        (
            "of pixels where multifit's H-alpha is above 5 sigma, with a line"
        ): f"{float(gas.where(significance > 5).mean()):.1%}",
        "of pixels where it is below 1 sigma, without any": f"{1 - float(gas.where(~(significance > 1)).mean()):.1%}",
        "velocities that are outliers, multifit": (
            f"{int(wild['multifit'].sum())} of {int(every.fit['Ha.velocity'].notnull().sum())}"
        ),
        "velocities that are outliers, samfire": (
            f"{int(wild['samfire'].sum())} of {int(spread.fit['Ha.velocity'].notnull().sum())}"
        ),
    }


def draw(every: xr.Dataset, spread: xr.Dataset, path: Path) -> None:
    """Velocities both ways, and which lines there are."""
    fig, axes = plt.subplots(1, 3, figsize=(14, 4), layout="constrained")
    for ax, result, title in zip(
        axes, (every, spread), ("every pixel from the same start", "from one seed, lines optional"), strict=False
    ):
        velocity = result.fit["Ha.velocity"]
        ax.set_facecolor("0.8")
        velocity.plot.imshow(
            ax=ax, x="x", y="y", cmap="RdBu_r", vmin=-300, vmax=300, cbar_kwargs={"label": "velocity (km/s)"}
        )
        ax.set(title=title, aspect="equal", xlabel="x (arcsec)", ylabel="y (arcsec)")
    on = spread.active.sel(part=LINES)
    kind = xr.where(on.sel(part="Ha"), 1, 0) + xr.where(on.sel(part=["NII_6550", "NII_6585"]).any("part"), 2, 0)
    image = kind.plot.imshow(
        ax=axes[2],
        x="x",
        y="y",
        cmap=ListedColormap(["0.8", "#56b4e9", "#e69f00", "#009e73"]),
        vmin=-0.5,
        vmax=3.5,
        add_colorbar=False,
    )
    bar = fig.colorbar(image, ax=axes[2], ticks=range(4))
    bar.ax.set_yticklabels(["no line", "H-alpha", "[N II]", "both"])
    axes[2].set(title="lines that are there", aspect="equal", xlabel="x (arcsec)", ylabel="y (arcsec)")
    fig.savefig(path, dpi=110)
    plt.close(fig)


# %%
# The run
# -------

if __name__ == "__main__":
    main()
