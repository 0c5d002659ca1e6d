"""Peers: other tools that fit the same small problems on the user's machine, for `xfit bench`."""
