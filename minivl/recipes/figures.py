"""The pictures that a contrastive run leaves: what it matches and mistakes, and where it looks."""

from typing import TYPE_CHECKING

import torch

from minivl.data.examples import SceneSource, to_tensor
from minivl.evaluation.contrastive import Judge
from minivl.evaluation.embed import embed_images, embed_texts
from minivl.evaluation.pools import Pool, retrieval_pool
from minivl.evaluation.retrieval import relevance
from minivl.objectives import contrastive
from minivl.visualize import attention, retrieved, scenes, similarity
from minivl.visualize.occlusion import occlusion

if TYPE_CHECKING:
    from minivl.models.clip import Clip

SHOWN = 12
POOL = 256


def contrastive_figures(
    model: "Clip", source: SceneSource, device: torch.device
) -> dict[str, scenes.Picture]:
    """Figures by file name, on drawings of the artist that training never saw."""
    judge = Judge(model, source, device)
    pool = retrieval_pool(source, "twemoji", judge.sayable("twemoji", POOL))
    longest = source.data.max_length
    image = embed_images(model, pool.images, device)
    text = embed_texts(model, source.text, pool.captions, device, max_length=longest)
    cosines = (image @ text.T).cpu().numpy()
    few = slice(0, SHOWN)
    asked = (cosines, pool.images, pool.captions, relevance(pool.captions, pool.captions))
    return {
        "similarity": similarity.similarity_matrix(
            cosines[few, few], pool.images[few], pool.captions[few]
        ),
        "retrieved_pictures": retrieved.retrieved_pictures(*asked),
        "retrieved_captions": retrieved.retrieved_captions(*asked),
        "attention": attention_picture(model, source, pool, device),
    }


def attention_picture(
    model: "Clip", source: SceneSource, pool: Pool, device: torch.device
) -> scenes.Picture:
    """Rollout of one picture's attention, and what each of some sentences needs of the picture."""
    number = next((i for i, scene in enumerate(pool.scenes) if len(scene.things) == 2), 0)
    picture = pool.images[number]
    sentences = [pool.captions[number], *_one_by_one(pool.captions[number])]
    pixels = to_tensor(picture[None]).to(device)
    grid = tuple(side // model.image_encoder.patch_size for side in pixels.shape[-2:])
    attended = attention.rollout(model.encode_image(pixels, return_attention=True)[1])
    longest = source.data.max_length
    words = embed_texts(model, source.text, sentences, device, max_length=longest)

    def fits(pictures: torch.Tensor) -> torch.Tensor:
        return contrastive.similarity_logits(model.encode_image(pictures), words, model.logit_scale)

    maps = {
        "attention, whatever is asked": attention.pooled_map(attended, grid, model.image_pool)[0]
    }
    for sentence, lost in zip(sentences, occlusion(fits, pixels, grid), strict=True):
        maps[f"needed for “{sentence}”"] = lost
    return attention.attention_figure(picture, maps, columns=len(maps) + 1)


def _one_by_one(caption: str) -> list[str]:
    """The two halves of "a dog on the left and a cat on the right"."""
    return caption.split(" and ") if " and " in caption else []
