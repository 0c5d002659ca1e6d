"""Fits kept beside their signal, in its zarr store, under names."""

from __future__ import annotations

import difflib
import hashlib
import itertools
import json
import re
import string
import uuid
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
import zarr
from numcodecs import Zstd  # type: ignore[import-untyped]
from zarr.codecs import ZstdCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import collect_aiterator, sync
from zarr.storage import LocalStore

from xfit.arrays.atomic_write import foreign_key, fsync, in_order, refuse_foreign, refuse_link, to_disk
from xfit.display import (
    cleaned,
    html_lines,
    html_page,
    html_section,
    html_table,
    is_url,
    local_path,
    shortened,
    terminal_width,
    text_table,
    without_secrets,
    wrapped,
)
from xfit.fitting.stored.archive import MANIFEST, Archive
from xfit.fitting.stored.fingerprint import changes, check_belongs, fingerprint_of, signal_of
from xfit.fitting.stored.reader_errors import telling
from xfit.fitting.stored.unread import open_zarr
from xfit.modeling.model import Model
from xfit.modeling.tables import counted, model_sections
from xfit.modeling.text_limits import json_of
from xfit.results.fit_result import FitResult

#: Group in the signal's store that holds the models.
GROUP = "xfit_models"

#: Attribute of a model's group, written when all else is: what it is.
RECORD = "xfit_stored_model"

#: Version of the layout; newer ones are refused. Since 2, records have checksums, of themselves and of what they are
#: of.
FORMAT = 2

#: Pixels up to which the median is of all of them.
_ALL = 4_000_000

_NAME = re.compile(r"\w(?:[\w +\-]{0,98}[\w+\-])?")

#: Groups of models; what else lies beside them is of others, and left alone.
_PATH = re.compile(rf"({_NAME.pattern})\.[0-9a-f]{{8}}")

#: Descriptions of arrays.
_DESCRIPTIONS = ("zarr.json", ".zarray", ".zattrs", ".zgroup")
_HEAD = ("name", "components", "stored (UTC)", "dims", "red. chisq.")


class SignalChangedWarning(UserWarning):
    """A signal is not what it was when a model was stored beside it."""


@dataclass(frozen=True)
class StoredModel:
    """What is known of a stored model without reading its numbers.

    Attributes
    ----------
    name : str
        Its name in the collection.
    components : tuple of str
        Names of the model's components.
    date : str
        When it was stored: UTC, as ISO 8601 has it.
    dims : dict of str to int
        Sizes of what was fitted: navigation dimensions, then signal dimensions.
    red_chisq : float
        Median of the reduced chi-squared; of maps of more than four million pixels that of evenly spread ones. NaN
        where nothing was fitted.
    signal : mapping
        Fingerprint of the signal; see `xfit.fitting.stored.fingerprint.fingerprint_of`.
    model : Model
        The fitted model.
    """

    name: str
    components: tuple[str, ...]
    date: str
    dims: dict[str, int]
    red_chisq: float
    signal: Mapping[str, Any] = field(repr=False)
    _json: str = field(repr=False)
    _path: str = field(repr=False)
    _arrays: dict[str, list[Any]] | None = field(repr=False)
    _attributes: str | None = field(repr=False)
    _all: StoredModels = field(repr=False, compare=False)

    @property
    def model(self) -> Model:
        """The model, as it was described before the fit."""
        return Model.from_json(self._json)

    def restore(self, *, check: bool = True) -> xr.Dataset:
        """Open the result; see `StoredModels.restore`."""
        return self._all._restored(self, check, stacklevel=3)

    def remove(self) -> None:
        """Delete it from the store."""
        self._all.remove(self.name)

    @property
    def _row(self) -> tuple[str, ...]:
        sizes = ", ".join(f"{d}: {n}" for d, n in self.dims.items())
        number = "" if np.isnan(self.red_chisq) else f"{self.red_chisq:.5g}"
        return (self.name, ", ".join(self.components), self.date[:16].replace("T", " "), sizes, number)


