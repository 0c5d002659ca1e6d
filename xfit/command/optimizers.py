"""``xfit optimizers``: what can minimise."""

from __future__ import annotations

import click


@click.command()
def optimizers() -> None:
    r"""List the optimizers and what each can do.

    \b
    Example:
      xfit optimizers
    """
    from xfit.registry import optimizers as table

    table()
