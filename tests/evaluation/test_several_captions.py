"""Recall with several captions a picture, against loops and hand numbers."""

import pytest
import torch

from minivl.data.captions import KINDS
from minivl.data.examples import SceneData, SceneSource
from minivl.evaluation.pools import Pool
from minivl.evaluation.several_captions import evaluate_several, pool_of, recall, truth_of
from minivl.models.albef import Albef
from minivl.nn.bert import Bert
from minivl.nn.fusion import FusionEncoder
from minivl.nn.vit import ViT

SIMILARITY = torch.tensor([[0.9, 0.8, 0.1, 0.2], [0.7, 0.85, 0.95, 0.3], [0.2, 0.1, 0.5, 0.4]])
OWNERS = torch.tensor([0, 0, 1, 2])
TRUTH = OWNERS == torch.arange(3)[:, None]


@pytest.fixture(scope="module")
def source():
    return SceneSource.load(SceneData(image_size=32))


def test_one_right_caption_is_enough_and_each_caption_asks_for_its_picture():
    found = recall(SIMILARITY, SIMILARITY.T, TRUTH, OWNERS)
    assert 100 * found["image_to_text_r1"].value == pytest.approx(200 / 3)
    assert 100 * found["text_to_image_r1"].value == pytest.approx(75)
    assert found["image_to_text_r5"].value == found["text_to_image_r5"].value == 1
    assert (found["image_to_text_r1"].n, found["text_to_image_r1"].n) == (3, 4)
    assert found["image_to_text_r1"].chance == pytest.approx((2 / 4 + 1 / 4 + 1 / 4) / 3)
    assert found["text_to_image_r1"].chance == pytest.approx(1 / 3)


def test_wrong_readings_give_other_numbers():
    found = recall(SIMILARITY, SIMILARITY.T, TRUTH, OWNERS)
    best = SIMILARITY.argmax(dim=1)
    shares = (TRUTH[torch.arange(3), best] / TRUTH.sum(dim=1)).mean().item()
    assert shares == 0.5 != found["image_to_text_r1"].value, "the share of captions found"
    diagonal = (SIMILARITY.argmax(dim=0) == torch.arange(4)).float().mean().item()
    assert diagonal == 0.5 != found["text_to_image_r1"].value, "text i for picture i"


def test_both_ways_have_scores_of_their_own():
    found = recall(SIMILARITY, torch.eye(3)[OWNERS], TRUTH, OWNERS)
    assert found["text_to_image_r1"].value == 1 and found["image_to_text_r1"].value < 1


def test_captions_of_one_picture_count_as_one_where_they_hang_together():
    owners = torch.arange(40).repeat_interleave(5)
    truth = owners == torch.arange(40)[:, None]
    right = (torch.arange(40) < 20)[owners]
    scores = torch.where(right[:, None], truth.T.float(), -truth.T.float())
    together = recall(truth.float(), scores, truth, owners)["text_to_image_r1"]
    assert together.value == 0.5 and together.n == 200
    assert together.high - together.low == pytest.approx(0.30, abs=0.02)  # as 40 answers
    scattered = torch.where(
        (torch.arange(200) % 2 == 0)[:, None], truth.T.float(), -truth.T.float()
    )
    apart = recall(truth.float(), scattered, truth, owners)["text_to_image_r1"]
    assert apart.high - apart.low == pytest.approx(0.14, abs=0.01)  # as 200


def test_equal_captions_are_right_wherever_they_were_written():
    said = ("a dog", "a dog and a cat", "an owl", "a dog")
    pool = Pool((), torch.zeros(2, 1).numpy(), said)
    truth = truth_of(pool, torch.tensor([0, 0, 1, 1]))
    assert truth.tolist() == [[True, True, False, True], [True, False, True, True]]


def test_a_pool_holds_every_caption_of_every_picture(source):
    pool, owners = pool_of(source, "validation", 6, KINDS)
    assert len(pool.images) == len(pool.scenes) == 6 and len(pool.captions) == 30
    assert owners.tolist() == [i // 5 for i in range(30)]
    assert len(set(pool.captions[::5])) == 6
    assert truth_of(pool, owners)[2, 10:15].all()


@pytest.fixture(scope="module")
def found(source):
    torch.manual_seed(0)
    model = Albef(
        ViT(image_size=32, patch_size=8, width=8, depth=1, heads=2),
        Bert(vocab_size=len(source.text), width=8, depth=1, heads=2, max_length=32),
        FusionEncoder(8, 1, 2, context_width=8),
        embed_dim=6,
        queue_size=4,
    ).train()
    options = {"pool_size": 12, "reranked": 60, "matched": 8, "mirrored_pairs": 3}
    metrics = evaluate_several(source, model, torch.device("cpu"), KINDS, **options)
    assert model.training
    return metrics


def test_every_split_has_both_stages_and_matching(found):
    assert set(found) == {
        f"{split}/{key}"
        for split in ("validation", "twemoji", "compositions")
        for key in (
            *(
                f"{stage}/{way}_r{k}"
                for stage in ("retrieval", "reranked")
                for way in ("image_to_text", "text_to_image")
                for k in (1, 5, 10)
            ),
            "itm/random",
            "itm/mirrored",
        )
    }
    one = found["validation/reranked/text_to_image_r1"]
    assert (one.n, found["validation/reranked/image_to_text_r1"].n) == (60, 12)


def test_the_second_stage_is_another_opinion(found):
    keys = [key for key in found if "/retrieval/" in key]
    other = [found[key.replace("retrieval", "reranked", 1)].value for key in keys]
    assert [found[key].value for key in keys] != other
