"""Kernels that one process has compiled and another takes from the disk: all functions that formulas may call."""

from __future__ import annotations

import subprocess
import sys

import pytest

from xfit.engine.codegen.kernel_cache import compile_source
from xfit.formulas.syntax import FUNCTIONS, MAX_CALLS

#: Fits curves of all functions, each with a factor and a scale, and a tie of some; tells what it found and how much was
#: compiled for it.
FITS = """
import hashlib
import sys
import numpy as np
import xarray as xr
import xfit
from xfit.engine.codegen.machine_code import made

x = np.linspace(0.1, 0.9, 40)
found = hashlib.sha256()
for formula in sys.argv[1:]:
    model = xfit.Model([xfit.components.Expression(formula, A=1.0, k=1.01)])
    fit = xr.DataArray(x**2, dims="x", coords={"x": x}).fit.multifit(model)
    assert fit["value"].notnull().all(), formula
    found.update(fit["value"].values.tobytes())
model = xfit.Model([xfit.components.Expression("A*x", name="a"), xfit.components.Expression("B*x**2", name="b")])
model["b"].B.tie("cosh(a.A) + sinh(a.A) + atan2(a.A, 2) + tan(a.A/9) + gamma(1 + a.A)")
fit = xr.DataArray(x + 3*x**2, dims="x", coords={"x": x}).fit.multifit(model)
found.update(fit["value"].values.tobytes())
print(found.hexdigest(), made())
"""


def _call(name: str) -> str:
    if name == "where":
        return "where(x < k/2, k*x, x)"
    # Of trigamma there is no derivative in closed form.
    first = "x" if name == "trigamma" else "k*x"
    return f"{name}({', '.join([first, '0.3', '0.7'][: FUNCTIONS[name]])})"


_CALLS = [_call(name) for name in FUNCTIONS]
FORMULAS = [f"A*({' + '.join(_CALLS[k : k + MAX_CALLS])})" for k in range(0, len(_CALLS), MAX_CALLS)]


def fits() -> list[str]:
    """What a process of its own prints."""
    run = subprocess.run([sys.executable, "-c", FITS, *FORMULAS], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


def test_every_function_in_a_process_that_compiles_nothing() -> None:
    """C's functions are found by a process that has never asked numba for them."""
    first, _ = fits()
    assert fits() == [first, "0"]


def test_what_numba_provides_is_refused() -> None:
    """A kernel that allocates would call an address of the process that compiled it."""
    source = """
import numpy as np
from numba import carray

def kernel(x, row_length, p, f, jacobian, n, scratch):
    a = np.zeros(n)
    a[n // 2] = p[0]
    carray(f, n)[:] = a[::-1]

lane_kernel = kernel
AMPLITUDES, SCRATCH, PROPORTIONAL = (), 0, -1
"""
    with pytest.raises(RuntimeError, match=r"kernels call numba's NRT_.*: they may not allocate"):
        compile_source(source, "allocates")
