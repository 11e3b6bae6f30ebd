import hashlib
import json
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest

from minivl.data.pack import CELL, COLUMNS, Pack, find, verify
from minivl.errors import DataError

MICROSOFT = {"fluent", "fluent_flat", "fluent_3d"}
SMALL = ("concepts.json", "photos.json", "vocab.txt.gz", "sprites/streamline.webp")


@pytest.fixture
def small(pack, tmp_path):
    """A copy of a few files of the pack, with a manifest of just these."""
    root = tmp_path / "data"
    names = [*SMALL, f"photos/{pack.photos[0].name}.webp"]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(pack.root / name, root / name)
    manifest = json.loads((pack.root / "manifest.json").read_text(encoding="utf8"))
    manifest["files"] = {name: manifest["files"][name] for name in names}
    (root / "manifest.json").write_text(json.dumps(manifest), encoding="utf8")
    return root


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def read(pack, name):
    """What a program would call that needs this file."""
    if name.startswith("sprites/"):
        return pack.sprite("streamline", "1F415")
    if name.startswith("photos/"):
        return pack.photo(pack.photos[0].name)
    return {
        "concepts.json": lambda: pack.concepts,
        "photos.json": lambda: pack.photos,
        "vocab.txt.gz": pack.vocab,
    }[name]()


def test_the_committed_pack_is_whole(pack):
    assert verify(pack.root) == []


def test_every_file_of_the_manifest_is_needed_and_none_is_missing(pack):
    listed = set(json.loads((pack.root / "manifest.json").read_text(encoding="utf8"))["files"])
    pictures = {f"sprites/{vendor}.webp" for vendor in pack.vendors}
    pictures |= {f"photos/{photo.name}.webp" for photo in pack.photos}
    texts = {"concepts.json", "photos.json", "names.json.xz", "wordnet.tsv.xz", "vocab.txt.gz"}
    assert listed == pictures | texts | {"SOURCES.json", "NOTICE"}
    found = {p.relative_to(pack.root).as_posix() for p in pack.root.rglob("*.webp")}
    assert found == pictures


def test_the_pack_fits_a_repository(pack):
    listed = json.loads((pack.root / "manifest.json").read_text(encoding="utf8"))["files"]
    assert sum(entry["bytes"] for entry in listed.values()) < 22_000_000


def test_concepts_are_the_base_emoji(pack):
    assert len(pack.concepts) == 1644
    assert len({concept.id for concept in pack.concepts}) == 1644
    assert {c.group for c in pack.concepts}.isdisjoint({"flags", "component", "components"})
    dog = pack.concept("1F415")
    assert (dog.name, dog.group, dog.subgroup) == ("dog", "animals & nature", "animal-mammal")
    assert dog.character == "\N{DOG}" and "pet" in dog.keywords
    assert not any("FE0F" in concept.id for concept in pack.concepts)


def test_vendors_and_their_families(pack):
    assert {v for v, facts in pack.vendors.items() if facts.family == "microsoft"} == MICROSOFT
    assert len(pack.vendors) == 9
    assert len({facts.family for facts in pack.vendors.values()}) == 6
    assert all(
        facts.licence in {"Apache-2.0", "MIT", "CC-BY-4.0"} for facts in pack.vendors.values()
    )


