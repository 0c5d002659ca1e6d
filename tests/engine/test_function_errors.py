"""Functions of users that raise exceptions: a status and the words of the exception, never a number."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xfit
from xfit.components import Function, Offset
from xfit.engine.codegen.function_kernels import may_raise
from xfit.engine.codegen.program import compiled_kernel
from xfit.engine.pixel.status import CONVERGED, FUNCTION_ERROR, NONFINITE_MODEL

X = np.linspace(0, 10, 64)
DATA = xr.DataArray(np.random.default_rng(0).normal(3 * X, 0.1, (4, 64)), dims=("p", "x"), coords={"x": X})
BELOW = xr.DataArray(X <= 5, dims="x", coords={"x": X})
#: The best slope through the origin (below 5), in closed form.
SLOPE = (DATA * X).where(BELOW).sum("x") / (X[X <= 5] ** 2).sum()


@xfit.component(linear=("a",))
def raising_line(x: float, a: float = 1.0) -> float:
    if x > 5:
        raise ValueError("beyond the model")
    return a * x


@xfit.component
def raising_index(x: float, a: float = 1.0) -> float:
    t = (1.0, 2.0, 3.0)
    return a * t[int(x)]


def _slopes(x: float, a: float) -> tuple[float]:
    if x > 5:
        raise ArithmeticError("no slope there")
    return (x,)


@xfit.component(gradient=_slopes)
def raising_gradient(x: float, a: float = 1.0) -> float:
    return a * x


@xfit.component
def raising_image(x: float, y: float, a: float = 1.0) -> float:
    if x + y > 8:
        raise ValueError("corner")
    return a * (x + y)


@xfit.component
def guarded_root(x: float, a: float = 4.0, b: float = 1.0) -> float:
    if a < 2.9:
        raise ValueError("too flat")
    return a * x + b


def refused(fit: xr.Dataset, words: str) -> None:
    """No pixel has a number."""
    assert (fit["status"] == FUNCTION_ERROR).all()
    for name in {"value", "stderr", "chisq", "red_chisq", "aic"} & set(fit):
        assert np.isnan(fit[name].values).all()
    assert words in fit.attrs["function_errors"]


@pytest.mark.parametrize("optimizer", ["lm", "varpro", "trf", "L-BFGS-B", "Nelder-Mead", "lstsq"])
def test_every_optimizer_refuses_a_start_that_raises(optimizer: str) -> None:
    fit = DATA.fit.multifit(xfit.Model([raising_line(name="l")]), optimizer=optimizer)
    refused(fit, "l: ValueError: beyond the model (at 5.07937, 1)")


def test_channels_that_are_left_out_do_not_count() -> None:
    for optimizer in ("lm", "trf", "lstsq"):
        fit = DATA.fit.multifit(xfit.Model([raising_line(name="l")]), optimizer=optimizer, where=BELOW)
        assert (fit["status"] == CONVERGED).all()
        np.testing.assert_allclose(fit.fit["l.a"], SLOPE, rtol=1e-8)
        assert "function_errors" not in fit.attrs
    nan = DATA.where(BELOW)
    np.testing.assert_allclose(nan.fit.multifit(xfit.Model([raising_line(name="l")])).fit["l.a"], SLOPE, rtol=1e-8)


def test_only_pixels_that_use_such_channels_are_lost() -> None:
    where = BELOW.expand_dims(p=4).copy()
    where[1] = True
    fit = DATA.fit.multifit(xfit.Model([raising_line(name="l")]), where=where)
    assert fit["status"].values.tolist() == [CONVERGED, FUNCTION_ERROR, CONVERGED, CONVERGED]
    np.testing.assert_allclose(fit.fit["l.a"][[0, 2, 3]], SLOPE[[0, 2, 3]], rtol=1e-8)


@pytest.mark.parametrize(
    ("make", "words"),
    [(raising_index, "IndexError: tuple index out of range"), (raising_gradient, "ArithmeticError: no slope there")],
)
def test_other_exceptions_and_gradients(make: Any, words: str) -> None:
    refused(DATA.fit.multifit(xfit.Model([make(name="l")])), f"l: {words}")


def test_images() -> None:
    y = np.arange(6.0)
    image = xr.DataArray(np.add.outer(y, y)[None], dims=("p", "y", "x"), coords={"y": y, "x": y})
    refused(image.fit.multifit(xfit.Model([raising_image(name="l")])), "l: ValueError: corner (at 5, 4, 1)")


def test_trial_points_that_raise_are_refused_and_the_fit_goes_on() -> None:
    """The first full step from a = 30 ends at the solution, 3; from 2.95 the differences are to one side at first."""
    straight = np.polyfit(X, DATA.values.T, 1)
    for start in (30.0, 2.9):
        fit = DATA.fit.multifit(xfit.Model([guarded_root(name="l", a=start)]))
        assert (fit["status"] == CONVERGED).all()
        np.testing.assert_allclose(fit.fit["l.a"], straight[0], rtol=1e-6)
        np.testing.assert_allclose(fit.fit["l.b"], straight[1], rtol=1e-4, atol=1e-4)


def test_a_loss_that_raises() -> None:
    def loss(d: float, m: float, w: float) -> tuple[float, float, float]:
        if d > 20:
            raise ValueError("too many")
        return w * (m - d) ** 2, 2 * w * (m - d), 2 * w

    fit = DATA.fit.multifit(xfit.Model([Offset(name="o", offset=3)]), loss=xfit.LossKernel(loss))
    refused(fit, "loss loss: ValueError: too many")
    below = DATA.fit.multifit(xfit.Model([Offset(name="o")]), loss=xfit.LossKernel(loss), where=BELOW)
    assert (below["status"] == CONVERGED).all()


def test_single_fits_say_it_in_their_message() -> None:
    fit = DATA[0].fit(xfit.Model([raising_line(name="l")]))
    assert "the function of a component raised an exception" in fit.attrs["message"]
    assert "l: ValueError: beyond the model" in fit.attrs["message"]


def test_the_log_has_it_once_and_standard_error_not_at_all(caplog: pytest.LogCaptureFixture, capfd: Any) -> None:
    def once(x: float, a: float = 1.0) -> float:
        if x > 5:
            raise RuntimeError("once")
        return a * x

    many = xr.concat([DATA] * 50, "p")
    registered = xfit.component(once)
    with caplog.at_level(logging.WARNING, "xfit"):
        for _ in range(2):
            refused(many.fit.multifit(xfit.Model([registered(name="l")])), "RuntimeError: once")
    said = [record.getMessage() for record in caplog.records if "once" in record.getMessage()]
    assert said == ["the function of component 'l' raised RuntimeError: once (at 5.07937, 1)"]
    assert "Exception ignored" not in capfd.readouterr().err


def test_stored_lazy_and_samfire_results(tmp_path: Path) -> None:
    model = xfit.Model([raising_line(name="l")])
    words = "l: ValueError: beyond the model"
    lazy = DATA.chunk(p=2)
    refused(lazy.fit.multifit(model, store=str(tmp_path / "s.zarr")), words)
    refused(xr.open_zarr(tmp_path / "s.zarr", consolidated=False), words)
    result = lazy.fit.multifit(model)
    refused(result.compute(), words)
    assert "function_errors" not in lazy.fit.multifit(model, where=BELOW).attrs
    with pytest.raises(ValueError, match="none of 1 seed"):
        DATA.fit.samfire(model, seeds=[(0,)], variance=0.01)


def test_curves_and_intervals() -> None:
    model = xfit.Model([raising_line(name="l")])
    fit = DATA.fit.multifit(model, where=BELOW, variance=0.01, scale_covariance=False)
    curve = fit.fit.evaluate()
    assert np.isnan(curve.values[:, X > 5]).all()
    np.testing.assert_allclose(curve.values[:, X <= 5], np.outer(SLOPE, X[X <= 5]), rtol=1e-8)
    # A parabola: the ends of the profile are the errors.
    ends = fit.fit.conf_interval(DATA, where=BELOW, variance=0.01)
    np.testing.assert_allclose(ends["upper"] - fit["value"], fit["stderr"], rtol=1e-6)
    lost = fit.fit.conf_interval(DATA, variance=0.01)
    assert np.isnan(lost["lower"].values).all()
    drawn = fit.fit.conf_interval(DATA, variance=0.01, method="bootstrap", samples=20)
    assert np.isnan(drawn["lower"].values).all()


def test_functions_that_can_not_raise_are_compiled_as_they_are() -> None:
    def bell(x: float, a: float = 1.0, w: float = 1.0) -> float:
        return a * math.exp(-((x / w) ** 2)) if w != 0 else 0.0

    kernels = [Function(f, "f").kernel for f in (bell, raising_line.function)]
    for kernel in kernels:
        compiled_kernel(kernel)
    assert [may_raise(kernel) for kernel in kernels] == [False, True]


def test_division_by_zero_is_numpys() -> None:
    """One over the first channel, which is zero, is infinite, as NumPy has it; nothing raises."""

    @xfit.component
    def over(x: float, a: float = 1.0) -> float:
        return a / x

    fit = DATA.fit.multifit(xfit.Model([over(name="o")]))
    assert (fit["status"] == NONFINITE_MODEL).all()
    assert (DATA[:, 1:].fit.multifit(xfit.Model([over(name="o")]))["status"] == CONVERGED).all()
