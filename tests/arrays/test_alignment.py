"""Data that are given to a result, or beside other data, have the very same labels: nothing is joined, and the first
label that differs is named.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal

import xfit
from xfit.components import Gaussian, Offset

X = np.linspace(0.0, 10.0, 60)
NAVIGATION = {"y": [0.1, 0.2, 0.3], "x": [1.0, 2.0, 3.0, 4.0]}


def model() -> xfit.Model:
    return xfit.Model([Gaussian(name="g", A=90, centre=4.5, sigma=1.2), Offset(name="o", offset=4.0)])


@pytest.fixture(scope="module")
def da() -> xr.DataArray:
    """Counts of a peak over a map of labelled pixels."""
    expected = 5 + 30 * np.exp(-((X - 4) ** 2) / 2) * np.ones((3, 4, 1))
    counts = np.random.default_rng(0).poisson(expected).astype(float)
    return xr.DataArray(counts, dims=("y", "x", "e"), coords={**NAVIGATION, "e": X}, name="counts")


@pytest.fixture(scope="module")
def fit(da: xr.DataArray) -> xr.Dataset:
    return da.fit.multifit(model())


def ulp(labels: Any, place: int) -> np.ndarray:
    """Labels of which one is the next floating-point number."""
    moved = np.array(labels, float)
    moved[place] = np.nextafter(moved[place], np.inf)
    return moved


#: What is done to the data, and what of it a refusal names.
CHANGES: dict[str, tuple[Callable[[xr.DataArray], xr.DataArray], str]] = {
    "a channel moved by an ulp": (lambda a: a.assign_coords(e=ulp(a.e, 7)), repr(float(ulp(X, 7)[7]))),
    "a pixel moved by an ulp": (lambda a: a.assign_coords(y=ulp(a.y, 2)), repr(float(ulp([0, 0, 0.3], 2)[2]))),
    "channels reversed": (lambda a: a.isel(e=slice(None, None, -1)), "10.0 at position 0"),
    "pixels permuted": (lambda a: a.isel(x=[0, 2, 1, 3]), "3.0 at position 1, and 2.0"),
    "a channel missing": (lambda a: a.drop_isel(e=5), f"{float(X[6])!r} at position 5, and {float(X[5])!r}"),
    "the last channels missing": (lambda a: a.isel(e=slice(-3)), f"{float(X[57])!r} at position 57"),
    "a row missing": (lambda a: a.drop_isel(y=0), "0.2 at position 0, and 0.1"),
    "a channel more": (lambda a: xr.concat([a, a.isel(e=[0]).assign_coords(e=[11.0])], "e"), "11.0 at position 60"),
    "channels twice": (lambda a: a.isel(e=[0, 0, *range(2, 60)]), "'e'"),
    "other units": (lambda a: a.assign_coords(e=a.e.assign_attrs(units="keV")), "'keV'"),
}

#: Changes after which all labels are still those of the result, so that a residual can be told of what is there.
PARTS = (
    "channels reversed",
    "pixels permuted",
    "a channel missing",
    "the last channels missing",
    "a row missing",
    "channels twice",
)

CALLS: dict[str, Callable[[xr.Dataset, xr.DataArray], Any]] = {
    "refit": lambda fit, a: fit.fit.refit(a, where=fit.status > 0, start="estimate"),
    "profile": lambda fit, a: fit.fit.conf_interval(a, "g.A"),
    "bootstrap": lambda fit, a: fit.fit.conf_interval(a, "g.A", method="bootstrap", samples=10),
    "residual": lambda fit, a: fit.fit.residual(a),
    "statistics": lambda fit, a: fit.fit.statistics(a),
}


def with_units(fit: xr.Dataset) -> xr.Dataset:
    return fit.assign_coords(e=fit.e.assign_attrs(units="eV"))


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("call", CALLS)
def test_data_given_to_a_result(call: str, change: str, lazy: bool, da: xr.DataArray, fit: xr.Dataset) -> None:
    """Of a part, residuals are those of the whole at its labels; all else is refused with the
    label that differs first.
    """
    alter, named = CHANGES[change]
    given = alter(da.chunk(y=1) if lazy else da)
    if call in ("residual", "statistics") and change in PARTS:
        whole = da - fit.fit.evaluate()
        expected = alter(whole)
        if call == "residual":
            found = fit.fit.residual(given)
            assert found.sizes == given.sizes
            assert_array_equal(found, expected)
        else:
            # In another order of channels sums round differently.
            assert_allclose(fit.fit.statistics(given)["chisq"], (expected**2).sum("e"), rtol=1e-12)
        return
    with pytest.raises(ValueError, match=r"^da has") as caught:
        CALLS[call](with_units(fit), given)
    words = named.split(" at position")[0] if call in ("residual", "statistics") else named
    assert words in str(caught.value)


def test_the_same_labels_of_another_type_are_the_same(da: xr.DataArray, fit: xr.Dataset) -> None:
    """Whole numbers as floats, and labels without an index, are labels as before."""
    whole = da.assign_coords(x=[1, 2, 3, 4])
    assert_array_equal(fit.fit.residual(whole), fit.fit.residual(da))
    bare = da.drop_indexes("e")
    assert_array_equal(fit.fit.residual(bare), fit.fit.residual(da))
    with pytest.raises(ValueError, match="other labels along 'e'"):
        fit.fit.residual(bare.assign_coords(e=("e", ulp(X, 3))).drop_indexes("e"))


def test_another_place_is_refused(da: xr.DataArray, fit: xr.Dataset) -> None:
    """A result and data that were cut at different pixels are told apart by what is left of their labels."""
    one = fit.isel(y=0)
    assert_array_equal(one.fit.residual(da.isel(y=0)), fit.fit.residual(da).isel(y=0))
    for call in CALLS.values():
        with pytest.raises(ValueError, match=r"da has 'y' = 0\.2, the result has 0\.1"):
            call(one, da.isel(y=1))
        with pytest.raises(ValueError, match=r"da has dimension\(s\) \['y'\]"):
            call(one, da)
        with pytest.raises(ValueError, match=r"da has no dimension\(s\) \['y'\]"):
            call(fit, da.isel(y=0))


def test_coordinates_that_the_model_uses_beside_the_labels(da: xr.DataArray) -> None:
    """A dimension without labels of its own has those of the coordinate that the fit took."""
    named = da.rename(e="channel").drop_vars("channel").assign_coords(energy=("channel", X))
    fit = named.fit.multifit(model())
    assert_array_equal(fit.fit.residual(named), named - fit.fit.evaluate().drop_vars("channel"))
    for call in CALLS.values():
        with pytest.raises(ValueError, match="'energy'"):
            call(fit, named.assign_coords(energy=("channel", ulp(X, 30))))


def test_masks_and_variances_of_statistics(da: xr.DataArray, fit: xr.Dataset) -> None:
    """Companions of the data belong to the data."""
    variance = xr.full_like(da, 2.0)
    assert_allclose(fit.fit.statistics(da, variance)["chisq"], fit.chisq / 2, rtol=1e-12)
    shifted = da.assign_coords(e=ulp(X, 7))
    for given in (
        {"variance": xr.full_like(shifted, 2.0)},
        {"where": shifted > 0},
        {"where": (da > 0).isel(e=slice(9))},
    ):
        with pytest.raises(ValueError, match=rf"{next(iter(given))} has .* along 'e'"):
            fit.fit.statistics(da, **given)
    with pytest.raises(ValueError, match="variance=0"):
        fit.fit.statistics(da, 0.0)


@pytest.mark.parametrize(
    "given",
    [
        {"variance": lambda a: abs(a) + 1},
        {"where": lambda a: a > -1},
        {"active": lambda a: {"o": a.isel(e=0, drop=True) > -1}},
        {"start": lambda a: {"g.A": a.isel(e=0, drop=True) * 0 + 90}},
        {"bounds": lambda a: {"g.A": (a.isel(e=0, drop=True) * 0, None)}},
    ],
    ids=lambda given: next(iter(given)),
)
@pytest.mark.parametrize("call", ["multifit", "select", "samfire", "refit", "conf_interval"])
def test_companions_of_every_fit(call: str, given: dict[str, Any], da: xr.DataArray, fit: xr.Dataset) -> None:
    """They go the same way in all fits, and the refusal names the argument and the label."""
    ((key, make),) = given.items()
    key = "channels" if (call, key) == ("refit", "where") else key
    options = {key: make(da.assign_coords(x=ulp(da.x, 3)))}
    calls: dict[str, Callable[[], Any]] = {
        "multifit": lambda: da.fit.multifit(model(), **options),
        "select": lambda: da.fit.select([model(), xfit.Model([Offset(name="o")])], **options),
        "samfire": lambda: da.fit.samfire(model(), seeds=[(0, 0)], **options),
        "refit": lambda: fit.fit.refit(da, **{"where": fit.status > 0, "start": "estimate", **options}),
        "conf_interval": lambda: fit.fit.conf_interval(da, "g.A", **options),
    }
    if (call, key) in (("refit", "active"), ("conf_interval", "active")):
        with pytest.raises(TypeError, match="active"):
            calls[call]()
        return
    with pytest.raises(
        ValueError, match=rf"{key}.* has other labels along 'x'.*{float(ulp(da.x, 3)[3])!r} at position 3, and 4\.0"
    ):
        calls[call]()


@pytest.mark.parametrize("call", ["multifit", "samfire", "explore"])
def test_a_result_of_other_pixels_is_no_start(call: str, da: xr.DataArray, fit: xr.Dataset) -> None:
    for labels, named in ((ulp(da.y, 1), repr(float(ulp(da.y, 1)[1]))), ([0.3, 0.2, 0.1], "0.3 at position 0")):
        with pytest.raises(ValueError, match=f"start.* has other labels along 'y'.*{named}"):
            getattr(da.fit, call)(model(), start=fit.assign_coords(y=labels))
    seeds = xr.zeros_like(fit.status, bool).assign_coords(y=[0.3, 0.2, 0.1])
    with pytest.raises(ValueError, match="seeds has other labels along 'y'"):
        da.fit.samfire(model(), seeds=seeds)


def test_refit_compares_losses_of_the_same_channels(da: xr.DataArray) -> None:
    """A fit over half of the channels has a lower loss than one over all, whatever its values are."""
    half = da.e < 6
    fit = da.fit.multifit(model(), where=half)
    # Of a chunk 4 pixels, of the whole map 12.
    for data, result in ((da, fit), (da.chunk(y=1), fit.chunk(y=1))):
        with pytest.raises(ValueError, match=r"other channels in (4|12) of the pixels.*channels="):
            result.fit.refit(data, where=fit.status > 0, start="estimate").compute()
    mended = fit.fit.refit(da, where=fit.status > 0, start="estimate", channels=half)
    assert_array_equal(mended["dof"], fit["dof"])
    with pytest.raises(ValueError, match="channels has other labels along 'e'"):
        fit.fit.refit(da, where=fit.status > 0, channels=half.assign_coords(e=ulp(X, 2)))


def test_nested_fits_of_other_pixels_or_channels(da: xr.DataArray, fit: xr.Dataset) -> None:
    simple = da.fit.multifit(xfit.Model([Offset(name="o", offset=4.0)]))
    assert xfit.compare_nested(simple, fit).p_value.shape == (3, 4)
    for other in (fit.assign_coords(x=ulp(da.x, 0)), fit.isel(y=slice(2)), fit.assign_coords(e=ulp(X, 1))):
        with pytest.raises(ValueError, match=r"full has .* along '[xye]'"):
            xfit.compare_nested(simple, other)
    with pytest.raises(ValueError, match="different dimensions"):
        xfit.compare_nested(simple, fit.isel(y=0))
    with pytest.raises(ValueError, match=r"full has 'y' = 0\.2"):
        xfit.compare_nested(simple.isel(y=0), fit.isel(y=1))


def test_figures_and_pages(da: xr.DataArray, fit: xr.Dataset) -> None:
    """What is drawn of data and model lies at the same labels."""
    looking = pytest.importorskip("xfit.plot.view_state")
    shifted = da.assign_coords(e=ulp(X, 7))
    looks: tuple[Callable[[xr.DataArray, Any], Any], ...] = (
        lambda data, variance: fit.fit.plot(data, y=0.1, x=1.0, variance=variance),
        lambda data, variance: looking.Looking(fit.fit, data, variance=variance),
        lambda data, variance: fit.fit.hv.spectrum(data, variance=variance),
    )
    for look in looks:
        with pytest.raises(ValueError, match=f"da has other labels along 'e'.*{float(ulp(X, 7)[7])!r} at position 7"):
            look(shifted, None)
        with pytest.raises(ValueError, match=r"da has dimensions .*'e': 59"):
            look(da.drop_isel(e=4), None)
    for look in looks[:2]:
        with pytest.raises(ValueError, match="variance has other labels along 'e'"):
            look(da, xr.full_like(shifted, 2.0))


def test_maps_given_to_curvefit(da: xr.DataArray) -> None:
    """As in xarray's own curvefit nothing is joined; here the argument and the label are named."""

    def peak(e: Any, area: Any, centre: Any = 4.0) -> Any:
        return area * np.exp(-((e - centre) ** 2) / 2)

    moved = xr.full_like(da.isel(e=0, drop=True), 30.0).assign_coords(x=ulp(da.x, 3))
    for options, named in (
        ({"p0": {"area": moved}}, r"p0\['area'\]"),
        ({"bounds": {"area": (moved * 0, np.inf)}}, r"bounds\['area'\]"),
    ):
        with pytest.raises(ValueError, match=f"{named} has other labels along 'x'.*at position 3, and 4.0"):
            da.fit.curvefit("e", peak, **options)
