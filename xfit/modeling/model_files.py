"""Models in files that people write: TOML and JSON."""

from __future__ import annotations

import json
import math
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from xfit.arrays.atomic_write import create, put, refuse_foreign, refuse_link
from xfit.display import local_path
from xfit.modeling.serialization import LARGEST_JSON, ModelFormatError, model_from_dict, model_to_dict, read_json
from xfit.modeling.text_limits import check_toml

if TYPE_CHECKING:
    from xfit.modeling.model import Model

M = TypeVar("M", bound="Model")

#: Most bytes of a file by its ending; Python's parser of TOML needs a second and 50 MB for one.
LARGEST = {".toml": 1 << 20, ".json": LARGEST_JSON}


def read_model(path: str | os.PathLike[str], kind: type[M]) -> M:
    """Read a model from a file.

    Parameters
    ----------
    path : str or path
        A TOML or JSON file with the entries of `xfit.modeling.serialization.model_from_dict`.
    kind : type
        `xfit.Model`, or a class made from it.

    Raises
    ------
    FileNotFoundError
        Where there is none.
    ModelFormatError
        Naming the file and the key, or the line, that is wrong.
    """
    place = local_path(path)
    ending = _ending(place)
    read = {".toml": _read_toml, ".json": read_json}[ending]
    if not place.is_file():
        raise FileNotFoundError(f"there is no model file {str(place)!r}")
    if (size := place.stat().st_size) > LARGEST[ending]:
        raise ModelFormatError(f"{place.name}: {_too_large(size, ending)}")
    try:
        return model_from_dict(read(place.read_text(encoding="utf-8")), kind)
    except UnicodeDecodeError as error:
        raise ModelFormatError(f"{place.name}: not a text file in UTF-8 ({error})") from None
    except ModelFormatError as error:
        raise ModelFormatError(f"{place.name}: {error}") from None


def write_model(model: Model, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write a model to a file; arguments as for `xfit.Model.to_file`."""
    place = local_path(path)
    write = {".toml": toml_of, ".json": _json_of}[_ending(place)]
    content = write(model).encode("utf-8")
    if (size := len(content)) > LARGEST[_ending(place)]:
        raise ValueError(f"{place.name} could not be read back: {_too_large(size, _ending(place))}")
    refuse_link(place)
    if not place.absolute().parent.is_dir():
        raise FileNotFoundError(f"there is no folder {str(place.absolute().parent)!r}")
    if overwrite:
        refuse_foreign(place, is_folder=False)
        put(place, content)
    elif not create(place, content):
        raise FileExistsError(f"there is a file {str(place)!r} already; overwrite=True replaces it")


def toml_of(model: Model) -> str:
    """Return a model as TOML: its values, the bounds that there are, and what else is not as it is by default.

    TOML has no null: a bound that is not there is infinite where by default there is one.
    """
    import tomli_w

    data = model_to_dict(model)
    bare = {**data, "components": [_bare(each) for each in data["components"]]}
    plain = model_to_dict(model_from_dict(bare, type(model)))
    components = [_differing(each, other) for each, other in zip(data["components"], plain["components"], strict=True)]
    return tomli_w.dumps(_without_nulls({**data, "components": components}))


def _bare(component: Mapping[str, Any]) -> dict[str, Any]:
    """What a component is made from, without what can be set."""
    return {key: component[key] for key in ("type", "name", "options") if key in component}


def _differing(component: Mapping[str, Any], plain: Mapping[str, Any]) -> dict[str, Any]:
    """A component without what it has by default, values and finite bounds excepted."""
    found = {
        key: value
        for key, value in component.items()
        if key in ("type", "name")
        or (key == "options" and value)
        or (key not in ("options", "parameters") and value != plain[key])
    }
    parameters = {}
    for name, parameter in component["parameters"].items():
        bounds = {"min": -math.inf, "max": math.inf}
        filled: dict[str, Any] = {key: bounds.get(key) if value is None else value for key, value in parameter.items()}
        usual = {key: bounds.get(key) if value is None else value for key, value in plain["parameters"][name].items()}
        parameters[name] = {
            key: value
            for key, value in filled.items()
            if key == "value" or value != usual[key] or (key in bounds and math.isfinite(value))
        }
    return {**found, "parameters": parameters}


def _json_of(model: Model) -> str:
    return json.dumps(model_to_dict(model), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _too_large(size: int, ending: str) -> str:
    """Say that a file is larger than a model's."""
    return f"{size} bytes, and a model in {ending} has at most {LARGEST[ending]}"


def _read_toml(text: str) -> Mapping[str, Any]:
    try:
        check_toml(text)
    except ValueError as error:
        raise ModelFormatError(str(error)) from None
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(f"the text is not TOML: {error}") from None


def _ending(path: Path) -> str:
    """The kind of a file, by its name."""
    ending = path.suffix.lower()
    if ending not in (".toml", ".json"):
        raise ValueError(f"model file {str(path)!r} must end in .toml or .json")
    return ending


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list | tuple) else value
