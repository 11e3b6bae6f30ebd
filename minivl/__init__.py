"""minivl: FLAVA, UniT and ALBEF, built by hand and trained with the same code at every size."""

__version__ = "0.1.0"
