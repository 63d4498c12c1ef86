"""What the user said: a file and flags, read into one frozen Recipe."""

from __future__ import annotations

from swift.recipe.reading import read
from swift.recipe.recipe import Recipe
from swift.recipe.sections import Data, Dataset, Model, Parallel, Train

__all__ = ["Data", "Dataset", "Model", "Parallel", "Recipe", "Train", "read"]
