import base64
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch

from minivl.errors import UserError
from minivl.visualize.fused import (
    ASKING,
    Look,
    fused_figure,
    fused_viewer,
    looks,
    shares,
    split,
)
from minivl.visualize.style import GREEN, VERMILLION

VOCAB = ("[PAD]", "[CLS]", "[SEP]", "a", "cat", "<b>", "incomprehensible", "dog")


class Text:
    vocab = VOCAB

    def batch(self, sentences, max_length):
        ids = [[1, *(VOCAB.index(word) for word in s.split()), 2][:max_length] for s in sentences]
        return {"input_ids": torch.tensor(ids), "attention_mask": torch.ones(1, len(ids[0]))}


def weights(words, heads=2, patches=4):
    draw = torch.Generator().manual_seed(words)
    size = 2 + patches + words
    return torch.rand(heads, size, size, generator=draw).softmax(dim=-1)


def look(ids, image, belief=0.9, is_pair=True):
    return split(weights(len(ids)), image, Text(), ids, belief, is_pair)


@pytest.fixture
def found(pictures):
    a, b = pictures(2)
    return [look([1, 3, 4, 2], a), look([1, 3, 5, 6, 7, 2], b, belief=0.7, is_pair=False)]


def test_tokens_are_told_apart_by_their_places(pictures):
    raw = weights(4)
    one = split(raw, pictures(1)[0], Text(), [1, 3, 4, 2], 0.5, True)
    assert one.words == ("[CLS]", "a", "cat", "[SEP]")
    # [CLS_M], [CLS_I], four patches, four words; [CLS_M] asks first, then the words.
    assert torch.equal(one.patches[:, 0].flatten(1), raw[:, 0, 2:6])
    assert torch.equal(one.texts[:, 0], raw[:, 0, 6:])
    assert torch.equal(one.patches[:, 3].flatten(1), raw[:, 8, 2:6])
    assert torch.allclose(one.classes[:, 0], raw[:, 0, 0] + raw[:, 0, 1])
    assert sum(shares(one).values()) == pytest.approx(1, abs=1e-5)


def test_a_models_weights_and_belief(pictures):
    class Model(torch.nn.Linear):
        def encode_pair(self, image, ids, seen, return_attention):
            assert image.shape == (1, 3, 12, 12) and return_attention
            both = [0 * weights(ids.shape[1]), weights(ids.shape[1])]
            return torch.zeros(1, 2 + 4 + ids.shape[1], 2), [one[None] for one in both]

        def itm_head(self, states):
            return torch.tensor([[0.0, 3.0]]).log()

    (one,) = looks(Model(1, 1), Text(), pictures(1), ["a cat"], [True], max_length=8)
    assert torch.equal(one.texts[:, 0], weights(4)[:, 0, 6:]), "the last block is shown"
    assert one.belief == pytest.approx(1.0) and one.is_pair
    with pytest.raises(ValueError):
        looks(Model(1, 1), Text(), pictures(2), ["a cat"], [True], max_length=8)


def test_the_still_tells_shares_and_verdicts(found, texts, check_legible):
    figure = fused_figure(found)
    check_legible(figure)
    shown = texts(figure)
    told = ", ".join(f"{name} {100 * value:.0f} %" for name, value in shares(found[0]).items())
    assert told in shown and ASKING in figure.caption.title
    colours = {text.get_text(): text.get_color() for text in figure.texts}
    assert colours["“belong together”: 90 %; in truth it does"] == GREEN
    assert colours["“belong together”: 70 %; in truth it does not"] == VERMILLION
    assert "“a cat”" in figure.caption.alt


def test_long_sentences_are_broken(pictures, check_legible):
    ids = [1, *[6] * 9, 2]
    check_legible(fused_figure([look(ids, pictures(1)[0])]))


