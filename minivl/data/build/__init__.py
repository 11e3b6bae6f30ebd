"""Rebuild the embedded data pack from pinned packages (needs the extra `build`); make extras."""

from minivl.data.build.openclipart import build_openclipart
from minivl.data.build.pack import build

__all__ = ["build", "build_openclipart"]
