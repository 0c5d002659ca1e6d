"""Elementary functions of kernels: accuracy by mpmath, special values by the C library, vectorised loops, cfuncs."""

from __future__ import annotations

import ctypes
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mpmath
import numba
import numpy as np
import pytest

from tests.support.paths import ROOT
from xfit.engine.math import elementary as special
from xfit.engine.math.vector import select

#: As generated kernels are compiled.
KERNEL: dict[str, Any] = {"fastmath": {"contract"}, "error_model": "numpy"}
#: Largest error in units in the last place, over the whole range.
BOUNDS = {"exp": 1.5, "log": 1.5, "power": 2.0, "tanh": 3.0, "atan": 2.0, "sin": 1.5, "cos": 1.5}
UNARY = [name for name in BOUNDS if name != "power"]
NUMPY = {name: getattr(np, {"atan": "arctan"}.get(name, name)) for name in UNARY}
POINTS = 12_000
INF, NAN, TINY = math.inf, math.nan, 5e-324


@pytest.fixture(autouse=True)
def _digits() -> Iterator[None]:
    # Sines near a multiple of pi and logarithms near 1 cancel up to 100 of the binary digits.
    with mpmath.workprec(200):
        yield


def unary(function: Callable[[float], float]) -> Any:
    @numba.njit(**KERNEL)
    def loop(x, out):
        for i in range(x.size):
            out[i] = function(x[i])

    return loop


def binary(function: Callable[[float, float], float]) -> Any:
    @numba.njit(**KERNEL)
    def loop(x, y, out):
        for i in range(x.size):
            out[i] = function(x[i], y[i])

    return loop


def evaluate(loop: Any, *arguments: np.ndarray) -> np.ndarray:
    out = np.empty_like(arguments[0])
    loop(*arguments, out)
    return out


