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

import dask
import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner, Result

import xfit
from tests.support.builders import assert_same_bits, peak_map, two_peaks
from tests.support.paths import ROOT, real
from xfit.command import main

CHUNKS = {"y": 4, "x": 3}


def run(*words: object) -> Result:
    """A command in this process."""
    return CliRunner().invoke(main, [str(word) for word in words])


def start(folder: Path, *words: object) -> subprocess.Popen[str]:
    """A command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "xfit.command", *map(str, words)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        # A shell that runs the tests in the background has them, and what they start, ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


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
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data with a variance and a mask beside them, in zarr and netCDF, and a model."""
    folder = tmp_path_factory.mktemp("command")
    da = peak_map((8, 6)).rename("counts")
    ds = da.to_dataset()
    ds["spread"] = 0.5 + 0.01 * np.abs(da)
    ds["good"] = da.isel(energy=0, drop=True) * 0 < 1
    ds["good"][2, 3] = False
    ds.chunk(CHUNKS).to_zarr(folder / "map.zarr", consolidated=False)
    ds.drop_vars(["spread", "good"]).to_netcdf(folder / "map.nc")
    two_peaks().to_file(folder / "model.toml")
    two_peaks().to_file(folder / "model.json")
    return folder


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
    assert_same_bits(xfit.open(tmp_path / "fit.zarr").compute(), expected)
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
        assert_same_bits(xfit.open(out).compute(), expected)
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
        "fit", folder / "map.zarr", "--signal", "counts", "--model", folder / "model.toml", "--out", out, "--variance", "spread", "--where", "good",
        "--where", "energy=2:9", "--where", "energy=10:", "--optimizer", "trf", "--loss", "soft_l1", "--covariance", "--no-bounded", "--start", "estimate",
        "--tolerance", "1e-10", "--max-nfev", "500", "--chunks", "y=8,x=6", "--dim", "energy",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    ds = xr.open_zarr(folder / "map.zarr", consolidated=False).compute()
    fit = ds.counts.fit.multifit(
        two_peaks(), variance=ds.spread, where=ds.good & xfit.signal_range(ds.counts, (2, 9), (10, None)), optimizer="trf", loss="soft_l1", covariance=True,
        bounded=False, start="estimate", tolerance=1e-10, max_nfev=500,
    )  # fmt: skip
    assert_same_bits(xfit.open(out).compute(), fit)
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
    da = xr.concat([xr.open_dataset(folder / "map.nc").counts] * 40, "y").drop_vars("y", errors="ignore")
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
    assert "1920 pixels" in out
    assert_same_bits(xfit.open(tmp_path / "fit.zarr").compute(), da.compute().fit.multifit(two_peaks()))


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["--workers", 2]], ids=["threads", "processes"])
def test_ctrl_c_says_how_to_go_on(folder, tmp_path, more) -> None:
    da = xr.concat([xr.open_dataset(folder / "map.nc").counts] * 30, "y").drop_vars("y", errors="ignore")
    da.chunk(y=1, x=6).to_dataset().to_zarr(tmp_path / "long.zarr", consolidated=False)
    words = ["fit", "long.zarr", "--model", folder / "model.toml", "--out", "fit.nc", "--chunks", "y=1", *more]
    process = start(tmp_path, *words)
    wait_for_files(process, tmp_path / "fit.nc.part" / "marks" / "done" / "c")
    process.send_signal(signal.SIGINT)
    code, _, errors = finished(process)
    assert code == 130
    assert "of 240 chunks are fitted and stay in" in errors
    assert "Traceback" not in errors
    assert "Warning" not in errors
    assert "fit.nc.part, and --resume goes on with it" in errors
    refused = run("fit", tmp_path / "long.zarr", "--model", folder / "model.toml", "--out", tmp_path / "fit.nc")
    assert "an unfinished run lies in" in refused.output
    code, _, errors = finished(start(tmp_path, *words, "--resume"))
    assert code == 0, errors
    assert_same_bits(xfit.open(tmp_path / "fit.nc").compute(), da.compute().fit.multifit(two_peaks()))


