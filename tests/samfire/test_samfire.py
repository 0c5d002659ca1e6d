"""SAMFire: right where one start is not, whoever runs it; what it is given, what it refuses, how it ends."""

from __future__ import annotations

import itertools
from typing import Any

import numba
import numpy as np
import pytest
import xarray as xr

import xfit
from tests.support.builders import assert_same_bits, names_of, statuses
from tests.support.samfire_maps import CHANNELS, drifting, peak, right, seeds_of
from xfit.components import Gaussian
from xfit.samfire import (
    AIC,
    BIC,
    AICc,
    GlobalStrategy,
    Histogram,
    LocalStrategy,
    Nearest,
    RedChisq,
    ReducedChiSquared,
    Samfire,
)


def run(da: xr.DataArray, model: xfit.Model | None = None, **options) -> xr.Dataset:
    return da.fit.samfire(model or peak(), progress=False, **options).compute()


def test_right_where_one_start_is_not() -> None:
    """Within five errors of the truth nearly everywhere; `multifit` from a seed's
    values in a few rows of one domain.
    """
    da, centre = drifting((32, 40))
    assert right(da.fit.multifit(peak(), variance=np.maximum(da, 1)), centre) < 0.3
    fit = run(da, **seeds_of(da))
    assert right(fit, centre) >= 0.995
    assert set(statuses(fit)) <= {"converged", "poor_fit"}


@pytest.mark.parametrize(
    "chunks", [{"y": 8, "x": 8}, {"y": (3, 11, 10), "x": (17, 7)}, {"y": 2, "x": 24}, {"y": 24, "x": 1}]
)
def test_chunks(chunks) -> None:
    """Chunks of unequal size, smaller than the radius, a single column: all are
    reached, and the numbers are as good.
    """
    da, centre = drifting()
    fit = da.chunk(chunks).fit.samfire(peak(), progress=False, **seeds_of(da))
    assert fit.value.chunks is not None
    assert dict(fit.status.chunksizes) == dict(da.chunk(chunks).isel(e=0).chunksizes)
    fit = fit.compute()
    assert right(fit, centre) >= 0.995
    whole = run(da, **seeds_of(da))
    both = (fit.status == 1) & (whole.status == 1)
    difference = abs(fit.fit["g.centre"] - whole.fit["g.centre"]) / whole.fit.stderr("g.centre")
    # From another neighbour the same minimum, to the tolerance of the fits.
    assert float(difference.where(both).max()) < 1e-3


def test_dimensions_one_and_three() -> None:
    da, centre = drifting((30, 4))
    line = run(da.isel(x=0), seeds=[0], variance=np.maximum(da.isel(x=0), 1))
    assert right(line, centre.isel(x=0)) >= 0.95
    cube = da.isel(x=slice(0, 2)).expand_dims(z=3).copy().chunk({"y": 7, "z": 2})
    fit = run(cube, seeds=[(0, 0, 0)], variance=np.maximum(cube, 1))
    assert fit.status.dims == ("z", "y", "x")
    assert right(fit, centre.isel(x=slice(0, 2))) >= 0.98


def test_radius_larger_than_a_chunk_bridges_a_gap() -> None:
    """A wall of NaN two pixels thick: a radius of 3 sees across it, one of 1 does not."""
    da, _ = drifting((9, 20))
    da = da.isel(x=slice(0, 9)).copy()
    da[:, 4:6] = np.nan
    options: dict[str, Any] = {"seeds": [(0, 1)], "variance": np.maximum(da.fillna(1), 1)}
    cut = da.chunk({"y": 2, "x": 2})
    across = run(cut, strategies=[ReducedChiSquared(3)], **options)
    assert (across.status.isel(x=slice(6, 9)) == 1).mean() > 0.9
    short = run(cut, strategies=[ReducedChiSquared(1)], **options)
    assert {names_of(short, int(s)) for s in short.status.isel(x=slice(6, 9)).values.ravel()} == {"not_reached"}
    assert {names_of(short, int(s)) for s in short.status.isel(x=slice(4, 6)).values.ravel()} <= {
        "bad_data",
        "not_reached",
    }
    assert (short.order.isel(x=slice(6, 9)) == -1).all()
    assert (short.strategy.isel(x=slice(6, 9)) == -2).all()