class StoredModels(Mapping[str, StoredModel]):
    """The fits beside a signal: a mapping of names to what is known of each.

    Parameters
    ----------
    store, storage_options
        As for `models`.
    """

    def __init__(self, store: Any, storage_options: Mapping[str, Any] | None = None) -> None:
        if isinstance(store, str | Path) and not is_url(store):
            store = str(local_path(store))
        _refuse_files(store)
        self._place = without_secrets(store)
        archive = Archive(store, storage_options)
        self._store, self._objects = archive.store, archive.objects
        try:
            root = zarr.open_group(self._store, mode="r", use_consolidated=False)
        except FileNotFoundError:
            raise FileNotFoundError(f"store={self._place!r}: there is no zarr group of a signal there") from None
        if MANIFEST in root.attrs:
            raise ValueError(
                f"store={self._place!r} holds a result; models are kept in the store of the signal that was fitted"
            )
        self._format = root.metadata.zarr_format

    # --- what is there

    def _groups(self) -> Iterator[tuple[str, dict[str, Any] | str | None]]:
        """Groups of models by path: with their records, None where one was not written to its end,
        or in what way it is damaged.
        """
        self._refuse_links(GROUP)
        # By their folders: of one that was half deleted the group may be gone.
        for path in sorted(collect_aiterator(self._store.list_dir(GROUP))):
            match = _PATH.fullmatch(path)
            if match is not None:
                try:
                    text = self._group(path, "r").attrs.get(RECORD)
                    yield path, _record_of(text, match[1]) if isinstance(text, str) else None
                except FileNotFoundError:
                    yield path, None
                except (ValueError, TypeError, KeyError) as error:
                    yield path, str(error) or type(error).__name__

    def _refuse_links(self, path: str, inside: bool = False) -> None:
        """Refuse what lies behind links, and, inside of a group, what no zarr store has.

        Raises
        ------
        FileExistsError
            Naming the link or the file.
        """
        store = self._store
        if not isinstance(store, LocalStore):
            keys = (
                [key.partition(f"{path}/")[2] for key in collect_aiterator(store.list_prefix(f"{path}/"))]
                if inside
                else []
            )
            strange = foreign_key(keys)
            if strange is not None:
                raise FileExistsError(
                    f"{self._place}/{path} is not removed, for {strange!r} in it is no part of a zarr store; move it"
                )
            return
        place = store.root
        for part in path.split("/"):
            place /= part
            refuse_link(place)
        if inside:
            refuse_foreign(place, is_folder=True)

    def _found(self) -> dict[str, StoredModel]:
        """All whole models by name, the oldest first."""
        found: dict[str, StoredModel] = {}
        records = [(record["date"], path, record) for path, record in self._groups() if isinstance(record, dict)]
        for date, path, record in sorted(records, key=lambda each: each[:2]):
            if int(record["format"]) > FORMAT:
                raise ValueError(
                    f"{self._place}: model {record['name']!r} is stored in format {record['format']}, this xfit reads "
                    f"up to {FORMAT}; update xfit"
                )
            # Of two of a name one was about to be replaced by the other, which is whole.
            found.pop(record["name"], None)
            components = tuple(record["components"])
            chisq = float("nan") if record["red_chisq"] is None else record["red_chisq"]
            found[record["name"]] = StoredModel(
                record["name"],
                components,
                date,
                record["dims"],
                chisq,
                record["signal"],
                record["model"],
                path,
                record.get("arrays"),
                record.get("attributes"),
                self,
            )
        return found

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Names of models whose storing did not come to its end, or goes on; they are no part of the collection."""
        return tuple(dict.fromkeys(path.partition(".")[0] for path, record in self._groups() if record is None))

    @property
    def damaged(self) -> dict[str, str]:
        """Names of models that can't be read, and why; they are no part of the collection."""
        return {path.partition(".")[0]: record for path, record in self._groups() if isinstance(record, str)}

    def __getitem__(self, name: str) -> StoredModel:
        found = self._found()
        if name not in found and name in (damaged := self.damaged):
            raise ValueError(
                f"{self._place}: the model {name!r} is damaged ({cleaned(damaged[name])}); .remove({name!r}) deletes it"
            )
        if name not in found:
            close = difflib.get_close_matches(str(name), found, 1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise KeyError(f"no model {name!r}; {hint}{self._place} has {list(found)}")
        return found[name]

    def __contains__(self, name: object) -> bool:
        return name in self._found()

    def __iter__(self) -> Iterator[str]:
        return iter(self._found())

    def __len__(self) -> int:
        return len(self._found())

    # --- what can be done

    def store(
        self, fit: xr.Dataset, name: str | None = None, *, variable: str | None = None, overwrite: bool = False
    ) -> StoredModel:
        """Keep a fit beside its signal; a lazy one is computed chunk by chunk.

        Parameters
        ----------
        fit : Dataset
            The result of a fit of the signal, or of a part of it.
        name : str, optional
            Letters, digits, ``_``, ``-``, ``+`` and blanks; by default the first that is free of a, b, ..., z, aa, ...
        variable : str, optional
            Name of the signal, where the store has several variables with the dimensions of the fit.
        overwrite : bool, optional
            Whether a model of this name is replaced, once the new one is whole.

        Returns
        -------
        StoredModel
            What is known of it.

        Raises
        ------
        TypeError, ValueError
            For what is no result, or can't be one of the signal; for a name that can't be one.
        FileExistsError
            For a name that is taken, without ``overwrite``.
        """
        if not isinstance(fit, xr.Dataset):
            raise TypeError(f"fit must be the Dataset that a fit returns, not {type(fit).__name__}")
        result = FitResult(fit)
        ds = result.dataset
        found = self._found()
        before = {path for path, _ in self._groups()}
        # What is not whole may be in the making, by another process.
        taken = {*found, *self.unfinished, *self.damaged}
        name = _free(taken) if name is None else _checked(name, found, overwrite)
        if name in self.damaged and not overwrite:
            raise FileExistsError(
                f"there is a model {name!r}, which is damaged ({cleaned(self.damaged[name])}); overwrite=True replaces "
                "it, or give another name"
            )
        da = self._signal(ds, variable)
        check_belongs(ds, da)
        signal = fingerprint_of(da)
        dims = {str(d): int(ds.sizes[d]) for d in (*result.navigation_dims, *result.signal_dims)}
        # Under a path that nothing has: what is replaced may be what the fit reads from, and is there until this is
        # whole.
        path = f"{name}.{uuid.uuid4().hex[:8]}"
        described = json.loads(ds.attrs["xfit_model"])
        record: dict[str, Any] = {
            "format": FORMAT,
            "name": name,
            "date": datetime.now(UTC).isoformat(timespec="microseconds"),
            "components": [each["name"] for each in described["components"]],
            "dims": dims,
            "signal": signal,
            "model": ds.attrs["xfit_model"],
        }
        self._write(_plain(ds), path)
        meanwhile = FileExistsError(
            f"another process has stored a model {name!r} meanwhile; give another name, or overwrite=True"
        )
        try:
            record["red_chisq"] = self._median(path)
            record["arrays"] = self._arrays(path)
            record["attributes"] = _sha256(
                {k: v for k, v in self._group(path, "r").attrs.asdict().items() if k != RECORD}
            )
            self._to_disk(path)
            if not overwrite and name in self:
                self._delete(path)
                raise meanwhile
            # Last: what has none is not whole.
            self._group(path).attrs[RECORD] = json.dumps({**record, "sha256": _sha256(record)}, ensure_ascii=False)
        except FileNotFoundError:
            # That process has taken it for what was left of an earlier one.
            raise meanwhile from None
        self._to_disk(path)
        self._sweep(name, before)
        return self[name]

    def restore(self, name: str, *, check: bool = True) -> xr.Dataset:
        """Open a result lazily; its ``.fit`` has the model, maps and curves.

        Parameters
        ----------
        name : str
            Its name.
        check : bool, optional
            Whether the signal is compared with what it was when the model was stored, for which up to 512 MiB of it are
            read.

        Warns
        -----
        SignalChangedWarning
            Where it differs, naming in what.

        Raises
        ------
        KeyError
            Where there is no such model.
        """
        return self._restored(self[name], check, stacklevel=3)

    def remove(self, name: str) -> None:
        """Delete a model from the store, or what is left of one that was not stored to its end.

        Raises
        ------
        KeyError
            Where there is none.
        """
        if name not in self.unfinished and name not in self.damaged:
            self[name]
        self._sweep(name, {path for path, _ in self._groups()})

    def _restored(self, entry: StoredModel, check: bool, stacklevel: int) -> xr.Dataset:
        self._refuse_damage(entry)
        ds = self._opened(entry._path)
        if check:
            found = self._changed(entry)
            if found:
                warnings.warn(
                    f"the signal {entry.signal['variable']!r} in {self._place} is not what it was when the model "
                    f"{entry.name!r} was stored; it differs in: {'; '.join(found)}. Fit it again, or restore with "
                    "check=False",
                    SignalChangedWarning,
                    stacklevel=stacklevel,
                )
        with telling(self._place, "a stored model"):
            small = {name: c.load() for name, c in ds.coords.items() if set(c.dims) <= {"param", "param_", "pair"}}
        ds = ds.assign_coords(small)
        ds.attrs = {key: value for key, value in ds.attrs.items() if key != RECORD}
        return ds

    def _changed(self, entry: StoredModel) -> list[str]:
        name = entry.signal["variable"]
        ds = self._data()
        return (
            changes(entry.signal, ds[name])
            if name in ds.data_vars
            else ["its name: there is none of this name any more"]
        )

    # --- the store

    def _data(self) -> xr.Dataset:
        return open_zarr(self._store, consolidated=False, chunks={})

    def _signal(self, fit: xr.Dataset, variable: str | None) -> xr.DataArray:
        return signal_of(self._data().data_vars, fit, variable, self._place)

    def _opened(self, path: str) -> xr.Dataset:
        with telling(self._place, "a stored model"):
            return open_zarr(self._store, group=f"{GROUP}/{path}", consolidated=False, chunks={})

    def _group(self, path: str, mode: Literal["r", "r+"] = "r+") -> zarr.Group:
        return zarr.open_group(self._store, path=f"{GROUP}/{path}", mode=mode, use_consolidated=False)

    def _write(self, ds: xr.Dataset, path: str) -> None:
        # With a checksum in each chunk: one that is damaged is an error where it is read.
        codec: Any = ZstdCodec(checksum=True) if self._format == 3 else Zstd(checksum=True)
        encoding = {name: {"compressors": (codec,)} for name in ds.variables}
        ds.to_zarr(
            self._store,
            group=f"{GROUP}/{path}",
            mode="w-",
            consolidated=False,
            zarr_format=self._format,
            encoding=encoding,
        )

    def _median(self, path: str) -> float | None:
        values = self._opened(path)["red_chisq"]
        step = max(1, int(np.ceil((values.size / _ALL) ** (1 / max(values.ndim, 1)))))
        numbers = values.isel({d: slice(None, None, step) for d in values.dims}).values
        numbers = numbers[np.isfinite(numbers)]
        return float(np.median(numbers)) if numbers.size else None

    def _arrays(self, path: str) -> dict[str, list[Any]]:
        """Of each array of a model the number of its files of numbers, and a checksum of its description."""
        prefix = f"{GROUP}/{path}/"
        found: dict[str, list[Any]] = {}
        descriptions: dict[str, dict[str, str]] = {}
        for key in sorted(key.rpartition(prefix)[2] for key in collect_aiterator(self._store.list_prefix(prefix))):
            name, _, rest = key.partition("/")
            if not rest or key.endswith(".partial"):
                continue
            entry = found.setdefault(name, [0, ""])
            if rest in _DESCRIPTIONS:
                content = sync(self._store.get(prefix + key, default_buffer_prototype()))
                descriptions.setdefault(name, {})[rest] = "" if content is None else content.to_bytes().decode("latin1")
            else:
                entry[0] += 1
        for name, texts in descriptions.items():
            found[name][1] = _sha256(texts)
        return found

    def _refuse_damage(self, entry: StoredModel) -> None:
        """Compare what there is of a model with what its record says.

        Raises
        ------
        ValueError
            Naming the array that lacks files, or whose description is another one.
        """
        if entry._arrays is None:  # of version 1
            return
        found = self._arrays(entry._path)
        place = f"{self._place}/{GROUP}/{entry._path}"
        ways = f"fit again, or .remove({entry.name!r}) deletes it"
        for name, (number, checksum) in entry._arrays.items():
            there, now = found.get(name, (0, ""))
            if there != number:
                raise ValueError(f"{place}/{cleaned(name)} is damaged (it has {there} of {number} files); {ways}")
            if now != checksum:
                raise ValueError(f"{place}/{cleaned(name)} is damaged (its description is another one); {ways}")
        attrs = {k: v for k, v in self._group(entry._path, "r").attrs.asdict().items() if k != RECORD}
        if _sha256(attrs) != entry._attributes:
            raise ValueError(f"{place} is damaged (its attributes are others); {ways}")

    def _to_disk(self, path: str) -> None:
        """Wait until a model is on the disk, where it goes to one."""
        if isinstance(self._store, LocalStore):
            to_disk(self._store.root / GROUP / path)
            fsync(self._store.root / GROUP)
            fsync(self._store.root)

    def _delete(self, path: str) -> None:
        """Delete the group of a model, which has nothing else in it."""
        self._refuse_links(f"{GROUP}/{path}", inside=True)
        prefix = f"{GROUP}/{path}/"
        listed = [key.rpartition(prefix)[2] for key in collect_aiterator(self._store.list_prefix(prefix))]
        for keys in in_order(listed):
            self._objects.delete(prefix + key for key in keys)
        # Empty folders, and what a store keeps beside its objects.
        sync(self._store.delete_dir(f"{GROUP}/{path}"))

    def _sweep(self, name: str, paths: Collection[str]) -> None:
        """Delete those of some groups that are of a name."""
        ours = [(path, record) for path, record in self._groups() if path in paths and path.partition(".")[0] == name]
        for path, _ in ours:
            self._refuse_links(f"{GROUP}/{path}", inside=True)
        for path, record in ours:
            if isinstance(record, dict):
                # First of all: what is not all there any more must not be taken for whole.
                del self._group(path).attrs[RECORD]
            self._delete(path)

    # --- display

    def __repr__(self) -> str:
        width, found, left = terminal_width(), self._found(), self.unfinished
        lines = [f"<{shortened(f'xfit models ({len(found)}) beside {self._place}', width - 2)}>"]
        if found:
            lines.append(text_table(_HEAD, [each._row for each in found.values()], width=width))
        lines += [
            wrapped(f"damaged: {cleaned(name)}: {cleaned(why)}; .remove({cleaned(name)!r}) deletes it", width)
            for name, why in self.damaged.items()
        ]
        if left:
            lines.append(
                wrapped(
                    f"not stored to the end: {', '.join(map(cleaned, left))}; .remove(name) deletes what there is of "
                    "it",
                    width,
                )
            )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        found, left = self._found(), self.unfinished
        parts = [html_table(_HEAD, [each._row for each in found.values()])] if found else []
        parts += [_section(each) for each in found.values()]
        parts += [html_lines(f"warning: damaged: {name}: {why}") for name, why in self.damaged.items()]
        if left:
            parts.append(html_lines(f"warning: not stored to the end: {', '.join(left)}"))
        return html_page("xfit models", self._place, counted(len(found), "model"), *parts)


def _section(entry: StoredModel) -> str:
    """HTML of a stored model, folded."""
    try:
        inside = model_sections(entry.model, opened=False)
    except Exception as reason:
        # Such as a component whose module is not imported; everything else can still be told.
        inside = [html_lines(f"the model can't be read: {reason}")]
    return html_section(entry.name, ", ".join(entry.components), *inside)


def _sha256(words: Any) -> str:
    """Checksum of words and numbers, in whatever order."""
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()


def _record_of(text: str, name: str) -> dict[str, Any]:
    """A record, if it is what was written.

    Raises
    ------
    ValueError
        If it is not.
    """
    record = json_of(text)
    if not isinstance(record, dict) or record.get("name") != name:
        raise ValueError(f"its record is not of {name!r}")
    missing = sorted({"format", "date", "components", "dims", "red_chisq", "signal", "model"} - record.keys())
    if missing:
        raise ValueError(f"its record has no {', '.join(missing)}")
    given = record.pop("sha256", None)
    if given != _sha256(record) and not (given is None and record.get("format") == 1):
        # Newer ones may have other sums, and are refused by their number.
        if not (isinstance(record.get("format"), int) and record["format"] > FORMAT):
            raise ValueError("the checksum of its record is another one")
    return record


def _refuse_files(store: Any) -> None:
    """Refuse files, which hold one Dataset and nothing beside it."""
    path = local_path(store) if isinstance(store, str | Path) and not is_url(store) else None
    if path is not None and path.is_file():
        raise ValueError(
            f"store={str(store)!r} is a file, and models are kept in the zarr store of a signal: make one with "
            f"xr.open_dataset({str(store)!r}).to_zarr({str(path.with_suffix('.zarr'))!r}), or keep the fit in a file "
            "of its own with fit.to_netcdf(...)"
        )


def _checked(name: Any, found: Mapping[str, StoredModel], overwrite: bool) -> str:
    """Check a name."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            f"name={name!r} must be text of letters, digits, '_', '-', '+' and blanks, at most 100 and no blanks at "
            "its ends"
        )
    if name in found and not overwrite:
        raise FileExistsError(
            f"there is a model {name!r} stored {found[name].date[:16]}; overwrite=True replaces it, or give another "
            "name"
        )
    alike = [other for other in found if other != name and other.casefold() == name.casefold()]
    if alike:
        raise ValueError(
            f"name={name!r} differs from {alike[0]!r} in upper and lower case alone, which not all file systems tell "
            "apart; give another name"
        )
    return name


def _free(found: Collection[str]) -> str:
    """The first name of a, b, ..., z, aa, ... that is free."""
    taken = {name.casefold() for name in found}
    names = ("".join(each) for n in itertools.count(1) for each in itertools.product(string.ascii_lowercase, repeat=n))
    return next(name for name in names if name not in taken)


def _plain(fit: xr.Dataset) -> xr.Dataset:
    """Result without what belongs to the file that it came from, in chunks that zarr has."""
    attrs = {name: value for name, value in fit.attrs.items() if name not in (MANIFEST, RECORD)}
    ds = fit.drop_encoding().drop_attrs(deep=False).assign_attrs(attrs)
    uneven = {}
    for d, sizes in ds.unify_chunks().chunks.items():
        if len(set(sizes[:-1])) > 1 or sizes[-1] > sizes[0]:
            uneven[d] = max(sizes)
    # Lazy variables only: names along param must not become lazy.
    lazy = {
        name: v.chunk({d: n for d, n in uneven.items() if d in v.dims}) for name, v in ds.variables.items() if v.chunks
    }
    return ds.assign({name: ds[name].copy(data=v.data) for name, v in lazy.items()}) if uneven else ds


def models(store: Any, storage_options: Mapping[str, Any] | None = None) -> StoredModels:
    """Fits that are kept beside a signal, in its zarr store.

    Parameters
    ----------
    store : str, path or zarr Store
        Store of the signal: a path, a URL of any kind that fsspec knows, or an open store. The models lie in its group
        ``xfit_models``.
    storage_options : mapping, optional
        What the file system of a URL needs.

    Returns
    -------
    StoredModels
        A mapping of names to `StoredModel`, with ``store``, ``restore`` and ``remove``.

    Raises
    ------
    FileNotFoundError
        Where there is no store.
    ValueError
        For a file, such as netCDF, and for a store of a result.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xfit
    >>> from xfit.components import Offset
    >>> da = xr.DataArray(np.ones((3, 8)), dims=("y", "x"), name="counts")
    >>> ds = da.to_dataset().to_zarr("memory://map-with-models.zarr", consolidated=False)
    >>> kept = xfit.models("memory://map-with-models.zarr")
    >>> kept.store(da.fit.multifit(xfit.Model([Offset(name="bg")]))).name
    'a'
    >>> kept.restore("a").fit["bg.offset"].values
    array([1., 1., 1.])
    """
    return StoredModels(store, storage_options)