@pytest.mark.slow
def test_ctrl_c_of_a_run_from_seeds(folder, tmp_path) -> None:
    da = xr.concat([xr.open_dataset(folder / "map.nc").counts] * 150, "y").drop_vars("y", errors="ignore")
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
    assert "7200 pixels" in out
    assert (xfit.open(tmp_path / "fit.zarr").compute().status == 1).all()


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
    assert_same_bits(xfit.open(tmp_path / "fit.zarr").compute(), expected)


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
    assert_same_bits(xfit.open(tmp_path / "fit.zarr").compute(), expected)
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
    assert_same_bits(xfit.open(tmp_path / "fit.nc").compute(), expected)
    assert "that run is done" in run(*words, "--resume").output


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--scheduler", "tcp://127.0.0.1:1", "--workers", "2"], 2, "give one of them"),
        (["--resume", "--overwrite"], 2, "give one of them"),
        (["--seed", "1,2"], 2, "--seed is of --samfire"),
        (["--samfire"], 2, "needs a --seed"),
        (["--samfire", "--start", "estimate"], 2, "needs a --seed"),
        (["--optimizer", "no"], 1, "optimizer 'no'"),
        (["--loss", "no"], 1, "loss"),
        (["--variance", "-1"], 1, "--variance -1 must be above zero"),
        (["--variance", "nothing"], 1, "nor a file"),
        (["--where", "energy=a:3"], 1, "'a' is no number; write a range such as energy=600:800"),
        (["--where", "z=1:3"], 1, "z"),
        (["--start", "no.zarr"], 1, "there is no such file"),
        (["--start", __file__], 1, "a result is a .zarr store or one of .nc"),
        (["--dim", "no"], 1, "--dim no: the data have the dimensions y, x, energy"),
        (["--chunks", "y"], 1, "must be a dimension and a size"),
        (["--chunks", "z=3"], 1, "the map has the dimensions y, x"),
        (["--signal", "no"], 1, "has no such signal; it has counts"),
    ],
)
def test_what_is_wrong_is_said(folder, tmp_path, words, code, message) -> None:
    """Before any work, and without leaving anything."""
    signal_ = [] if "--signal" in words else ["--signal", "counts"]
    done = run(
        "fit", folder / "map.zarr", *signal_, "--model", folder / "model.toml", "--out", tmp_path / "fit.zarr", *words
    )
    assert done.exit_code == code, done.output
    assert message in " ".join(done.output.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ["nc", "hspy"])
def test_what_is_read_is_never_overwritten(folder, tmp_path, ending) -> None:
    """Not even when asked to: the data would be gone."""
    pytest.importorskip("rsciio")
    data = tmp_path / f"map.{ending}"
    xfit.save(xfit.open(folder / "map.nc", signal="counts").compute(), data)
    before = data.read_bytes()
    (tmp_path / "sub").mkdir()
    for out in (data, tmp_path / "sub" / ".." / data.name):
        done = run("fit", data, "--model", folder / "model.toml", "--out", out, "--overwrite")
        assert done.exit_code == 1
        assert "is what the fit reads" in done.output
    assert data.read_bytes() == before
    start = tmp_path / "fit.zarr"
    words = ("fit", data, "--model", folder / "model.toml", "--out", start, "--quiet")
    assert run(*words).exit_code == 0
    assert "is what the fit reads" in run(*words, "--start", start, "--overwrite").output
    assert int((xfit.open(start)["status"] == 1).sum()) > 0


def test_places_that_are_not_there(folder, tmp_path) -> None:
    model = folder / "model.toml"
    assert "there is no store" in run("info", tmp_path / "no.zarr").output
    assert "there is no file" in run("fit", tmp_path / "no.zarr", "--model", model, "--out", tmp_path / "f.zarr").output
    assert (
        "there is no folder"
        in run("fit", folder / "map.nc", "--model", model, "--out", tmp_path / "no" / "f.zarr").output
    )
    assert (
        "results go into .zarr" in run("fit", folder / "map.nc", "--model", model, "--out", tmp_path / "f.txt").output
    )
    several = run("fit", folder / "map.zarr", "--model", model, "--out", tmp_path / "f.zarr")
    assert "several signals that can be fitted: " in several.output
    assert all(f"{name} ('y', 'x', 'energy')" in several.output for name in ("counts", "spread"))
    lost = run("fit", folder / "map.nc", "--model", model, "--out", tmp_path / "f.zarr", "--scheduler", "nonsense:1:2")
    assert lost.exit_code == 1
    assert "no scheduler answers" in lost.output
    # And nothing waits for it any more.
    assert dask.base.get_scheduler() is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("components = 3", "components"),
        ("[[components]]\ntype = 'Gausian'", r"components[0].type"),
        ("[[components]]\ntype = 'Gaussian'\n[components.parameters.center]\nvalue = 1", "centre"),
        (
            "[[components]]\ntype = 'Gaussian'\n[components.parameters.centre]\nmax = 'abc'",
            "components[0].parameters.centre.max",
        ),
        ("[[components]\n", "line 1"),
    ],
)
def test_wrong_model_files(folder, tmp_path, text, message) -> None:
    (tmp_path / "m.toml").write_text(text)
    done = run("fit", folder / "map.nc", "--model", tmp_path / "m.toml", "--out", tmp_path / "fit.zarr")
    assert done.exit_code == 1
    assert "m.toml: " in done.output
    assert message in done.output