def test_the_wave_goes_round_a_block_of_nan() -> None:
    da, centre = drifting((20, 40))
    da = da.isel(x=slice(0, 20)).copy()
    da[8:12, 3:] = np.nan
    fit = run(
        da.chunk({"y": 5, "x": 5}),
        seeds=[(0, 18)],
        variance=np.maximum(da.fillna(1), 1),
        strategies=ReducedChiSquared(3),
    )
    good = fit.status == 1
    assert good.isel(y=slice(12, 20)).mean() > 0.97
    assert abs(fit.fit["g.centre"] - centre).where(good).max() < 1
    assert not good.isel(y=slice(8, 12), x=slice(3, 20)).any()


def test_a_seed_in_one_domain_only() -> None:
    """The other domain is reached by no local strategy from there; each of its pixels says why."""
    da, centre = drifting()
    options = seeds_of(da) | {"seeds": [(0, 1)], "start": None}
    fit = run(da, strategies=ReducedChiSquared(), **options)
    left = fit.status.isel(x=slice(0, 12))
    assert (left == 1).mean() > 0.99
    words = {names_of(fit, int(s)) for s in fit.status.isel(x=slice(12, 24)).values.ravel()}
    assert words <= {"poor_fit", "not_reached", "max_nfev", "singular"}
    # A second call with a seed there goes on from the first one's result, which it keeps to the bit.
    model = peak(75.0)
    more = run(da, model, seeds=[(0, 20)], start=fit, variance=options["variance"], strategies=ReducedChiSquared())
    assert right(more, centre) >= 0.995
    kept = fit.status == 1
    assert (more.value.where(kept) == fit.value.where(kept)).sel(param="g.centre").where(kept, True).all()
    assert (more.strategy.where(kept, -1) == -1).all()
    alone = run(da, model, start=fit, variance=options["variance"], strategies=ReducedChiSquared())
    assert (alone.status == 1).sum() == kept.sum()


def test_global_strategies() -> None:
    """Candidates from the histogram solve a scattered minority that no wave reaches; a local one
    then spreads from these alone.
    """
    da, _ = drifting((16, 16))
    kind = np.random.default_rng(1).random((16, 16)) < 0.2
    start = xr.DataArray(np.where(kind, 40.0, 12.0), dims=("y", "x"))
    clean = 90 * np.exp(-((CHANNELS - start.values[..., None]) ** 2) / 2) + 10
    da = da.copy(data=np.random.default_rng(2).poisson(clean))
    # One of the minority, and one with none of it around.
    seeds = [tuple(np.argwhere(kind)[0]), (10, 13)]
    assert not kind[9:12, 13:16].any()
    options: dict[str, Any] = {
        "seeds": seeds,
        "start": {"g.centre": start.assign_coords(y=da.y, x=da.x)},
        "variance": np.maximum(da, 1),
    }
    local = run(da, strategies=[ReducedChiSquared(1)], **options)
    both = run(da.chunk({"y": 5, "x": 16}), strategies=[ReducedChiSquared(1), Histogram()], **options)
    assert (local.status == 1).sum() < (both.status == 1).sum()
    assert float((abs(both.fit["g.centre"] - start.values) < 1).mean()) > 0.97
    assert (both.strategy == 1).any()

    class Mean(GlobalStrategy):
        def candidates(self, values, counts):
            return np.average(values, axis=0, weights=counts)[None]

    own = run(da, strategies=[ReducedChiSquared(1), Mean()], **options)
    assert (own.tries >= local.tries).all()
    Mean.candidates = lambda self, values, counts: values[0]  # type: ignore[method-assign]
    with pytest.raises(TypeError, match="must return an array of shape"):
        run(da, strategies=[ReducedChiSquared(1), Mean()], **options)


