"""Rebuild the embedded data pack from pinned packages (needs the extra `build`)."""

from minivl.data.build.pack import build

__all__ = ["build"]