def signs(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.choice([-1.0, 1.0], n)


def log_uniform(rng: np.random.Generator, low: float, high: float, n: int = POINTS) -> np.ndarray:
    return 10.0 ** rng.uniform(low, high, n)


def sample(name: str) -> np.ndarray:
    """Over 20,000 arguments: over the whole range, log-uniform, and where a function is hard."""
    rng = np.random.default_rng(20)
    if name == "exp":
        steps = np.arange(-1020, 1024) * math.log(2) / 2
        wide = rng.uniform(-708, 709.78, POINTS)
        return np.concatenate([wide, signs(rng, POINTS) * log_uniform(rng, -20, 2.8), steps])
    if name == "log":
        near_one = 1 + signs(rng, POINTS) * log_uniform(rng, -16, -0.5)
        return np.concatenate([log_uniform(rng, -323, 308), near_one, 2.0 ** np.arange(-1074, 1024)])
    wide = signs(rng, POINTS) * log_uniform(rng, -300, 300 if name == "atan" else 5)
    if name in ("tanh", "atan"):
        return np.concatenate([wide, rng.uniform(-5, 5, POINTS)])
    multiples = np.concatenate([np.arange(1, 64_000, 8), np.rint(log_uniform(rng, 0, 11.8, 4000))]) * math.pi / 2
    return np.concatenate([wide, rng.uniform(-1e5, 1e5, POINTS), multiples])


def sample_power() -> tuple[np.ndarray, np.ndarray]:
    """Bases and exponents with results over the whole normal range, bases near one, power laws of energies."""
    rng = np.random.default_rng(21)
    x = np.concatenate([log_uniform(rng, -300, 300), 1 + signs(rng, POINTS) * log_uniform(rng, -14, -0.6)])
    y = rng.uniform(-1020, 1020, x.size) / np.log2(x)
    return np.append(x, log_uniform(rng, 0, 3.5)), np.append(y, rng.uniform(-8, 3, POINTS))


def largest_error(got: np.ndarray, exact: list[Any]) -> tuple[float, int]:
    """Largest error in units in the last place of the exact result, and where it is."""
    errors = [
        float(abs(mpmath.mpf(g) - e) / mpmath.mpf(math.ulp(float(e)))) for g, e in zip(got.tolist(), exact, strict=True)
    ]
    worst = int(np.argmax(errors))
    return errors[worst], worst


def same(got: np.ndarray, expected: np.ndarray, units: float) -> np.ndarray:
    """Equal with signs of zeros, or both NaN, or no more than some units apart."""
    equal = (got == expected) & (np.signbit(got) == np.signbit(expected))
    close = np.zeros(got.shape, bool)
    finite = np.isfinite(got) & np.isfinite(expected) & (expected != 0)
    close[finite] = np.abs(got[finite] - expected[finite]) <= units * np.spacing(np.abs(expected[finite]))
    return equal | (np.isnan(got) & np.isnan(expected)) | close


@pytest.mark.parametrize("name", UNARY)
def test_accuracy(name):
    x = sample(name)
    assert x.size > 20_000
    got = evaluate(unary(getattr(special, name)), x)
    error, worst = largest_error(got, [getattr(mpmath, name)(v) for v in x.tolist()])
    print(f"{name}: {error:.3f} ulp at {x[worst]!r} ({x.size} points)")
    assert error <= BOUNDS[name]


def test_accuracy_of_power():
    x, y = sample_power()
    assert x.size > 20_000
    got = evaluate(binary(special.power), x, y)
    exact = [mpmath.power(mpmath.mpf(a), mpmath.mpf(b)) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    error, worst = largest_error(got, exact)
    print(f"power: {error:.3f} ulp at {x[worst]!r}, {y[worst]!r} ({x.size} points)")
    assert error <= BOUNDS["power"]


def test_exp_into_subnormal_numbers():
    """Exp underflows through the subnormal numbers, each correct to one of their steps."""
    x = np.linspace(-745.2, -708.3, 3001)
    got = evaluate(unary(special.exp), x)
    steps = [float(abs(mpmath.mpf(g) - mpmath.exp(v)) / TINY) for g, v in zip(got.tolist(), x.tolist(), strict=True)]
    assert max(s for s, g in zip(steps, got.tolist(), strict=True) if g < 2.2e-308) <= 1.0


@pytest.mark.parametrize("name", UNARY)
def test_special_values(name):
    """NumPy's functions are the C library's, with the values that C99's annex F demands."""
    above = [0.0, TINY, 1e-310, 2.3e-308, 0.5, 1.0, 22.0, 1e10, INF, 745.0, 745.2, 746.0, 709.78, 709.79, 710.0, 711.0]
    above += [] if name in ("sin", "cos") else [1e20, 1e308]
    x = np.array([*above, *(-v for v in above), NAN])
    with np.errstate(all="ignore"):
        expected = NUMPY[name](x)
    got = evaluate(unary(getattr(special, name)), x)
    agree = same(got, expected, BOUNDS[name])
    assert agree.all(), list(zip(x[~agree], got[~agree], expected[~agree], strict=True))


def test_special_values_of_power():
    """All pairs of special values agree with the C library's pow, signs of zeros included."""
    whole = [0.0, 1.0, 2.0, 3.0, 1023.0, 1024.0, 1074.0, 1075.0, 1076.0, 2.0**52 + 1, 2.0**53 - 1, 2.0**53, 1e300]
    values = [*whole, 0.5, 1.5, 1 / 3, 1 + 2**-52, 1 - 2**-53, TINY, 1e-310, 2.0**51 + 0.5, INF]
    values += [*(-v for v in values), NAN]
    x, y = (v.ravel() for v in np.meshgrid(values, values))
    with np.errstate(all="ignore"):
        expected = np.power(x, y)
    got = evaluate(binary(special.power), x, y)
    # The C library's results are within one unit of the exact ones, of which power is within two.
    agree = same(got, expected, BOUNDS["power"] + 1)
    assert agree.all(), list(zip(x[~agree], y[~agree], got[~agree], expected[~agree], strict=True))


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_sines_of_huge_arguments_are_bounded_then_nan(name):
    rng = np.random.default_rng(22)
    x = signs(rng, POINTS) * log_uniform(rng, 12, 15)
    got = evaluate(unary(getattr(special, name)), x)
    assert np.abs(got - NUMPY[name](x)).max() <= np.spacing(1e15)
    assert np.isnan(evaluate(unary(getattr(special, name)), np.array([1.1e15, -1e300]))).all()


def _gaussian(u, p):
    return special.exp(-0.5 * u * u) * p


def _composed(x, p):
    return special.power(special.exp(x), p) + special.log(1.0 + special.exp(-x))


def _pieces(x, p):
    return select(x > 2.0, special.power(x, p), select(x > 1.0, special.log(x), special.tanh(x)))


def assert_vectorised(loop: Any) -> None:
    """Arithmetic on vectors of float64 stands in the optimised code, whatever the machine's width."""
    code = "\n".join(loop.inspect_llvm().values())
    counts = {op: len(re.findall(rf"= {op}\b.*<\d+ x double>", code)) for op in ("fadd", "fsub", "fmul")}
    assert counts["fmul"] > 4, counts
    assert counts["fadd"] + counts["fsub"] > 4, counts
    calls = re.findall(r"call .*double @(?!llvm\.)[^\n]*", code)
    assert not calls, calls


@pytest.mark.parametrize("name", UNARY)
def test_loops_vectorise(name):
    loop = unary(getattr(special, name))
    evaluate(loop, np.linspace(0.1, 1, 8))
    assert_vectorised(loop)


@pytest.mark.parametrize("formula", [special.power, _gaussian, _composed, _pieces])
def test_formulas_of_several_functions_vectorise(formula):
    loop = binary(formula if formula is special.power else numba.njit(forceinline=True, **KERNEL)(formula))
    evaluate(loop, np.linspace(0.1, 1, 8), np.ones(8))
    assert_vectorised(loop)


@numba.cfunc("void(CPointer(float64), CPointer(float64), int64)", cache=True, **KERNEL)
def _in_cfunc(x_, out_, n):
    x = numba.carray(x_, (n,))
    out = numba.carray(out_, (3, n))
    for i in range(n):
        out[0, i] = special.exp(-0.5 * x[i] * x[i])
        out[1, i] = special.log(x[i])
        out[2, i] = special.power(x[i], -2.5)


def test_in_a_cached_cfunc_on_pointers():
    x = np.linspace(0.1, 30, 517)
    out = np.empty((3, x.size))
    pointer = ctypes.POINTER(ctypes.c_double)
    _in_cfunc.ctypes(x.ctypes.data_as(pointer), out.ctypes.data_as(pointer), x.size)
    # The rounded argument -x^2/2 itself shifts the exponential by up to its size times half an epsilon.
    np.testing.assert_allclose(out, [np.exp(-0.5 * x * x), np.log(x), x**-2.5], rtol=2e-13, atol=0)


@pytest.mark.slow
def test_results_do_not_depend_on_the_flags_of_the_first_caller(tmp_path: Path):
    """Numba hands a caller's fastmath flags down to a function compiled for it, unless the function has its own."""
    script = tmp_path / "first_caller.py"
    script.write_text(
        "import sys, numba, numpy as np\n"
        "from xfit.engine.math.elementary import exp, power, sin\n"
        "flags = {'contract'} if sys.argv[1] == 'kernel' else {'reassoc', 'contract', 'nsz', 'arcp'}\n"
        "@numba.njit(fastmath=flags, error_model='numpy')\n"
        "def loop(x, out):\n"
        "    for i in range(x.size):\n"
        "        out[0, i] = exp(x[i])\n"
        "        out[1, i] = power(1.0 + x[i] * x[i], 0.7)\n"
        "        out[2, i] = sin(x[i])\n"
        "x = np.linspace(-700, 700, 4096)\n"
        "out = np.empty((3, x.size))\n"
        "loop(x, out)\n"
        "print(out.tobytes().hex())\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    first, second = (
        subprocess.run([sys.executable, script, kind], capture_output=True, check=True, env=environment).stdout
        for kind in ("kernel", "sums")
    )
    assert first == second


def test_select_heaviside_and_sign():
    x = np.array([-INF, -2.0, -0.0, 0.0, TINY, 3.0, INF])
    np.testing.assert_array_equal(evaluate(unary(special.heaviside), x), np.heaviside(x, 0.5))
    np.testing.assert_array_equal(evaluate(unary(special.sign), x), np.sign(x))
    got = [select(condition, 1.0, 2.0) for condition in (True, False)]
    assert got == [1.0, 2.0]
