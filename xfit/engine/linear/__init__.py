"""Fits of models that are linear in all their free parameters."""
