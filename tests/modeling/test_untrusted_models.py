"""Model files and names that nobody knows who wrote: limits are kept, and refusals name the place."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xfit
from tests.support.opened import open_result
from tests.support.untrusted_files import Runs, as_older_numcodecs, result  # noqa: F401
from xfit import display
from xfit.components import Gaussian, Offset, ScalableFixedPattern
from xfit.fitting.stored.check import check as check_store
from xfit.fitting.stored.info import info
from xfit.modeling.model import Model
from xfit.modeling.serialization import ModelFormatError
from xfit.modeling.text_limits import check_json, check_toml
from xfit.plot.open_stored import open_fit


def model_file(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


NUMBER = "1" + "0" * 400


@pytest.mark.parametrize(
    ("ending", "text", "words"),
    [
        # Keys of TOML with many dots, of which its parser takes the square: bare, quoted, in tables, within others.
        ("toml", "a" + ".a" * 20_000 + " = 1", r"line 1: a key has 20000 dots; the most that are read are 10"),
        ("toml", "a = 1\n\na" + " . a" * 20_000 + " = 1", "line 3: a key has 20000 dots"),
        ("toml", '"a.b"' + '."a"' * 20_000 + " = 1", "20000 dots"),
        ("toml", "[" + "a." * 20_000 + "a]", "20000 dots"),
        ("toml", "[[" + "a." * 20_000 + "a]]", "20000 dots"),
        ("toml", "x = {" + "a." * 20_000 + "a = 1}", "20000 dots"),
        ("toml", 'x = """a\nb"""\ny = 1 # a' + ".a" * 50 + "\na" + ".a" * 50 + " = 1", "line 4: a key has 50 dots"),
        ("toml", "x = " + "[" * 100_000, "nested more than 64 levels"),
        ("toml", "x = " + "{a = " * 100_000, "nested more than 64 levels"),
        ("json", '{"components": ' + "[" * 100_000, "nested more than 64 levels"),
        ("json", '{"components": [], "name": ' * 100_000, "nested more than 64 levels"),
        # Numbers that are none.
        ("toml", "version = 1" + "0" * 5000 + "\ncomponents = []", "line 1: a number has 5001 digits"),
        ("json", '{"version": 1' + "0" * 5000 + ', "components": []}', "line 1: a number has 5001 digits"),
        ("toml", f"version = {NUMBER[:390]}\ncomponents = []", "version a whole number of 390 digits"),
        (
            "json",
            '{"components": [{"type": "Offset", "parameters": {"offset": 1' + "0" * 390 + "}}]}",
            r"components\[0\].parameters.offset.*391 digits",
        ),
        (
            "json",
            '{"components": [{"type": "Offset", "parameters": {"offset": {"max": 1' + "0" * 390 + "}}}]}",
            r"components\[0\].parameters.offset.max.*too large for a float",
        ),
        (
            "json",
            '{"components": [{"type": "Offset", "parameters": {"offset": 1e400}}]}',
            r"components\[0\].parameters.offset.value.*finite",
        ),
        ("json", '{"components": [{"type": "Offset", "parameters": {"offset": NaN}}]}', "NaN is no number of JSON"),
        (
            "json",
            '{"components": [{"type": "Offset", "parameters": {"offset": {"max": Infinity}}}]}',
            "Infinity is no number",
        ),
        (
            "toml",
            '[[components]]\ntype = "Offset"\n[components.parameters]\noffset = nan',
            r"components\[0\].parameters.offset.value.*finite",
        ),
        (
            "json",
            '{"components": [{"type": "ScalableFixedPattern", "options": {"pattern": {"coordinate": [0, 1, 1'
            + "0" * 380
            + '], "values": [1, 2, 3]}}}]}',
            r"components\[0\].*coordinate\[2\] must be a finite number, not a whole number of 381 digits",
        ),
        (
            "json",
            '{"components": [{"type": "Gaussian"}], "response": {"dim": "e", "coordinate": [0], "values": [1'
            + "0" * 380
            + "]}}",
            r"response: values\[0\].*381 digits",
        ),
        (
            "toml",
            '[response]\ndim = "e"\ncoordinate = [0.0]\nvalues = [nan]\n[[components]]\ntype = "Gaussian"',
            r"response: values\[0\].*finite",
        ),
        # Names and lists.
        (
            "json",
            json.dumps({"components": [{"type": "Offset", "name": "a" * 10_000}]}),
            r"components\[0\]: a component's name has 10000 letters.*most are 200",
        ),
        ("json", json.dumps({"components": [], "name": "a" * 10_000}), "a model's name has 10000 letters"),
        (
            "json",
            json.dumps({"components": [{"type": "Expression", "options": {"expression": "a" * 3000 + "*x"}}]}),
            r"components\[0\].*3000 letters",
        ),
        (
            "json",
            json.dumps({"components": [{"type": "Offset", "parameters": {"offset": {"units": "a" * 10_000}}}]}),
            "units has 10000 letters",
        ),
        (
            "json",
            json.dumps({"components": [{"type": "Offset"}] * 2001}),
            "components has 2001 entries; a model has at most 2000",
        ),
        (
            "json",
            json.dumps({"components": [{"type": "a" * 100_000}]}),
            r"components\[0\].type: unknown component 'a{1,60}\.\.\.a*'",
        ),
        ("json", json.dumps({"components": [], **{f"a{k}": 1 for k in range(10_000)}}), "unknown"),
        ("json", json.dumps({"components": "a" * (33 << 20)}), "bytes, and a model in .json has at most 33554432"),
        ("toml", "# " + "a" * (2 << 20), "bytes, and a model in .toml has at most 1048576"),
    ],
)
def test_what_a_model_file_claims_is_checked(tmp_path: Path, ending: str, text: str, words: str) -> None:
    path = model_file(tmp_path / f"model.{ending}", text)
    with pytest.raises(ModelFormatError, match=f"^model.{ending}: .*{words}") as refused:
        Model.from_file(path)
    # A message, not the file.
    assert len(str(refused.value)) < 2000


@pytest.mark.parametrize(
    "text",
    ["d = 0x" + "f" * 2_000_000, "d = [" + ("1" * 999 + "f,") * 2000 + "]", "a" * 2_000_000, '"' + "a" * 20_000_000],
)
def test_limits_of_texts_cost_as_much_as_their_letters(text: str) -> None:
    # Where every letter was begun at anew, these took from minutes to hours.
    for check in (check_json, check_toml):
        check(text)


def test_dots_and_digits_within_strings_and_comments_are_text(tmp_path: Path) -> None:
    text = (
        f"# a{'.a' * 50}\nname = \"a{'.a' * 50}\"\n[[components]]\ntype = 'Offset'\nname = "
        f"'{'1' * 150}'\nparameters.offset.value = 1.5\n"
    )
    model = Model.from_file(model_file(tmp_path / "m.toml", text))
    assert model.name == "a" + ".a" * 50
    assert model[0].offset.value == 1.5


def test_names_have_a_length() -> None:
    with pytest.raises(ValueError, match=r"10000 letters.*most are 200"):
        Gaussian(name="a" * 10_000)
    long = Gaussian(name="a" * 200)
    with pytest.raises(ValueError, match="201 letters"):
        long.name = "a" * 201
    assert long.name == "a" * 200
    with pytest.raises(ValueError, match="units has 201"):
        long.A.units = "a" * 201
    with pytest.raises(ValueError, match="model's name has 201"):
        Model(name="a" * 201)
    # A name that is taken gets a number, and remains one.
    model = Model([long, Gaussian(name="a" * 200)])
    assert [len(each.name) for each in model] == [200, 200]
    assert model[1].name == "a" * 198 + "_0"
    with pytest.raises(ValueError, match="at most 2000 components, not 2002"):
        model.extend([Offset() for _ in range(2000)])
    assert len(model) == 2


def test_long_names_cost_a_table_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is shortened is measured letter by letter: counted, since a time would depend on the machine."""
    measured = []
    plain = display._fitting

    def counted(text: Any, width: Any) -> Any:
        measured.append(len(text))
        return plain(text, width)

    monkeypatch.setattr(display, "_fitting", counted)
    names = ["a" * 9000 + str(k) for k in range(3)]
    display.text_table(["name", "value"], [[name, "1.0"] for name in names], width=80)
    # Some ten for each of 300 widths, of nine thousand without a limit.
    assert len(measured) < 20_000