def test_lists_and_templates(tmp_path) -> None:
    listed = run("components").output
    assert all(name in listed for name in ("Gaussian ", "EELSCLEdge", "PowerLaw"))
    shown = run("components", "voigt").output
    assert "gamma" in shown
    assert "10.1" in shown or "doi" in shown  # its source
    assert "did you mean Gaussian?" in run("components", "Gausian").output
    assert "lm" in run("optimizers").output
    path = tmp_path / "m.toml"
    assert run("model", "bg=PowerLaw", "Gaussian", "--out", path).exit_code == 0
    model = xfit.Model.from_file(path)
    assert [(each.name, type(each).__name__) for each in model] == [("bg", "PowerLaw"), ("Gaussian", "Gaussian")]
    there = run("model", "Offset", "--out", path)
    assert there.exit_code == 1
    assert "--overwrite replaces it" in there.output
    assert "write it by hand" in run("model", "Expression").output
    for command in ("fit", "view", "info", "components", "model", "bench"):
        assert "Examples:\n" in run(command, "--help").output.replace("  ", ""), command


def test_files_of_instruments(tmp_path) -> None:
    """EELS in HyperSpy's format, of which the near-edge part is a power law: as multifit finds it."""
    model = xfit.Model([xfit.components.PowerLaw(name="bg", A=1e9)])
    model.to_file(tmp_path / "bg.toml")
    path = real("CuZn_EELS_mapping_tutorial.hspy")
    done = run(
        "fit", path, "--model", tmp_path / "bg.toml", "--out", tmp_path / "fit.zarr", "--where", "Energy loss=:900"
    )
    assert done.exit_code == 0, done.output
    da = xfit.open(path)
    fit = da.fit.multifit(model, where=xfit.signal_range(da, (None, 900))).compute()
    assert_same_bits(xfit.open(tmp_path / "fit.zarr").compute(), fit)


@pytest.mark.parametrize("more", [[], ["--overwrite"], ["--resume"], ["--samfire", "--seed", "0,0", "--overwrite"]])
@pytest.mark.parametrize("there", ["folder", "file", "link", "store"])
def test_what_lies_where_a_run_would_lie_stays(folder, tmp_path, there, more) -> None:
    part = tmp_path / "x.nc.part"
    if there == "folder":
        part.mkdir()
        (part / "notes.txt").write_text("precious")
    elif there == "file":
        part.write_text("precious")
    elif there == "link":
        part.symlink_to(tmp_path / "nowhere")
    else:
        xr.open_dataset(folder / "map.nc").to_zarr(part, consolidated=False)
    before = sorted((each, each.is_file() and each.read_bytes()) for each in tmp_path.rglob("*"))
    done = run("fit", folder / "map.nc", "--model", folder / "model.toml", "--out", tmp_path / "x.nc", *more)
    assert done.exit_code == 1
    assert (
        f"{part} is where the run would lie while it goes on, and what is there is no run of xfit; move it"
        in done.output
    )
    assert sorted((each, each.is_file() and each.read_bytes()) for each in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["notes.txt", ".notes.txt"])
@pytest.mark.parametrize("more", [[], ["--samfire", "--seed", "0,0"]], ids=["chunks", "seeds"])
def test_notes_in_an_unfinished_run_stay(folder, tmp_path, more, name) -> None:
    words = ["fit", folder / "map.nc", "--model", folder / "model.toml", "--out", tmp_path / "x.nc", *more]
    part = tmp_path / "x.nc.part"
    da = xr.open_dataset(folder / "map.nc").counts
    if more:
        da.fit.samfire(two_peaks(), seeds=[(0, 0)], store=str(part), progress=False)
    else:
        da.fit.multifit(two_peaks(), store=part, progress=False)
    (part / name).write_text("precious")
    done = run(*words, "--overwrite")
    assert done.exit_code == 1
    assert f"{name!r} in it is n" in done.output
    assert (part / name).read_text() == "precious"
    (part / name).unlink()
    assert run(*words, "--overwrite").exit_code == 0
    assert sorted(each.name for each in tmp_path.iterdir()) == ["x.nc"]


def test_out_is_no_link_and_no_folder_of_another_kind(folder, tmp_path) -> None:
    (tmp_path / "link.zarr").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "folder.nc").mkdir()
    words = ["fit", folder / "map.nc", "--model", folder / "model.toml", "--overwrite", "--out"]
    assert "is a link to" in run(*words, tmp_path / "link.zarr").output
    assert "is a folder, and a file is to take its place" in run(*words, tmp_path / "folder.nc").output


def test_a_tilde_is_the_home(folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, more in {"a.nc": [], "b.zarr": ["--samfire", "--seed", "0,0"]}.items():
        done = run("fit", folder / "map.nc", "--model", folder / "model.toml", "--out", f"~/{name}", *more)
        assert done.exit_code == 0, done.output
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.nc", "b.zarr"]
