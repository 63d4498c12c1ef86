"""A schedule: every sample once an epoch, the same step however it is cut."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from swift.dataset.batches import Schedule

SIZES = {
    "count": st.integers(1, 200),
    "batch": st.integers(1, 24),
    "micro": st.integers(1, 8),
    "world": st.integers(1, 5),
    "seed": st.integers(0, 9),
    "shuffle": st.booleans(),
    "bucket": st.booleans(),
}


def schedule(
    count: int, batch: int, micro: int, world: int, seed: int, shuffle: bool, bucket: bool
) -> Schedule:
    lengths = np.random.Generator(np.random.PCG64(count)).integers(1, 99, count)
    return Schedule(
        lengths=lengths,
        batch_size=batch,
        micro_batch_size=micro,
        data_world=world,
        seed=seed,
        shuffle=shuffle,
        bucket=bucket,
        epochs=2,
    )


@given(**SIZES)
def test_every_epoch_has_every_sample_once(**sizes: int) -> None:
    made = schedule(**sizes)  # type: ignore[arg-type]
    for epoch in range(2):
        steps = range(epoch * made.steps_per_epoch, (epoch + 1) * made.steps_per_epoch)
        seen = [s for k in steps for rank in made.step(k) for items in rank for s in items]
        assert sorted(seen) == list(range(sizes["count"]))


@given(**SIZES)
def test_ranks_have_equally_many_micro_batches_within_their_size(**sizes: int) -> None:
    made = schedule(**sizes)  # type: ignore[arg-type]
    for step in range(made.total_steps):
        ranks = made.step(step)
        assert len(ranks) == sizes["world"]
        assert len({len(rank) for rank in ranks}) == 1
        assert all(len(items) <= sizes["micro"] for rank in ranks for items in rank)


@given(**SIZES)
def test_no_rank_waits_for_another(**sizes: int) -> None:
    made = schedule(**sizes)  # type: ignore[arg-type]
    for step in range(made.total_steps):
        for at_once in zip(*made.step(step), strict=True):
            counts = [len(items) for items in at_once]
            assert max(counts) - min(counts) <= 1


@given(**SIZES)
def test_the_cut_does_not_change_a_steps_samples(**sizes: int) -> None:
    made = schedule(**sizes)  # type: ignore[arg-type]
    other = schedule(**{**sizes, "micro": 3, "world": 2})  # type: ignore[arg-type]
    assert made.total_steps == other.total_steps
    for step in range(made.total_steps):
        assert set(made.samples(step)) == set(other.samples(step))


def test_without_shuffle_and_buckets_it_is_the_files_order() -> None:
    made = schedule(10, 4, 2, 1, 0, shuffle=False, bucket=False)
    assert [made.step(k) for k in range(3)] == [
        [[[0, 1], [2, 3]]],
        [[[4, 5], [6, 7]]],
        [[[8, 9]]],
    ]


def test_buckets_save_padding() -> None:
    def padding(bucket: bool) -> float:
        made = schedule(2000, 8, 4, 1, 0, shuffle=True, bucket=bucket)
        batches = [made.lengths[i] for k in range(250) for i in made.step(k)[0]]
        full = sum(len(b) * int(b.max()) for b in batches)
        return 1 - sum(int(b.sum()) for b in batches) / full

    assert padding(True) < 0.05 < 0.3 < padding(False)


def test_epochs_are_drawn_anew_and_seeds_matter() -> None:
    made = schedule(50, 50, 50, 1, 1, shuffle=True, bucket=False)
    again = schedule(50, 50, 50, 1, 1, shuffle=True, bucket=False)
    other = schedule(50, 50, 50, 1, 2, shuffle=True, bucket=False)
    assert made.step(0) == again.step(0)
    assert made.step(0) != made.step(1)
    assert made.step(0) != other.step(0)


def test_a_fraction_of_an_epoch_is_rounded_up_to_whole_steps() -> None:
    lengths = np.ones(10, dtype=np.int64)
    made = Schedule(lengths=lengths, batch_size=4, micro_batch_size=4, epochs=0.5)
    assert (made.steps_per_epoch, made.total_steps) == (3, 2)
    assert made.epoch(1) == 0.8
    assert made.epoch(2) == 1.0