def test_local_after_global_spreads_from_what_the_global_one_solved() -> None:
    da, _ = drifting((6, 30))
    da = da.isel(x=slice(0, 14)).copy()
    # Two walls: behind the first lies what a candidate solves, behind the second what nothing near it can seed.
    da[:, 4:8] = np.nan
    variance = np.maximum(da.fillna(1), 1)

    class FirstRow(GlobalStrategy):
        def candidates(self, values, counts):
            return values[np.argsort(values[:, 1])[:1]]

    fit = run(
        da, seeds=[(0, 0)], variance=variance, strategies=[ReducedChiSquared(1), FirstRow(), ReducedChiSquared(1)]
    )
    behind = fit.isel(x=slice(8, 14))
    assert set(np.unique(behind.strategy)) == {1, 2}
    assert (fit.isel(x=slice(0, 4)).strategy <= 0).all()
    assert behind.order.where(behind.strategy == 2).min() > behind.order.where(behind.strategy == 1).max()


def test_nearest_and_strategies_of_ones_own() -> None:
    da, centre = drifting()
    assert right(run(da, strategies=[Nearest(radius=2)], **seeds_of(da)), centre) >= 0.995

    class Even(LocalStrategy):
        def decay(self, distance):
            return np.ones_like(distance)

    assert right(run(da, strategies=[Even({"y": 2, "x": 1})], **seeds_of(da)), centre) >= 0.995
    given = ReducedChiSquared(2, decay=lambda r: 1 / r, weight=lambda red: 1 / red)
    assert right(run(da, strategies=given, **seeds_of(da)), centre) >= 0.995


@numba.njit
def _strict(red_chisq, dof):
    return abs(red_chisq - 1) < 5 * np.sqrt(2 / dof)


@pytest.mark.parametrize("goodness", [RedChisq(0.6), _strict, lambda red_chisq: red_chisq < 1.6])
def test_tests_of_goodness(goodness) -> None:
    da, centre = drifting()
    fit = run(da, goodness=goodness, **seeds_of(da))
    assert right(fit, centre) >= 0.99
    good = fit.red_chisq.where(fit.status == 1)
    assert float(abs(good - 1).max()) < 0.6


def test_without_variance() -> None:
    """The reduced chi-squared is in the data's units then; where it is large, weights by its distance from
    one are too small for numbers.
    """
    da, centre = drifting()
    large = 1000 * da
    model = peak()
    model["g.A"].value, model["o.offset"].value = 250e3, 10e3
    options = {key: value for key, value in seeds_of(da).items() if key != "variance"}
    fit = run(large.chunk({"y": 7, "x": 24}), model, goodness=RedChisq(tolerance=3e7, expected=2e7), **options)
    assert float(fit.red_chisq.median()) > 1e6
    # Errors from the mean residual are too small at the peak: the distance is measured in widths.
    assert float((abs(fit.fit["g.centre"] - centre) < 0.5).mean()) >= 0.99


@pytest.mark.parametrize("kind", [AIC, AICc, BIC])
def test_thresholds_of_criteria(kind) -> None:
    da, centre = drifting()
    options = seeds_of(da)
    name = kind.__name__.lower()
    threshold = float(da.fit.multifit(peak(), start={"g.centre": centre}, variance=options["variance"])[name].max()) + 1
    fit = run(da, goodness=kind(threshold), **options)
    assert right(fit, centre) >= 0.995
    assert float(fit[name].where(fit.status == 1).max()) <= threshold


def test_optional_components() -> None:
    """A second line in a part of the map: on where it is, off elsewhere, by AICc; its
    parameters are missing where it is off.
    """
    da, centre = drifting((12, 24))
    da = da.isel(x=slice(0, 12)).copy()
    there = np.zeros((12, 12), bool)
    there[4:9, 5:11] = True
    more = 40 * np.exp(-((CHANNELS - 60) ** 2) / (2 * 2.0**2))
    da = da + np.random.default_rng(5).poisson(np.where(there[..., None], more, 0.0))
    model = peak()
    model.append(Gaussian(name="extra", A=150.0, centre=60.5, sigma=1.5))
    model["extra"].centre.set(min=55, max=65)
    model["extra"].sigma.set(min=0.5, max=4)
    model["extra"].A.set(min=0)
    options = {
        "seeds": [(0, 1), (6, 7)],
        "start": {"g.centre": centre.isel(x=slice(0, 12))},
        "variance": np.maximum(da, 1),
        "optional": ["extra"],
    }
    fit = run(da.chunk({"y": 5, "x": 12}), model, **options)
    on = fit.active.sel(part="extra")
    assert on.values[there].all()
    # By chance AICc accepts three parameters of noise in a few percent.
    assert on.values[~there].mean() < 0.15
    strict = run(da, model, criterion="bic", **options).active.sel(part="extra").values
    # BIC asks log(256) = 5.5 of each parameter instead of 2: of 3 degrees of freedom, 16.6 are exceeded once in a
    # thousand.
    assert strict[there].all()
    assert strict[~there].mean() < 0.02
    assert np.isnan(fit.fit["extra.A"].values[~on.values]).all()
    assert fit.active.sel(part="g").all()
    assert (fit.dof.values[on.values] == fit.dof.values[~on.values].max() - 3).all()
    np.testing.assert_allclose(fit.fit["extra.centre"].values[there], 60, atol=1.5)


