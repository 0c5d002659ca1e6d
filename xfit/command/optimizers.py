"""``xfit optimizers``: what can minimise."""

from __future__ import annotations

import click


@click.command()
def optimizers() -> None:
    """List the optimizers and what each can do.

    \b
    Example:
      xfit optimizers
    """  # noqa: D301  click wants the character
    from xfit.engine.block.optimizers import optimizers as table

    table()