def test_the_viewer_holds_every_weight(found):
    html = fused_viewer(found).html
    data = json.loads(re.search(r"^const data = (.*);$", html, re.MULTILINE)[1])
    assert data["heads"] == 2 and (data["gh"], data["gw"]) == (2, 2)
    pair = data["pairs"][1]
    assert pair["words"][2] == "<b>" and pair["right"] is False
    assert "<b>" not in html.split("const data")[1].split("\n")[0], "it would end the script"
    stored = np.frombuffer(base64.b64decode(pair["weights"]), dtype="<u2").reshape(2, 7, 11)
    one = found[1]
    assert stored[1, 3, 1:5] / 65535 == pytest.approx(one.patches[1, 3].flatten().numpy(), abs=1e-5)
    assert stored[0, 0, 5:] / 65535 == pytest.approx(one.texts[0, 0].numpy(), abs=1e-5)
    assert stored.sum(axis=2) / 65535 == pytest.approx(1, abs=1e-3)


def test_nothing_to_look_at(found):
    with pytest.raises(UserError, match="nothing to look at"):
        fused_viewer([])
    other = Look(np.zeros((6, 6, 3), dtype=np.uint8), *list(vars(found[0]).values())[1:])
    with pytest.raises(UserError, match="nothing to look at"):
        fused_viewer([found[0], other])


NODE = shutil.which("node")
STUB = """
const listeners = [];
const element = tag => ({
  tag, style: {}, children: [], attributes: {}, value: '-1', textContent: '',
  append(...more) { this.children.push(...more); },
  add(option) { this.children.push(option); },
  replaceChildren(...all) { this.children = all; },
  setAttribute(name, value) { this.attributes[name] = value; },
  addEventListener(kind, act) { this['on' + kind] = act; },
  getContext: () => new Proxy({}, {get: (_, name) => () => {}, set: () => true}),
  querySelector(name) { return this.parts[name] ||= element(name); }, parts: {},
});
globalThis.document = {createElement: element};
globalThis.window = {devicePixelRatio: 1};
globalThis.Option = function (text, value) { this.textContent = text; this.value = value; };
globalThis.Image = function () {};
"""


@pytest.mark.skipif(NODE is None, reason="no node to run the script with")
def test_the_script_shares_out_what_the_model_did(found):
    """The whole script on a page of stubs: a pair, a head and a word are chosen in turn."""
    html = fused_viewer(found).html
    data = re.search(r"^const data = .*;$", html, re.MULTILINE)[0]
    script = re.search(r"const start = \(root, data\) => \{(.*)\};\nfor", html, re.DOTALL)[1]
    program = f"""{STUB}{data}
const root = element('div'), told = [];
const say = () => told.push([part('shares').textContent, part('words').children.length]);
{script}
draw(); say();
thumbs[1].onclick(); say();
part('words').children[3].onclick(); say();
select.value = '1'; select.onchange(); say();
console.log(JSON.stringify(told));"""
    ran = subprocess.run([NODE, "-e", program], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)

    def expected(look, asks, heads):
        parts = (look.patches[heads, asks].sum(), look.texts[heads, asks].sum(),
                 look.classes[heads, asks].sum())  # fmt: skip
        return [100 * float(one) / len(heads) for one in parts]

    asked = ((0, 0, [0, 1]), (1, 0, [0, 1]), (1, 3, [0, 1]), (1, 3, [1]))
    for (words, count), (pair, asks, heads) in zip(told, asked, strict=True):
        look = found[pair]
        assert count == 1 + len(look.words)
        assert words.startswith([ASKING, *look.words][asks])
        numbers = [int(n) for n in re.findall(r"(\d+) %", words)]
        assert numbers == pytest.approx(expected(look, asks, heads), abs=0.51)


def test_nothing_is_asked_of_the_network_and_builds_agree(found):
    html = fused_viewer(found).html
    assert html == fused_viewer(found).html
    assert not re.search(r"https?:|src=\"(?!data:)|@import|fetch\(|import\(", html)
