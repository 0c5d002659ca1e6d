"""The command line: what it says of what it can't do, lists and templates, and what of others it leaves alone."""

from __future__ import annotations

import dask
import pytest
import xarray as xr

import xfit
from tests.support.builders import assert_same_bits, two_peaks
from tests.support.commands import (
    folder,  # noqa: F401
    run,
)
from tests.support.opened import open_array, open_result
from tests.support.paths import real


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
    xfit.save(open_array(folder / "map.nc", signal="counts").compute(), data)
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
    da = open_array(path)
    fit = da.fit.multifit(model, where=xfit.signal_range(da, (None, 900))).compute()
    assert_same_bits(open_result(tmp_path / "fit.zarr").compute(), fit)


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
