"""The stages of a run in the reader's words, and which numbers and pictures belong to which."""

from collections.abc import Sequence

STAGES = {
    "dvae": ("the tokenizer", "Pictures become words of a codebook, and words pictures again."),
    "dino": (
        "the image encoder, without labels",
        "Two views of a picture should mean the same: DINO. No label, no sentence.",
    ),
    "supervised": ("the image encoder, told the labels", "What DINO is compared with."),
    "mim": (
        "the image encoder, filling in holes",
        "Patches are hidden; their words from the tokenizer are to be named.",
    ),
    "mlm": (
        "the text encoder, filling in words",
        "Words of definitions and captions are hidden; they are to be named. No picture.",
    ),
    "joint": (
        "pictures and sentences together",
        "All encoders, on pictures, on texts and on pairs in turn: find, match, and fill in one "
        "side from the other.",
    ),
    "pretrain": (
        "align, then fuse",
        "Pictures and sentences find each other; fusion judges pairs and fills in hidden words.",
    ),
    "clip": ("two encoders", "Pictures and their sentences find each other."),
}
"""Stage -> (what it trains, what it does)."""

HOMES = {
    "reconstruction": "dvae",
    "codebook": "dvae",
    "knn": "dino",
    "linear": "dino",
    "attention": "dino",
    "mim": "mim",
    "mlm": "mlm",
}
"""Task of an evaluation -> the stage whose it is; all others are the last one's."""


def title(stage: str, stages: Sequence[str]) -> str:
    """'Stage 2 of 5, dino: the image encoder, without labels'; '' where there is one stage."""
    if len(stages) < 2:
        return ""
    what = f": {STAGES[stage][0]}" if stage in STAGES else ""
    return f"Stage {stages.index(stage) + 1} of {len(stages)}, {stage}{what}"


def about(stage: str) -> str:
    """What a stage does, in a sentence or two; '' of an unknown one."""
    return STAGES.get(stage, ("", ""))[1]


def home(key: str, stages: Sequence[str]) -> str:
    """The stage that a key of eval.json, '<split>/<task>/<measure>', belongs to."""
    task = key.split("/")[1] if key.count("/") > 1 else ""
    stage = HOMES.get(task, "")
    return stage if stage in stages else stages[-1] if stages else ""
