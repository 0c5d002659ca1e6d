"""Several signals of one file, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import xarray as xr

from xfit.display import cleaned, without_secrets


class Signals(Mapping[str, xr.DataArray]):
    """What a file with several signals holds: a mapping of names to DataArrays, in the file's order.

    Parameters
    ----------
    source : str
        The file, for messages.
    arrays : sequence of DataArray
        Named by their ``name``, or "signal"; of names alike, the second gets _2.
    """

    def __init__(self, source: str, arrays: Sequence[xr.DataArray]) -> None:
        self._source = without_secrets(source)
        self._arrays: dict[str, xr.DataArray] = {}
        for array in arrays:
            base = name = str(array.name or "signal")
            number = 2
            while name in self._arrays:
                name, number = f"{base}_{number}", number + 1
            self._arrays[name] = array

    def __getitem__(self, name: str | int) -> xr.DataArray:
        """Return a signal by its name, or its position.

        Raises
        ------
        KeyError
            If there is none; lists those that there are.
        """
        names = list(self._arrays)
        if isinstance(name, int) and not isinstance(name, bool) and -len(names) <= name < len(names):
            return self._arrays[names[name]]
        if name not in self._arrays:
            raise KeyError(f"no signal {name!r} in {self._source}; there are {names}, or 0 to {len(names) - 1}")
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __getattr__(self, name: str) -> xr.DataArray:
        # Only reached for what there is not: above all what a DataArray would have.
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(
            f"{self._source} holds {len(self)} signals, which together have no {name!r}; take one, such as "
            f"signals[{next(iter(self), '')!r}], or open it with signal=; there are {list(self)}"
        )

    def __repr__(self) -> str:
        rows = [tuple(map(cleaned, (name, *_described(array)))) for name, array in self._arrays.items()]
        widths = [max(len(row[k]) for row in rows) for k in range(3)]
        lines = [f"<Signals: {len(self)} of {cleaned(self._source)}>"]
        lines += [
            "  " + "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[3]]) for row in rows
        ]
        return "\n".join(lines)


def _described(array: xr.DataArray) -> tuple[str, str, str]:
    """Dimensions, type and units of an array in words."""
    dims = ", ".join(f"{d}: {n}" for d, n in array.sizes.items())
    words = [str(array.attrs.get(key, "")) for key in ("signal_type", "units")]
    return f"({dims})", str(array.dtype), " ".join(word for word in words if word)
