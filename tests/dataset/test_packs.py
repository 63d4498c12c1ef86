"""Packs: every sample in one, none too long, and hardly any room left."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from swift.dataset.packs import packs

lengths = st.lists(st.integers(1, 130), max_size=200).map(lambda said: np.array(said, np.int64))


@given(lengths, st.integers(1, 100))
def test_every_sample_is_in_one_pack(sizes: np.ndarray, capacity: int) -> None:
    found = packs(sizes, capacity)
    assert sorted(sample for pack in found for sample in pack) == list(range(len(sizes)))


@given(lengths, st.integers(1, 100))
def test_a_pack_of_several_samples_fits(sizes: np.ndarray, capacity: int) -> None:
    for pack in packs(sizes, capacity):
        assert len(pack) == 1 or sizes[pack].sum() <= capacity


@given(lengths, st.integers(130, 400))
def test_packs_are_few(sizes: np.ndarray, capacity: int) -> None:
    fewest = math.ceil(sizes.sum() / capacity)  # nobody needs fewer
    assert len(packs(sizes, capacity)) <= 11 / 9 * fewest + 4


def test_chat_lengths_leave_a_thousandth_of_the_room() -> None:
    draw = np.random.default_rng(0).lognormal(5.5, 0.8, 20_000)
    sizes = np.minimum(draw.astype(np.int64) + 1, 2048)
    assert sizes.sum() / (len(packs(sizes, 2048)) * 2048) > 0.999
