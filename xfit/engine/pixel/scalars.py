"""Numbers that a result has once for each pixel: their names, meanings and places in the packed row."""

from __future__ import annotations

#: Meanings by name, in the order in which they stand in the row.
SCALARS = {
    "chisq": "weighted sum of squared residuals",
    "red_chisq": "reduced chi-squared",
    "loss": "loss at the solution",
    "dof": "degrees of freedom: channels used minus free parameters",
    "nfev": "model evaluations",
    "status": "how the fit ended",
    "aic": "Akaike's information criterion",
    "aicc": "Akaike's information criterion, corrected for few channels",
    "bic": "Bayesian information criterion",
}

CHISQ, RED_CHISQ, LOSS_VALUE, DOF, EVALUATIONS, STATUS, AIC, AICC, BIC = range(len(SCALARS))

#: Those that are whole numbers.
INTEGERS = ("dof", "nfev", "status")

#: What compares models by their likelihoods, for losses that are one.
CRITERIA = ("aic", "aicc", "bic")
