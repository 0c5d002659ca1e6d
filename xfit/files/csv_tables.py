"""Tables as CSV whose text, which may be a file's, is no formula for a spreadsheet."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from xfit.display import cleaned

#: What spreadsheets take for the beginning of a formula, full-width letters included, after blanks or not (OWASP, "CSV
#: Injection").
_FORMULA = re.compile(r"\s*[=+\-@＝＋－＠]")

#: Text that is a number stays one.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|-")


def cell(value: Any) -> Any:
    """A cell of a table: text without controls, with an apostrophe before what a spreadsheet would take for
    a formula; all else as it is.
    """
    if not isinstance(value, str):
        return value
    text = cleaned(value)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def as_csv(table: pd.DataFrame, *, header: bool = True) -> str:
    """Write a table as CSV; numbers are written as they are, text as `cell` has it.

    Parameters
    ----------
    table : DataFrame
        Its index is not written.
    header : bool
        Whether to begin with the names of the columns.
    """
    shown = table.rename(columns=cell)
    for k, kind in enumerate(table.dtypes):
        if not pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_datetime64_any_dtype(kind):
            shown.isetitem(k, table.iloc[:, k].map(cell).to_numpy())
    return str(shown.to_csv(header=header, index=False, lineterminator="\n"))
