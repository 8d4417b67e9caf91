"""One fitter per module: `version()` and `prepare(problem)`, a call that fits it and answers."""
