"""H-alpha and [N II] of a galaxy: a chunked cube to maps of flux, velocity and width
===================================================================================

The data are 40 x 40 spectra seen by VLT/MUSE with their variance (see examples/data/README.md). The model is three
Gaussian lines over a linear continuum. The lines share one redshift and one velocity width through ties, and the flux
of [N II] 6549 is 1/3.05 of that of [N II] 6585 (Storey and Zeippen 2000, doi:10.1046/j.1365-8711.2000.03184.x).
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

import xfit
from xfit.components import Expression

DATA = Path(__file__).parent / "data" / "abell478_halpha.zarr"

# %%
# Three lines that share their kinematics
# ---------------------------------------

C = 299792.458  # km/s
H_ALPHA, NII_BLUE, NII_RED = 6564.61, 6549.85, 6585.27  # Angstrom, in vacuum
REDSHIFT = 0.0858  # of the galaxy's centre: H-alpha of the mean spectrum peaks at 7128.1 Angstrom in vacuum

#: A line by its flux, velocity and velocity dispersion (both in km/s, in the galaxy's rest frame). The pixels are
#: narrow against the lines, so that the value at a pixel's centre stands for its mean.
LINE = (
    "flux/(sigma*sqrt(2*pi))*exp(-(x-centre)**2/(2*sigma**2));"
    "centre = {rest}*(1+{z})*(1+velocity/{c}); sigma = centre*dispersion/{c}"
)


def air_to_vacuum(wavelength: xr.DataArray) -> xr.DataArray:
    """Convert wavelengths in air to vacuum (in Angstrom) by the formula of the VALD database (Ryabchikova et al. 2015).

    See doi:10.1088/0031-8949/90/5/054005; the inverse of Morton's (2000) relation, good to 1e-6 Angstrom here.
    """
    s2 = (1e4 / wavelength) ** 2
    index = (
        1 + 8.336624212083e-5 + 2.408926869968e-2 / (130.1065924522 - s2) + 1.599740894897e-4 / (38.92568793293 - s2)
    )
    return wavelength * index


def line(name: str, rest: float) -> Expression:
    """Make one emission line."""
    component = Expression(
        LINE.format(rest=rest, z=REDSHIFT, c=C), name=name, flux=500.0, velocity=0.0, dispersion=150.0
    )
    component.flux.set(min=0.0)
    component.velocity.set(min=-800.0, max=800.0, units="km/s")
    component.dispersion.set(min=40.0, max=500.0, units="km/s")
    return component


def make_model() -> xfit.Model:
    """Three lines with shared kinematics over a linear continuum."""
    ha, blue, red = line("Ha", H_ALPHA), line("NII_6550", NII_BLUE), line("NII_6585", NII_RED)
    for nitrogen in (blue, red):
        nitrogen.velocity.twin = ha.velocity
        nitrogen.dispersion.twin = ha.dispersion
    # The continuum is a line about the middle of the window, so that its two parameters are nearly independent.
    continuum = Expression("level + slope*(x - 7142)", name="continuum", level=20.0, slope=0.0)
    model = xfit.Model([ha, blue, red, continuum], name="Abell 478")
    model["NII_6550.flux"].tie("NII_6585.flux/3.05")
    return model


# %%
# From the cube to a stored result
# --------------------------------
# The cube is read chunk by chunk; its variance is that of the data reduction, and trusted, so that errors are absolute.


def main() -> None:
    """Fit the map, write the result, print its statistics, draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("output/abell478"), help="folder of what is written")
    output: Path = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)

    cube = xr.open_zarr(DATA)
    cube = cube.assign_coords(wavelength=air_to_vacuum(cube.wavelength).assign_attrs(cube.wavelength.attrs))
    cube.wavelength.attrs["long_name"] = "wavelength (vacuum)"
    model = make_model()
    print(model.table(only_active=True), "\n")

    lazy = cube.flux.fit.multifit(model, "wavelength", variance=cube.variance, scale_covariance=False)
    began = time.perf_counter()
    lazy.isel(y=slice(1), x=slice(1)).compute()
    print(f"ready after {time.perf_counter() - began:.1f} s (the first time on a machine, the engine is compiled)\n")
    began = time.perf_counter()
    lazy = lazy.persist()
    elapsed = time.perf_counter() - began
    lazy.to_zarr(output / "fit.zarr", mode="w", consolidated=False)

    result = xr.open_zarr(output / "fit.zarr", consolidated=False).compute()
    print(result.fit.report(), "\n")
    maps = science_maps(result)
    print(statistics(maps))
    pixels = result.status.size
    print(f"\n{pixels} spectra fitted in {elapsed:.2f} s: {pixels / elapsed:,.0f} fits/s")

    draw_maps(maps, output / "maps.png")
    draw_pixel(cube.flux, cube.variance, result, output / "pixel.png")
    for name in ("fit.zarr", "maps.png", "pixel.png"):
        print(f"wrote {output / name}")


