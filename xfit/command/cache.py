"""``xfit cache``: what compiled kernels take on the disk, and their removal."""

from __future__ import annotations

import click


@click.command()
@click.option("--clear", is_flag=True, help="Remove all compiled kernels; the next fits compile theirs again.")
def cache(clear: bool) -> None:
    """Show where compiled components and formulas lie, and how much they take.

    Those that were used longest ago are removed when all take more than XFIT_CACHE_LIMIT (in MiB, 256 by default).

    \b
    Examples:
      xfit cache
      xfit cache --clear
    """  # noqa: D301  click wants the character
    from xfit.engine.codegen.cache_size import limit, prune, stored_kernels
    from xfit.engine.codegen.code_store import cache_folder

    folder, most = cache_folder(), limit()
    if clear:
        removed = prune(folder, 0)
        click.echo(f"{len(removed)} kernels removed, {_mib(sum(each.size for each in removed))}")
    kernels = stored_kernels(folder)
    click.echo(f"{folder}: {len(kernels)} kernels, {_mib(sum(each.size for each in kernels))} of {_mib(most)}")


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
