import pytest

from minivl.data.examples import SceneData, SceneSource
from minivl.data.pack import Pack


@pytest.fixture(scope="session")
def pack():
    return Pack.load()


@pytest.fixture(scope="session")
def source(pack):
    return SceneSource(pack, SceneData(image_size=96, objects=(1, 4)))
