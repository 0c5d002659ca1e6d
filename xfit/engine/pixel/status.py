"""How a pixel's fit can end: the codes and words of the `status` variable."""

from __future__ import annotations

NOT_FITTED = 0
CONVERGED = 1
MAX_NFEV = 2
SINGULAR = 3
NONFINITE_MODEL = 4
BAD_DATA = 5
BAD_VARIANCE = 6
BAD_START = 7
MASKED = 8
BAD_RESPONSE = 9
BAD_COUNTS = 10
STALLED = 11
POOR_FIT = 12
NOT_REACHED = 13
READ_ERROR = 14
NONFINITE_DERIVATIVE = 15
FUNCTION_ERROR = 16

#: Where there is nothing to fit, whatever the start.
HOPELESS = (BAD_DATA, BAD_VARIANCE, MASKED, BAD_RESPONSE, BAD_COUNTS)

#: Words of the codes, in order: CF ``flag_meanings`` of the result.
MEANINGS = (
    "not_fitted",
    "converged",
    "max_nfev",
    "singular",
    "nonfinite_model",
    "bad_data",
    "bad_variance",
    "bad_start",
    "masked",
    "bad_response",
    "bad_counts",
    "stalled",
    "poor_fit",
    "not_reached",
    "read_error",
    "nonfinite_derivative",
    "function_error",
)

#: What a person reads in reports.
DESCRIPTIONS = (
    "not fitted",
    "converged",
    "stopped at max_nfev evaluations; the values are the best found",
    "parameters that the data cannot tell apart (singular Jacobian); the values are kept, errors are NaN",
    "the model was not finite at the start values",
    "fewer usable channels than free parameters",
    "a variance of zero or below in a channel in use",
    "start values are not finite or lie outside of the bounds",
    "left out by `where`",
    "a response that is not finite",
    "negative data, which no counts are",
    "the optimizer stopped before the minimum; the values are the best found",
    "converged, but no fit passed the test of goodness; the values are the best found",
    "no good neighbour from which to begin",
    "the data of its chunk could not be read",
    "a derivative of the model is not finite in some channel, where the model is; the start values are kept",
    "the function of a component raised an exception; see the attribute function_errors",
)
