"""Which chat template a plan's conversations are written with, tried before anything runs."""

from __future__ import annotations

from swift.chat.ending import can_end
from swift.chat.source import choose
from swift.chat.thinking import styled
from swift.chat.verify import Trial, tried
from swift.core.env import cache_home
from swift.core.errors import DataError, Problem
from swift.model.facts import ModelFacts
from swift.model.voice import called, template_of
from swift.recipe import Recipe


def trial(recipe: Recipe, facts: ModelFacts, named: str) -> Trial:
    """Return the template that a recipe's conversations are written with, and its verdict.

    Args:
        recipe: Says what becomes of reasoning.
        facts: Of the model.
        named: The plan's `template`.

    Raises:
        DataError: There is no such template, or what it trains is not what inference asks.
    """
    can_end(named, facts.voice)
    chosen = styled(choose(facts.voice, named), recipe.data.thinking)
    return tried(chosen, facts.voice, cache_home())


def decided(recipe: Recipe, facts: ModelFacts, problems: list[Problem]) -> tuple[str, str]:
    """Return the plan's `template`, and a line that says which it is and what trying it brought.

    What is wrong is added to `problems`. Plain text has no template, and no line.
    """
    said = recipe.model.template
    if recipe.task == "text":
        return said, ""
    try:
        named = template_of(recipe.model.id, facts.voice, said)
        verdict = trial(recipe, facts, named).verdict
        name = called(facts.voice, named, said)
    except DataError as error:
        problems += error.problems
        return said, ""
    return named, f"{name}; {verdict.describe()}"
