"""Tokens that weigh more or less than others: the same mean padded, packed, cut as one likes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from swift.chat.tokenize import Tokenizer
from swift.core.env import cache_home
from swift.core.errors import PlanError, UserError
from swift.dataset.encoded import Encoded
from swift.method.sft import Sft
from swift.model.find import find_model
from swift.plan import resolve
from swift.recipe import Recipe
from swift.seam.collate import Lay, collate
from swift.seam.types import Outputs, Rows
from swift.seam.weighing import Rule, rules_of, weights

IDS = np.array([5, 7, 8, 9, 7, 6, 9, 8], dtype=np.int32)


def encoded() -> Encoded:
    rows = [IDS, IDS[2:], IDS[::-1].copy()]
    marks = [np.arange(len(r)) >= 2 for r in rows]
    return Encoded(
        ids=np.concatenate(rows),
        supervised=np.concatenate(marks),
        offsets=np.cumsum([0, *map(len, rows)]).astype(np.int64),
        sides=1,
        origins=["a", "b", "c"],
    )


@pytest.mark.parametrize(
    ("rules", "wanted"),
    [
        ([Rule(9, None, 3.0)], [1, 1, 1, 3, 1, 1, 3, 1]),
        ([Rule(7, 9, 0.5)], [1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 1]),
        ([Rule(8, 5, 0.0)], [1, 1, 0, 0, 0, 0, 0, 0]),
        ([Rule(7, 9, 0.5), Rule(8, None, 2.0)], [1, 0.5, 2, 0.5, 0.5, 0.5, 0.5, 2]),
    ],
)
def test_the_last_rule_about_a_token_counts(rules: list[Rule], wanted: list[float]) -> None:
    assert weights(IDS, rules).tolist() == wanted


@pytest.mark.parametrize("loss", ["nll", "dft"])
def test_the_mean_is_the_weighted_one_in_every_layout(loss: str) -> None:
    method = Sft(loss=loss, token_weights={"unused": 1.0})
    rules, rows = (Rule(9, None, 3.0), Rule(7, 6, 0.25)), encoded()
    found = []
    for flat in (False, True):
        batch = collate(rows, [0, 1, 2], Lay(pad_id=0, end_to_end=flat, rules=rules))
        labels_N = batch.labels_BT[batch.labels_BT != -100]
        logp_N = -labels_N.double() / 10  # of a token alone, whatever the layout
        terms = method.terms(Outputs(logp_N=logp_N), batch.rows.beside(logp_N))
        found.append((float(terms.total["tokens"]), method.weight(batch.rows)["tokens"]))
        by_hand = sum(
            w * (id / 10) * (np.exp(-id / 10) if loss == "dft" else 1)
            for item in range(3)
            for id, w, own in zip(
                rows.sequence(item, 0)[0].tolist(),
                weights(rows.sequence(item, 0)[0], rules).tolist(),
                rows.sequence(item, 0)[1].tolist(),
                strict=True,
            )
            if own
        )
        assert found[-1][0] == pytest.approx(by_hand, rel=1e-12)
    assert found[0] == pytest.approx(found[1], rel=1e-12)


def test_weights_of_one_change_nothing_and_a_filler_weighs_nothing() -> None:
    method, rows = Sft(), encoded()
    plain = collate(rows, [0, 1], Lay(pad_id=0))
    ones = collate(rows, [0, 1], Lay(pad_id=0, rules=(Rule(9, None, 1.0),)))
    assert method.weight(plain.rows) == method.weight(ones.rows)
    empty = collate(rows, [], Lay(pad_id=0, rules=(Rule(9, None, 2.0),)))
    assert method.weight(empty.rows) == {"tokens": 0.0}
    none = replace(empty.rows, columns={})
    assert isinstance(none, Rows)
    assert method.weight(none) == {"tokens": 0}
    assert torch.equal(ones.rows.columns["weight_N"], torch.ones(ones.rows.tokens).double())


def test_texts_that_are_no_single_token_are_all_named() -> None:
    folder: Path = find_model("nano", cache_home())
    tokenizer = Tokenizer.load(folder)
    end = tokenizer.backend.id_to_token(2)
    assert rules_of({end: 2.0, f"{end}...{end}": 0.5}, tokenizer) == (
        Rule(2, None, 2.0),
        Rule(2, 2, 0.5),
    )
    with pytest.raises(UserError, match=r"(?s)`not one token`.*`two tokens here`"):
        rules_of({"not one token": 2.0, f"{end}...two tokens here": 1.0}, tokenizer)
    said = {"model": "nano", "method": {"name": "sft", "token_weights": {"never one": 2}}}
    with pytest.raises(PlanError, match=r"method\.token_weights"):
        resolve(Recipe.model_validate(said))
