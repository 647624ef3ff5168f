"""Which cells, units and exposures do not follow background = G E, how they are found, and how they are listed."""
