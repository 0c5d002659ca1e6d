"""Arguments of a fit, checked, to a plan."""
