"""What names of arrays say that these are: data, their noise, flags of bad data."""

from __future__ import annotations

#: Names of noise: how the variance follows from it.
NOISE = {
    **dict.fromkeys(("STAT", "VAR", "VARIANCE", "MSE"), "variance"),
    **dict.fromkeys(
        ("ERR", "ERROR", "ERRORS", "SIGMA", "STDDEV", "STD", "UNCERT", "UNCERTAINTY", "RMSE", "NOISE"), "deviation"
    ),
    **dict.fromkeys(("IVAR", "INVVAR", "INVMSE"), "inverse"),
}
_FLAGS = ("DQ", "MASK", "FLAGS", "QUALITY", "BPM")


def role_of_name(name: str) -> str:
    """Tell what an array is by its name: "science", "flags", or how a variance follows from it."""
    name = name.upper()
    words = name.replace("-", "_").split("_")
    for word in (name, words[0], words[-1]):
        if word in NOISE:
            return NOISE[word]
        if word in _FLAGS:
            return "flags"
    return "science"
