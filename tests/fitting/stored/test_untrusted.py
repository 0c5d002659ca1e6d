"""Stores that nobody knows who wrote: nothing in them runs, and what they claim is checked."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numcodecs  # type: ignore[import-untyped]
import numpy as np
import pytest
import xarray as xr
import zarr

import xfit
from tests.support.builders import peak_map, two_peaks
from tests.support.opened import open_array
from tests.support.untrusted_files import Runs, as_older_numcodecs, result  # noqa: F401
from xfit.fitting.stored.codecs import MOST_CHUNKS, RefusedFileError, checked
from xfit.fitting.stored.info import info
from xfit.fitting.stored.storage import StoreError
from xfit.plot.open_stored import open_fit

#: Descriptions of arrays in both formats.
V3: dict[str, Any] = {
    "zarr_format": 3,
    "node_type": "array",
    "shape": [4, 8],
    "data_type": "float64",
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2, 8]}},
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
    "fill_value": 0.0,
    "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
    "attributes": {},
    "dimension_names": ["x", "e"],
}


V2: dict[str, Any] = {
    "zarr_format": 2,
    "shape": [4, 8],
    "chunks": [2, 8],
    "dtype": "<f8",
    "order": "C",
    "fill_value": 0.0,
    "filters": None,
    "compressor": None,
}


def store_of(path: Path, about: dict[str, Any], name: str = "counts") -> Path:
    """A store with one array, by its description."""
    place = path / name
    place.mkdir(parents=True)
    if about["zarr_format"] == 3:
        (path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
        (place / "zarr.json").write_text(json.dumps(about))
    else:
        (path / ".zgroup").write_text('{"zarr_format": 2}')
        (place / ".zarray").write_text(json.dumps(about))
        (place / ".zattrs").write_text('{"_ARRAY_DIMENSIONS": ["x", "e"]}')
    return path


def with_pickle(path: Path, name: str, mark: Path) -> None:
    """Store an array of a store in format 2 as a pickle, with a codec that zarr does not refuse by itself."""
    described = json.loads((path / name / ".zarray").read_text())
    shape = described["shape"]
    (path / name / ".zarray").write_text(json.dumps(described | {"compressor": {"id": "pickle"}, "chunks": shape}))
    (path / name / ".".join("0" * len(shape))).write_bytes(pickle.dumps(Runs(mark)))


OPENED: dict[str, Callable[[Path], object]] = {
    "open": xfit.open,
    "view": lambda path: open_fit(str(path)),
    "the dataset": lambda path: xfit.open(path)["value"].load(),
}


@pytest.mark.parametrize("consolidated", [False, True])
@pytest.mark.parametrize("way", OPENED)
def test_pickles_in_results_do_not_run(tmp_path: Path, result: xr.Dataset, way: str, consolidated: bool) -> None:
    path, mark = tmp_path / "fit.zarr", tmp_path / "ran"
    result.drop_encoding().to_zarr(path, zarr_format=2, consolidated=False)
    with_pickle(path, "param", mark)
    if consolidated:
        zarr.consolidate_metadata(path, zarr_format=2)
    with pytest.raises(RefusedFileError, match=r"fit.zarr.*'param'.*'pickle'"):
        OPENED[way](path)
    assert not mark.exists()


def test_pickles_beside_a_signal_and_in_runs_do_not_run(tmp_path: Path, result: xr.Dataset) -> None:
    mark, path = tmp_path / "ran", tmp_path / "map.zarr"
    da = peak_map((2, 3)).rename("counts")
    da.to_dataset().to_zarr(path, zarr_format=2, consolidated=False)
    kept = xfit.models(path)
    kept.store(da.fit.multifit(two_peaks()), "a")
    (model,) = (path / "xfit_models").glob("a.*")
    with_pickle(path, f"xfit_models/{model.name}/param", mark)
    with pytest.raises(RefusedFileError, match="'pickle'"):
        xfit.models(path).restore("a", check=False)
    run = tmp_path / "run.zarr"
    da.fit.multifit(two_peaks(), store=run, progress=False)
    root = json.loads((run / "zarr.json").read_text())
    root["consolidated_metadata"]["metadata"]["value"]["codecs"] = [{"name": "numcodecs.pickle"}]
    (run / "zarr.json").write_text(json.dumps(root))
    for read in (lambda: xfit.open(run), lambda: info(run)):
        with pytest.raises((RefusedFileError, StoreError), match=r"value.*'numcodecs.pickle'|zarr.json is damaged"):
            read()
    assert not mark.exists()


@pytest.mark.parametrize(
    ("about", "words"),
    [
        # Every way in which a codec can be named.
        (V2 | {"compressor": {"id": "pickle"}}, "'pickle'"),
        (V2 | {"filters": [{"id": "pickle", "protocol": 5}]}, "'pickle'"),
        (V2 | {"filters": [{"id": "delta", "dtype": "<f8"}, {"id": "of another"}]}, "'of another'"),
        (V2 | {"filters": "pickle"}, "must be a list"),
        (V3 | {"codecs": ["pickle"]}, "'pickle'"),
        (
            V3
            | {
                "codecs": [
                    {
                        "name": "sharding_indexed",
                        "configuration": {"chunk_shape": [1, 8], "codecs": [{"name": "unknown"}]},
                    }
                ]
            },
            "'unknown'",
        ),
        (
            V3
            | {
                "codecs": [
                    {
                        "name": "sharding_indexed",
                        "configuration": {"chunk_shape": [1, 8], "index_codecs": [{"name": "unknown"}]},
                    }
                ]
            },
            "'unknown'",
        ),
        (V3 | {"storage_transformers": [{"name": "unknown"}]}, "'unknown'"),
        # Python objects.
        (V2 | {"dtype": "|O"}, "Python objects"),
        (V2 | {"dtype": [["a", "|O"], ["b", "<f8"]], "filters": [{"id": "vlen-utf8"}]}, "Python objects"),
        # Figures.
        (
            V3 | {"shape": [10**8, 64], "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, 64]}}},
            "1e\\+08 chunks.*100000000",
        ),
        (V2 | {"shape": [MOST_CHUNKS + 1, 1], "chunks": [1, 1]}, f"most that are read are {MOST_CHUNKS}"),
        (
            V3
            | {
                "codecs": [
                    {
                        "name": "sharding_indexed",
                        "configuration": {"chunk_shape": [1, 1], "codecs": [{"name": "bytes"}]},
                    }
                ],
                "shape": [10**6, 8],
            },
            "8e\\+06 chunks",
        ),
        (V2 | {"chunks": [1 << 40, 8], "shape": [1 << 40, 8]}, "claims chunks of"),
        (V2 | {"shape": [1 << 62] * 30, "chunks": [1 << 62] * 30}, r"10\*\*"),
        (V3 | {"shape": [-1, 8]}, "shape must be"),
        (V3 | {"shape": [1.5, 8]}, "shape must be"),
        (V2 | {"chunks": [2]}, "chunks must be"),
        (V2 | {"chunks": None}, "chunks must be"),
        (V2 | {"dtype": "nothing"}, "no type of numbers"),
    ],
)
@pytest.mark.parametrize("consolidated", [False, True])
def test_what_a_store_claims_is_checked(tmp_path: Path, about: dict[str, Any], words: str, consolidated: bool) -> None:
    path = store_of(tmp_path / "map.zarr", about)
    if consolidated and about["zarr_format"] == 3:
        inline = {"kind": "inline", "must_understand": False, "metadata": {"counts": about}}
        (path / "zarr.json").write_text(
            json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {}, "consolidated_metadata": inline})
        )
    elif consolidated:
        held = {
            ".zgroup": {"zarr_format": 2},
            "counts/.zarray": about,
            "counts/.zattrs": {"_ARRAY_DIMENSIONS": ["x", "e"]},
        }
        (path / ".zmetadata").write_text(json.dumps({"zarr_consolidated_format": 1, "metadata": held}))
    with pytest.raises(RefusedFileError, match=f"map.zarr.*counts.*{words}"):
        xfit.open(path)


def test_what_is_stored_in_known_ways_is_read(tmp_path: Path) -> None:
    """Arrays of both formats, in chunks and shards, of numbers and words, packed by everything that packs."""
    from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

    values = np.arange(32.0).reshape(4, 8)
    for k, packed in enumerate((BloscCodec(), GzipCodec(), ZstdCodec(), None)):
        for shards in (None, (4, 8)):
            group = zarr.open_group(tmp_path / f"{k}{shards}.zarr", mode="w")
            group.create_array(
                "d", data=values, chunks=(1, 4), shards=shards, compressors=packed, dimension_names=["x", "e"]
            )
            np.testing.assert_array_equal(xfit.open(tmp_path / f"{k}{shards}.zarr"), values)
    values = values + 1  # of format 2 xarray takes the fill value, 0, for missing
    for k, (filters, packed) in enumerate(
        [([numcodecs.Delta("<f8")], numcodecs.Blosc()), (None, numcodecs.Zlib()), (None, numcodecs.LZMA())]
    ):
        group = zarr.open_group(tmp_path / f"two{k}.zarr", mode="w", zarr_format=2)
        group.create_array("d", data=values, filters=filters, compressors=packed).attrs["_ARRAY_DIMENSIONS"] = [
            "x",
            "e",
        ]
        np.testing.assert_array_equal(xfit.open(tmp_path / f"two{k}.zarr"), values)
    words = xr.DataArray([1.0, 2.0], dims="x", coords={"x": np.array(["a", "bc"], object)}, name="d")
    for format in (2, 3):
        words.to_zarr(tmp_path / f"words{format}.zarr", zarr_format=format, consolidated=False)
        assert list(xfit.open(tmp_path / f"words{format}.zarr").x.values) == ["a", "bc"]


def test_coordinates_that_nothing_is_stored_of_are_refused(tmp_path: Path) -> None:
    """They are read when a store is opened; of data, whose chunks are read when they are needed, none need be there."""
    path = store_of(
        tmp_path / "map.zarr",
        V3 | {"shape": [10**9, 8], "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [10**6, 8]}}},
    )
    assert xfit.open(path, chunks="file").sizes == {"x": 10**9, "e": 8}
    store_of(
        path.with_name("other.zarr"),
        V3
        | {
            "shape": [10**9],
            "dimension_names": ["x"],
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [10**6]}},
        },
        "x",
    )
    path.with_name("other.zarr").joinpath("x").rename(path / "x")
    with pytest.raises(
        RefusedFileError, match=r"coordinate 'x' claims \[1000000000\] values, 8e\+09 bytes, and 0 bytes are stored"
    ):
        xfit.open(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\xff", '{"a":' + "[" * 100_000, '{"a": 1' + "0" * 5000 + "}"])
@pytest.mark.parametrize("name", ["zarr.json", "counts/zarr.json"])
def test_damaged_descriptions_are_named(tmp_path: Path, name: str, text: str) -> None:
    path = store_of(tmp_path / "map.zarr", V3)
    (path / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=f"map.zarr.*{name}"):
        xfit.open(path)


def test_stores_with_very_many_chunks_are_put_together(tmp_path: Path) -> None:
    """Twenty thousand chunks of one pixel: dask gets multiples of them, and the same numbers."""
    values = np.arange(20_000.0 * 2).reshape(20_000, 2)
    zarr.open_group(tmp_path / "a.zarr", mode="w").create_array(
        "d", shape=values.shape, chunks=(1, 2), dtype=float, dimension_names=["x", "e"]
    )
    da = open_array(tmp_path / "a.zarr", chunks="file")
    # At most 10,000, in whole multiples of what is read at once.
    assert da.chunksizes["x"] == (2,) * 10_000
    zarr.open_array(tmp_path / "a.zarr", path="d")[:10] = values[:10]
    np.testing.assert_array_equal(da[:10], values[:10])


def test_checked_stores_are_what_they_were(tmp_path: Path) -> None:
    store = zarr.storage.LocalStore(tmp_path)
    same = checked(store)
    assert isinstance(same, zarr.storage.LocalStore)
    assert checked(same) is same
    there = pickle.loads(pickle.dumps(same))
    assert type(there) is type(same)
    assert there.root == tmp_path
    assert type(same.with_read_only(True)) is type(same)
