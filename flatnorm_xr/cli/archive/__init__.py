"""The commands of ``flatnorm archive``: runs kept for years, one command a module."""
