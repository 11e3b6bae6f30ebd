"""Masked language modeling (BERT: Devlin et al. 2018, arXiv 1810.04805): fill in hidden words."""

from torch import Tensor, nn

from minivl.nn.bert import Bert
from minivl.nn.head import PredictionHead
from minivl.objectives import masked
from minivl.objectives.masking import IGNORE


class Mlm(nn.Module):
    """A text encoder and a head that names the hidden words, by its word embeddings (tied)."""

    def __init__(self, text_encoder: Bert, *, tied: bool = True, eps: float = 1e-12):
        super().__init__()
        words = text_encoder.word_embed.num_embeddings
        self.text_encoder = text_encoder
        self.head = PredictionHead(text_encoder.width, words, tied=tied, eps=eps)
        self.tied = tied
        self.monitors: dict[str, Tensor] = {}

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """input_ids, attention_mask (b, t) -> states (b, t, width)."""
        return self.text_encoder(input_ids, attention_mask)

    def predict(self, states: Tensor) -> Tensor:
        """States (..., width) -> a score for each word of the vocabulary (..., words)."""
        return self.head(states, self.text_encoder.word_embed.weight if self.tied else None)

    def answers(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Scores (rows, words) and labels (rows,) of the words that are asked for.

        batch: mlm_input_ids, attention_mask and mlm_labels (b, t).
        """
        labels = batch["mlm_labels"]
        states = self.encode_text(batch["mlm_input_ids"], batch.get("attention_mask"))
        # The vocabulary is the model's largest layer: only rows that are scored go through it.
        rows = masked.selected_rows(labels != IGNORE)
        return self.predict(states.flatten(0, 1)[rows]), labels.flatten()[rows]

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """{"mlm": scalar} for mlm_input_ids, attention_mask and mlm_labels (b, t)."""
        logits, labels = self.answers(batch)
        right, asked = masked.scored(logits.detach(), labels)
        self.monitors = {"mlm_accuracy": right / asked.clamp(min=1)}
        return {"mlm": masked.masked_cross_entropy(logits, labels)}

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The losses, so that DDP and torch.compile wrap what training computes."""
        return self.losses(batch)
