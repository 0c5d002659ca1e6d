"""Files of HyperSpy with stored models, opened without running any code that is in them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any

import xarray as xr

from xfit.display import cleaned, local_path, text_table
from xfit.files.hdf5 import reopening
from xfit.files.hdf5_header import check_hdf5
from xfit.files.hyperspy_reader import read_hspy, read_zspy
from xfit.files.instruments import title_of
from xfit.files.signals import signal_to_array
from xfit.fitting.stored.reader_errors import telling
from xfit.hyperspy.conversion import Conversion
from xfit.hyperspy.models import conversion_of


class StoredHyperSpyModels(Mapping[str, Conversion]):
    """The models that a signal was stored with, by name; each is converted when it is asked for.

    Attributes
    ----------
    data : DataArray
        The signal.
    dates : dict of str to str
        When each model was stored.
    """

    def __init__(self, data: xr.DataArray, stored: Mapping[str, Mapping[str, Any]]) -> None:
        self.data = data
        self._stored = {name: each.get("_dict") or {} for name, each in stored.items()}
        self.dates = {name: str(each.get("date", "")) for name, each in stored.items()}
        self._dimensions = {name: str(each.get("dimensions", "")) for name, each in stored.items()}

    def __getitem__(self, name: str) -> Conversion:
        """Convert a model.

        Raises
        ------
        KeyError
            For a name that is not there.
        ValueError
            For a model with components that xfit has not, or whose parts are pickled Python.
        """
        if name not in self._stored:
            raise KeyError(f"no model {name!r}; stored are {list(self._stored)}")
        try:
            return conversion_of(self._stored[name], self.data)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"the stored model {name!r} is not as HyperSpy writes it ({type(error).__name__}: {error})"
            ) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)

    def __repr__(self) -> str:
        rows = [
            (
                name,
                self.dates[name],
                self._dimensions[name],
                shorten(", ".join(str(c.get("name")) for c in model.get("components", ())), 60),
            )
            for name, model in self._stored.items()
        ]
        table = text_table(("model", "stored", "dimensions", "components"), rows) if rows else "none"
        return f"<xfit.hyperspy.StoredModels> of {cleaned(str(self.data.name or 'a signal'))}\n{table}"


def open_models(path: str | os.PathLike[str], *, signal: int | None = None, lazy: bool = False) -> StoredHyperSpyModels:
    """Open a ``.hspy`` or ``.zspy`` file of HyperSpy with the models that are stored in it.

    Parameters
    ----------
    path : path-like
        The file.
    signal : int, optional
        Which of the signals in the file, if it has several.
    lazy : bool, optional
        Whether data are read when they are needed, by dask.

    Returns
    -------
    StoredHyperSpyModels
        ``found.data`` is the signal, ``found["a"]`` a `Conversion`: model, stored values, masks.

    Raises
    ------
    ImportError
        Without RosettaSciIO and h5py.
    ValueError
        For a file of another format, or with several signals of which none is chosen.

    Notes
    -----
    HyperSpy stores Python classes and functions of its users as pickles, which run when they are read. Here they stay
    bytes: a model with such a part is refused by the part's name, the others open. ``.zspy`` files hold no pickles:
    arrays that are stored as such are refused with the file.
    """
    path = local_path(path)
    signals = _read(path, lazy)
    if signal is None and len(signals) != 1:
        titles = [title_of(each) for each in signals]
        raise ValueError(
            f"{path.name} has {len(signals)} signals {titles}; choose one with signal=0 to {len(signals) - 1}"
        )
    number = 0 if signal is None else signal
    if not 0 <= number < len(signals):
        raise ValueError(f"signal={signal} is not in {path.name}, which has {len(signals)} signal(s)")
    chosen = signals[number]
    data = signal_to_array(chosen)
    return StoredHyperSpyModels(data.copy(data=reopening(data.data, {})), chosen.get("models") or {})


def _read(path: Path, lazy: bool) -> list[dict[str, Any]]:
    """Signals of a file with their models."""
    suffix = path.suffix.lower()
    if suffix not in (".hspy", ".hdf5", ".zspy"):
        raise ValueError(
            f"path={str(path)!r} must be a .hspy or .zspy file; save others with s.save('name.hspy') in HyperSpy"
        )
    if not path.exists():
        raise FileNotFoundError(f"there is no file {str(path)!r}")
    try:
        import rsciio.hspy  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"open_models needs RosettaSciIO ({error}); install it with: pip install 'xfit[io]'"
        ) from error
    with telling(path, suffix[1:]):
        if suffix != ".zspy":
            check_hdf5(path)
            return read_hspy(path, lazy, models=True)
        return sorted(read_zspy(path, lazy, models=True), key=title_of)
