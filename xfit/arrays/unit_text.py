"""Units as text: whether two of them say the same."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

#: Other spellings of units.
_SPELLINGS = {"um": "μm", "micron": "μm", "angstrom": "Å", "Angstrom": "Å", "AA": "Å", "sec": "s", "count": "counts"}


_PART = re.compile(
    r"([*/]?) ?(?:\(([^()]+)\)|([^\W\d]+|[%°\"']|1(?![\d.])))(?:(?:\^|\*\*)?\(?([+-]?\d+(?:\.\d+)?)\)?)? ?"
)


def differ(one: object, other: object) -> bool:
    """Whether two units are known and not the same, however they are written: "1/cm" is "cm^-1"."""
    first, second = (str(units or "").strip() for units in (one, other))
    return bool(first and second) and _powers(first) != _powers(second)


def _powers(units: str) -> Mapping[str, float] | str:
    """Exponents of the units in a product; the text itself where it is written in another way."""
    text = re.sub(r"\s+", " ", units).replace("·", "*").replace(" * ", "*").replace(" / ", "/")
    text = re.sub("[⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+", lambda match: "^" + match.group(), text)
    text = unicodedata.normalize("NFKC", text).replace("\N{MINUS SIGN}", "-").replace("μ", "μ")
    powers: dict[str, float] = {}
    at = 0
    while at < len(text):
        part = _PART.match(text, at)
        if part is None:
            return text
        sign, group, name, exponent = part.groups()
        inside = _powers(group) if group else {_SPELLINGS.get(name, name): 1.0}
        if isinstance(inside, str):
            return text
        for each, power in inside.items():
            powers[each] = powers.get(each, 0) + power * float(exponent or 1) * (-1 if sign == "/" else 1)
        at = part.end()
    return {name: exponent for name, exponent in powers.items() if exponent and name != "1"}
