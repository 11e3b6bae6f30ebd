"""Lets the tests of this folder share `lesson_toys`."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A toy lesson's world: a package `toy` to import, its exercises, a repository to build in."""
    from lesson_toys import World

    return World(tmp_path, monkeypatch)
