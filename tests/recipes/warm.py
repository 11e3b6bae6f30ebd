"""What the process that forks trainings imports: drawings and texts are decoded once for all."""

from functools import cache

from minivl.data.pack import Pack
from minivl.data.texts import TextSource
from minivl.recipes.flava import FlavaRecipe

# Both depend on their arguments alone.
Pack.load = cache(Pack.load)
TextSource.load = cache(TextSource.load)
RECIPE = FlavaRecipe.at_size("test")
TextSource.load(RECIPE.texts, RECIPE.data)
