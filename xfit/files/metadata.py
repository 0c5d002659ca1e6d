"""Trees of metadata as flat attributes that netCDF and zarr can hold, and back."""

from __future__ import annotations

import json
import numbers
import warnings
from collections.abc import Mapping
from datetime import date, time
from typing import Any, cast

import numpy as np

from xfit.display import cleaned
from xfit.modeling.text_limits import json_of

#: Branches that only HyperSpy itself can use: how a signal was unfolded, and drawings on its plots.
_INTERNAL = ("_HyperSpy", "Markers")

#: Begins the text of a value that is neither text, a number nor a list of either.
_JSON = "json:"

#: Longest value in characters; more is no metadata but data.
_LONGEST = 200_000

#: What HyperSpy wants as lists; netCDF makes a list of one its only entry.
_LISTS = ("Sample.elements", "Sample.xray_lines")


def branch(tree: Any, *path: str) -> dict[str, Any]:
    """The branch of a tree itself; an empty one where there is none, or where damage has put a value in its place."""
    for name in path:
        tree = tree.get(name) if isinstance(tree, Mapping) else None
    return cast(dict[str, Any], tree) if isinstance(tree, Mapping) else {}


def flattened(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten a tree: ``{"Sample": {"name": "a"}}`` becomes ``{"Sample.name": "a"}``.

    Parameters
    ----------
    tree : mapping
        Of mappings and values, as in HyperSpy.

    Returns
    -------
    dict
        Text, numbers (0 and 1 for booleans) and lists of either; other structures as text that begins with "json:" and
        goes on as JSON. What is None is left out.

    Warns
    -----
    UserWarning
        Names what has no such form and is left out.
    """
    found: dict[str, Any] = {}
    left: list[str] = []
    _walk({key: value for key, value in tree.items() if key not in _INTERNAL}, "", found, left)
    if left:
        warnings.warn(
            f"metadata left out, since they are neither text nor numbers: {cleaned(', '.join(left))}", stacklevel=2
        )
    return found


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tree that `flattened` was given.

    Parameters
    ----------
    flat : mapping
        Attributes; those without a dot lie at the root.

    Warns
    -----
    UserWarning
        Names attributes that can't be placed, since one of them is a value where another is a branch.
    """
    tree: dict[str, Any] = {}
    left: list[str] = []
    # Branches before values, so that which of two is left out does not depend on their order.
    for name in sorted(flat, key=lambda name: -name.count(".")):
        value = _structure(flat[name])
        if name in _LISTS and not isinstance(value, list):
            value = [value]
        *path, last = name.split(".")
        branch: Any = tree
        for step in path:
            branch = branch.setdefault(step, {}) if isinstance(branch, dict) else None
        if not isinstance(branch, dict) or last in branch:
            left.append(name)
        else:
            branch[last] = value
    if left:
        warnings.warn(
            f"attributes left out, since others take their place in the metadata: {cleaned(', '.join(left))}",
            stacklevel=2,
        )
    return tree


def as_json(tree: Mapping[str, Any]) -> str:
    """Return a tree as JSON, whatever is in it: what has no form there is described in words."""
    return json.dumps(_jsonable(tree), ensure_ascii=False)


def _walk(tree: Mapping[Any, Any], prefix: str, found: dict[str, Any], left: list[str]) -> None:
    """Collect the values below a branch."""
    for key, value in tree.items():
        # A slash separates groups in netCDF.
        name = f"{prefix}{str(key).replace('/', '_')}"
        if isinstance(value, Mapping) and not str(key).startswith("_sig_"):
            _walk(value, f"{name}.", found, left)
        elif value is not None:
            plain = None if isinstance(value, Mapping) else _plain(value)
            if plain is None or (isinstance(plain, str) and len(plain) > _LONGEST):
                left.append(name)
            else:
                found[name] = plain


def _plain(value: Any) -> Any:
    """Value in plain form; None if it has none."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None
    if isinstance(value, date | time):
        return value.isoformat()
    if hasattr(value, "dtype"):
        if getattr(value, "size", 1) > _LONGEST:
            return None
        # Arrays in metadata may be lazy or bytes.
        array = np.asarray(value)
        value = (np.char.decode(array) if array.dtype.kind == "S" else array).tolist()
    if isinstance(value, str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if not isinstance(value, list | tuple | set | frozenset):
        return None
    entries = list(value)
    alike = all(isinstance(v, str) for v in entries) or all(
        isinstance(v, numbers.Real) and not isinstance(v, bool | np.bool_) for v in entries
    )
    if entries and alike:
        return [_plain(v) for v in entries]
    try:
        return _JSON + json.dumps(_jsonable(entries), ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return None


def _structure(value: Any) -> Any:
    """Value as it was before `_plain`, as far as that can be told."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, str) and value.startswith(_JSON):
        try:
            return json_of(value[len(_JSON) :])
        except ValueError:
            return value
    return list(value) if isinstance(value, tuple) else value


def _jsonable(value: Any) -> Any:
    """Value as JSON can hold it."""
    if isinstance(value, Mapping):
        return {str(key): _jsonable(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_jsonable(each) for each in value]
    if isinstance(value, str) or value is None or isinstance(value, bool):
        return value
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, date | time):
        return value.isoformat()
    if hasattr(value, "dtype"):
        if getattr(value, "size", 1) > _LONGEST:
            return f"array of shape {value.shape} and dtype {value.dtype}"
        listed = np.asarray(value).tolist()
        return repr(listed) if isinstance(listed, complex) else _jsonable(listed)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    return repr(value)