def test_order_and_tries() -> None:
    """Ranks rise with the distance from the seed; the seeds are first."""
    da, _ = drifting((20, 40))
    fit = run(
        da.isel(x=slice(0, 20)).chunk({"y": 6, "x": 6}),
        seeds=[(10, 10)],
        goodness=lambda red_chisq: red_chisq < 1e9,
        start={"g.centre": drifting((20, 40))[1].isel(x=slice(0, 20))},
    )
    y, x = np.indices((20, 20)) - 10
    ring = np.maximum(abs(y), abs(x))
    means = [float(fit.order.values[ring == r].mean()) for r in range(10)]
    assert means[0] == 0
    assert all(a < b for a, b in itertools.pairwise(means))
    assert (fit.tries == 1).all()
    assert fit.strategy.values[10, 10] == -1
    assert (np.delete(fit.strategy.values.ravel(), 210) == 0).all()


def test_hyperspy_semantics_of_one_seed() -> None:
    """Markers and means of neighbours, by the formulas of its documentation, for one chunk and one seed."""
    from xfit.engine.waves.wavefront import GOOD, LEFT, begin_at, rank
    from xfit.fitting.running.chunk_grid import neighbourhood

    shape, radius = (13, 13), 3.0
    strategy = ReducedChiSquared(radius)
    offsets, distance = neighbourhood((radius, radius), shape)
    assert len(offsets) == 28
    mark = np.full(169, LEFT, np.int8)
    red = np.ones((13, 13))
    values = np.random.default_rng(0).normal(size=(13, 13, 2))
    done = {(6, 6): 1.3, (6, 7): 0.8, (5, 5): 1.0}
    for position, chi in done.items():
        mark[np.ravel_multi_index(position, shape)] = GOOD
        red[position] = chi
    weight = np.where(mark == GOOD, strategy.weight(red.ravel()), 0.0)
    inside = np.arange(169).reshape(shape)[3:-3, 3:-3].ravel()
    priority = np.empty(49)
    old, never = np.full(169, -1), np.full(169, -2)
    rank(inside, mark, old, never, weight, offsets, strategy.decay(distance), priority)
    start = np.empty((49, 2))
    begin_at(
        inside,
        mark,
        old,
        never,
        weight,
        offsets,
        strategy.decay(distance),
        values.reshape(-1, 2),
        np.zeros(49, bool),
        start,
    )
    for k, place in enumerate(inside):
        here = np.array(np.unravel_index(place, shape))
        near = {p: np.hypot(*(here - p)) for p in done if 0 < np.hypot(*(here - p)) <= radius}
        w = {p: np.exp(-abs(done[p] - 1)) * np.exp(-r) for p, r in near.items()}
        if mark[place] == LEFT:
            assert priority[k] == pytest.approx(sum(w.values()), rel=1e-14)
        if w:
            mean = sum(w[p] * values[p] for p in w) / sum(w.values())
            np.testing.assert_allclose(start[k], mean, rtol=1e-12)


