"""The Dataset that a fit gives: assembled, read, reported."""