# %%
# Maps and figures
# ----------------
# What is no line, or poorly fitted, is left out of the maps.


def science_maps(result: xr.Dataset) -> xr.Dataset:
    """Maps to look at; poor fits are left out of all but the reduced chi-squared."""
    maps = xr.Dataset(
        {
            "flux": result.fit["Ha.flux"],
            "velocity": result.fit["Ha.velocity"],
            "dispersion": result.fit["Ha.dispersion"],
            "snr": result.fit["Ha.flux"] / result.fit.stderr("Ha.flux"),
            "nii_ha": result.fit["NII_6585.flux"] / result.fit["Ha.flux"],
        }
    )
    labels = {
        "flux": "H-alpha flux",
        "velocity": "velocity",
        "dispersion": "velocity dispersion",
        "snr": "S/N of H-alpha",
        "nii_ha": "[N II] 6585 / H-alpha",
    }
    units = {"flux": "1e-20 erg/s/cm2", "velocity": "km/s", "dispersion": "km/s"}
    for name, label in labels.items():
        maps[name].attrs = {"long_name": label, "units": units.get(name, "")}
    good = (result.status == 1) & (maps.snr > 3) & (result.red_chisq < 2) & (result.at_bound == 0).all("param")
    maps = maps.where(good)
    maps["red_chisq"] = result.red_chisq
    return maps


def statistics(maps: xr.Dataset) -> str:
    """Table of the maps' medians and ranges."""
    lines = [f"{'map':24s} {'pixels':>7s} {'5 %':>10s} {'median':>10s} {'95 %':>10s}  units"]
    for array in maps.data_vars.values():
        low, middle, high = np.nanpercentile(array, [5, 50, 95])
        count = int(array.notnull().sum())
        label, units = array.attrs["long_name"], array.attrs.get("units", "")
        lines.append(f"{label:24s} {count:7d} {low:10.4g} {middle:10.4g} {high:10.4g}  {units}".rstrip())
    return "\n".join(lines)


def draw_maps(maps: xr.Dataset, path: Path) -> None:
    """Draw all maps, poor fits in grey."""
    fig, axes = plt.subplots(2, 3, figsize=(13, 7.6), layout="constrained")
    styles = {
        "flux": {"cmap": "viridis", "robust": True},
        "velocity": {"cmap": "RdBu_r", "vmin": -200, "vmax": 200},
        "dispersion": {"cmap": "cividis", "robust": True},
        "snr": {"cmap": "viridis", "robust": True},
        "nii_ha": {"cmap": "cividis", "robust": True},
        "red_chisq": {"cmap": "viridis", "vmin": 0.5, "vmax": 2.0},
    }
    for ax, (name, style) in zip(axes.flat, styles.items(), strict=True):
        array = maps[name]
        ax.set_facecolor("0.8")
        units = f" ({array.attrs['units']})" if array.attrs.get("units") else ""
        array.plot.imshow(ax=ax, x="x", y="y", cbar_kwargs={"label": array.attrs["long_name"] + units}, **style)
        ax.set(title=array.attrs["long_name"], aspect="equal", xlabel="x (arcsec)", ylabel="y (arcsec)")
    fig.suptitle("Abell 478, H-alpha and [N II]: one fit per spectrum (grey: no line or a poor fit)")
    fig.savefig(path, dpi=110)
    plt.close(fig)


def draw_pixel(flux: xr.DataArray, variance: xr.DataArray, result: xr.Dataset, path: Path) -> None:
    """Draw the spectrum with the highest flux: data, model, components, residual and parameters."""
    signal = result.fit["Ha.flux"].where((result.status == 1) & (result.red_chisq < 2))
    place = {str(d): signal[d][int(i)].item() for d, i in signal.argmax(("y", "x")).items()}
    figure = result.fit.plot(flux, variance=variance, **place)
    figure.savefig(path, dpi=110)
    plt.close(figure)


# %%
# The run
# -------

if __name__ == "__main__":
    main()