def test_fits_are_those_of_multifit() -> None:
    """Ties, losses, masks, bounds and maps of active components as there: from SAMFire's own
    values multifit stays where it is.
    """
    da, _ = drifting((10, 20))
    da = da.isel(x=slice(0, 10))
    where = xr.DataArray((CHANNELS < 50) | (CHANNELS > 52), dims="e", coords={"e": CHANNELS})
    pixels = xr.ones_like(da.isel(e=0, drop=True), dtype=bool)
    pixels[3:5, 4] = False
    for options in (
        {"variance": np.maximum(da, 1), "where": where & pixels},
        {"loss": "poisson", "goodness": lambda loss, dof: loss < 2 * dof},
        {"variance": np.maximum(da, 1), "loss": "huber", "loss_scale": 3.0},
        {"variance": np.maximum(da, 1), "bounds": {"g.sigma": (0.9, 1.02)}},
    ):
        model = peak()
        goodness = options.pop("goodness", None)
        fit = run(da.chunk({"y": 4, "x": 5}), model, seeds=[(0, 1)], goodness=goodness, **options)
        again = da.fit.multifit(model, start=fit, **options)
        good = fit.status == 1
        assert good.mean() > 0.9
        same = abs(again.value - fit.value).where(good) <= 1e-5 * fit.stderr.fillna(1)
        assert same.where(good, True).all()
        np.testing.assert_allclose(again.stderr.where(good), fit.stderr.where(good), rtol=1e-4)
    assert {names_of(fit, int(s)) for s in fit.status.values.ravel()} <= {"converged", "poor_fit", "max_nfev"}


def test_other_optimizers() -> None:
    """What runs in Python runs here too."""
    da, centre = drifting((4, 12))
    da = da.isel(x=slice(0, 4))
    options: dict[str, Any] = {"seeds": [(0, 1)], "variance": np.maximum(da, 1)}
    fit, compiled = run(da, optimizer="trf", **options), run(da, **options)
    assert (abs(fit.fit["g.centre"] - centre.isel(x=slice(0, 4))) < 5 * fit.fit.stderr("g.centre")).all()
    assert (abs(fit.value - compiled.value) < 1e-4 * compiled.stderr).all()


def test_seeds_in_every_form() -> None:
    da, _ = drifting()
    options = seeds_of(da)
    by_index = run(da, **options)
    labels = {"y": [0.0, 0.0], "x": [1, 22]}
    mask = xr.zeros_like(da.isel(e=0, drop=True), dtype=bool)
    mask[0, 1] = mask[0, 22] = True
    for seeds in (labels, mask, [(0, -2), (0, 1), (0, 1)], np.array([[0, 1], [0, 22]])):
        assert_same_bits(run(da, **{**options, "seeds": seeds}), by_index)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({}, ValueError, "SAMFire needs seeds"),
        ({"seeds": [(0, 99)]}, ValueError, r"seed \(0, 99\) lies outside of the map"),
        ({"seeds": [(0, 1, 2)]}, ValueError, r"must be 2 whole number"),
        ({"seeds": [(0.5, 1)]}, ValueError, r"must be 2 whole number"),
        ({"seeds": {"y": [0]}}, ValueError, "labels along each"),
        ({"seeds": {"y": [3.0], "x": [0]}}, ValueError, "no pixel is labelled"),
        ({"seeds": xr.DataArray(np.ones((2, 2)), dims=("y", "x"))}, ValueError, "boolean map"),
        ({"seeds": [(0, 0)], "path": "serpentine"}, ValueError, "path='serpentine'"),
        ({"seeds": [(0, 0)], "strategies": ["histogram"]}, TypeError, "must be a strategy"),
        ({"seeds": [(0, 0)], "strategies": []}, ValueError, "strategies is empty"),
        ({"seeds": [(0, 0)], "strategies": ReducedChiSquared(0.5)}, ValueError, "radius=0.5"),
        (
            {"seeds": [(0, 0)], "strategies": ReducedChiSquared({"y": 2})},
            ValueError,
            "must name the navigation dimensions",
        ),
        ({"seeds": [(0, 0)], "goodness": 3}, TypeError, "goodness=3"),
        ({"seeds": [(0, 0)], "goodness": lambda chi: chi}, TypeError, "arguments must be some of"),
        ({"seeds": [(0, 0)], "optional": ["zz"]}, ValueError, "optional=\\['zz'\\]"),
        ({"seeds": [(0, 0)], "criterion": "hqic"}, ValueError, "criterion='hqic' must be one of"),
        ({"seeds": [(0, 0)], "optional": ["o"], "loss": "huber"}, ValueError, "'huber' is no likelihood"),
        ({"seeds": [(0, 0)], "progress": 3}, TypeError, "progress=3"),
        ({"seeds": [(0, 0)], "optimiser": "lm"}, TypeError, "optimiser"),
        ({"start": xr.Dataset()}, ValueError, "no result of a fit"),
    ],
)
def test_refused_before_any_work(options, error, words) -> None:
    da, _ = drifting((4, 4))
    with pytest.raises(error, match=words):
        da.fit.samfire(peak(), **options)


