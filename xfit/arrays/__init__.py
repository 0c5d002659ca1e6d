"""Labelled axes, masks, and blocks of chunks."""
