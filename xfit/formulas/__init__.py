"""Formulas: text to sympy and back by a whitelist; derivatives, linearity, tracing of Python functions."""