def test_bad_arguments_of_strategies_and_tests() -> None:
    for make, words in (
        (lambda: Histogram(bins="scott"), "bins='scott'"),
        (lambda: Histogram(max_candidates=0), "max_candidates=0"),
        (lambda: RedChisq(0), "tolerance=0"),
        (lambda: RedChisq(1, np.nan), "expected=nan"),
        (lambda: BIC("x"), "threshold='x'"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match=words):
            make()


def test_no_good_seed() -> None:
    da, _ = drifting((4, 4))
    with pytest.raises(ValueError, match=r"none of 1 seed\(s\) is good"):
        run(da, peak(50.0), seeds=[(0, 0)], variance=np.maximum(da, 1))
    bad = da.fit.multifit(peak(50.0), variance=np.maximum(da, 1))
    with pytest.raises(ValueError, match="no pixel of the result in start= is good"):
        run(da, peak(50.0), start=bad, goodness=RedChisq(1e-9), variance=np.maximum(da, 1))
    with pytest.raises(ValueError, match="one to three navigation dimensions"):
        run(da.isel(x=0, y=0), seeds=[()])
    with pytest.raises(ValueError, match=r"called \['order'\]"):
        run(da.rename(y="order"), seeds=[(0, 0)])


def test_progress_and_stop() -> None:
    """A function is told of every visit; what is done when it stops the run is there, and can be gone on with."""
    da, centre = drifting((24, 24))
    cut = da.chunk({"y": 6, "x": 6})
    seen = []

    def watch(snapshot) -> None:
        seen.append(snapshot)
        if snapshot.visits == 5:
            snapshot.stop()

    part = cut.fit.samfire(peak(), progress=watch, **seeds_of(da)).compute()
    assert 0 < (part.status == 1).sum() < 400
    assert seen[-1].good == int((part.status == 1).sum())
    assert seen[-1].pixels == 576
    assert [s.visits for s in seen] == list(range(1, len(seen) + 1))
    assert seen[0].strategy == "seeds"
    rest = run(cut, start=part, variance=np.maximum(da, 1))
    assert right(rest, centre) >= 0.995


def test_the_bar_on_the_console(capsys) -> None:
    da, _ = drifting((12, 24))
    da.chunk({"y": 6, "x": 6}).fit.samfire(peak(), progress=True, **seeds_of(da))
    shown = capsys.readouterr().err
    assert "SAMFire" in shown
    assert "good" in shown


def test_live_map() -> None:
    """A HoloViews object shows what becomes of the pixels."""
    da, _ = drifting((12, 24))
    job = Samfire(da.chunk({"y": 6, "x": 6}), peak(), progress=False, **seeds_of(da))
    view = job.status_map()
    assert int((view[()].dimension_values("state", flat=False) == 1).sum()) == 0
    fit = job.run().compute()
    shown = view[()].dimension_values("state", flat=False)
    assert shown.shape == (12, 24)
    assert int((shown == 1).sum()) == int((fit.status == 1).sum())


def test_a_result_like_any_other(tmp_path) -> None:
    """Curves, reports and files; the model inside."""
    da, _ = drifting((6, 12))
    fit = da.chunk({"y": 3}).fit.samfire(peak(), progress=False, **seeds_of(da))
    fit.to_zarr(tmp_path / "fit.zarr")
    back = xr.open_zarr(tmp_path / "fit.zarr").compute()
    np.testing.assert_array_equal(back.value, fit.value)
    assert back.fit.model == peak()
    assert "converged" in back.fit.report()
    assert back.fit.residual(da).shape == da.shape
    assert back.attrs["xfit_samfire"].startswith('["ReducedChiSquared')
