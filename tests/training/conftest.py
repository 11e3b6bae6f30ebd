"""Lets the tests of this folder share `engine_toys`, and one process that imported torch once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))


class Zygote:
    """A process that has imported torch and forks a child for each training it is asked for."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "engine_toys.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def __call__(self, out: Path, **options) -> list:
        """Train toys into `out`: [exit code, or -signal; all that was printed]."""
        self.process.stdin.write(json.dumps({"out": str(out)} | options) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="session")
def zygote():
    started = Zygote()
    yield started
    started.process.stdin.close()
    started.process.wait(timeout=10)


@pytest.fixture(scope="session")
def uninterrupted(zygote, tmp_path_factory):
    """The run that every interrupted and resumed one must equal."""
    out = tmp_path_factory.mktemp("reference") / "run"
    assert zygote(out)[0] == 0
    return out
