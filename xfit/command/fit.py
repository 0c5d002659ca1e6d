"""``xfit fit``: data and a model file to a result."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from xfit.command.arguments import FilePath, given_options, reported, storage_options
from xfit.display import cleaned, without_secrets

if TYPE_CHECKING:
    import xarray as xr

    from xfit.command.reading import Data
    from xfit.command.running import Output
    from xfit.modeling.model import Model

_UNREAD, _INTERRUPTED = 3, 130

#: Messages of chunks that could not be read, at the most.
_SHOWN = 3


@click.command()
@click.argument("data")
@click.option(
    "--model",
    "model_file",
    required=True,
    type=FilePath(exists=True, dir_okay=False, path_type=str),
    help="The model: a TOML or JSON file; `xfit model` makes one.",
)
@click.option("--out", required=True, help="Where the result goes: .zarr (also a URL), .nc, .csv, .hspy, .zspy.")
@click.option("--signal", "--variable", "signal", metavar="NAME", help="Which signal of DATA, where there are several.")
@click.option(
    "--dim", "dims", multiple=True, metavar="NAME", help="Signal dimension, twice for images; by default the last."
)
@click.option("--optimizer", default="lm", show_default=True, help="See `xfit optimizers`.")
@click.option(
    "--loss",
    default="ls",
    show_default=True,
    help='What is minimised: "ls", "poisson", "huber", "soft_l1", "cauchy", "arctan".',
)
@click.option(
    "--variance",
    metavar="WHAT",
    help='Variance of the data: a number, "poisson", an array beside the data by its name, or a file.',
)
@click.option(
    "--where",
    "masks",
    multiple=True,
    metavar="WHAT",
    help="What to use: a range such as energy=600:800 (several add up), an array beside the data, or a file.",
)
@click.option("--start", metavar="WHAT", help='Start values: "estimate", or an earlier result.')
@click.option(
    "--starts", type=click.IntRange(1), default=1, show_default=True, help="From how many points each fit begins."
)
@click.option("--bounded/--no-bounded", default=True, show_default=True, help="Whether bounds are kept.")
@click.option(
    "--binned/--not-binned", default=None, help="Whether data are integrals over channels; by default as the file says."
)
@click.option("--covariance", is_flag=True, help="Keep the covariance of every pixel.")
@click.option(
    "--tolerance",
    type=click.FloatRange(0, min_open=True),
    default=1e-12,
    show_default=True,
    help="Distance to the minimum at which a fit stops.",
)
@click.option("--max-nfev", type=click.IntRange(1), help="Most evaluations of the model for a pixel.")
@click.option("--samfire", is_flag=True, help="Fit from seeds, every pixel from its good neighbours.")
@click.option(
    "--seed",
    "seeds",
    multiple=True,
    metavar="Y,X",
    help="Seed of --samfire: positions (3,5) or labels (y=1.5,x=2.5); may be repeated.",
)
@click.option(
    "--chunks",
    multiple=True,
    metavar="NAME=N",
    help="Chunk sizes along the map, such as y=64,x=64; by default those of the file.",
)
@click.option("--scheduler", metavar="ADDRESS", help="Run on this dask cluster, such as tcp://10.0.0.1:8786.")
@click.option(
    "--workers", type=click.IntRange(1), metavar="N", help="Run on N processes of this machine instead of threads."
)
@click.option("--resume", is_flag=True, help="Go on with a run that was killed.")
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors and warnings.")
@storage_options
@click.pass_context
def fit(
    context: click.Context,
    data: str,
    out: str,
    scheduler: str | None,
    workers: int | None,
    quiet: bool,
    options: tuple[str, ...],
    resume: bool,
    overwrite: bool,
    **asked: Any,
) -> None:
    """Fit a model to every pixel of DATA, which is any file that xfit.open reads, also one that is larger than memory.

    The result is written chunk by chunk, and a run that was killed goes on with --resume. On Ctrl-C what is done stays.

    \b
    Examples:
      xfit fit map.zarr --model model.toml --out fit.zarr
      xfit fit map.dm4 --model model.toml --out fit.hspy --loss poisson --where "Energy loss=450:800"
      xfit fit cube.fits --model lines.toml --out fit.nc --variance variance --start estimate
      xfit fit map.zarr --model model.toml --out fit.zarr --samfire --seed 3,5 --seed 40,60
      xfit fit s3://bucket/map.zarr --model m.json --out s3://bucket/fit.zarr --scheduler tcp://10.0.0.1:8786 --resume

    \b
    Exit codes: 0 done; 1 something is wrong with the input; 2 wrong usage; 3 done, but the data of some pixels
    could not be read; 130 interrupted.
    """  # noqa: D301  click wants the character
    if scheduler is not None and workers is not None:
        raise click.UsageError("--scheduler is a cluster that is there, --workers makes one; give one of them")
    if resume and overwrite:
        raise click.UsageError("--resume keeps what is there and --overwrite removes it; give one of them")
    if asked["seeds"] and not asked["samfire"]:
        raise click.UsageError("--seed is of --samfire")
    if asked["samfire"] and not asked["seeds"] and asked["start"] in (None, "estimate"):
        raise click.UsageError("--samfire needs a --seed, or an earlier result by --start")
    given = given_options(options)
    with reported():
        from xfit.command.reading import in_chunks, parse_chunks, read_data
        from xfit.command.running import Output, client_of, end_now
        from xfit.modeling.model import Model

        model = Model.from_file(asked["model_file"])
        found = read_data(data, asked["signal"], given)
        dims = _signal_dims(found.signal, model, asked["dims"])
        da = in_chunks(found.signal, dims, parse_chunks(asked["chunks"]), workers)
        target = Output(out, given, whole=asked["samfire"] or set(da.dims) == set(dims))
        target.refuse(filter(None, (data, asked["model_file"], asked["start"], asked["variance"], *asked["masks"])))
        target.check(resume, overwrite)
        run = _Run(da, model, dims, _keywords(asked, found, da, given), target, resume, overwrite, not quiet)
        try:
            with client_of(scheduler, workers) as client:
                words, unread = run.samfire(asked["seeds"], client) if asked["samfire"] else run.multifit(client)
        except KeyboardInterrupt as error:
            said = str(error).partition(";")[0]
            click.echo(
                f"interrupted{f' ({said})' if said else ''}; what is done lies in {without_secrets(target.store)}, and "
                "--resume goes on with it",
                err=True,
            )
            end_now(_INTERRUPTED)
    if not quiet:
        click.echo(f"{words}\n\nresult: {without_secrets(out)}")
    for chunk, message in list(unread.items())[:_SHOWN]:
        click.echo(f"warning: chunk {chunk} could not be read: {cleaned(message)}", err=True)
    if unread:
        click.echo(
            f"warning: {len(unread)} chunks could not be read; their pixels have the status read_error, and --resume "
            "tries them again",
            err=True,
        )
        context.exit(_UNREAD)


@dataclass(frozen=True)
class _Run:
    """A fit that was asked for, ready to begin."""

    da: xr.DataArray
    model: Model
    dims: tuple[Hashable, ...]
    keywords: dict[str, Any]
    target: Output
    resume: bool
    overwrite: bool
    shown: bool

    def multifit(self, client: Any) -> tuple[str, dict[int, str]]:
        """Fit every pixel; return words for the result, and why chunks could not be read."""
        if set(self.da.dims) == set(self.dims):
            if self.resume:
                raise ValueError("--resume is for maps; the data are a single spectrum or image")
            return self._done(self.da.compute().fit.multifit(self.model, list(self.dims), **self.keywords)), {}
        from xfit.command.running import is_small
        from xfit.fitting.stored.archive import Archive
        from xfit.fitting.stored.info import info

        result = self.da.fit.multifit(
            self.model,
            list(self.dims),
            store=self.target.store,
            storage_options=self.target.options or None,
            resume=self.resume,
            overwrite=self.overwrite,
            client=client,
            progress=None if self.shown else False,
            **self.keywords,
        )
        unread = info(self.target.store, self.target.options).unread
        if is_small(result):
            # All of it at once: for many small chunks dask would take longer than the fit.
            result = Archive(self.target.store, self.target.options).open(in_chunks=False).load()
        return self._done(result, complete=not unread), unread

    def samfire(self, seeds: tuple[str, ...], client: Any) -> tuple[str, dict[int, str]]:
        """Fit from seeds; as `multifit`."""
        from xfit.samfire import Samfire

        search = Samfire(
            self.da,
            self.model,
            list(self.dims),
            seeds=_seeds(seeds) if seeds else None,
            store=self.target.store,
            storage_options=self.target.options or None,
            client=client,
            progress=None if self.shown else False,
            **self.keywords,
        )
        result = search.run()
        if search.interrupted:
            raise KeyboardInterrupt
        return self._done(result), {}

    def _done(self, result: xr.Dataset, complete: bool = True) -> str:
        """Put the result where it belongs; return words for it."""
        from xfit.command.running import summary

        words = summary(result) if self.shown else ""
        self.target.finish(result, self.overwrite or self.resume, complete)
        return words


def _signal_dims(da: xr.DataArray, model: Model, names: tuple[str, ...]) -> tuple[Hashable, ...]:
    """The signal dimensions: those named, or the last ones."""
    by_name = {str(d): d for d in da.dims}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise ValueError(f"--dim {unknown[0]}: the data have the dimensions {', '.join(by_name)}")
    count = model.signal_dimension
    if names and len(set(names)) != count:
        raise ValueError(f"--dim: the model is of {count} signal dimension(s), {len(set(names))} given")
    if da.ndim < count:
        raise ValueError(f"the model is of {count} signal dimensions, the data have only {', '.join(by_name)}")
    return tuple(by_name[name] for name in names) if names else tuple(da.dims[-count:])


def _keywords(asked: Mapping[str, Any], found: Data, da: xr.DataArray, given: Mapping[str, str]) -> dict[str, Any]:
    """Options of the fit, as `xfit.multifit` has them."""
    from xfit.command.reading import mask_of, start_of, variance_of

    same = ("optimizer", "loss", "starts", "bounded", "binned", "covariance", "tolerance", "max_nfev")
    return {name: asked[name] for name in same} | {
        "variance": variance_of(asked["variance"], found, da, given),
        "where": mask_of(asked["masks"], found, da, given),
        "start": start_of(asked["start"], given),
    }


def _seeds(texts: tuple[str, ...]) -> Any:
    """Positions, or labels by dimension, of seeds.

    Raises
    ------
    ValueError
        For what is neither, or both.
    """
    parts = [text.split(",") for text in texts]
    if all("=" not in part for each in parts for part in each):
        try:
            return [tuple(int(part) for part in each) for each in parts]
        except ValueError:
            raise ValueError(
                f"--seed {texts[0]!r}: positions are whole numbers, such as 3,5; labels are y=1.5,x=2.5"
            ) from None
    labels: dict[str, list[float]] = {}
    for each in parts:
        for part in each:
            name, _, number = part.partition("=")
            try:
                labels.setdefault(name.strip(), []).append(float(number))
            except ValueError:
                raise ValueError(
                    f"--seed: {part!r} is no label such as y=1.5, and positions and labels do not go together"
                ) from None
    if any(len(found) != len(texts) for found in labels.values()):
        raise ValueError(f"--seed: every seed needs the same labels; given are {', '.join(texts)}")
    return labels
