"""Arguments that several commands have, and errors and warnings as commands report them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from xfit.display import is_url, local_path, paragraph, without_secrets

#: Of files and of what is asked for; anything else is a fault of the program, and its traceback is wanted.
_INPUT = (OSError, ValueError, TypeError, KeyError, NotImplementedError, ImportError)

#: Arguments that errors of the library name, and the options of commands that are the same.
_AS_OPTIONS = {"resume=True": "--resume", "overwrite=True": "--overwrite", "bounded=False": "--no-bounded"}


class FilePath(click.Path):
    """Path of a file of this machine, in which ``~`` is the home: shells leave it in ``--model=~/model.toml``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See `click.Path`."""
        return super().convert(local_path(value), param, ctx)


storage_options = click.option(
    "-o",
    "--option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="What the file system of a URL needs; may be repeated.",
)


def given_options(options: tuple[str, ...]) -> dict[str, str]:
    """Take options of a file system apart."""
    wrong = [each for each in options if "=" not in each]
    if wrong:
        raise click.BadParameter(f"{wrong[0]!r} must be NAME=VALUE", param_hint="--option")
    return dict(each.split("=", 1) for each in options)


def options_for(place: str, options: Mapping[str, str]) -> dict[str, str]:
    """Options of a file system for a place: paths have none."""
    return dict(options) if is_url(place) else {}


@contextmanager
def reported() -> Iterator[None]:
    """Turn errors of the input into messages with exit code 1, and warnings into lines."""
    with warnings.catch_warnings():
        warnings.showwarning = _show
        try:
            yield
        except _INPUT as error:
            raise click.ClickException(words_of(error)) from error


def words_of(error: BaseException) -> str:
    """The message of an error, with options in place of arguments of Python; a KeyError shows its own in quotes."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    text = re.sub("|".join(_AS_OPTIONS), lambda found: _AS_OPTIONS[found[0]], text)
    return _lines(text) or type(error).__name__


def _show(message: Warning | str, *_: Any, **__: Any) -> None:
    click.echo(f"warning: {_lines(str(message))}", err=True)


def _lines(text: str) -> str:
    return paragraph("\n".join(map(without_secrets, text.splitlines())))
