import pytest
import torch
from flava_toy import batches, small

from minivl.visualize.passes import PARTS, Pass, passes_figure, seen, traced

CLASSES = {"contrastive": 4, "itm": 2, "mmm_image": 5, "mmm_text": 11, "mim": 5, "mlm": 11}


@pytest.fixture(scope="module")
def found():
    return seen(small(), batches())


def parts(one):
    return {call.part for call in one.passes}


def test_what_each_kind_of_batch_runs(found):
    assert parts(found["pictures"]) == {"image encoder", "mim_head"}
    assert parts(found["texts"]) == {"text encoder", "mlm_head"}
    assert parts(found["pairs"]) == set(PARTS) - {"mim_head", "mlm_head"}


def test_shapes_are_those_of_the_batch(found):
    calls = {call.part: call for call in found["pairs"].passes}
    # Whole and holed together: twice the batch.
    assert calls["image encoder"].entering == (8, 5, 8) and calls["text encoder"].entering[0] == 8
    assert calls["multimodal encoder"].entering == (4, 1 + 5 + 5, 8)
    # Two true pairs, two hidden patches and two hidden words in each.
    assert calls["mmm_image_head"].entering == (4, 8) and calls["mmm_image_head"].leaving == (4, 5)
    assert calls["mmm_text_head"].leaving == (4, 11)
    assert calls["itm_head"].leaving == (4, 2)


def test_losses_are_the_models(found):
    model, batch = small(), batches()["pairs"]
    with torch.no_grad():
        expected = {name: float(loss) for name, loss in model.losses(batch).items()}
    assert found["pairs"].losses == pytest.approx(expected)


def test_the_model_is_left_without_hooks_even_after_an_error():
    model = small()
    with pytest.raises(ZeroDivisionError):
        traced(model, lambda: 1 / 0)
    result, passes = traced(model, lambda: 7)
    assert result == 7 and passes == []
    assert not any(part._forward_hooks for part in model.modules())


def test_parts_that_a_model_lacks_are_not_watched():
    model = small(objectives=("mim",))
    assert parts(seen(model, {"pictures": batches()["pictures"]})["pictures"]) == {
        "image encoder", "mim_head",
    }  # fmt: skip


def test_a_call_in_words():
    assert Pass("mim_head", (7, 8), (7, 5)).told == "7 rows"
    assert Pass("text encoder", (2, 9, 8), (2, 9, 8)).told == "2 × 9 tokens"


def test_the_figure_tells_calls_losses_and_levels(found, texts, check_legible):
    figure = passes_figure(found, CLASSES)
    check_legible(figure)
    shown = texts(figure)
    assert {"pairs", "pictures", "texts", "8 × 5 tokens", "ln 11 = 2.40"} <= set(shown)
    assert f"{found['pairs'].losses['itm']:.2f}" in shown
    assert "pictures run image encoder" in figure.caption.alt
