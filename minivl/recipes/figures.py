"""The pictures that a contrastive run leaves: what it matches and mistakes, and where it looks."""

from typing import TYPE_CHECKING

import torch

from minivl.data.examples import SceneSource, to_tensor
from minivl.evaluation.embed import embed_images, embed_texts
from minivl.evaluation.pools import Pool, retrieval_pool
from minivl.evaluation.retrieval import relevance
from minivl.visualize import attention, retrieved, scenes, similarity

if TYPE_CHECKING:
    from minivl.models.clip import Clip

SHOWN = 12
POOL = 256


def contrastive_figures(
    model: "Clip", source: SceneSource, device: torch.device
) -> dict[str, scenes.Picture]:
    """Figures by file name, on drawings of the artist that training never saw."""
    pool = retrieval_pool(source, "twemoji", POOL)
    image = embed_images(model, pool.images, device)
    text = embed_texts(model, source.text, pool.captions, device)
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
    """Rollout of one picture's attention, and what its patches mean to each of two sentences."""
    number = next(i for i, scene in enumerate(pool.scenes) if len(scene.things) == 2)
    picture = pool.images[number]
    pixels = to_tensor(picture[None]).to(device)
    grid = tuple(side // model.image_encoder.patch_size for side in pixels.shape[-2:])
    maps_by_title = {
        "all blocks (rollout)": attention.cls_map(
            attention.rollout(model.encode_image(pixels, return_attention=True)[1]), grid
        )[0]
    }
    for sentence in [pool.captions[number], *_one_by_one(pool.captions[number])]:
        words = embed_texts(model, source.text, [sentence], device)[0]
        maps_by_title[f"“{sentence}”"] = sentence_map(model, pixels, words, grid)
    return attention.attention_figure(picture, maps_by_title, columns=4)


def sentence_map(
    model: "Clip", pixels: torch.Tensor, words: torch.Tensor, grid: tuple[int, int]
) -> torch.Tensor:
    """Relevance (gh, gw) of each patch of one picture (1, 3, h, w) to a sentence (d,)."""
    with torch.enable_grad():
        embedded, maps = model.encode_image(pixels, return_attention=True)
        score = torch.nn.functional.normalize(embedded, dim=-1) @ words
        return attention.sentence_relevance(score, maps, grid)[0]


def _one_by_one(caption: str) -> list[str]:
    """The two halves of "a dog on the left and a cat on the right"."""
    return caption.split(" and ") if " and " in caption else []
