"""Where ``xfit fit`` runs, and what it leaves: workers for one run, a store while it goes
on, the file that was asked for.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import dask
import xarray as xr
from dask.system import CPU_COUNT

from xfit.command.arguments import options_for
from xfit.display import is_url, local_path, without_secrets

#: Seconds to look for a scheduler.
_PATIENCE = 20

#: Pixels up to which a result is read as a whole: some 200 MB.
_WHOLE = 1_000_000


@contextlib.contextmanager
def client_of(scheduler: str | None, workers: int | None) -> Iterator[Any]:
    """A client of the scheduler, or of worker processes that live as long as the run; None for threads of this process.

    Raises
    ------
    ValueError
        If no scheduler answers.
    """
    if scheduler is None and workers is None:
        yield None
        return
    from distributed import Client, LocalCluster

    if scheduler is not None:
        try:
            # Not as dask's default: one that does not connect would stay it, and all that is computed would wait for
            # it.
            client = Client(scheduler, timeout=_PATIENCE, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"--scheduler {without_secrets(scheduler)}: no scheduler answers there ({error})"
            ) from error
        with client, client.as_current():
            yield client
        return
    threads = max(CPU_COUNT // (workers or 1), 1)
    settings = {
        # Memory in large pages; see the page "On clusters".
        "distributed.nanny.pre-spawn-environ.GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
        # Nothing by HTTP, which asks nobody who they are: names and logs would be there for all users of the machine.
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
    }
    # What multiprocessing says of processes that have left it to clean up, as `end_now` does.
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")
    with contextlib.ExitStack() as stack:
        # dask has no arguments for these. Its configuration is that of all threads; those of this process are the
        # command's.
        stack.enter_context(dask.config.set(settings))
        # Whoever could connect could run code: certificates that live as long as the run, and are known to nobody else.
        cluster = LocalCluster(n_workers=workers, threads_per_worker=threads, dashboard_address=None, security=True)
        stack.enter_context(cluster)
        client = stack.enter_context(Client(cluster))
        try:
            yield client
        except KeyboardInterrupt:
            # `end_now` follows, which ends the workers too: to close them one after the other would take seconds.
            _left.append(stack.pop_all())
            raise


#: What an interrupted run has not closed.
_left: list[contextlib.ExitStack] = []


def end_now(code: int) -> NoReturn:
    """End the process and its workers without waiting for threads that are at a pixel which takes long;
    stores are whole at any moment.
    """
    for process in multiprocessing.active_children():
        process.kill()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class Output:
    """Where a result goes: a store that is filled while the run goes on and, for other formats, a file
    that is made of it at the end.

    Parameters
    ----------
    out : str
        Path, or URL of a zarr store.
    options : mapping
        What the file system of a URL needs.
    whole : bool
        Whether the result comes as a whole, at the end: of SAMFire, whose store has checkpoints, and of single spectra.

    Raises
    ------
    ValueError
        For a format that can't be written.
    """

    def __init__(self, out: str, options: Mapping[str, str], *, whole: bool) -> None:
        from xfit.files.save import FORMATS

        self.out, self.options = out, options_for(out, options)
        name = out.lower().rstrip("/")
        self._is_url = is_url(out)
        suffix = Path(name).suffix
        if suffix not in (FORMATS if not self._is_url else ("", ".zarr")):
            raise ValueError(f"--out {without_secrets(out)}: results go into {', '.join(FORMATS)}; to URLs as .zarr")
        folder = local_path(out).absolute().parent
        if not self._is_url and not folder.is_dir():
            raise FileNotFoundError(f"--out {without_secrets(out)}: there is no folder {str(folder)!r}")
        self._is_saved = whole or not (self._is_url or suffix == ".zarr")
        self._suffix = suffix
        place = out.rstrip("/") if self._is_url else str(self._path)
        self.store = f"{place}.part" if self._is_saved else place

    def refuse(self, read: Iterable[str]) -> None:
        """Refuse to write over what the fit reads.

        Parameters
        ----------
        read : iterable of str
            Paths and URLs; words that are neither do not matter.

        Raises
        ------
        ValueError
            Naming it.
        """
        for text in read:
            place = local_path(text)
            same = not self._is_url and place.exists() and self._path.exists() and place.samefile(self._path)
            if same or text.rstrip("/") == self.out.rstrip("/"):
                raise ValueError(f"--out {without_secrets(self.out)} is what the fit reads; give another place")

    def check(self, resume: bool, overwrite: bool) -> None:
        """Refuse to touch what is there, unless that was asked for; remove what ``overwrite`` replaces.

        Raises
        ------
        FileExistsError
            Naming what is there, and what to say.
        """
        from xfit.arrays.atomic_write import refuse_foreign, refuse_link
        from xfit.fitting.stored.archive import Archive

        if not self._is_url:
            refuse_link(self._path)
        if not self._is_saved:
            return  # the run looks itself
        if overwrite and not self._is_url:
            # Before hours of fits, not after them.
            refuse_foreign(self._path, is_folder=self._suffix in (".zarr", ".zspy"))
        if Archive(self.out, self.options).exists if self._is_url else self._path.exists():
            if resume and not self._has_part():
                raise FileExistsError(
                    f"--out {without_secrets(self.out)} is there already: that run is done; --overwrite makes it anew"
                )
            if not (overwrite or resume):
                raise FileExistsError(f"--out {without_secrets(self.out)} is there already; --overwrite replaces it")
        if self._has_part() and not resume:
            if not overwrite:
                raise FileExistsError(
                    f"an unfinished run lies in {without_secrets(self.store)}; --resume goes on with it, --overwrite "
                    "removes it"
                )
            self._remove_part()

    def finish(self, fit: xr.Dataset, overwrite: bool, complete: bool) -> None:
        """Make the file that was asked for, and remove what it was made of unless there is more to be done."""
        if self._is_saved:
            from xfit.files.save import save

            save(fit, self.out, overwrite=overwrite, storage_options=self.options or None)
            fit.close()
            if complete:
                self._remove_part()

    @property
    def _path(self) -> Path:
        return local_path(self.out)

    def _part(self) -> tuple[Any, str]:
        import fsspec

        found: tuple[Any, str] = fsspec.core.url_to_fs(self.store, **self.options)
        return found

    def _has_part(self) -> bool:
        """Whether there is an unfinished run.

        Raises
        ------
        FileExistsError
            If there is something else, which this command has not made.
        """
        files, path = self._part()
        files.invalidate_cache()
        if not files.exists(path) and not Path(self.store).is_symlink():
            return False
        strange = self._strange(files, path)
        if strange is not None:
            raise FileExistsError(
                f"{self.store} is where the run would lie while it goes on, and {strange}; move it, or give another "
                "--out"
            )
        return True

    def _strange(self, files: Any, path: str) -> str | None:
        """What there is at the place of an unfinished run that is none of it."""
        from xfit.fitting.stored.archive import Archive
        from xfit.samfire.checkpoint import Checkpoints

        if not self._is_url and (Path(self.store).is_symlink() or not Path(self.store).is_dir()):
            return "what is there is no run of xfit"
        checkpoints = Checkpoints(self.store, self.options)
        if checkpoints.exists:
            other = checkpoints.foreign()
            return None if other is None else f"{other!r} in it is none of a run's"
        archive = Archive(self.store, self.options)
        state, sizes = archive.look(), archive.objects.sizes()
        # Of a run that had only begun there may be nothing yet that says so, and nothing to lose.
        if not state.is_run and any(key != "zarr.json" and ".partial" not in key for key in sizes):
            return "what is there is no run of xfit"
        wrong = [*archive.objects.links(), *(state.damage if not state.is_run else ())]
        if wrong:
            return wrong[0]
        hidden = (key for key in sizes if any(part.startswith(".") for part in key.split("/")))
        other = next(iter((*archive.foreign(state, sizes), *hidden)), None) if state.is_run else None
        return None if other is None else f"{other!r} in it is none of a run's"

    def _remove_part(self) -> None:
        if self._has_part():
            from xfit.arrays.atomic_write import in_order, remove_empty
            from xfit.fitting.stored.archive import Archive

            objects = Archive(self.store, self.options).objects
            for keys in in_order(objects.sizes()):
                objects.delete(keys)
            if not self._is_url:
                remove_empty(Path(self.store))


def is_small(fit: xr.Dataset) -> bool:
    """Whether a result may be read as a whole."""
    return int(fit["status"].size) <= _WHOLE


def summary(fit: xr.Dataset) -> str:
    """Words for a result: its report, or what it is where that would read very much."""
    return str(fit.fit.report()) if is_small(fit) else repr(fit.fit)
