"""Fits in an order in which each pixel starts from fitted neighbours."""
