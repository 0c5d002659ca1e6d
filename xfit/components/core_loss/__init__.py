"""The physics of EELS core-loss edges."""
