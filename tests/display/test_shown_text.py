"""Text of files is text on terminals, in errors, in tables for spreadsheets; addresses show no passwords."""

from __future__ import annotations

import csv
import io
import json
import logging
import shutil
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from click.testing import CliRunner
from fsspec.implementations.memory import MemoryFileSystem

import xfit
from tests.support.planted import NAME, PLANT, planted_data, planted_fit, planted_model
from xfit.command import main
from xfit.command.arguments import words_of
from xfit.components import Gaussian
from xfit.display import cleaned, paragraph, without_secrets
from xfit.files.csv_tables import as_csv, cell
from xfit.fitting.stored.check import check as check_store
from xfit.fitting.stored.info import info
from xfit.progress import Bar, Console


@pytest.fixture(scope="module")
def da() -> xr.DataArray:
    return planted_data("y", "x")


@pytest.fixture(scope="module")
def fit(da) -> xr.Dataset:
    return planted_fit(da)


def check(text: str, what: str) -> None:
    """Nothing moves the cursor or turns its direction, and no line is made up."""
    assert all(each.isprintable() for each in text.split("\n")), f"{what}: {text!r}"
    assert not any(line.lstrip().startswith("made up") for line in text.split("\n")), f"{what}: {text}"


def representations(da: xr.DataArray, fit: xr.Dataset) -> Iterator[tuple[str, Callable[[], object]]]:
    """All that prints itself."""
    model, place = planted_model(), {d: fit[d].values[0] for d in fit.fit.navigation_dims}
    yield "model", lambda: repr(model)
    yield "table of a model", lambda: xfit.modeling.tables.model_text(model)
    yield "component", lambda: repr(model[0])
    yield "parameter", lambda: repr(model[0].A)
    yield "tied parameter", lambda: repr(model["b" + NAME].offset)
    yield "result", lambda: repr(fit.fit)
    yield "result whose model can't be read", lambda: repr(fit.assign_attrs(xfit_model="{" + PLANT).fit)
    yield "no result", lambda: repr(xr.Dataset(attrs={"xfit_model": PLANT}).fit)
    yield "report", fit.fit.report
    yield "report of a pixel", lambda: fit.fit.report(**place)
    yield "table", lambda: fit.fit.table(**place)
    yield "preview", lambda: da.fit.preview(model, "e" + PLANT)


def test_what_prints_itself(da, fit):
    for what, show in representations(da, fit):
        text = str(show())
        assert text.strip()
        check(text, what)


def errors(da: xr.DataArray, fit: xr.Dataset) -> Iterator[Callable[[], object]]:
    """Mistakes whose messages name what was planted."""
    model, g, e = planted_model(), "g" + NAME, "e" + PLANT
    peak = model[g]
    yield lambda: peak.A.set(min=5, max=3)
    yield lambda: peak.A.set(value="no number")
    yield lambda: peak.A.set(what=3)
    yield lambda: setattr(peak.A, "free", 3)
    yield lambda: setattr(peak.A, "units", 3)
    yield lambda: setattr(peak.A, "nothing", 3)
    yield lambda: setattr(peak, "active", 3)
    yield lambda: setattr(peak, "convolved", 3)
    yield lambda: peak["nothing"]
    yield lambda: model["nothing"]
    yield lambda: model.append(Gaussian(name=g))
    yield lambda: peak.sigma.tie("sigma + 1")
    yield lambda: peak.sigma.tie("nothing.sigma")
    yield lambda: peak.sigma.tie("1 + 1")
    yield lambda: da.fit.multifit(model, "nothing")
    yield lambda: da.fit.multifit(model, e, start={"nothing": 1.0})
    yield lambda: da.fit.multifit(model, e, variance=da.isel({e: slice(3)}))
    yield lambda: da.fit.multifit(model, e, where=da)
    yield lambda: da.fit.multifit(model, e, start={f"{g}.A": np.nan})
    yield lambda: da.fit.multifit(model, e, optimizer="nothing")
    yield lambda: da.assign_coords({e: da[e].assign_attrs(units="kg" + PLANT)}).fit.multifit(in_units("eV" + PLANT), e)
    yield lambda: outside().fit(planted_model())
    yield lambda: bounded(da, e)
    yield lambda: fit.fit["nothing"]
    yield lambda: fit.fit.report(nothing=3)
    yield lambda: fit.fit.report(**{"y" + PLANT: 1e9, "x" + PLANT: 0})
    yield lambda: fit.fit.plot(da.isel({e: slice(3)}))
    yield lambda: fit.fit.maps("nothing")
    yield lambda: fit.fit.dashboard(da.isel({"y" + PLANT: 0}))
    yield lambda: fit.fit.residual(da.isel({e: slice(3)}))


