"""Lets the tests of this folder share `killing`."""

import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def killed_and_resumed(tmp_path):
    """killed_and_resumed(arguments, places): the folder of a run that died at each place in turn.

    After each death it is resumed, at last to its end. Places and options as in `killing.command`.
    """
    from killing import command

    def train(arguments, places, **options):
        out, log = tmp_path / "broken", tmp_path / "printed"
        for number, place in enumerate([*places, None]):
            resume = ["--resume"] if number else []
            code = command([*arguments, "--out", out, *resume], log, place, **options)
            assert code == (-signal.SIGKILL if place else 0), f"{place}: {log.read_text()[-3000:]}"
        return out

    return train
