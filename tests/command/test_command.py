"""The command line: through real processes on real files, and what it says of what it can't do."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import xfit
from tests.support.builders import assert_same_bits, two_peaks
from tests.support.commands import (
    CHUNKS,
    folder,  # noqa: F401
    run,
    start,
)
from tests.support.opened import open_result
from tests.support.paths import ROOT


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code and what a process wrote."""
    out, errors = process.communicate(timeout=300)
    return process.returncode, out, errors


def wait_for_files(process: subprocess.Popen[str], folder: Path) -> None:
    """Wait until a run has written some files into a folder."""
    while not (folder.exists() and len(list(folder.iterdir())) > 3):
        assert process.poll() is None, finished(process)
        time.sleep(0.02)


@pytest.fixture(scope="module")
def expected(folder: Path) -> xr.Dataset:
    """What a fit in memory finds."""
    return xr.open_zarr(folder / "map.zarr", consolidated=False).counts.compute().fit.multifit(two_peaks())


@pytest.mark.parametrize("model", ["model.toml", "model.json"])
def test_into_a_store(folder, expected, tmp_path, model) -> None:
    done = run(
        "fit", folder / "map.zarr", "--signal", "counts", "--model", folder / model, "--out", tmp_path / "fit.zarr"
    )
    assert done.exit_code == 0, done.output
    assert "fit of counts: 48 pixels" in done.output
    assert f"result: {tmp_path / 'fit.zarr'}" in done.output
    assert_same_bits(open_result(tmp_path / "fit.zarr").compute(), expected)
    again = [
        "fit",
        folder / "map.zarr",
        "--signal",
        "counts",
        "--model",
        folder / model,
        "--out",
        tmp_path / "fit.zarr",
    ]
    refused = run(*again)
    assert refused.exit_code == 1
    assert "--overwrite" in refused.output
    assert "=True" not in refused.output
    assert run(*again, "--overwrite", "--quiet").output == ""
    assert run(*again, "--resume", "--quiet").output == ""


@pytest.mark.parametrize("ending", ["nc", "csv", "hspy"])
def test_other_formats(folder, expected, tmp_path, ending) -> None:
    out = tmp_path / f"fit.{ending}"
    done = run("fit", folder / "map.nc", "--model", folder / "model.toml", "--out", out)
    assert done.exit_code == 0, done.output
    assert [each.name for each in tmp_path.iterdir()] == [out.name]  # and nothing of what it was made of
    if ending == "nc":
        assert_same_bits(open_result(out).compute(), expected)
    elif ending == "csv":
        column = np.genfromtxt(out, delimiter=",", names=True, deletechars="", dtype=None, encoding="utf-8")
        np.testing.assert_array_equal(column["left.A"].reshape(8, 6), expected.fit["left.A"])
    else:
        np.testing.assert_array_equal(xfit.open(out, signal="left.A"), expected.fit["left.A"])
    refused = run("fit", folder / "map.nc", "--model", folder / "model.toml", "--out", out)
    assert refused.exit_code == 1
    assert "--overwrite replaces it" in refused.output


def test_options_of_the_fit(folder, tmp_path) -> None:
    """All are those of multifit, with arrays beside the data by their names."""
    out = tmp_path / "fit.zarr"
    done = run(
        "fit",
        folder / "map.zarr",
        "--signal",
        "counts",
        "--model",
        folder / "model.toml",
        "--out",
        out,
        "--variance",
        "spread",
        "--where",
        "good",
        "--where",
        "energy=2:9",
        "--where",
        "energy=10:",
        "--optimizer",
        "trf",
        "--loss",
        "soft_l1",
        "--covariance",
        "--no-bounded",
        "--start",
        "estimate",
        "--tolerance",
        "1e-10",
        "--max-nfev",
        "500",
        "--chunks",
        "y=8,x=6",
        "--dim",
        "energy",
    )
    assert done.exit_code == 0, done.output
    ds = xr.open_zarr(folder / "map.zarr", consolidated=False).compute()
    fit = ds.counts.fit.multifit(
        two_peaks(),
        variance=ds.spread,
        where=ds.good & xfit.signal_range(ds.counts, (2, 9), (10, None)),
        optimizer="trf",
        loss="soft_l1",
        covariance=True,
        bounded=False,
        start="estimate",
        tolerance=1e-10,
        max_nfev=500,
    )
    assert_same_bits(open_result(out).compute(), fit)
    # From an earlier result, in one chunk as asked.
    assert xfit.open(out).chunksizes["y"] == (8,)
    done = run(
        "fit", folder / "map.nc", "--model", folder / "model.toml", "--out", tmp_path / "again.zarr", "--start", out
    )
    assert done.exit_code == 0, done.output


