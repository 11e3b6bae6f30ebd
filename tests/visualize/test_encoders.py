import base64
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch
from PIL import Image

from minivl.evaluation.grounding import cell_shares, iou, mass_inside, mass_mask
from minivl.visualize.encoders import encoders_figure, heads_viewer
from minivl.visualize.outline import cell_edges

NAMES = ["dog", "cat", "bus"]


@pytest.fixture
def maps():
    draw = torch.Generator().manual_seed(0)
    return {name: torch.rand(3, 2, 4, 4, generator=draw) ** 4 for name in ("untrained", "DINO")}


@pytest.fixture
def shares():
    masks = torch.zeros(3, 12, 12, dtype=torch.bool)
    masks[:, 2:9, 3:11] = True
    return cell_shares(masks, (4, 4))


@pytest.fixture
def figure(maps, shares, pictures):
    first = {name: found[:, 0] for name, found in maps.items()}
    kept = {name: mass_mask(found) for name, found in first.items()}
    inside = {name: mass_inside(found, shares) for name, found in first.items()}
    return encoders_figure(pictures(3), first, kept, inside, names=NAMES)


@pytest.fixture
def viewer(maps, shares, pictures, figure):
    return heads_viewer(pictures(3), maps, shares, names=NAMES, still=figure)


def test_a_row_a_picture_and_a_column_an_encoder(figure, maps, shares, texts, check_legible):
    check_legible(figure)
    assert len(figure.axes) == 3 * (1 + 2)
    shown = texts(figure)
    assert {"the picture", "untrained", "DINO", *NAMES} <= set(shown)
    told = f"{100 * mass_inside(maps['DINO'][1, 0], shares[1]):.0f} % on the thing"
    assert told in shown
    assert "dog; cat; bus" in figure.caption.alt and "DINO" in figure.caption.alt


def test_the_outline_is_the_border_of_the_kept_cells(figure, maps):
    axes = figure.axes[1]
    (lines,) = axes.collections
    height, width = axes.images[0].get_array().shape[:2]
    kept = mass_mask(maps["untrained"][0, 0]).numpy()
    segments = lines.get_segments()
    assert len(segments) == len(cell_edges(kept))
    corners = np.concatenate(segments)
    rows, columns = np.nonzero(kept)
    assert corners[:, 0].min() == pytest.approx(columns.min() * width / 4 - 0.5)
    assert corners[:, 1].max() == pytest.approx((rows.max() + 1) * height / 4 - 0.5)


def test_edges_of_cells_by_hand():
    one = np.array([[False, True], [False, False]])
    edges = {frozenset(edge) for edge in cell_edges(one)}
    corners = [(0, 1), (0, 2), (1, 2), (1, 1)]
    assert edges == {frozenset({corners[i], corners[i - 1]}) for i in range(4)}
    assert cell_edges(np.zeros((2, 3), bool)) == []
    assert len(cell_edges(np.ones((2, 3), bool))) == 2 * (2 + 3)


def data_of(html):
    return json.loads(re.search(r"^const data = (.*);$", html, re.MULTILINE)[1])


def test_the_viewer_holds_pictures_maps_and_masks(viewer, maps, shares, pictures):
    data = data_of(viewer.html)
    png = base64.b64decode(data["sheet"].removeprefix("data:image/png;base64,"))
    sheet = np.array(Image.open(io.BytesIO(png)))
    np.testing.assert_array_equal(sheet[:, 24:36], pictures(3)[2])
    held = np.frombuffer(base64.b64decode(data["maps"]), np.uint8).reshape(2, 3, 2, 4, 4)
    expected = torch.stack(list(maps.values()))
    expected = expected / expected.amax(dim=(-2, -1), keepdim=True)
    np.testing.assert_allclose(held / 255, expected, atol=0.003)
    things = np.frombuffer(base64.b64decode(data["shares"]), np.uint8).reshape(3, 4, 4)
    np.testing.assert_allclose(things / 255, shares, atol=0.003)
    assert data["encoders"] == ["untrained", "DINO"] and data["chosen"] == 1


def test_nothing_is_asked_of_the_network_and_builds_agree(viewer, maps, shares, pictures, figure):
    again = heads_viewer(pictures(3), maps, shares, names=NAMES, still=figure)
    assert again.html == viewer.html
    assert not re.search(r"https?:|src=\"(?!data:)|@import|fetch\(|import\(", viewer.html)
    assert viewer.still is figure


def test_other_shapes_are_refused(maps, shares, pictures, figure):
    with pytest.raises(ValueError, match="2 pictures"):
        heads_viewer(pictures(2), maps, shares, names=NAMES, still=figure)


NODE = shutil.which("node")


@pytest.mark.skipif(NODE is None, reason="no node to run the script with")
def test_the_script_outlines_and_counts_as_the_package_does(viewer, maps, shares):
    """Its two sums, run outside of a browser on the bytes that it holds."""
    data = data_of(viewer.html)
    source = re.search(r"const kept = .*?\n};", viewer.html, re.DOTALL)[0]
    held = np.frombuffer(base64.b64decode(data["maps"]), np.uint8).reshape(2, 3, 2, 16)
    program = f"const cells = 16;\n{source}\nconst all = {held.reshape(-1, 16).tolist()};\n"
    program += "console.log(JSON.stringify(all.map(values => kept(values, 0.6))));"
    ran = subprocess.run([NODE, "-e", program], capture_output=True, text=True, check=True)
    got = torch.tensor(json.loads(ran.stdout)).view(2, 3, 2, 4, 4)
    expected = mass_mask(torch.from_numpy(held.copy()).float().view(2, 3, 2, 4, 4))
    assert torch.equal(got, expected)
    assert (iou(got, shares[:, None]) > 0).any()