def in_units(units: str) -> xfit.Model:
    model = planted_model()
    model["g" + NAME].centre.units = units
    return model


def outside() -> xr.DataArray:
    da = planted_data()
    return da.rename({da.dims[0]: da.dims[0]}).astype(complex)


def bounded(da: xr.DataArray, e: str) -> None:
    model = planted_model()
    model["g" + NAME].A.set(value=1.0, min=0.0, max=2.0)
    da.fit.multifit(model, e, start={f"g{NAME}.A": 7.0}, bounded=True)


def test_errors_and_warnings(da, fit):
    said = 0
    for number, mistake in enumerate(errors(da, fit)):
        messages: list[str] = []
        try:
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                mistake()
            messages = [str(each.message) for each in warned]
        except Exception as error:
            # A KeyError shows its message as Python writes text.
            messages = [words_of(error), repr(error.args[0]) if isinstance(error, KeyError) else str(error)]
        for message in messages:
            check(message, f"mistake {number}")
            said += "planted" in message
    # Most of them name something that was planted.
    assert said > 20


def changed(node: Any) -> Iterator[Any]:
    """A tree in which one part is text, or holds text under a name that is not known."""
    yield PLANT
    yield {PLANT: PLANT}
    yield [PLANT]
    if isinstance(node, dict):
        yield {**node, PLANT: 1}
        for key, value in node.items():
            yield from ({**node, key: each} for each in changed(value))
    if isinstance(node, list):
        for k, value in enumerate(node):
            yield from ([*node[:k], each, *node[k + 1 :]] for each in changed(value))


def test_errors_of_models(tmp_path):
    refused = 0
    for tree in changed(json.loads(planted_model().to_json())):
        try:
            xfit.Model.from_json(json.dumps(tree))
        except (ValueError, TypeError) as error:
            check(str(error), "a model")
            refused += 1
    assert refused > 100
    for text in (
        f'["{PLANT}"',
        f'a = "{ESC}"',
        f"a{ESC} = 1",
        '[[components]]\ntype = "\\u001b]0;"\n',
        '[[components]]\ntype = "Gaussian"\n"\\u001b]0;" = 1\n',
    ):
        (tmp_path / "m.toml").write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=r"m\.toml") as caught:
            xfit.Model.from_file(tmp_path / "m.toml")
        check(str(caught.value), "a model file")