def test_every_cell_is_a_drawing_and_every_drawing_has_a_cell(pack):
    for vendor in pack.vendors:
        cells = [concept.cells[vendor] for concept in pack.concepts if vendor in concept.cells]
        assert cells == list(range(len(cells))), vendor
        sheet = pack.sheet(vendor)
        rows = -(-len(cells) // COLUMNS)
        assert sheet.shape == (rows * CELL, COLUMNS * CELL, 4) and sheet.dtype == np.uint8
        opaque = (sheet[..., 3] > 127).reshape(rows, CELL, COLUMNS, CELL).any(axis=(1, 3)).ravel()
        assert opaque[: len(cells)].all(), vendor
        assert not opaque[len(cells) :].any(), vendor


def test_every_concept_is_drawn_and_has_a_colour_entry_per_drawing(pack):
    for concept in pack.concepts:
        assert {"noto", "twemoji"} <= set(concept.cells)
        assert set(concept.cells) == set(concept.colour)


@pytest.mark.parametrize(
    ("name", "colour"), [("frog", "green"), ("tangerine", "orange"), ("tomato", "red")]
)
def test_drawings_are_where_the_cells_say(pack, name, colour):
    """A shift by one cell would give these concepts other colours."""
    concept = next(c for c in pack.concepts if c.name == name)
    assert list(concept.colour.values()).count(colour) > len(concept.cells) / 2
    channel = {"green": 1, "orange": 0, "red": 0}[colour]
    for vendor in concept.cells:
        cell = pack.sprite(vendor, concept.id)
        mean = cell[cell[..., 3] > 127][:, :3].mean(axis=0)
        assert mean.argmax() == channel, vendor


def test_pictures_are_read_only_and_decoded_once(pack):
    assert pack.sheet("noto") is pack.sheet("noto")
    name = pack.photos[0].name
    assert pack.photo(name) is pack.photo(name)
    for pixels in (pack.sprite("noto", "1F415"), pack.photo(name)):
        with pytest.raises(ValueError, match="read-only"):
            pixels[0, 0] = 0


def test_photographs_have_one_shape_and_a_place(pack):
    assert len(pack.photos) == 93
    assert len({photo.place for photo in pack.photos}) >= 16
    for photo in pack.photos:
        pixels = pack.photo(photo.name)
        assert pixels.shape == (360, 720, 3) and pixels.dtype == np.uint8
        assert pixels.std() > 5, f"{photo.name} is blank"


def test_photographs_are_all_of_clear_origin(pack):
    rows = json.loads((pack.root / "photos.json").read_text(encoding="utf8"))
    for row in rows:
        assert row["licence"] == "public-domain"
        assert set(row["source"].split(" or ")) <= {"unsplash", "nasa", "usgs"}
        assert "-" not in row["name"], "an author's suffix: not public domain"


def test_vocabulary_is_berts(pack):
    vocab = pack.vocab()
    assert len(vocab) == 30_522
    assert [vocab[i] for i in (0, 100, 101, 102, 103, 7592)] == [
        *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello")
    ]
    digest = hashlib.sha256(("\n".join(vocab) + "\n").encode()).hexdigest()
    assert digest == "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"


def test_glosses_form_a_closed_hierarchy(pack):
    glosses = {gloss.id: gloss for gloss in pack.glosses()}
    assert len(glosses) == 117_791
    assert len({gloss.topic for gloss in glosses.values()}) == 45
    assert all(h in glosses for gloss in glosses.values() for h in gloss.hypernyms)
    dog = next(g for g in glosses.values() if g.topic == "noun.animal" and "dog" in g.lemmas)
    assert "domesticated by man" in dog.text
    above, seen = [dog.id], set()
    while above:
        seen.add(one := above.pop())
        above += glosses[one].hypernyms
    assert {"animal", "canine", "entity"} <= {w for one in seen for w in glosses[one].lemmas}


def test_names_in_eight_languages(pack):
    names = pack.names()
    assert set(names) == {"en", "de", "es", "fr", "it", "pt", "ja", "zh"}
    assert all(set(table) == {c.id for c in pack.concepts} for table in names.values())
    assert names["de"]["1F415"]["name"] == "Hund"
    assert all(names["en"][c.id]["name"] == c.name for c in pack.concepts)


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, lambda path: path.unlink()])
@pytest.mark.parametrize("name", [*SMALL, "photos/"])
def test_a_damaged_file_is_named_with_its_remedy(small, name, damage):
    assert verify(small) == []
    if name == "photos/":
        name = f"photos/{Pack.load(small).photos[0].name}.webp"
    damage(small / name)
    with pytest.raises(DataError) as caught:
        read(Pack.load(small), name)
    assert str(small / name) in caught.value.what
    assert f"git checkout -- data/{name}" in caught.value.remedy
    assert "minivl data verify" in caught.value.remedy
    assert [problem for problem in verify(small) if str(small / name) in problem] == verify(small)
    assert len(verify(small)) == 1


def test_verify_checks_the_decoded_pixels_too(small):
    manifest = json.loads((small / "manifest.json").read_text(encoding="utf8"))
    manifest["files"]["sprites/streamline.webp"]["pixels"] = "0" * 64
    (small / "manifest.json").write_text(json.dumps(manifest), encoding="utf8")
    assert len(problems := verify(small)) == 1
    assert "streamline.webp decodes to other pixels" in problems[0]


def test_a_file_outside_the_manifest_is_not_trusted(small):
    shutil.copy(small / "vocab.txt.gz", small / "wordnet.tsv.xz")
    with pytest.raises(DataError, match="not listed"):
        Pack.load(small).glosses()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 2, "files": {}}'])
def test_a_broken_manifest_is_named(small, text):
    (small / "manifest.json").write_text(text, encoding="utf8")
    with pytest.raises(DataError, match=r"manifest\.json"):
        Pack.load(small)


def test_no_pack_says_where_it_looked_and_what_to_do(tmp_path):
    with pytest.raises(DataError, match="no data pack") as caught:
        Pack.load(tmp_path / "nowhere")
    assert "nowhere" in caught.value.what
    assert "MINIVL_DATA" in caught.value.remedy and "minivl data build" in caught.value.remedy


def test_the_environment_chooses_and_an_argument_wins(small, pack, monkeypatch):
    monkeypatch.setenv("MINIVL_DATA", str(small))
    assert find() == small
    assert find(pack.root) == pack.root
    monkeypatch.delenv("MINIVL_DATA")
    assert find().name == "data" and (find() / "wordnet.tsv.xz").is_file()


def test_unknown_names_are_refused_with_a_hint(pack):
    with pytest.raises(DataError, match="1F415"):
        pack.concept("dog")
    with pytest.raises(DataError, match="noto"):
        pack.sheet("apple")
    with pytest.raises(DataError, match=r"photos\.json"):
        pack.photo("../splits")
    missing = next(c for c in pack.concepts if "streamline" not in c.cells)
    with pytest.raises(DataError, match="drawn by"):
        pack.sprite("streamline", missing.id)


def test_a_pickled_pack_carries_no_pictures(pack):
    pack.sheet("noto")
    data = pickle.dumps(pack)
    assert len(data) < 1_000_000
    again = pickle.loads(data)
    assert np.array_equal(again.sprite("twemoji", "1F415"), pack.sprite("twemoji", "1F415"))


def test_concepts_can_be_members_of_sets(pack):
    assert len(set(pack.concepts[:10])) == 10


def test_reading_the_pack_needs_no_torch():
    code = "import minivl.data.pack, minivl.data.images, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
