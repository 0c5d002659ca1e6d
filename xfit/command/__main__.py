"""``python -m xfit.command`` is ``xfit``."""

from xfit.command import main

# Guarded, for the processes of a cluster import it too.
if __name__ == "__main__":
    main(prog_name="xfit")
