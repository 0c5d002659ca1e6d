"""Descriptions: parameters, components, models, ties, responses, units, derived quantities, estimators."""
