"""Retrieval on real pairs, in one stage and in two: the tables for COCO and Flickr30k.

A picture finds its text if any of its own captions is among the first k; a caption finds its
picture. A caption equal to one of another picture's is wrong there, as in the published numbers;
where both score the same, their order is drawn. ALBEF ranks the k most similar anew by its matching
head alone (Li et al. 2021, arXiv 2107.07651, section 5, "Image-text retrieval").
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minivl.data.examples import to_tensor
from minivl.data.pair_files import PairFile
from minivl.data.text import WordPiece
from minivl.errors import DataError
from minivl.evaluation.albef import Ranker
from minivl.evaluation.embed import evaluating
from minivl.evaluation.metric import Metric
from minivl.evaluation.retrieval import Score, rerank
from minivl.evaluation.several_captions import recall

PICTURES = 32
TEXTS = 256
"""How many are encoded at once."""

Progress = Callable[[str, int, int], None]
"""Called with what is done, how many times, and of how many."""


def quiet(what: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""


@dataclass(frozen=True)
class Side:
    """Pictures, or texts, as a model has encoded them, n of each."""

    vectors: Tensor
    """(n, width) of length 1, on the CPU."""
    states: Tensor | None = None
    """(n, tokens, width), what fusion reads, on the model's device."""
    seen: Tensor | None = None
    """(n, tokens) bool: which of them are no padding."""


class Fused(Ranker):
    """Match logits of pairs, as `Ranker` has them, of what is encoded already."""

    def __init__(self, model: nn.Module, pictures: Side, texts: Side):
        self.model, self.image = model, pictures.states
        self.text, self.seen = texts.states, texts.seen


def evaluate_pairs(  # noqa: PLR0913  (who reads what, and how)
    model: nn.Module,
    words: WordPiece,
    pairs: PairFile,
    device: torch.device,
    *,
    side: int,
    longest: int,
    reranked: int = 0,
    progress: Progress = quiet,
) -> tuple[dict[str, Metric], list[str]]:
    """Metrics by key, "retrieval/image_to_text_r1", the same under "reranked/" if any are; and what
    was left out, a line each.

    `side`: of the pictures, in pixels; `longest`: of the captions, in word pieces; `reranked`: how
    many of the most similar ALBEF fuses. Tokens of all pictures stay on the device for that: for
    COCO's 5,000 of 384 pixels 9 GB.
    """
    pictures, kept, broken = encode_pictures(model, pairs, device, side, reranked > 0, progress)
    captions = [pairs.captions[number] for number in kept]
    said = [caption for own in captions for caption in own]
    texts = encode_texts(model, words, said, device, longest, reranked > 0, progress)
    owners = torch.arange(len(kept)).repeat_interleave(torch.tensor(list(map(len, captions))))
    truth = owners == torch.arange(len(kept))[:, None]
    similarity = pictures.vectors @ texts.vectors.T
    stages = {"retrieval": (similarity, similarity.T)}
    if reranked:
        fused = Fused(model, pictures, texts)
        to_text = counted(fused.captions_of, "pictures ranked", len(kept), progress)
        to_image = counted(fused.pictures_of, "captions ranked", len(said), progress)
        stages["reranked"] = (
            rerank(similarity, to_text, reranked),
            rerank(similarity.T, to_image, reranked),
        )
    metrics = {
        f"{stage}/{name}": metric
        for stage, scores in stages.items()
        for name, metric in recall(*scores, truth, owners).items()
    }
    return metrics, [*pairs.left_out, *broken]


def encode_pictures(  # noqa: PLR0913
    model: nn.Module,
    pairs: PairFile,
    device: torch.device,
    side: int,
    fuses: bool,
    progress: Progress = quiet,
) -> tuple[Side, list[int], list[str]]:
    """Pictures that can be read, their numbers in the file, and what is wrong with the others."""
    vectors, states, kept, broken = [], None, [], []
    total, start = len(pairs.images), 0
    with evaluating(model):
        for part in pairs.pictures(side, PICTURES):
            whole = [number for number, one in enumerate(part) if isinstance(one, np.ndarray)]
            broken += [one for one in part if isinstance(one, str)]
            kept += [start + number for number in whole]
            start += len(part)
            if whole:
                pixels = to_tensor(np.stack([part[number] for number in whole])).to(device)
                if fuses:
                    tokens = model.image_tokens(pixels)
                    states = room_for(states, tokens, total)
                    states[len(kept) - len(whole) : len(kept)] = tokens
                    vectors.append(model.image_vector(tokens).float().cpu())
                else:
                    vectors.append(F.normalize(model.encode_image(pixels).float(), dim=-1).cpu())
            progress("pictures read", start, total)
        if not kept:
            raise DataError(
                f"no picture of {pairs.name} can be read: {broken[0]}", "fetch the pictures again"
            )
        states = None if states is None else states[: len(kept)]
        return Side(torch.cat(vectors), states), kept, broken


def encode_texts(  # noqa: PLR0913
    model: nn.Module,
    words: WordPiece,
    said: Sequence[str],
    device: torch.device,
    longest: int,
    fuses: bool,
    progress: Progress = quiet,
) -> Side:
    """All captions, padded to the longest of them."""
    batch = words.batch(said, longest)
    ids, seen = batch["input_ids"], batch["attention_mask"].to(device)
    vectors, states = [], None
    with evaluating(model):
        for start in range(0, len(said), TEXTS):
            part = slice(start, start + TEXTS)
            if fuses:
                found = model.text_states(ids[part].to(device), seen[part])
                states = room_for(states, found, len(said))
                states[part] = found
                vectors.append(model.text_vector(found, seen[part]).float().cpu())
            else:
                found = model.encode_text(ids[part].to(device), seen[part])
                vectors.append(F.normalize(found.float(), dim=-1).cpu())
            progress("captions read", min(start + TEXTS, len(said)), len(said))
        return Side(torch.cat(vectors), states, seen)


def room_for(states: Tensor | None, first: Tensor, total: int) -> Tensor:
    """Memory for `total` rows like those of the first batch; joined at the end they would need
    twice as much."""
    return first.new_empty(total, *first.shape[1:]) if states is None else states


def unknown(words: WordPiece, pairs: PairFile) -> float:
    """The share of word pieces of the captions that the vocabulary lacks."""
    pieces = [piece for own in pairs.captions for said in own for piece in words.tokens(said)]
    return pieces.count("[UNK]") / max(len(pieces), 1)


def counted(score: Score, what: str, total: int, progress: Progress) -> Score:
    """The same scores; each query is told to `progress`."""

    def told(query: int, candidates: Tensor) -> Tensor:
        found = score(query, candidates)
        progress(what, query + 1, total)
        return found

    return told
