"""Fits of maps: multifit, preview, selection of components, intervals, refit, curvefit."""
