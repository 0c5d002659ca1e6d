"""What blocks of the same fit share: made once, never between fits that differ, and no
bit of a result depends on it.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xfit
from xfit.components import Gaussian, Polynomial
from xfit.engine.block import fit_block as module
from xfit.engine.block import prepared_fit
from xfit.engine.block.cancellation import Interrupted, Token, heeding
from xfit.engine.evaluation.state import STOP

X = np.linspace(0, 10, 60)


def _model(centre: float = 4.0, order: int = 1) -> xfit.Model:
    return xfit.Model([Gaussian(name="g", A=20.0, centre=centre, sigma=1.0), Polynomial(order=order, name="p", a0=2.0)])


def _map() -> xr.DataArray:
    values = np.random.default_rng(1).poisson(3 + 9 * np.exp(-((X - 4.5) ** 2)), (8, 5, X.size))
    return xr.DataArray(values.astype(float), dims=("row", "column", "x"), coords={"x": X})


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[prepared_fit.Workbench]:
    """The workbenches that are made, beginning with none."""
    monkeypatch.setattr(prepared_fit, "_idle", [])
    found: list[prepared_fit.Workbench] = []

    class Counted(prepared_fit.Workbench):
        def __init__(self, *arguments: object, **further: object) -> None:
            super().__init__(*arguments, **further)  # type: ignore[arg-type]
            found.append(self)

    for place in (prepared_fit, module):
        monkeypatch.setattr(place, "Workbench", Counted)
    return found


def _bits(result: xr.Dataset) -> dict[str, bytes]:
    return {str(name): variable.values.tobytes() for name, variable in result.data_vars.items()}


def test_chunks_share_a_workbench(made: list[prepared_fit.Workbench]) -> None:
    """The chunks of a lazy map, computed one after the other, use one workbench, as do further fits of the same."""
    lazy = _map().chunk(row=2, column=2).fit.multifit(_model())
    first = _bits(lazy.compute(scheduler="synchronous"))
    assert len(made) == 1
    assert _bits(lazy.compute(scheduler="synchronous")) == first
    assert len(made) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"model": _model(centre=5.0)},
        {"model": _model(order=2)},
        {"variance": 4.0},
        {"variance": "poisson"},
        {"where": xr.DataArray(X > 1, dims="x")},
        {"bounded": False},
        {"binned": True},
        {"loss": "huber"},
        {"tolerance": 1e-6},
        {"start": {"g.sigma": xr.DataArray(np.linspace(0.5, 2, 8), dims="row")}},
        {"optimizer": "varpro"},
        {"da": _map().assign_coords(x=X * 1.01)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_fits_have_their_own(change: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What was kept of one fit does not reach one that differs, in any bit."""
    monkeypatch.setattr(prepared_fit, "_idle", [])
    asked: dict[str, Any] = {"da": _map(), "model": _model(), "variance": None, **change}
    alone = _bits(xfit.multifit(**asked))
    monkeypatch.setattr(prepared_fit, "_idle", [])
    plain = _bits(xfit.multifit(_map(), _model()))
    assert _bits(xfit.multifit(**asked)) == alone
    assert _bits(xfit.multifit(_map(), _model())) == plain
    assert _bits(xfit.multifit(**asked)) == alone


def test_a_changed_model_is_fitted_as_it_is() -> None:
    """A model that is changed between two calls is fitted with its new numbers."""
    model, da = _model(), _map()
    da.fit.multifit(model)
    model["g"].sigma.set(value=0.8, free=False)
    assert (da.fit.multifit(model).fit["g.sigma"] == 0.8).all()


def test_threads_have_one_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls at the same time get the same bits as one after the other."""
    monkeypatch.setattr(prepared_fit, "_idle", [])
    da, model = _map(), _model()
    expected = _bits(da.fit.multifit(model))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: _bits(da.fit.multifit(model)), range(40)))
    assert all(each == expected for each in found)
    assert len(prepared_fit._idle) <= prepared_fit._KEPT


def test_what_is_given_up_is_not_kept(made: list[prepared_fit.Workbench]) -> None:
    """The scratch of a fit that was told to stop is not used again."""
    token = Token()
    token.stop()
    with heeding(token), pytest.raises(Interrupted):
        _map().fit.multifit(_model())
    assert made
    assert not prepared_fit._idle


def test_a_stop_that_comes_when_all_is_done_stops_no_later_fit() -> None:
    """Between the last pixel and the end of a call; the next call with the same scratch may have no token at all."""
    token, flags = Token(), np.zeros(3, np.int64)
    token.watch(flags)
    token.stop()
    assert flags[STOP] == 1
    token.leave(flags)
    assert flags[STOP] == 0


def test_large_ones_are_not_kept(made: list[prepared_fit.Workbench], monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that is worth more than the time to make it is given back."""
    monkeypatch.setattr(prepared_fit, "_SMALL", 1 << 10)
    _map().fit.multifit(_model())
    assert made[0].nbytes > 1 << 10
    assert not prepared_fit._idle
