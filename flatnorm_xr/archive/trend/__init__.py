"""G over the years: a gauge common to all runs, drifts, changes, what moves with it, and whether to renew a flat."""