def test_a_model_that_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    x = np.linspace(0.0, 1.0, 60_000)
    pattern = xr.DataArray(np.random.default_rng(0).normal(size=x.size), dims="x", coords={"x": x})
    model = Model([ScalableFixedPattern(pattern)])
    with pytest.raises(ValueError, match=r"m\.toml could not be read back"):
        model.to_file(tmp_path / "m.toml")
    assert not (tmp_path / "m.toml").exists()
    model.to_file(tmp_path / "m.json")
    assert Model.from_file(tmp_path / "m.json") == model


def test_a_result_for_data_is_refused_in_words(tmp_path: Path, result: xr.Dataset) -> None:
    """Its chunks are the file's already."""
    from xfit.files.cli_choices import arrays_in

    xfit.save(result, tmp_path / "fit.zarr")
    assert open_result(tmp_path / "fit.zarr", chunks="file").identical(open_result(tmp_path / "fit.zarr"))
    with pytest.raises(ValueError, match=r"fit\.zarr holds the result of a fit, not data"):
        arrays_in(str(tmp_path / "fit.zarr"), chunks="file")


@pytest.mark.parametrize(
    "kind", ["truncated", "empty", "flipped", "no JSON", "no object", "no entries", "another format"]
)
@pytest.mark.parametrize("name", ["zarr.json", ".zgroup", ".zattrs"])
def test_damaged_groups_of_data_are_named(tmp_path: Path, name: str, kind: str) -> None:
    da = xr.DataArray(np.ones((4, 8)), dims=("y", "e"), name="counts", attrs={"a": 1})
    store = tmp_path / "map.zarr"
    da.to_dataset().assign_attrs(a=1).to_zarr(store, zarr_format=3 if name == "zarr.json" else 2, consolidated=False)
    raw = (store / name).read_bytes()
    other = {
        "truncated": raw[: len(raw) // 2],
        "empty": b"",
        "flipped": bytes([raw[0] ^ 0x80]) + raw[1:],
        "no JSON": b"\0",
        "no object": b"[]",
        "no entries": b"{}",
        "another format": b'{"zarr_format": 1, "node_type": "group"}',
    }[kind]
    (store / name).write_bytes(other)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if name == ".zattrs" and kind in ("no entries", "another format"):
            assert xfit.open(store).shape == (4, 8)  # attributes may be any
            return
        with pytest.raises(ValueError, match="damaged") as caught:
            xfit.open(store)
    assert str(store) in str(caught.value)
    assert f" {name} " in str(caught.value)


def test_what_killed_writers_left_is_no_part_of_a_store(tmp_path: Path, result: xr.Dataset) -> None:
    """Names as `DurableStore` and zarr's own LocalStore give them."""
    da = xr.DataArray(np.ones((4, 8)), dims=("y", "e"), name="counts", coords={"e": np.arange(8.0)}).chunk(y=2)
    da.to_dataset().to_zarr(tmp_path / "map.zarr", consolidated=False)
    model = xfit.Model([xfit.components.Offset(name="b")])
    fit = da.fit.multifit(model, store=tmp_path / "fit.zarr", progress=False)
    models = xfit.models(tmp_path / "map.zarr")
    models.store(fit, "a")
    xfit.save(fit.compute(), tmp_path / "saved.zarr")
    left = [f"{stem}.{16 * 'ab'}.partial" for stem in ("zarr.json", "zarr")]
    for store in ("map.zarr", "fit.zarr", "saved.zarr"):
        folders = [each.parent for each in (tmp_path / store).rglob("zarr.json")]
        for each in (folder / name for folder in folders for name in left):
            each.write_bytes(b"{")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(xfit.open(tmp_path / "map.zarr"), da)
        for name in ("fit.zarr", "saved.zarr"):
            xr.testing.assert_equal(open_result(tmp_path / name).compute(), fit.compute())
            open_fit(str(tmp_path / name))
        assert list(xfit.models(tmp_path / "map.zarr")) == ["a"]
        xr.testing.assert_equal(xfit.models(tmp_path / "map.zarr").restore("a").compute(), fit.compute())
        assert info(tmp_path / "fit.zarr").done == 2
        assert check_store(tmp_path / "fit.zarr") == []
        for how in ({"resume": True}, {"overwrite": True}):
            da.fit.multifit(model, store=tmp_path / "fit.zarr", progress=False, **how)
            assert list((tmp_path / "fit.zarr").rglob("*.partial")) == []
            (tmp_path / "fit.zarr" / left[0]).write_bytes(b"{")
