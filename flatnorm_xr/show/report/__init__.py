"""The report of a solution: one HTML file that holds all it shows, for people who look before they trust."""

from flatnorm_xr.show.report.page import report

__all__ = ["report"]
