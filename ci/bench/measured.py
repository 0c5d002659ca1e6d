"""What the processes that `overheads.py` starts do: ``measured.py ACTION ARGUMENTS...`` prints one line of JSON."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import small_calls
import xarray as xr

import xfit
from xfit.components import Expression, Gaussian, Lorentzian, Polynomial
from xfit.engine.block.fit_block import evaluate_block, fit_block
from xfit.engine.block.units import UNITS, compile_unit
from xfit.engine.codegen.program import Program
from xfit.fitting.planning.checks import settings_of


def peaks() -> list[Gaussian]:
    """Make the two Gaussians of W1 with its starts."""
    return [Gaussian(name="g1", A=200.0, centre=3.6, sigma=0.4), Gaussian(name="g2", A=400.0, centre=5.8, sigma=0.45)]


def w1() -> xfit.Model:
    """Make the model of W1: two Gaussians over a line."""
    return xfit.Model([*peaks(), Polynomial(order=1, name="line", a0=50.0, a1=-3.5)])


def fit_one(model: xfit.Model) -> float:
    """Fit one short spectrum; the time is nearly all overhead. Returns seconds."""
    x = np.linspace(0, 10.23, 64)
    y = 250 * np.exp(-((x - 3.5) ** 2) / 0.245) + 300 * np.exp(-((x - 6) ** 2) / 0.605) + 60 - 3 * x
    da = xr.DataArray(y[None], dims=("p", "x"), coords={"x": x})
    began = time.perf_counter()
    da.fit.multifit(model)
    return time.perf_counter() - began


def first_fit() -> dict[str, float]:
    """Fit for the first time in this process, then again."""
    return {"first": fit_one(w1()), "again": fit_one(w1())}


def pieces() -> dict[str, tuple[float, int]]:
    """Compile each piece of the engine; seconds of CPU and bytes of machine code. The first one takes
    what all have in common with it.
    """
    found = {}
    for name in UNITS:
        began = time.process_time()
        size = len(compile_unit(name))
        found[name] = (time.process_time() - began, size)
    return found


def descriptions() -> dict[str, float]:
    """Make every component of the library twice; milliseconds of the slowest the first time and again."""
    made: list[list[float]] = [[], []]
    for times in made:
        for name in xfit.components.__all__:
            kind = getattr(xfit.components, name)
            began = time.process_time()
            try:
                kind()
            except TypeError:
                # It needs arguments.
                continue
            times.append(1e3 * (time.process_time() - began))
    return {"first": max(made[0]), "again": max(made[1])}


def models_read() -> dict[str, float]:
    """Read models back from JSON, each in its turn and a second time; milliseconds of the slowest.

    The models are each component of the library over a line, W1's and one with a formula.
    """
    made = [w1(), xfit.Model([*peaks(), Expression("h*exp(-(x - c)**2/(2*s**2)) + o*tanh(x)", name="e")])]
    for name in xfit.components.__all__:
        try:
            made.append(xfit.Model([getattr(xfit.components, name)(name="c"), Polynomial(order=1, name="line")]))
        except TypeError:
            # It needs arguments.
            continue
    texts = [model.to_json() for model in made]
    times: list[list[float]] = [[], []]
    for turn in times:
        for text in texts:
            began = time.process_time()
            xfit.Model.from_json(text)
            turn.append(1e3 * (time.process_time() - began))
    return {"first": max(times[0]), "again": max(times[1]), "models": len(texts)}


def _compiled() -> int:
    """How many pieces this process has compiled, or had compiled by others."""
    from xfit.engine.codegen import machine_code, subprocess_compile

    return machine_code.made() + subprocess_compile.started()


def workers(number: str, folder: str) -> dict[str, float]:
    """Fit a map into a store by new worker processes, whose cache is empty; this process has the machine code.

    Seconds from the call to the end, of the processor in each worker, and how many pieces all workers have compiled.
    """
    from distributed import Client, LocalCluster

    n = int(number)
    fit_one(w1())
    x = np.linspace(0, 10.23, 64)
    y = 250 * np.exp(-((x - 3.5) ** 2) / 0.245) + 300 * np.exp(-((x - 6) ** 2) / 0.605) + 60 - 3 * x
    da = xr.DataArray(np.tile(y, (4 * n, 16, 1)), dims=("p", "q", "x"), coords={"x": x}).chunk(p=1)
    empty = {"XFIT_CACHE_DIR": f"{folder}/workers"}
    options = {"n_workers": n, "threads_per_worker": 1, "dashboard_address": None, "env": empty, "memory_limit": 0}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        client.wait_for_workers(n)
        before = client.run(time.process_time)
        began = time.perf_counter()
        da.fit.multifit(w1(), store=f"{folder}/fit.zarr", client=client)
        seconds = time.perf_counter() - began
        used = [after - before[name] for name, after in client.run(time.process_time).items()]
        return {"seconds": seconds, "cpu": sum(used) / n, "compiled": sum(client.run(_compiled).values())}


def new_kernels(number: str) -> dict[str, float]:
    """Fit models that are new to this process; seconds that the first fit of each takes more than its second.

    Parameters
    ----------
    number : str
        Goes into a formula, which so becomes one that no process ever compiled.
    """
    fit_one(w1())
    models = {
        "known components": xfit.Model(
            [*peaks(), Gaussian(name="g3", A=9.0, centre=8.0), Polynomial(order=1, name="line")]
        ),
        "library": xfit.Model([Lorentzian(name="l", A=300.0, centre=3.6), Polynomial(order=1, name="line", a0=60.0)]),
        "formula": xfit.Model([*peaks(), Expression(f"a + b*x*log(1 + x*x/{number})", name="e")]),
    }
    return {name: fit_one(model) - fit_one(model) for name, model in models.items()}


def schedulers(path: str) -> dict[str, list[float]]:
    """Fit chunks of 64 x 64 spectra directly and through dask with one thread and with
    two, in turns; seconds of each.
    """
    import dask

    with np.load(path) as data:
        da = xr.DataArray(data["y"], dims=("row", "column", "x"), coords={"x": data["x"]})
    model = w1()
    program = Program.from_model(model)
    settings = settings_of(
        model, program, np.ones(len(program.components), bool), bounded=True, n_channels=da.sizes["x"]
    )
    lazy = da.chunk(row=64, column=64).fit.multifit(model)
    corners = [(i, j) for i in range(0, da.sizes["row"], 64) for j in range(0, da.sizes["column"], 64)]
    # As dask cuts them: contiguous.
    chunks = [np.ascontiguousarray(da.values[i : i + 64, j : j + 64]).reshape(64 * 64, -1) for i, j in corners]

    def directly() -> None:
        for chunk in chunks:
            fit_block(program, settings, chunk, {"x": da.x.values})

    def through_dask(scheduler: str) -> Callable[[], None]:
        def compute() -> None:
            with dask.config.set(scheduler=scheduler, num_workers=2):
                lazy.compute()

        return compute

    ways = {name: through_dask(name) for name in ("synchronous", "threads")} | {"fit_block": directly}
    found: dict[str, list[float]] = {}
    for turn in range(8):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            if turn:
                found.setdefault(name, []).append(time.perf_counter() - began)
    return found


def roofline() -> dict[str, dict[str, float]]:
    """Bytes that fits of several shapes read and write, and how many of these fits one core makes a second;
    bytes that it copies a second.
    """
    random = np.random.default_rng(1)
    x = np.arange(1024) * 0.01
    small = np.arange(5.0)
    image = Expression("o + a*exp(-((x - x0)**2 + (y - y0)**2)/(2*s**2))", name="s", a=90, x0=2, y0=2, s=1.2, o=5)
    shapes = {
        "W1, 1,024 channels, 8 parameters, float64": (w1(), {"x": x}, "lm", 2000, np.float64),
        "W3, 1,024 channels, linear, float32": (
            xfit.Model([Polynomial(order=2, name="p")]),
            {"x": x},
            "lstsq",
            60000,
            np.float32,
        ),
        "W5, 5 x 5 channels, 5 parameters, float64": (
            xfit.Model([image]),
            {"y": small, "x": small},
            "lm",
            40000,
            np.float64,
        ),
    }
    found = {}
    for name, (model, coordinates, optimizer, pixels, dtype) in shapes.items():
        clean = _curve(model, coordinates)
        data = random.poisson(np.broadcast_to(clean, (pixels, *clean.shape))).astype(dtype)
        da = xr.DataArray(data, dims=("p", *coordinates), coords=coordinates)
        options = {"optimizer": optimizer, "dim": tuple(coordinates)}
        fit = da.fit.multifit(model, **options)
        began = time.process_time()
        fit = da.fit.multifit(model, **options)
        seconds = time.process_time() - began
        written = sum(v.nbytes for v in fit.data_vars.values())
        found[name] = {"bytes": (data.nbytes + written) / pixels, "fits": pixels / seconds}
    source = np.ones(1 << 26)
    target = np.empty_like(source)
    target[:] = source
    began = time.process_time()
    target[:] = source
    found["copy"] = {"bytes": 2 * source.nbytes, "fits": 1 / (time.process_time() - began)}
    return found


def _curve(model: xfit.Model, coordinates: dict[str, np.ndarray]) -> np.ndarray:
    """Values of a model at its start."""
    grids = np.meshgrid(*coordinates.values(), indexing="ij")
    program = Program.from_model(model)
    values = np.array([[component[name].value for component in model for name in component.kernel.parameters]])
    rows = {name: grid.ravel() for name, grid in zip(coordinates, grids, strict=True)}
    return evaluate_block(program, values, rows)[0].reshape(grids[0].shape)


def memory(source: str = "", target: str = "") -> dict[str, float]:
    """Fit a store into another one, or only one spectrum; seconds of the fit, and what the kernel counted in MiB."""
    fit_one(w1())
    began = time.perf_counter()
    if source:
        counts = xr.open_zarr(source, consolidated=False).counts
        counts.fit.multifit(w1(), "x").to_zarr(target, consolidated=False)
    seconds = time.perf_counter() - began
    usage = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {"seconds": seconds, "largest": max(usage) / 1024}


ACTIONS: dict[str, Callable[..., Any]] = {
    "first_fit": first_fit,
    "pieces": pieces,
    "descriptions": descriptions,
    "new_kernels": new_kernels,
    "schedulers": schedulers,
    "memory": memory,
    "models_read": models_read,
    "workers": workers,
    "roofline": roofline,
    "small_calls": lambda: small_calls.small_calls(w1()),
}

if __name__ == "__main__":
    print(json.dumps(ACTIONS[sys.argv[1]](*sys.argv[2:])))
