import hashlib
import io
import json
import lzma
import tarfile
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from minivl.commands import data as command
from minivl.data import titled
from minivl.data.build import (
    build,
    emoji,
    fetch,
    openclipart,
    photos,
    sources,
    sprites,
    texts,
    wordnet,
)
from minivl.data.build.colours import colour_names
from minivl.data.build.pack import Writer
from minivl.data.pack import Pack, verify
from minivl.errors import DataError, UserError


def tarball(path, files):
    """A gzip tar like the ones npm packs."""
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def deb(path, files):
    """A Debian package: an ar archive with a tar inside, after a member of odd length."""
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    out = b"!<arch>\n"
    members = {"debian-binary": b"2.0", "data.tar.xz": lzma.compress(inner.getvalue())}
    for name, data in members.items():
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{644:<8}{len(data):<10}`\n".encode()
        out += data + b"\n" * (len(data) % 2)
    path.write_bytes(out)
    return path


def pinned(path, client="npm"):
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "0" * 64
    return sources.Source("k", client, "a-package", "1.2", path.name, digest, "MIT", "A. U.", "x")


# What is pinned, and what the committed pack says about it


def test_the_pack_names_exactly_the_pinned_sources(pack):
    listed = json.loads((pack.root / "SOURCES.json").read_text(encoding="utf8"))
    assert listed == sources.as_records()
    assert len({one["sha256"] for one in listed}) == len(listed) == 13
    assert all(len(one["sha256"]) == 64 and one["licence"] for one in listed)


def test_vendors_of_the_pack_agree_with_their_sources(pack):
    for vendor in sources.VENDORS:
        one, facts = sources.source(vendor.source), pack.vendors[vendor.name]
        assert (facts.family, facts.licence) == (vendor.family, one.licence)
        assert (facts.package, facts.version) == (one.package, one.version)


def test_the_notice_credits_everybody(pack):
    notice = (pack.root / "NOTICE").read_text(encoding="utf8")
    for one in sources.SOURCES:
        assert one.credit in notice and f"{one.package} {one.version}" in notice
    for text in (
        "creativecommons.org/licenses/by/4.0",
        "UNICODE LICENSE V3",
        "apache.org/licenses",
    ):
        assert text in notice
    assert "WordNet 3.1 Copyright 2011 by Princeton University." in notice
    assert "Copyright (c) Microsoft Corporation" in notice


def test_the_card_tells_the_numbers_of_this_pack(pack):
    card = (pack.root / "README.md").read_text(encoding="utf8")
    drawings = sum(len(concept.cells) for concept in pack.concepts)
    assert f"{drawings:,} drawings" in card and f"{len(pack.photos)} photographs" in card


def test_hand_excluded_drawings_are_out_and_named_rightly(pack):
    for vendor, concept_id in emoji.EXCLUDED:
        assert vendor not in pack.concept(concept_id).cells
    assert not {photo.name for photo in pack.photos} & set(photos.EXCLUDED)


def test_places_name_each_photograph_once(pack):
    named = [name for names in photos.PLACES.values() for name in names.split()]
    assert sorted(named) == sorted(photo.name for photo in pack.photos)
    assert all(photos.place_of(photo.name) == photo.place for photo in pack.photos)


def test_stored_colours_are_the_ones_of_the_pixels(pack):
    for concept in pack.concepts[::20]:
        for vendor, colour in concept.colour.items():
            assert sprites.dominant_colour(pack.sprite(vendor, concept.id)) == colour


# Fetching


def test_a_missing_rasteriser_is_named_before_anything_is_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="resvg-py"):
        build(tmp_path / "out", tmp_path)
    assert not (tmp_path / "out").exists()


def test_an_unknown_source_is_refused():
    with pytest.raises(DataError, match="known: noto"):
        sources.source("openmoji")


def test_a_file_that_is_there_and_right_is_used_without_a_client(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch.subprocess, "run", None)
    path = tarball(tmp_path / "a.tgz", {"a": b"1"})
    assert fetch.fetch(pinned(path), tmp_path) == path


def test_another_checksum_is_refused(tmp_path):
    path = tarball(tmp_path / "a.tgz", {"a": b"1"})
    one = pinned(path)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(DataError, match=r"a\.tgz has sha256 .* a-package 1\.2 must have") as caught:
        fetch.fetch(one, tmp_path)
    assert "delete" in caught.value.remedy


def test_a_missing_client_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch.shutil, "which", lambda name: None)
    for client, program in (("npm", "npm"), ("apt", "apt-get")):
        with pytest.raises(DataError, match=f"needs the program {program}") as caught:
            fetch.fetch(pinned(tmp_path / "a.tgz", client), tmp_path)
        assert "a.tgz" in caught.value.remedy and str(tmp_path) in caught.value.remedy


@pytest.mark.parametrize(
    ("said", "quoted"),
    [
        ("", "no message"),
        ("noise\nlast words\n", "last words"),
        ("npm error no such version\nnpm error A complete log is in x\n", "npm error no such"),
        ("W: warning\nE: Version not found\nnoise\n", "E: Version not found"),
    ],
)
@pytest.mark.parametrize("code", [0, 1])
def test_a_failing_client_is_quoted(tmp_path, monkeypatch, code, said, quoted):
    """Also one that ends well and leaves no file."""
    answer = SimpleNamespace(returncode=code, stderr=said)
    monkeypatch.setattr(fetch.shutil, "which", lambda name: "/bin/true")
    monkeypatch.setattr(fetch.subprocess, "run", lambda *args, **options: answer)
    with pytest.raises(DataError, match=f"npm pack .*a-package@1.2 failed: {quoted}"):
        fetch.fetch(pinned(tmp_path / "a.tgz"), tmp_path)


def test_a_fetched_file_is_checked_too(tmp_path, monkeypatch):
    def run(command, cwd, **options):
        (cwd / "a.tgz").write_bytes(b"something else")
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(fetch.shutil, "which", lambda name: "/bin/true")
    monkeypatch.setattr(fetch.subprocess, "run", run)
    with pytest.raises(DataError, match="sha256"):
        fetch.fetch(pinned(tmp_path / "a.tgz"), tmp_path / "new")


def test_command_lines():
    assert fetch.command(sources.source("noto"))[-1] == "@iconify-json/noto@1.2.9"
    assert fetch.command(sources.source("landscapes")) == [
        *("apt-get", "download", "endless-sky-data=0.9.8-1.2")
    ]


@pytest.mark.parametrize("make", [tarball, deb])
def test_files_are_read_out_of_both_kinds_of_package(tmp_path, make):
    path = make(tmp_path / "p", {"dict/a.txt": b"alpha", "b": b"beta"})
    assert fetch.read(path, "b", "dict/a.txt") == {"dict/a.txt": b"alpha", "b": b"beta"}
    with pytest.raises(DataError, match=r"lacks c, d"):
        fetch.read(path, "b", "d", "c")


def test_a_debian_package_without_data_is_refused(tmp_path):
    (tmp_path / "p").write_bytes(b"!<arch>\n")
    with pytest.raises(DataError, match="data.tar"):
        fetch.read(tmp_path / "p", "a")


# Matching names


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Piñata", "pinata"), ("crescent-moon", "crescentmoon"), ("men’s room", "mensroom")],
)
def test_slug(text, expected):
    assert emoji.slug(text) == expected == emoji.slug(emoji.slug(text))


def test_codes_agree_without_variation_selectors():
    rows = [{"id": "2764-200D-1F525"}, {"id": "1F415"}, {"id": "1F408"}]
    table = {"2764-fe0f-200d-1f525": "burning", "1f415": "dog", "1f4a9": "other"}
    assert emoji.match_by_code(rows, table) == {"2764-200D-1F525": "burning", "1F415": "dog"}


def test_todays_label_wins_over_an_old_name_of_another_concept():
    """ "dancer" is the old name of "woman dancing", but another concept bears it today."""
    rows = [{"id": "A", "name": "woman dancing"}, {"id": "B", "name": "dancer"}]
    old = {"A": ["DANCER"], "B": []}
    assert emoji.match_by_name(rows, ["dancer"], old) == {"B": "dancer"}
    assert emoji.match_by_name(rows[:1], ["dancer"], old) == {"A": "dancer"}


def test_an_icon_is_given_away_once_and_earlier_names_come_first():
    rows = [{"id": "A", "name": "a"}, {"id": "B", "name": "b"}]
    names = {"A": ["", "shared", "rare"], "B": ["", "shared", "other"]}
    assert emoji.match_by_name(rows, ["shared"], names) == {"A": "shared"}
    assert emoji.match_by_name(rows, ["shared", "other"], names) == {"A": "shared", "B": "other"}


# Photographs: who gave them

COPYRIGHT = """\
Format: x

Files: *
Copyright: A. Author
License: GPL-3+

Files: images/land/*
Copyright: Various
License: public-domain
 Taken from morgue-file.com. (Exceptions noted below.)

Files: images/land/*-author*
Copyright: B. Author
License: CC-BY-SA-4.0

Files:
 images/land/snow1*
 images/land/space2*
Copyright: Various
License: public-domain
 Taken from unsplash.com, placed in the public domain.

Files: images/land/space*
Copyright: NASA
License: public-domain
 From NASA.

Files: images/land/nasa5*
Copyright: C. Author, after NASA
License: CC-BY-4.0
"""


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("snow1.jpg", "unsplash"),
        ("space1.jpg", "nasa"),
        ("space2.jpg", "unsplash or nasa"),
        ("snow10-author.jpg", ""),  # the last match says public domain, an earlier one does not
        ("beach1.jpg", ""),  # only the general paragraph
        ("nasa5.jpg", ""),
    ],
)
def test_only_photographs_of_clear_origin_pass(name, source):
    assert photos.source_of("images/land/" + name, photos.stanzas(COPYRIGHT)) == source


def test_a_photograph_without_a_place_is_an_error():
    with pytest.raises(DataError, match="moor3"):
        photos.place_of("moor3")


# Texts


def test_a_synset_line():
    line = (
        "02086723 05 n 03 dog 0 domestic_dog 0 Canis_familiaris 0 003 @ 02085998 n 0000 "
        "@i 01320032 n 0000 ~ 01325095 n 0000 | a member of the genus  Canis; occurs | often  "
    )
    assert wordnet.synset(line) == (
        "n02086723",
        "noun.animal",
        "dog|domestic dog|Canis familiaris",
        "a member of the genus Canis; occurs | often",
        "n02085998 n01320032",
    )


def test_an_adjective_satellite():
    line = "00003939 00 s 02 asleep(p) 0 half_asleep 1 001 & 00003356 a 0000 | in sleep"
    row = ("a00003939", "adj.all", "asleep|half asleep", "in sleep", "")
    assert wordnet.synset(line) == row


def test_forty_five_topics():
    assert len(wordnet.TOPICS) == len(set(wordnet.TOPICS)) == 45


def test_another_vocabulary_is_refused(tmp_path):
    stored = json.dumps(["[PAD]", "x", "\u2581the"]).encode()
    with pytest.raises(DataError, match="BERT's vocabulary"):
        texts.vocabulary(tarball(tmp_path / "v.tgz", {"assets/vocab.json": stored}))


def test_packed_texts_carry_no_time_stamp():
    assert texts.gzipped(b"abc")[4:8] == bytes(4)
    assert texts.gzipped(b"abc") == texts.gzipped(b"abc")


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_json_lines_is_json(depth):
    value = {"a": {"b": [1, {"c": "é"}]}, "d": [], "e": {}}
    text = texts.json_lines(value, depth)
    assert json.loads(text) == value
    assert text.count(b"\n") == {0: 1, 1: 5, 2: 7, 3: 10}[depth]


# Drawings


def test_cells_come_back_from_the_sheet():
    cells = [np.full((64, 64, 4), value, np.uint8) for value in range(1, 84)]
    sheet = sprites.sheet(cells)
    assert sheet.shape == (3 * 64, 40 * 64, 4)
    assert all((sprites.cell(sheet, i) == c).all() for i, c in enumerate(cells))
    assert not sprites.cell(sheet, 83).any()


def test_a_vendor_without_drawings_is_an_error():
    with pytest.raises(DataError, match="without a single drawing"):
        sprites.sheet([])


@pytest.mark.parametrize(
    ("size", "box"), [((200, 100), (0, 16, 64, 48)), ((8, 16), (16, 0, 48, 64))]
)
def test_proportions_are_kept_and_the_drawing_is_centred(size, box):
    cell = sprites.square(Image.new("RGBA", size, "red"))
    assert cell.shape == (64, 64, 4)
    assert Image.fromarray(cell).getchannel("A").getbbox() == box


def test_alpha_survives_the_compression_exactly():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (64, 64, 4), np.uint8)
    decoded = sprites.decode(sprites.encode(pixels), "RGBA")
    assert np.array_equal(decoded[..., 3], pixels[..., 3])


ICONS = {
    "width": 10,
    "height": 20,
    "icons": {"a": {"body": "<A/>"}, "wide": {"body": "<W/>", "width": 30, "left": 5}},
    "aliases": {
        "b": {"parent": "a", "hFlip": True},
        "c": {"parent": "b", "rotate": 1, "height": 40},
    },
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a", ("<A/>", (0, 0, 10, 20), [])),
        ("wide", ("<W/>", (5, 0, 30, 20), [])),
        ("b", ("<A/>", (0, 0, 10, 20), [("hFlip", True)])),
        ("c", ("<A/>", (0, 0, 10, 40), [("hFlip", True), ("rotate", 1)])),
    ],
)
def test_aliases_lead_to_their_icon(name, expected):
    assert sprites.follow(ICONS, name) == expected


@pytest.mark.parametrize(
    ("icon", "quadrant"), [("corner", (0, 0)), ("flipped", (0, 1)), ("turned", (1, 1))]
)
def test_an_icon_is_drawn_flipped_and_turned(icon, quadrant):
    pytest.importorskip("resvg_py")
    icons = {
        "width": 16,
        "height": 16,
        "icons": {"corner": {"body": '<path fill="#f00" d="M0 0h8v8H0z"/>'}},
        "aliases": {
            "flipped": {"parent": "corner", "hFlip": True},
            "turned": {"parent": "flipped", "rotate": 1},
        },
    }
    cell = sprites.rasterise(icons, icon)
    red = (cell == (255, 0, 0, 255)).all(axis=-1).reshape(2, 32, 2, 32).mean(axis=(1, 3))
    assert tuple(np.argwhere(red > 0.9)[0]) == quadrant and red.sum() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((0, 0, 0), "black"),
        ((255, 255, 255), "white"),
        ((128, 128, 128), "grey"),
        ((221, 46, 68), "red"),
        ((255, 140, 0), "orange"),
        ((255, 204, 77), "yellow"),
        ((0, 128, 0), "green"),
        ((59, 136, 195), "blue"),
        ((146, 102, 204), "purple"),
        ((244, 171, 186), "pink"),
        ((139, 69, 19), "brown"),
        ((210, 180, 140), ""),  # beige
        ((0, 160, 150), ""),  # turquoise
    ],
)
def test_names_of_colours(rgb, name):
    assert colour_names(np.array([rgb], np.uint8)).tolist() == [name]


def test_a_dominant_colour_needs_more_than_sixty_percent_of_what_is_opaque():
    cell = np.zeros((64, 64, 4), np.uint8)
    assert sprites.dominant_colour(cell) is None
    cell[:10, :10] = (0, 128, 0, 255)
    cell[20:, :, :3] = (221, 46, 68)  # transparent: does not count
    assert sprites.dominant_colour(cell) == "green"
    cell[:4, :10] = (221, 46, 68, 255)
    assert sprites.dominant_colour(cell) is None
    cell[:10, :10] = (210, 180, 140, 255)  # an area without a name is no colour
    assert sprites.dominant_colour(cell) is None


def test_what_is_written_can_be_verified_and_nothing_old_stays(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "old.webp").touch()
    writer = Writer(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 64, 3), np.uint8)
    seen = writer.picture("photos/new.webp", pixels, 80)
    writer.bytes("a.txt", b"text")
    writer.manifest()
    writer.drop_strangers()
    assert verify(tmp_path) == []
    assert not (tmp_path / "photos" / "old.webp").exists()
    with Image.open(tmp_path / "photos" / "new.webp") as picture:
        assert np.array_equal(np.asarray(picture), seen)
    (tmp_path / "a.txt").write_bytes(b"tex7")
    assert len(verify(tmp_path)) == 1


# Open Clip Art

PUBLIC = "http://web.resource.org/cc/PublicDomain"


def svg(title="", *keywords, licence=PUBLIC):
    """A drawing with the metadata that an uploader's form wrote."""
    listed = "".join(f"<rdf:li>{word}</rdf:li>" for word in keywords)
    return f"""<?xml version="1.0" encoding="UTF-8"?>
    <svg xmlns="http://www.w3.org/2000/svg" xmlns:cc="http://web.resource.org/cc/"
     xmlns:dc="http://purl.org/dc/elements/1.1/"
     xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><title>file</title>
    <metadata><rdf:RDF><cc:Work rdf:about="">{title}
    <dc:subject><rdf:Bag>{listed}</rdf:Bag></dc:subject>
    <dc:publisher><cc:Agent><dc:title>Open Clip Art</dc:title></cc:Agent></dc:publisher>
    <cc:license rdf:resource="{licence}"/></cc:Work></rdf:RDF></metadata></svg>""".encode()


def named(title, *keywords, **terms):
    return svg(f"<dc:title>{title}</dc:title>", *keywords, **terms)


def png(colour, size=(20, 10)):
    out = io.BytesIO()
    Image.new("RGBA", size, colour).save(out, "PNG")
    return out.getvalue()


DRAWINGS = {
    "animals/birds/cigno_01": (named("  Cigno\n2 ", "bird", "", "bird", "swan"), png("blue")),
    "food/fruit/apple": (named("R16 sibmission &amp; more"), png("red")),
    "tools/lock": (named("nosmoke"), png("green")),
    "food/fruit/apple_again": (named("apple"), png("red")),  # the same picture
    "education/invisible": (named("ghost"), png((0, 0, 0, 0))),
    "education/unpictured": (named("nobody"), None),
    "education/broken": (named("half"), png("red")[:40]),
    "plants/untitled": (svg(), png("lime")),
    "plants/emptily_titled": (svg("<dc:title/>"), png("navy")),
    "plants/torn": (b"<svg>", png("teal")),
    "office/pen": (
        named("pen", licence="http://creativecommons.org/licenses/GPL/2.0/"),
        png("gold"),
    ),
    "office/ink": (svg("<dc:title>ink</dc:title>", licence=""), png("pink")),
    "tools/weapons/boomerang": (named("boomerang"), png("tan")),
    "recreation/toy": (named("toy", "water gun"), png("plum")),
    "people/portrait": (named("somebody"), png("peru")),
    "shapes/star": (named("gramastar"), png("snow")),
}
TAKEN = {"animals/birds/cigno_01": "Cigno 2", "food/fruit/apple": "R16 sibmission & more",
         "tools/lock": "nosmoke"}  # fmt: skip


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Two miniature packages, pinned: where the build looks for downloads."""
    kinds = {"svg": 0, "png": 1}
    files = {
        kind: {
            f"usr/share/openclipart/{kind}/{path}.{kind}": both[which]
            for path, both in DRAWINGS.items()
            if both[which] is not None
        }
        for kind, which in kinds.items()
    }
    files["svg"][openclipart.COPYRIGHT] = b"Public Domain Dedication"
    made = []
    for kind, one in zip(kinds, sources.OPENCLIPART, strict=True):
        path = deb(tmp_path / one.file, files[kind])
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        made.append(sources.Source(**{**vars(one), "sha256": digest}))
    monkeypatch.setattr(sources, "OPENCLIPART", tuple(made))
    return tmp_path


def test_titled_drawings_become_a_pack_of_their_own(packages, monkeypatch, capsys):
    out = packages / "extras"
    for where in ({}, {"out": out}):
        monkeypatch.setenv(titled.ENVIRONMENT, str(out))
        flags = [f"--{name}={value}" for name, value in where.items()]
        asked = ["build", "--extra", "openclipart", f"--downloads={packages}", *flags]
        assert command.main(asked) == 0
    assert verify(out / "openclipart") == []
    drawings = titled.load_drawings()
    assert {one.id: one.name for one in drawings.concepts} == TAKEN
    swan = drawings.concept("animals/birds/cigno_01")
    assert (swan.group, swan.subgroup, swan.keywords) == ("animals", "birds", ("bird", "swan"))
    for path, colour in zip(TAKEN, ("blue", "red", "green"), strict=True):
        assert drawings.concept(path).colour["openclipart"] == colour
        assert (drawings.sprite("openclipart", path)[..., 3] > 127).sum() == 64 * 32
    said = capsys.readouterr().out
    assert "3 drawings, 3 different titles, 2.3 words each" in said
    for reason in ("2 without a title", "1 not readable", "2 not public domain",
                   "2 unfit for a course", "4 without a picture of their own"):  # fmt: skip
        assert reason in said
    assert f"{titled.ENVIRONMENT}={out}" in said


def test_the_extra_says_whose_it_is(packages):
    openclipart.build_openclipart(packages / "out", packages)
    root = packages / "out"
    assert "Public Domain Dedication" in (root / "NOTICE").read_text(encoding="utf8")
    listed = json.loads((root / "SOURCES.json").read_text(encoding="utf8"))
    assert [one["package"] for one in listed] == ["openclipart-svg", "openclipart-png"]
    facts = Pack.load(root).vendors["openclipart"]
    assert facts.licence.startswith("public-domain") and facts.version == listed[1]["version"]


def test_packages_without_one_titled_drawing_are_an_error(packages, monkeypatch):
    monkeypatch.setattr(openclipart, "FOLDERS", ("logos",))
    with pytest.raises(DataError, match="no drawing"):
        openclipart.build_openclipart(packages / "out", packages)
    assert not (packages / "out").exists()


def test_a_drawing_of_hundreds_of_megabytes_is_left_out(monkeypatch):
    assert openclipart.drawn(png("red", (20, 10))).shape == (64, 64, 4)
    monkeypatch.setattr(openclipart, "LARGEST", 199)
    assert openclipart.drawn(png("red", (20, 10))) is None


@pytest.mark.parametrize(
    ("path", "title", "keyword", "taken"),
    [
        ("tools/saw", "old saw", "", True),
        ("tools/saw", "Guns", "", False),
        ("animals/frog", "2_dead_frogs", "", False),
        ("people/child", "child", "sexy", False),
        ("education/paper", "certificate", "smoker begun", True),  # parts of words are no words
        ("food/beverages/alcohol/cup", "cup", "", False),
    ],
)
def test_what_does_not_fit_a_course_is_left_out(path, title, keyword, taken):
    found = openclipart.Drawing(title, (keyword,), public=True)
    assert (openclipart.refused(path, found) == "") == taken
