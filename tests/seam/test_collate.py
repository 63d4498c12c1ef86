"""Items to batches: shifted labels, right padding, sides one after the other."""

from __future__ import annotations

import numpy as np

from swift.dataset.encoded import Encoded
from swift.seam.collate import Lay, collate
from swift.seam.types import IGNORE

ITEMS = Encoded(
    ids=np.array([5, 6, 7, 8, 9, 1, 2, 3, 4], dtype=np.int32),
    supervised=np.array([0, 0, 1, 1, 0, 0, 1, 1, 1], dtype=np.bool_),
    offsets=np.array([0, 4, 5, 7, 9]),
    sides=1,
    origins=["a", "b", "c", "d"],
)


def test_a_label_stands_where_it_is_predicted() -> None:
    made = collate(ITEMS, [0, 2], Lay(pad_id=0))
    assert made.inputs["input_ids"].tolist() == [[5, 6, 7, 8], [1, 2, 0, 0]]
    assert made.labels_BT.tolist() == [[IGNORE, 7, 8, IGNORE], [2, IGNORE, IGNORE, IGNORE]]
    assert made.rows.row_N.tolist() == [0, 0, 1]
    assert made.rows.count == 2
    assert made.origins == ["a", "c"]


def test_the_first_token_of_a_row_is_never_a_label() -> None:
    made = collate(ITEMS, [3], Lay(pad_id=0))
    assert made.labels_BT.tolist() == [[4, IGNORE]]


def test_pairs_come_as_all_chosen_then_all_rejected() -> None:
    pairs = Encoded(ITEMS.ids, ITEMS.supervised, ITEMS.offsets, 2, ["x", "y"])
    made = collate(pairs, [0, 1], Lay(pad_id=0))
    assert made.inputs["input_ids"].tolist() == [
        [5, 6, 7, 8],
        [1, 2, 0, 0],
        [9, 0, 0, 0],
        [3, 4, 0, 0],
    ]
    assert made.rows.count == 4


def test_a_filler_counts_for_nothing() -> None:
    made = collate(ITEMS, [], Lay(pad_id=3))
    assert made.inputs["input_ids"].shape[0] == 1
    assert (made.labels_BT == IGNORE).all()
    assert (made.rows.count, made.rows.tokens) == (0, 0)