def test_words_of_the_command(da, fit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plain = da.rename({d: str(d)[0] for d in da.dims}).rename("counts").reset_coords(drop=True)
    plain.fit.multifit(planted_model(), "e", store="fit.zarr", progress=False)
    # What a store says of a chunk that could not be read.
    unread = zarr.open_array("fit.zarr/marks/unread", mode="r+")
    row = np.zeros(unread.shape[1], np.uint8)
    raw = np.frombuffer(f"no{PLANT}\nchunks      1 of 1 done: complete".encode(), np.uint8)
    row[: raw.size] = raw
    unread[0] = row
    check(str(info("fit.zarr")), "info")
    assert "chunks      1 of 1 done: complete" not in str(info("fit.zarr")).split("\n")
    xr.Dataset(
        {"a" + ESC: (("y", "x"), np.ones((2, 2)), {"units": PLANT}), "b\nline": (("y", "x"), np.ones((2, 2)))}
    ).to_zarr("two.zarr", consolidated=False)
    check(repr(xfit.open("two.zarr")), "Signals")
    planted_model().to_file("model.toml")
    plain.to_dataset().to_netcdf("map.nc")
    for words in (
        ["info", "fit.zarr"],
        ["fit", "two.zarr", "--model", "model.toml", "--out", "x.zarr"],
        ["view", "fit.zarr", "two.zarr", "--no-browser"],
        ["fit", "map.nc", "--model", "model.toml", "--out", "x.nc"],
        ["fit", "map.nc", "--model", "model.toml", "--out", "y.nc", "--dim", "y"],
    ):
        ran = CliRunner().invoke(main, words)
        check(ran.output, " ".join(words))
    assert paragraph("a\r\nb\x1b") == "a\n  b\\x1b"


ESC = "\x1b]0;owned\x07"


#: Of a file; a slash can't be in it.
FILE = f"other{ESC}\r\nmade up\u202e"


def said(act: Callable[[], object]) -> list[str]:
    """All that is said: what is returned, warnings, the error."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            found = act()
        except (OSError, ValueError, KeyError, TypeError) as error:
            found = str(error)
    if isinstance(found, xr.Dataset):
        # What xarray shows of it is xarray's.
        found = []
    return [str(each.message) for each in warned] + (list(found) if isinstance(found, list) else [str(found)])


def test_names_of_files_and_arrays_in_stores(tmp_path):
    # Blanks in names of coordinates are no part of this.
    name = "sample" + FILE.replace(" ", "")
    e = np.linspace(0.0, 10.0, 32)
    counts = 20 + 80 * np.exp(-((e - 5.0) ** 2) / 2) + np.arange(4.0)[:, None]
    da = xr.DataArray(counts, dims=("x", "e"), coords={"e": e, name: ("x", np.arange(4.0))}, name="counts").chunk(x=2)
    model = xfit.Model([Gaussian(name="g", A=100, centre=5, sigma=1)])
    store = tmp_path / "fit.zarr"
    da.fit.multifit(model, store=store, progress=False)
    with_file, damaged, linked = (tmp_path / f"{each}{FILE}.zarr" for each in ("file", "damaged", "link"))
    for each in (with_file, damaged, linked):
        shutil.copytree(store, each)
    (with_file / FILE).write_text("")
    (with_file / "value" / FILE).write_text("")
    next(each for each in (damaged / name).rglob("*") if each.is_file() and each.name != "zarr.json").write_bytes(b"")
    (damaged / name / "zarr.json").write_text(f'["{FILE}"')
    (linked / FILE).symlink_to(tmp_path)
    found: dict[str, list[str]] = {}
    for each in (with_file, damaged, linked):
        key = each.name.partition("other")[0]
        found[key] = said(partial(check_store, each))
        found[key] += CliRunner().invoke(main, ["info", str(each), "--check"]).output.splitlines()
        for how in ({}, {"overwrite": True}, {"resume": True}):
            found[key] += said(partial(da.fit.multifit, model, store=each, progress=False, **how))
        found[key] += said(partial(xfit.open, each / "value"))
    (with_file / "marks" / "run-a" / "zarr.json").unlink()
    (with_file / "zarr.json").write_text(f'{{"{ESC}\u2028')
    found["file"] += said(lambda: xfit.open(with_file))
    for key, messages in found.items():
        assert sum("other" in each for each in messages) > 3, key
        for each in messages:
            check(each, key)


def test_names_in_stores_of_models_and_of_samfire(tmp_path):
    # Blanks in names of coordinates are no part of this.
    name = "sample" + FILE.replace(" ", "")
    e = np.linspace(0.0, 10.0, 32)
    counts = 20 + 80 * np.exp(-((e - 5.0) ** 2) / 2) + np.arange(4.0)[:, None]
    da = xr.DataArray(counts, dims=("x", "e"), coords={"e": e, name: ("x", np.arange(4.0))}, name="counts")
    model = xfit.Model([Gaussian(name="g", A=100, centre=5, sigma=1)])
    store = tmp_path / f"map{FILE}.zarr"
    da.to_dataset().to_zarr(store, consolidated=False)
    models = xfit.models(store)
    models.store(da.fit.multifit(model), "a")
    array = next((store / "xfit_models").glob("a.*")) / name
    messages = [repr(models), *said(lambda: models["b"])]
    description = (array / "zarr.json").read_text()
    (array / "zarr.json").write_text(description + " ")
    messages += said(lambda: models["a"].restore())
    (array / "zarr.json").write_text(description)
    (array / FILE).write_text("")
    messages += said(lambda: models["a"].restore())
    run = tmp_path / f"run{FILE}"
    run.mkdir()
    (run / FILE).write_text("")
    messages += said(lambda: da.chunk(x=1).fit.samfire(model, seeds=[(0,)], store=run, progress=False))
    (run / FILE).unlink()
    da.chunk(x=1).fit.samfire(model, seeds=[(0,)], store=run, variance=100.0, progress=False)
    (run / "samfire.json").write_text(f'{{"{ESC}\u2028')
    messages += said(lambda: da.chunk(x=1).fit.samfire(model, seeds=[(0,)], store=run, progress=False))
    (run / "layout.json").write_text(f'{{"{ESC}\\u2028')
    messages += CliRunner().invoke(main, ["view", str(run), str(store), "--no-browser"]).output.splitlines()
    assert sum("other" in each for each in messages) > 5
    for each in messages:
        check(each, "a store of models, or a run of SAMFire")


def test_bars(capsys):
    bar = Console()
    bar.show(Bar("[red]fit\x1b]0;", 1, 2, "more\u202e"))
    bar.close()
    shown = capsys.readouterr().err
    assert "\x1b]0;" not in shown
    assert "\u202e" not in shown
    # What rich would take for markup stays as it is.
    assert "[red]fit\\x1b]0;" in shown


# --- tables for spreadsheets -------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1+1",
        "-1+1",
        "@SUM(1)",
        "=cmd|' /C calc'!A0",
        " =1",
        "\t=1",
        "\r=1",
        "\n=1",
        "＝1+1",
        "-note",
        "+",
        "--1",
    ],
)
def test_formulas_are_text(text):
    written = cell(text)
    assert written[0] in "'\\"
    assert written.removeprefix("'") == cleaned(text)


@pytest.mark.parametrize("text", ["-1.5", "+2e-3", "-.5", "1", "-", "a=1", "counts", "", "1-2", "'x"])
def test_numbers_and_words_stay(text):
    assert cell(text) == text


def test_tables(tmp_path):
    names = ['=HYPERLINK("http://evil.example")', "@SUM(1)\x1b", "-1.5", "a,b"]
    e = np.linspace(0, 10, 32)
    counts = 50 * np.exp(-((e - 5.0) ** 2) / 2) - 3.0 * np.arange(1, 5)[:, None]
    coords: dict[str, Any] = {"e": e, "x": [-3.0, -2.0, -1.0, 0.0], "sample": ("x", names)}
    da = xr.DataArray(counts, dims=("x", "e"), coords=coords)
    model = xfit.Model(
        [Gaussian(name="=cmd|' /C calc'!A0", A=100, centre=5, sigma=1), xfit.components.Offset(name="@b")]
    )
    fit = da.fit.multifit(model)
    xfit.save(fit, tmp_path / "fit.csv")
    xfit.save(da.rename("=value"), tmp_path / "data.csv")
    board = fit.fit.dashboard(da)
    for text in ((tmp_path / "fit.csv").read_text(), (tmp_path / "data.csv").read_text(), board.table()):
        rows = list(csv.reader(io.StringIO(text)))
        for each in (each for row in rows for each in row if each):
            assert each[0] not in "=+@\t\r"
            assert each[0] != "-" or np.isfinite(float(each))
            assert each.isprintable()
    back = pd.read_csv(tmp_path / "fit.csv")
    assert back["sample"].tolist() == ["'" + names[0], "'@SUM(1)\\x1b", "-1.5", "a,b"]
    # Numbers are numbers, to the last bit, and negative ones too.
    np.testing.assert_array_equal(back["x"], coords["x"])
    np.testing.assert_array_equal(back["'@b.offset"], fit.fit["@b.offset"])
    assert (back["'@b.offset"] < 0).all()
    assert (
        as_csv(pd.DataFrame({"a": [1, 2], "t": np.array(["2020-01-01", "2021-01-01"], "M8[ns]")}))
        == "a,t\n1,2020-01-01\n2,2021-01-01\n"
    )


# --- addresses ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://joe:secret@host/fit.zarr", "s3://joe:***@host/fit.zarr"),
        ("s3://joe:se/c?r#e@t@host:9000/fit.zarr", "s3://joe:***@host:9000/fit.zarr"),
        ("https://:secret@host/x", "https://:***@host/x"),
        (
            "https://host/x.zarr?X-Amz-Signature=secret&sig=secret#token=secret",
            "https://host/x.zarr?X-Amz-Signature=***&sig=***#token=***",
        ),
        ("simplecache::s3://joe:secret@host/x", "simplecache::s3://joe:***@host/x"),
        ("zip://a::https://joe:secret@host/x?k=secret", "zip://a::https://joe:***@host/x?k=***"),
        (
            "can't open 'ftp://joe:secret@host/x' (twice: ftp://joe:secret@host)",
            "can't open 'ftp://joe:***@host/x' (twice: ftp://joe:***@host)",
        ),
        ("s3://bucket/a@b.zarr", "s3://bucket/a@b.zarr"),
        ("http://127.0.0.1:9000/a@b", "http://127.0.0.1:9000/a@b"),
        ("memory://fit.zarr", "memory://fit.zarr"),
        ("/home/joe/a:b@c.zarr", "/home/joe/a:b@c.zarr"),
    ],
)
def test_addresses(url, shown):
    assert without_secrets(url) == shown


class Guarded(MemoryFileSystem):
    """Files whose address may have a password, as those of FTP and WebDAV do."""

    protocol = "xfitguarded"
    store: dict[str, Any] = {}
    pseudo_dirs: list[str] = [""]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("xfitguarded://joe:SECRETURL@", "memory://")))


def test_no_password_is_shown(tmp_path, caplog):
    fsspec.register_implementation("xfitguarded", Guarded, clobber=True)
    da = xr.DataArray(
        np.ones((2, 32)) + np.exp(-((np.arange(32.0) - 15) ** 2) / 20),
        dims=("x", "e"),
        coords={"e": np.arange(32.0)},
        name="counts",
    )
    model = xfit.Model([Gaussian(name="g", A=1, centre=15, sigma=3)])
    url, options = "xfitguarded://joe:SECRETURL@host/fit.zarr", {"password": "SECRETOPTION"}
    said: list[str] = []
    with caplog.at_level(logging.DEBUG, "xfit"):
        da.fit.multifit(model, store=url, storage_options=options, progress=False)
        said.append(str(info(url)))
        run = "xfitguarded://joe:SECRETURL@host/run"
        da.chunk(x=1).fit.samfire(model, seeds=[(0,)], store=run, progress=False)
        data = "xfitguarded://joe:SECRETURL@host/map.zarr"
        da.to_dataset().to_zarr(data, consolidated=False)
        models = xfit.models(data)
        models.store(da.fit.multifit(model), "a")
        said += [repr(models), models._repr_html_()]
        mistakes: list[Callable[[], object]] = [
            lambda: da.fit.multifit(model, store=url, progress=False),
            lambda: da.fit.multifit(model, store=url, resume=True, optimizer="trf", progress=False),
            lambda: da.fit.samfire(model, seeds=[(1,)], store=run, progress=False),
            lambda: info(data),
            lambda: info(url + "x"),
            lambda: xfit.open(url + "x"),
            lambda: xfit.open(url.replace("zarr", "nc")),
            lambda: xfit.save(da, url),
            lambda: xfit.save(da, url.replace("zarr", "nc")),
            lambda: xfit.save(da, url.replace("zarr", "xyz")),
            lambda: models["b"],
            lambda: xfit.models(url),
            lambda: xfit.models(url + "x"),
        ]
        for mistake in mistakes:
            with pytest.raises((OSError, ValueError, KeyError, TypeError)) as caught:
                mistake()
            said.append(str(caught.value))
    for words in (
        ["info", url],
        ["info", url + "x"],
        ["fit", data, "--model", "nothing.toml", "--out", url],
        ["view", url + "x", data, "--no-browser"],
        ["fit", url + "x", "--model", "m.toml", "--out", "x.zarr"],
    ):
        said.append(CliRunner().invoke(main, words).output)
    assert any("joe:***@host" in each for each in said)
    for each in [*said, caplog.text]:
        assert "SECRET" not in each, each


def test_paths_are_as_they_are(tmp_path: Path):
    name = str(tmp_path / "a:b@c?d=e.zarr")
    with pytest.raises(FileNotFoundError, match=r"a:b@c\?d=e\.zarr"):
        info(name)
