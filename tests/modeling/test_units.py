"""Units: those that follow from the data, and the refusal of what is in others."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.support.builders import peak_map, two_peaks
from xfit import Model
from xfit.arrays.unit_text import differ
from xfit.components import Expression, Gaussian


@pytest.fixture
def da() -> xr.DataArray:
    found = peak_map()
    assert (found.attrs["units"], found["energy"].attrs["units"]) == ("counts", "eV")
    return found


def in_kev(da: xr.DataArray) -> xr.DataArray:
    return da.assign_coords(energy=(da.energy / 1000).assign_attrs(units="keV"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("eV", "eV "),
        ("1/cm", "cm^-1"),
        ("cm-1", "cm**-1"),
        ("counts eV", "eV*counts"),
        ("counts (1/cm)^-1", "counts cm"),
        ("m/s", "m s⁻¹"),
        ("µm", "μm"),
        ("um", "µm"),
        ("Å", "Angstrom"),
        ("", "eV"),
        ("eV", None),
        ("erg/s/cm2", "erg s^-1 cm^-2"),
        ("10^3 eV", "10^3 eV"),
    ],
)
def test_the_same_units_however_they_are_written(one, other):
    assert not differ(one, other)
    assert not differ(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("eV", "keV"),
        ("MeV", "meV"),
        ("counts", "counts eV"),
        ("1/cm", "cm"),
        ("eV", "ev"),
        ("s", "s^2"),
        ("10^3 eV", "eV"),
        ("(", "eV"),
    ],
)
def test_other_units(one, other):
    assert differ(one, other)


def test_a_parameter_in_other_units_than_the_data_is_refused(da):
    model = two_peaks()
    model["left"].centre.units = "keV"
    for fit in (da.fit.multifit, da.isel(x=0, y=0).fit, da.fit.samfire):
        with pytest.raises(
            ValueError,
            match=r"left.centre has units 'keV', but with these data its value is in 'eV'.*convert the coordinate",
        ):
            fit(model)
    for same in (Model.from_json(model.to_json()), model.copy()):
        with pytest.raises(ValueError, match=r"left.centre has units 'keV'"):
            da.fit.multifit(same)
    with pytest.raises(ValueError, match=r"left.centre has units 'keV'"):
        model["left"].estimate(da)
    model["left"].centre.units = None
    model["left"].A.units = "eV counts"
    assert da.fit.multifit(model).fit["left.A"].attrs["units"] == "eV counts"
    with pytest.raises(ValueError, match=r"left.A has units 'eV counts', but with these data its value is in 'counts'"):
        da.fit.multifit(model, binned=True)


def test_units_that_nothing_contradicts_are_kept(da):
    line = Expression("A*exp(-(x - v/299.792)**2)", name="line", A=1.0, v=2.1e5)
    line.v.units = "km/s"
    fit = da.isel(x=0, y=0).fit(Model([line]))
    assert fit.units.sel(param="line.v") == "km/s"


def test_starts_and_bounds_in_other_units_are_refused(da):
    model = two_peaks()
    centre = xr.full_like(da.isel(energy=0, drop=True), model["left"].centre.value).assign_attrs(units="keV")
    with pytest.raises(ValueError, match=r"start: left.centre is in 'keV' there, but with these data in 'eV'"):
        da.fit.multifit(model, start={"left.centre": centre})
    # What is left over of the data that an array was made from says nothing.
    assert bool((da.fit.multifit(model, start={"left.centre": centre.assign_attrs(units="counts")}).status == 1).all())
    with pytest.raises(ValueError, match=r"bounds, max: left.centre is in 'keV' there"):
        da.fit.multifit(model, bounds={"left.centre": (None, (centre + 5).assign_attrs(units="keV"))})
    fit = da.fit.multifit(model, start={"left.centre": centre.assign_attrs(units="eV")})
    other = two_peaks()
    for p in other.parameters:
        if p.name in ("centre", "sigma"):
            p.set(min=None, max=None)
            p.value = p.value / 1000
    for again in (in_kev(da).fit.multifit, in_kev(da).fit.samfire):
        with pytest.raises(
            ValueError, match=r"start: left.(A|centre) is in '.*eV' there, but with these data in '.*keV'"
        ):
            again(other, start=fit)
    assert bool((da.fit.multifit(model, start=fit).status == 1).all())


def test_arrays_on_a_coordinate_in_other_units_are_refused(da):
    model = two_peaks()
    labels = da.energy.copy().assign_attrs(units="keV")
    where = xr.DataArray(np.ones(da.sizes["energy"], bool), dims="energy", coords={"energy": labels})
    with pytest.raises(ValueError, match="where has the coordinate 'energy' in 'keV', the data have it in 'eV'"):
        da.fit.multifit(model, where=where)
    with pytest.raises(ValueError, match="variance has the coordinate 'energy' in 'keV'"):
        da.fit.multifit(model, variance=xr.ones_like(da).assign_coords(energy=labels))
    step = float(da.energy[1] - da.energy[0])
    points = xr.DataArray(np.arange(-2, 3) * step, dims="energy", attrs={"units": "keV"})
    model.response = xr.DataArray(np.ones(5) / 5, dims="energy", coords={"energy": points})
    with pytest.raises(ValueError, match="response has the coordinate 'energy' in 'keV', the data have it in 'eV'"):
        da.fit.multifit(model)


def test_data_without_units_take_any_label():
    x = np.linspace(-5, 5, 60)
    da = xr.DataArray(np.exp(-(x**2) / 2), dims="x", coords={"x": x})
    model = Model([Gaussian(name="g", sigma=1.2)])
    model["g"].centre.units = "keV"
    assert list(da.fit(model).units.values) == ["", "keV", ""]
