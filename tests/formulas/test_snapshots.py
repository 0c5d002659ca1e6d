"""A fit is of the functions, and of the model, as they are when it is called: what they
read may change before and after.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import numba
import numpy as np
import pytest
import xarray as xr

import xfit
from xfit.components import Function, Gaussian, Offset, Polynomial
from xfit.formulas.function_kernel import FunctionKernel
from xfit.formulas.snapshots import digest, frozen
from xfit.samfire.checkpoint import described

X = np.linspace(0, 10, 64)
#: A straight line of slope 6: a component of ``a * x * k`` has a = 6 / k there.
DATA = xr.DataArray(6.0 * X[None], dims=("p", "x"), coords={"x": X})


class Notebook:
    """Cells that are run in one namespace, as those of a notebook."""

    def __init__(self, name: str = "cells") -> None:
        self.names: dict[str, Any] = {"__name__": name, "xfit": xfit, "np": np, "numba": numba}

    def run(self, cell: str) -> None:
        """Run a cell."""
        exec(compile(cell, "<cell>", "exec", dont_inherit=True), self.names)

    def __getitem__(self, name: str) -> Any:
        return self.names[name]


def slope(make: Any, **options: Any) -> float:
    return float(DATA.fit.multifit(xfit.Model([make(name="f")]), **options).fit["f.a"][0])


CELL = "@xfit.component\ndef stale_{name}(x, a=1.0):\n    return a * x * {factor}\n"


@pytest.mark.parametrize(
    ("name", "before", "after", "factor"),
    [
        ("number", "K = 2.0", "K = 3.0", "K"),
        ("array", "T = np.array([2.0])", "T = np.array([3.0])", "T[0]"),
        ("in_place", "T = np.array([2.0])", "T[0] = 3.0", "T[0]"),
        ("nested", "N = (1.0, (2.0,))", "N = (1.0, (3.0,))", "N[1][0]"),
        ("helper", "@numba.njit\ndef h(): return 2.0", "@numba.njit\ndef h(): return 3.0", "h()"),
        ("plain_helper", "def h(): return 2.0", "def h(): return 3.0", "h()"),
        (
            "helper_of_helper",
            "H = 2.0\n@numba.njit\ndef g(): return H\n@numba.njit\ndef h(): return g()",
            "H = 3.0",
            "h()",
        ),
    ],
)
def test_what_a_component_reads_is_as_it_is_at_the_fit(name: str, before: str, after: str, factor: str) -> None:
    """Whether its cell is run again or not: as Python would have it."""
    book = Notebook()
    book.run(before)
    book.run(CELL.format(name=name, factor=factor))
    model = xfit.Model([book[f"stale_{name}"](name="f")])
    first = DATA.fit.multifit(model)
    assert float(first.fit["f.a"][0]) == pytest.approx(3.0, rel=1e-9)
    book.run(after)
    assert float(DATA.fit.multifit(model).fit["f.a"][0]) == pytest.approx(2.0, rel=1e-9)
    book.run(CELL.format(name=name, factor=factor))
    assert slope(book[f"stale_{name}"]) == pytest.approx(2.0, rel=1e-9)
    # The first result is evaluated by the function that was fitted: a line of slope 6.
    np.testing.assert_allclose(first.fit.evaluate().values, DATA.values, atol=1e-9)


def test_a_constant_within_a_nested_function() -> None:
    book = Notebook()
    cell = (
        "@xfit.component\ndef stale_inner(x, a=1.0):\n    def inner(t):\n        return t * {k}\n    return a * "
        "inner(x)\n"
    )
    for k, right in ((2.0, 3.0), (3.0, 2.0)):
        book.run(cell.format(k=k))
        assert slope(book["stale_inner"]) == pytest.approx(right, rel=1e-9)


def test_an_attribute_of_a_module_of_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    settings: Any = ModuleType("settings_of_mine")
    settings.K = 2.0
    monkeypatch.setitem(sys.modules, "settings_of_mine", settings)
    book = Notebook()
    book.run("import settings_of_mine as s\ndef line(x, a=1.0):\n    return a * x * s.K\n")
    kernel = Function(book["line"], "f").kernel
    again = pickle.loads(cloudpickle.dumps(kernel))
    settings.K = 3.0
    assert Function(book["line"], "f").kernel != kernel
    # A worker computes with what the client had, whatever its own module says.
    assert again == kernel
    assert again.function(5.0, 1.0) == kernel.function(5.0, 1.0) == 10.0


def test_a_closure_a_default_and_a_gradient() -> None:
    def make(k: float, c: float) -> Any:
        def line(x: float, a: float = c) -> float:
            return k * a * x

        return line

    def slopes(k: float) -> Any:
        return lambda x, a: (k * x,)

    kernel = FunctionKernel(make(2.0, 1.0), slopes(2.0), ("x",), ("a",))
    assert kernel == FunctionKernel(make(2.0, 1.0), slopes(2.0), ("x",), ("a",))
    for function, gradient in (
        (make(3.0, 1.0), slopes(2.0)),
        (make(2.0, 2.0), slopes(2.0)),
        (make(2.0, 1.0), slopes(3.0)),
    ):
        assert kernel != FunctionKernel(function, gradient, ("x",), ("a",))


def test_a_lazy_fit_is_of_the_function_at_the_call() -> None:
    book = Notebook()
    book.run("T = np.array([2.0])")
    book.run(CELL.format(name="lazy", factor="T[0]"))
    fit = DATA.chunk(p=1).fit.multifit(xfit.Model([book["stale_lazy"](name="f")]))
    book.run("T[0] = 3.0")
    assert float(fit.fit["f.a"][0]) == pytest.approx(3.0, rel=1e-9)


def test_a_loss() -> None:
    book = Notebook()
    book.run("def loss(d, m, w):\n    return W * w * (m - d) ** 2, 2 * W * w * (m - d), 2 * W * w\n")
    y = DATA + np.where(np.arange(64) % 2, 1.0, 0.0)

    def lowest(chunks: bool) -> Any:
        da = y.chunk(p=1) if chunks else y
        return da.fit.multifit(
            xfit.Model([Polynomial(1, name="p")]), loss=xfit.LossKernel(book["loss"]), variance=1.0
        ).loss[0]

    book.run("W = 1.0")
    first, lazy = float(lowest(False)), lowest(True)
    book.run("W = 5.0")
    # The loss is in proportion to W.
    assert float(lowest(False)) == pytest.approx(5 * first, rel=1e-9)
    assert float(lazy) == pytest.approx(first, rel=1e-12)


def test_curvefit() -> None:
    book = Notebook()
    # Rounding has no place in a formula, so that numba compiles the function as it is.
    book.run("def line(x, a=1.0):\n    return K * a * x + 0 * np.floor(x)\n")
    for k, right in ((2.0, 3.0), (3.0, 2.0)):
        book.run(f"K = {k}")
        found = DATA.fit.curvefit("x", book["line"]).curvefit_coefficients
        assert float(found.squeeze()) == pytest.approx(right, rel=1e-8)


SOURCE = """
import math
import numba
import numpy as np
K, T, S = 2.0, np.arange(6.0).reshape(2, 3), frozenset({"a", "b", "c", "d"})
@numba.njit(fastmath={"contract", "nsz", "arcp"})
def helper(t):
    return t * T[1, 2] + math.exp(K)
