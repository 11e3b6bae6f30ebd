"""Weights that come with minivl, and later the bridges to official ones."""
