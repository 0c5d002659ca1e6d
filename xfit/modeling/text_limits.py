"""Limits of texts: of names, and of JSON and TOML before a parser sees them: levels,
dots in keys, digits of numbers.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Iterator
from typing import Any

#: Most levels of lists and objects within each other, dots in a key of TOML, digits of a number: more than any float
#: has, less than Python refuses.
DEEPEST, MOST_DOTS, MOST_DIGITS = 64, 10, 1000

#: Most letters of a name or a unit, and components of a model.
LONGEST_NAME, MOST_COMPONENTS = 200, 2000

#: Strings, also such as are not closed. Every branch ends somewhere and none is tried again, nor within what it has
#: passed over, so that the time is linear.
_JSON_STRING = r'"(?:[^"\\]++|\\.)*+"?'
_TOML_STRING = (
    r'"""(?:[^"\\]++|\\.|"(?!""))*+(?:""")?|'
    r"'''(?:[^']++|'(?!''))*+(?:''')?|"
    r'"(?:[^"\\\n]++|\\.)*+"?|'
    r"'[^'\n]*+'?|#[^\n]*+"
)

_JSON = re.compile(rf"{_JSON_STRING}|[\[\]{{}}]|(?<!\d)\d{{{MOST_DIGITS + 1},}}", re.DOTALL)
_TOML = re.compile(_TOML_STRING, re.DOTALL)
_TOKEN = re.compile(
    rf"[\[\]{{}}]|(?<![\d_])\d[\d_]{{{MOST_DIGITS},}}|(?<![\w-])[\w-]++(?:[ \t]*+\.[ \t]*+[\w-]++){{{MOST_DOTS + 1},}}"
)


def check_json(text: str) -> None:
    """Refuse JSON that would cost a parser much, or that no number can hold.

    Raises
    ------
    ValueError
        With the line and the figure.
    """
    _check(text, _JSON.finditer(text))


def json_of(text: Any) -> Any:
    """What a text of a file, or its bytes, says as JSON.

    Raises
    ------
    ValueError
        For what is no text, no JSON, or would cost a parser much.
    """
    if isinstance(text, bytes):
        text = text.decode()
    if not isinstance(text, str):
        raise ValueError(f"JSON must be text, not {shown(text)}")
    check_json(text)
    return json.loads(text)


def check_toml(text: str) -> None:
    """Refuse TOML likewise; a key of n dots costs a parser n squared."""
    # Keys may be quoted; what stands for a string keeps its lines.
    plain = _TOML.sub(lambda found: ("" if found[0].startswith("#") else "q") + "\n" * found[0].count("\n"), text)
    _check(plain, _TOKEN.finditer(plain))


def _check(text: str, tokens: Iterator[re.Match[str]]) -> None:
    depth = 0
    for found in tokens:
        token = found[0]
        if token in "[{":
            depth += 1
        elif token in "]}":
            depth -= 1
        why = ""
        if depth > DEEPEST:
            why = f"lists and objects are nested more than {DEEPEST} levels deep"
        elif len(token) > MOST_DIGITS and token[0].isdigit():
            why = f"a number has {len(token)} digits; the most that are read are {MOST_DIGITS}"
        elif len(token) > 1 and token[0] != '"':
            why = f"a key has {token.count('.')} dots; the most that are read are {MOST_DOTS}"
        if why:
            raise ValueError(f"line {text.count(chr(10), 0, found.start()) + 1}: {why}")


def checked_length(text: str, what: str) -> str:
    """Return a name or a unit that is short enough to be shown.

    Raises
    ------
    ValueError
        With its length.
    """
    if len(text) > LONGEST_NAME:
        raise ValueError(f"{what} has {len(text)} letters, {shown(text)}; the most are {LONGEST_NAME}")
    return text


class _Short(reprlib.Repr):
    """Reprs of at most some ten letters or entries, which also takes numbers that Python does not print."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 60

    def repr_int(self, x: int, level: int) -> str:
        return (
            repr(x) if x.bit_length() < 130 else f"a whole number of {int(x.bit_length() * math.log10(2)) + 1} digits"
        )


def shown(value: Any) -> str:
    """A value from a file for a message, shortened."""
    return _Short().repr(value)


def amount(number: int) -> str:
    """A whole number of any size for a message."""
    return f"{number:.3g}" if number.bit_length() < 1000 else f"10**{number.bit_length() * math.log10(2):.0f}"
