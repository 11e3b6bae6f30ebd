"""What can be trained: `minivl train NAME`. One file a recipe; nothing here imports torch.

A recipe is a frozen dataclass whose fields are command-line flags, with `at_size(size)`, the
defaults of a size, and `stages(seed)`, what the engine runs.
"""

RECIPES = {
    "albef": "minivl.recipes.albef:AlbefRecipe",
    "clip": "minivl.recipes.clip:ClipRecipe",
    "dino": "minivl.recipes.dino:DinoRecipe",
    "dvae": "minivl.recipes.dvae:DvaeRecipe",
    "finetune": "minivl.recipes.finetune:FinetuneRecipe",
    "flava": "minivl.recipes.flava:FlavaRecipe",
    "mim": "minivl.recipes.mim:MimRecipe",
    "mlm": "minivl.recipes.mlm:MlmRecipe",
    "retrieval": "minivl.recipes.retrieval:RetrievalRecipe",
    "unit": "minivl.recipes.unit:UnitRecipe",
}
"""Name on the command line -> module:class."""

ASKABLE = ("clip", "flava", "albef", "retrieval")
"""Recipes whose models `minivl show` can ask how well a picture and a sentence fit."""
