"""The least-squares engine: Levenberg and Marquardt's method for one pixel and for several
side by side, in one text.
"""
