"""Files as instruments and colleagues leave them, opened and fitted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import xfit
from tests.support.paths import real
from xfit.components import Gaussian, Lorentzian, Offset, PowerLaw

pytest.importorskip("rsciio")


def open_real(name: str, **options):
    return xfit.open(real(name), **options)


def by_rosettasciio(name: str, plugin: str) -> list[dict]:
    from importlib import import_module

    return import_module(f"rsciio.{plugin}").file_reader(str(real(name)))


#: Dimensions with sizes, units of the last, type of the signal, the reader, the order of the reader's axes in ours,
#: which of its signals.
FILES = {
    "CuZn_EELS_mapping_tutorial.hspy": ({"y": 50, "x": 40, "Energy loss": 162}, "eV", "EELS", "hspy", (0, 1, 2), 0),
    "InGaN_transient_map.hspy": ({"Y": 30, "X": 30, "Time": 525}, "ns", "Transient", "hspy", (0, 1, 2), 0),
    "LSMO_linescan.hspy": ({"x": 40, "Energy loss": 586}, "eV", "EELS", "hspy", (0, 1), 0),
    "LSMO_linescan_low_loss.hspy": ({"x": 40, "Energy loss": 1024}, "eV", "EELS", "hspy", (0, 1), 0),
    "asymmetric-peak_map.dm4": ({"y": 16, "x": 30, "Wavelength": 334}, "nm", "CL", "digitalmicrograph", (1, 2, 0), 0),
    "test-MonoCL_spectrum-SI.dm4": ({"x": 67, "Wavelength": 1336}, "nm", "CL", "digitalmicrograph", (0, 1), 0),
    "bcf_v2_50x50px.bcf": ({"height": 50, "width": 50, "Energy": 2048}, "keV", "EDS_SEM", "bruker", (0, 1, 2), 2),
    "renishaw_test_streamline.wdf": ({"Y": 49, "X": 45, "Raman Shift": 394}, "1/cm", None, "renishaw", (0, 1, 2), 0),
}


@pytest.mark.parametrize("name", FILES)
def test_spectra_lie_along_the_last_dimension(name: str) -> None:
    sizes, units, kind, plugin, order, number = FILES[name]
    opened = open_real(name)
    da = opened if isinstance(opened, xr.DataArray) else opened[number]
    assert dict(da.sizes) == sizes
    assert list(da.dims) == list(sizes)
    assert da[da.dims[-1]].attrs["units"] == units
    assert da.attrs.get("signal_type") == kind
    assert (da.chunks is None) is name.endswith("wdf")
    expected = by_rosettasciio(name, plugin)[number]
    np.testing.assert_array_equal(da, expected["data"].transpose(order))
    axis = expected["axes"][order[-1]]
    values = axis["axis"] if "axis" in axis else axis["offset"] + axis["scale"] * np.arange(axis["size"])
    np.testing.assert_allclose(da[da.dims[-1]], values, rtol=1e-14)


@pytest.mark.parametrize("name", FILES)
def test_real_files_through_all_formats(name: str, tmp_path: Path) -> None:
    da = open_real(name, signal=FILES[name][-1])
    da = da.isel({d: slice(3) for d in da.dims[:-1]})
    for suffix in ("zarr", "nc", "hspy", "zspy"):
        xfit.save(da, tmp_path / f"part.{suffix}")
        again = xfit.open(tmp_path / f"part.{suffix}")
        np.testing.assert_array_equal(again, da)
        assert again.dims == da.dims
        np.testing.assert_allclose(again[da.dims[-1]], da[da.dims[-1]], rtol=1e-12)
        assert set(again.attrs) == set(da.attrs)


def test_pictures_beside_the_map() -> None:
    found = open_real("renishaw_test_streamline.wdf")
    assert found["signal"].dims == ("y", "x", "color")
    found = open_real("bcf_v2_50x50px.bcf")
    assert list(found) == ["Ch 1", "Ch 1_2", "EDX"]
    assert "EDS_SEM" in repr(found)


def test_eels() -> None:
    """The background before the Cu and Zn edges: a power law, by its logarithm."""
    da = open_real("CuZn_EELS_mapping_tutorial.hspy")
    before = da.sel({"Energy loss": slice(None, 900)}).sum("x").chunk(y=25)
    fit = before.fit.multifit(xfit.Model([PowerLaw(name="bg", A=1e9, r=2.5)]), start="estimate").compute()
    assert (fit.status == 1).all()
    slope = np.polyfit(np.log(before["Energy loss"]), np.log(before.values.T), 1)[0]
    # A straight line through logarithms weighs channels otherwise; noise is about 1 %.
    np.testing.assert_allclose(fit.fit["bg.r"], -slope, rtol=0.1)


def test_eds() -> None:
    """The Cu L and K lines lie where they do: 0.930 and 8.046 keV (X-ray Data Booklet)."""
    da = open_real("bcf_v2_50x50px.bcf", signal="EDX")
    assert da.Energy.attrs["is_binned"] == 1
    total = da.sum(["height", "width"], dtype=float).compute()
    for low, high, line in ((0.8, 1.0, 0.930), (7.8, 8.3, 8.046)):
        part = total.sel(Energy=slice(low, high))
        model = xfit.Model([Gaussian(name="Cu", centre=line, sigma=0.05), Offset(name="bg")])
        fit = part.fit.multifit(model, loss="poisson", start="estimate")
        assert int(fit.status) == 1
        np.testing.assert_allclose(fit.fit["Cu.centre"], line, atol=0.02)  # two channels


def test_raman() -> None:
    da = open_real("renishaw_test_streamline.wdf", signal=0, chunks={"Y": 25})
    mean = da.mean("X")
    strongest = int(mean.mean("Y").argmax("Raman Shift"))
    part = mean.isel({"Raman Shift": slice(strongest - 8, strongest + 9)})
    peak = float(da["Raman Shift"][strongest])
    model = xfit.Model([Lorentzian(name="line", A=1e3, centre=peak, gamma=5.0), Offset(name="bg")])
    fit = part.fit.multifit(model, start="estimate").compute()
    # A few rows have hardly any line.
    assert (fit.status == 1).mean() > 0.7
    assert abs(float(fit.fit["line.centre"].median()) - peak) < 2  # a channel


def test_cathodoluminescence() -> None:
    da = open_real("asymmetric-peak_map.dm4").isel(y=slice(4))
    model = xfit.Model([Gaussian(name="line"), Offset(name="bg")])
    fit = da.fit.multifit(model, start="estimate").compute()
    assert (fit.status == 1).mean() > 0.95
    brightest = da.Wavelength.values[da.argmax("Wavelength").values]
    # The peak is not symmetric: its middle lies up to a width beside its maximum.
    assert np.median(abs(fit.fit["line.centre"] - brightest)) < 20


def test_decays() -> None:
    decay = open_real("InGaN_transient_map.hspy")
    fit = decay.fit.multifit(xfit.Model([Offset(name="bg")]), loss="poisson").compute()
    # The likelihood of counts with one mean is largest at their mean.
    np.testing.assert_allclose(fit.fit["bg.offset"], decay.mean("Time", dtype=float), rtol=1e-6)
