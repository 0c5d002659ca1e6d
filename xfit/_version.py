"""The version of xfit."""

__version__ = "0.1.0"
