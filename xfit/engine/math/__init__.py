"""Vectors and special functions for compiled code."""