def test_a_single_spectrum(folder, expected, tmp_path) -> None:
    one = xr.open_dataset(folder / "map.nc").counts[2, 1].drop_vars(["y", "x"], errors="ignore")
    one.to_netcdf(tmp_path / "one.nc")
    done = run("fit", tmp_path / "one.nc", "--model", folder / "model.toml", "--out", tmp_path / "fit.zarr")
    assert done.exit_code == 0, done.output
    np.testing.assert_array_equal(xfit.open(tmp_path / "fit.zarr")["value"], expected["value"][2, 1])
    refused = run("fit", tmp_path / "one.nc", "--model", folder / "model.toml", "--out", tmp_path / "f.nc", "--resume")
    assert "--resume is for maps" in refused.output


@pytest.mark.slow
def test_killed_and_resumed_on_worker_processes(folder, tmp_path) -> None:
    """SIGKILL in the middle; what is done is kept, and the bits are those of a fit in memory."""
    da = xr.concat([xr.open_dataset(folder / "map.nc").counts] * 10, "y").drop_vars("y", errors="ignore")
    da.chunk(y=1, x=6).to_dataset().to_zarr(tmp_path / "long.zarr", consolidated=False)
    words = [
        "fit",
        "long.zarr",
        "--model",
        folder / "model.toml",
        "--out",
        "fit.zarr",
        "--workers",
        2,
        "--chunks",
        "y=1",
        "--resume",
    ]
    process = start(tmp_path, *words)
    wait_for_files(process, tmp_path / "fit.zarr" / "marks" / "done" / "c")
    process.kill()
    process.wait()  # not for its pipes, which its workers have until they see that it is gone
    code, out, errors = finished(start(tmp_path, *words))
    assert code == 0, errors
    assert "480 pixels" in out
    assert_same_bits(open_result(tmp_path / "fit.zarr").compute(), da.compute().fit.multifit(two_peaks()))


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["--workers", 2]], ids=["threads", "processes"])
def test_ctrl_c_says_how_to_go_on(folder, tmp_path, more) -> None:
    da = xr.concat([xr.open_dataset(folder / "map.nc").counts] * 12, "y").drop_vars("y", errors="ignore")
    da.chunk(y=1, x=6).to_dataset().to_zarr(tmp_path / "long.zarr", consolidated=False)
    words = ["fit", "long.zarr", "--model", folder / "model.toml", "--out", "fit.nc", "--chunks", "y=1", *more]
    process = start(tmp_path, *words)
    wait_for_files(process, tmp_path / "fit.nc.part" / "marks" / "done" / "c")
    process.send_signal(signal.SIGINT)
    code, _, errors = finished(process)
    assert code == 130
    assert "of 96 chunks are fitted and stay in" in errors
    assert "Traceback" not in errors
    assert "Warning" not in errors
    assert "fit.nc.part, and --resume goes on with it" in errors
    refused = run("fit", tmp_path / "long.zarr", "--model", folder / "model.toml", "--out", tmp_path / "fit.nc")
    assert "an unfinished run lies in" in refused.output
    code, _, errors = finished(start(tmp_path, *words, "--resume"))
    assert code == 0, errors
    assert_same_bits(open_result(tmp_path / "fit.nc").compute(), da.compute().fit.multifit(two_peaks()))


@pytest.mark.slow
def test_ctrl_c_of_a_run_from_seeds(folder, tmp_path) -> None:
    da = xr.concat([xr.open_dataset(folder / "map.nc").counts] * 60, "y").drop_vars("y", errors="ignore")
    da.chunk(y=20, x=6).to_dataset().to_zarr(tmp_path / "long.zarr", consolidated=False)
    words = ["fit", "long.zarr", "--model", folder / "model.toml", "--out", "fit.zarr", "--samfire", "--seed", "3,5"]
    process = start(tmp_path, *words)
    wait_for_files(process, tmp_path / "fit.zarr.part" / "visits")
    process.send_signal(signal.SIGINT)
    code, _, errors = finished(process)
    assert code == 130
    assert "the same call goes on with it" in errors
    assert "what is done lies in fit.zarr.part, and --resume goes on with it" in errors
    code, out, errors = finished(start(tmp_path, *words, "--resume"))
    assert code == 0, errors
    assert "2880 pixels" in out
    assert (open_result(tmp_path / "fit.zarr").compute().status == 1).all()


