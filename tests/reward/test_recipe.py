"""`reward:` in a recipe."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swift.cli.main import main
from swift.core.errors import RecipeError
from swift.method import Method, methods
from swift.recipe import Recipe, read
from swift.reward.accuracy import Accuracy
from swift.reward.format import Format
from swift.reward.function import Function

SAID = """
method: draws
reward: [accuracy, ./mine.py:brevity, {name: format, weight: 0.5, pattern: think},
         {name: ./mine.py:brevity, weight: -1}]
"""


@pytest.fixture
def draws() -> Iterator[None]:
    """A method that draws answers, for as long as a test takes."""

    @methods.add("draws")
    class Draws(Method):
        """Draws answers."""

        wants = "prompts"

    yield
    methods._members.pop("draws")


def written(folder: Path, text: str) -> Path:
    path = folder / "r.yaml"
    path.write_text(text)
    return path


@pytest.mark.usefixtures("draws")
def test_names_paths_and_maps_are_rewards(tmp_path: Path) -> None:
    recipe = read(written(tmp_path, SAID))
    assert recipe.reward == (
        Accuracy(),
        Function(path="./mine.py:brevity"),
        Format(weight=0.5, pattern="think"),
        Function(path="./mine.py:brevity", weight=-1),
    )
    again = Recipe.model_validate(json.loads(json.dumps(recipe.full())))
    assert again.reward == recipe.reward
    assert read(written(tmp_path, recipe.dump())).reward == recipe.reward


@pytest.mark.usefixtures("draws")
@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ([("reward", "accuracy")], (Accuracy(),)),
        ([("reward", "[accuracy, format]")], (Accuracy(), Format())),
        ([("reward_funcs", "accuracy,format")], (Accuracy(), Format())),
        ([("reward", "{name: format, weight: 2}")], (Format(weight=2),)),
        ([("reward", "null")], ()),
    ],
)
def test_a_flag_says_them_too(flags: list[tuple[str, Any]], found: tuple[Any, ...]) -> None:
    assert read(None, flags, "draws").reward == found


@pytest.mark.usefixtures("draws")
@pytest.mark.parametrize(
    ("item", "says"),
    [
        ("acuracy", "write `accuracy`"),
        ("5", "`reward` is `5`, not a name"),
        ("{weight: 2}", "`reward` has options, but no name"),
        ("{name: format, wieght: 2}", "write `weight`"),
        ("{name: format, pattern: '(('}", "it is no regular expression"),
        ("{name: accuracy, weight: .inf}", "`reward.weight`"),
        ("cosine", "`reward` lacks `max_length`"),
        ("{name: overlong, max_length: 4, cache: 5}", "cache 5 is more than max_length 4"),
        ("{name: judge, url: localhost, model: m}", "`reward.url`"),
        ("{name: judge, url: http://h, model: m, low: 9, high: 9}", "is not more than low"),
        ("{name: judge, url: http://h, model: m, template: hi}", "lacks {answer}"),
        ("'./mine.py:'", "write FILE.py:FUNCTION"),
        ("./mine.py", "write FILE.py:FUNCTION"),
    ],
)
def test_a_mistake_names_its_repair(tmp_path: Path, item: str, says: str) -> None:
    with pytest.raises(RecipeError) as error:
        read(written(tmp_path, f"method: draws\nreward: {item}\n"))
    assert says in str(error.value)
    assert "r.yaml:2" in str(error.value)


@pytest.mark.usefixtures("draws")
def test_all_mistakes_are_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as error:
        read(written(tmp_path, "method: draws\nreward: [acuracy, {name: cosine}, 7]\n"))
    assert len(error.value.problems) == 3


def test_a_method_that_draws_nothing_takes_no_reward(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="`sft` draws no answers that `reward` could judge"):
        read(written(tmp_path, "method: sft\nreward: accuracy\n"))


def test_rewards_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "rewards"]) == 0
    assert "DAPO (arXiv:2503.14476, equation 13)" in capsys.readouterr().out
    assert main(["list", "rewards", "--json"]) == 0
    known = {row["reward"]: row["options"] for row in json.loads(capsys.readouterr().out)}
    assert known["repetition"]["ngram"] == "a whole number of at least 1"