def line(x, a=1.0):
    '''WORDS'''
    def inner(t):
        return helper(t) + np.sqrt(2.0)
    return a * inner(x)
"""


def test_digests_do_not_depend_on_process_place_or_documentation(tmp_path: Path) -> None:
    book = Notebook()
    book.run(SOURCE)
    here = digest(book["line"])
    script = tmp_path / "elsewhere.py"
    script.write_text(
        f"from xfit.formulas.snapshots import digest\n\n\n{SOURCE.replace('WORDS', 'Other.')}\nprint(digest(line))\n"
    )
    path = os.pathsep.join([str(Path(xfit.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, str(script)], capture_output=True, text=True, env=environment, check=True
        )
        assert done.stdout.strip() == here
    book.run("T = np.arange(1.0, 7.0).reshape(2, 3)")
    assert digest(book["line"]) != here


def test_copies_hold_what_they_read_and_have_the_same_digest() -> None:
    book = Notebook()
    book.run(SOURCE)
    copy, here = frozen(book["line"]), digest(book["line"])
    value = copy(2.0)
    book.run("T[:] = 0.0\nK = 0.0")
    assert digest(copy) == here != digest(book["line"])
    assert copy(2.0) == value == pytest.approx(2 * 5 + np.exp(2) + np.sqrt(2))
    again = pickle.loads(cloudpickle.dumps(copy))
    assert again(2.0) == value
    assert digest(again) == here


def test_functions_that_call_each_other_have_digests() -> None:
    book = Notebook()
    book.run(
        "def even(n):\n    return True if n == 0 else odd(n - 1)\ndef odd(n):\n    return False if n == 0 else even(n "
        "- 1)\n"
    )
    one = digest(book["even"])
    assert digest(frozen(book["even"], compiled=False)) == one
    book.run("def odd(n):\n    return True if n == 0 else even(n - 1)\n")
    assert digest(book["even"]) != one


def test_an_object_of_which_nothing_can_be_told_is_refused() -> None:
    book = Notebook()
    book.run("lock = __import__('threading').Lock()\ndef f(x, a=1.0):\n    return a * x * lock.n\n")
    with pytest.raises(TypeError, match="the function 'f' reads 'lock', a lock, of which it can't be told"):
        DATA.fit.multifit(xfit.Model([Function(book["f"], "f"), Offset()]))


def test_python_losses_that_write_stay_as_they_are() -> None:
    book = Notebook()
    book.run(
        "calls = 0\ndef loss(d, m, w):\n    global calls\n    calls += 1\n    return float((w * (m - d) ** 2).sum())\n"
    )
    assert frozen(book["loss"], compiled=False) is book["loss"]


@pytest.fixture
def book() -> Notebook:
    book = Notebook()
    book.run("K = 2.0")
    book.run(CELL.format(name="stored", factor="K"))
    return book


def test_a_store_is_not_resumed_with_another_function(book: Notebook, tmp_path: Path) -> None:
    da = xr.concat([DATA] * 4, "p").chunk(p=1)

    def fit(**options: Any) -> xr.Dataset:
        return da.fit.multifit(
            xfit.Model([book["stale_stored"](name="line")]), store=str(tmp_path / "s.zarr"), **options
        )

    fit()
    fit(resume=True)
    book.run("K = 3.0")
    with pytest.raises(ValueError, match="differs in: the function or formula of component line"):
        fit(resume=True)


def test_a_samfire_run_is_not_resumed_with_another_function(book: Notebook, tmp_path: Path) -> None:
    da = xr.concat([DATA] * 4, "p").chunk(p=2)

    def fit() -> xr.Dataset:
        model = xfit.Model([book["stale_stored"](name="line")])
        return da.fit.samfire(
            model, seeds=[(0,)], store=str(tmp_path / "s"), variance=1.0, goodness=lambda red_chisq: red_chisq < 1
        )

    fit()
    fit()
    book.run("K = 3.0")
    with pytest.raises(ValueError, match="the function or formula of component line"):
        fit()


def test_tests_of_goodness_are_known_by_what_they_read() -> None:
    book = Notebook()
    book.run("limit = 1.0\ndef good(red_chisq):\n    return red_chisq < limit\n")
    before = described(book["good"])
    assert described(book["good"]) == before
    book.run("limit = 2.0")
    assert described(book["good"]) != before


def test_a_result_is_not_evaluated_by_another_function(book: Notebook, tmp_path: Path) -> None:
    """Where the function that was fitted is not at hand any more, as in another process."""
    fit = DATA.fit.multifit(xfit.Model([book["stale_stored"](name="line")]))
    fit.to_netcdf(tmp_path / "fit.nc")
    opened = xr.open_dataset(tmp_path / "fit.nc")
    np.testing.assert_allclose(opened.fit.evaluate().values, DATA.values, atol=1e-9)
    opened.attrs["xfit_digests"] = opened.attrs["xfit_digests"].replace(book["stale_stored"]().kernel.digest, "another")
    with pytest.raises(
        ValueError, match="component 'line': the function 'stale_stored' is not the one of the fit any more"
    ):
        opened.copy().fit.evaluate()
    # What needs no function is read all the same.
    assert float(opened["value"].squeeze()) == pytest.approx(3.0, rel=1e-9)


def test_a_class_whose_formula_has_changed(tmp_path: Path) -> None:
    cell = "class Ramp(xfit.Component):\n    formula = '{k}*a*x'\n    specs = {{'a': xfit.Spec(1.0)}}\n"
    book = Notebook()
    book.run(cell.format(k=2))
    da = xr.concat([DATA] * 2, "p").chunk(p=1)
    fit = da.fit.multifit(xfit.Model([book["Ramp"](name="r")]), store=str(tmp_path / "s.zarr"))
    book.run(cell.format(k=3))
    with pytest.raises(ValueError, match="the function or formula of component r"):
        da.fit.multifit(xfit.Model([book["Ramp"](name="r")]), store=str(tmp_path / "s.zarr"), resume=True)
    with pytest.raises(ValueError, match="component 'r': the class 'Ramp' is not the one of the fit"):
        fit.fit.evaluate()


# --- the model


def peak() -> xfit.Model:
    return xfit.Model([Gaussian(name="g", A=100, centre=4.5, sigma=1), Offset(name="o", offset=4)])


def spectra(n: int) -> xr.DataArray:
    y = np.random.default_rng(0).poisson(5 + 60 * np.exp(-((X - 4) ** 2) / 2), (n, X.size)).astype(float)
    return xr.DataArray(y, dims=("p", "x"), coords={"x": ("x", X, {"units": "eV"})}, attrs={"units": "counts"})


def changed(model: xfit.Model) -> None:
    """Other components, in another order."""
    model.remove("g")
    model.append(Polynomial(2, name="p"))
    model["o"].name = "level"
    model.append(Gaussian(name="g"))


def same(found: xr.Dataset, right: xr.Dataset) -> None:
    xr.testing.assert_identical(found.load(), right.load())


@pytest.mark.parametrize("kind", ["in memory", "stored", "select", "samfire"])
def test_a_model_that_is_changed_while_it_is_fitted(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By another thread: the change is made when the first block is fitted."""
    import xfit.fitting.running.map_blocks
    import xfit.fitting.stored.chunk_task
    import xfit.samfire.chunk_state

    da = spectra(12)

    def fit(model: xfit.Model, number: int) -> xr.Dataset:
        if kind == "stored":
            return da.chunk(p=6).fit.multifit(model, store=str(tmp_path / str(number)))
        if kind == "select":
            return da.fit.select([model, other], criterion="bic")
        if kind == "samfire":
            return da.fit.samfire(model, seeds=[(0,)], variance=5.0, goodness=xfit.samfire.RedChisq(tolerance=50.0))
        return da.fit.multifit(model)

    other = xfit.Model([Offset(name="o")])
    right = fit(peak(), 0)
    model = peak()
    done = threading.Event()

    def after_change(call: Any) -> Any:
        def called(*args: Any, **kwargs: Any) -> Any:
            if not done.is_set():
                done.set()
                changer = threading.Thread(target=changed, args=(model,))
                changer.start()
                changer.join()
            return call(*args, **kwargs)

        return called

    monkeypatch.setattr(xfit.fitting.running.map_blocks, "fit_nd", after_change(xfit.fitting.running.map_blocks.fit_nd))
    task: Any = xfit.fitting.stored.chunk_task
    monkeypatch.setattr(task, "fit_nd", after_change(task.fit_nd))
    monkeypatch.setattr(xfit.samfire.chunk_state, "fit_block", after_change(xfit.samfire.chunk_state.fit_block))
    found = fit(model, 1)
    assert done.is_set()
    assert [c.name for c in model] == ["level", "p", "g"]
    same(found, right)


def test_a_lazy_fit_is_of_model_starts_and_bounds_at_the_call() -> None:
    da = spectra(4)
    start = {"g.centre": xr.DataArray(np.full(4, 4.2), dims="p")}
    bounds = {"g.sigma": (xr.DataArray(np.full(4, 0.5), dims="p"), 3.0)}

    def fit(model: xfit.Model) -> xr.Dataset:
        return da.chunk(p=2).fit.multifit(model, start=start, bounds=bounds)

    right = fit(peak()).load()
    model = peak()
    lazy = fit(model)
    changed(model)
    start["g.centre"].values[:] = 40.0
    bounds["g.sigma"][0].values[:] = 2.9
    start.clear()
    same(lazy, right)