@contextlib.contextmanager
def scheduler(folder: Path) -> Iterator[str]:
    """A scheduler and a worker, as dask's own commands start them."""
    place = folder / "scheduler.json"
    words = [
        sys.executable,
        "-m",
        "distributed.cli.dask_scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--no-dashboard",
        "--scheduler-file",
        str(place),
    ]
    with subprocess.Popen(words, cwd=folder, stderr=subprocess.DEVNULL) as one:
        while not place.exists() or not place.read_text():
            assert one.poll() is None
            time.sleep(0.05)
        worker = [
            sys.executable,
            "-m",
            "distributed.cli.dask_worker",
            "--scheduler-file",
            str(place),
            "--no-dashboard",
            "--nthreads",
            "1",
            "--no-nanny",
        ]
        with subprocess.Popen(
            worker, cwd=folder, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)}
        ) as other:
            try:
                yield json.loads(place.read_text())["address"]
            finally:
                other.terminate()
                one.terminate()


@pytest.mark.slow
def test_on_a_cluster_that_is_there(folder, expected, tmp_path) -> None:
    with scheduler(tmp_path) as address:
        words = (
            "fit",
            folder / "map.zarr",
            "--signal",
            "counts",
            "--model",
            folder / "model.toml",
            "--out",
            tmp_path / "fit.zarr",
            "--scheduler",
            address,
        )
        done = run(*words)
    assert done.exit_code == 0, done.output
    assert_same_bits(open_result(tmp_path / "fit.zarr").compute(), expected)


def test_samfire(folder, tmp_path) -> None:
    words = (
        "fit",
        folder / "map.zarr",
        "--signal",
        "counts",
        "--model",
        folder / "model.toml",
        "--variance",
        "spread",
        "--samfire",
    )
    done = run(*words, "--out", tmp_path / "fit.zarr", "--seed", "3,2", "--seed", "0,5")
    assert done.exit_code == 0, done.output
    ds = xr.open_zarr(folder / "map.zarr", consolidated=False)
    expected = ds.counts.fit.samfire(two_peaks(), seeds=[(3, 2), (0, 5)], variance=ds.spread).compute()
    assert_same_bits(open_result(tmp_path / "fit.zarr").compute(), expected)
    assert [each.name for each in tmp_path.iterdir()] == ["fit.zarr"]
    for seeds, words_of in (
        (["3,a"], "positions are whole numbers"),
        (["y=1,x=2", "y=3"], "every seed needs the same labels"),
        (["y=1,2"], "do not go together"),
    ):
        refused = run(*words, "--out", tmp_path / "no.zarr", *(w for seed in seeds for w in ("--seed", seed)))
        assert refused.exit_code == 1
        assert words_of in refused.output


def test_data_that_cannot_be_read(folder, expected, tmp_path) -> None:
    """Exit code 3, and the others are fitted."""
    da = xr.open_dataset(folder / "map.nc").counts
    da.chunk(CHUNKS).to_dataset().to_zarr(tmp_path / "map.zarr", consolidated=False)
    whole = (tmp_path / "map.zarr" / "counts" / "c" / "1" / "0" / "0").read_bytes()
    (tmp_path / "map.zarr" / "counts" / "c" / "1" / "0" / "0").write_bytes(b"damaged")
    done = run("fit", tmp_path / "map.zarr", "--model", folder / "model.toml", "--out", tmp_path / "fit.nc")
    assert done.exit_code == 3, done.output
    assert "1 chunks could not be read" in done.output
    assert int((xfit.open(tmp_path / "fit.nc")["status"] == 1).sum()) == 36
    # What can be read now is fitted when the run is resumed.
    (tmp_path / "map.zarr" / "counts" / "c" / "1" / "0" / "0").write_bytes(whole)
    words = (
        "fit",
        tmp_path / "map.zarr",
        "--model",
        folder / "model.toml",
        "--out",
        tmp_path / "fit.nc",
        "--chunks",
        "y=4,x=3",
    )
    done = run(*words, "--resume")
    assert done.exit_code == 0, done.output
    assert_same_bits(open_result(tmp_path / "fit.nc").compute(), expected)
    assert "that run is done" in run(*words, "--resume").output
