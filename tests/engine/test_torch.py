"""The torch engine beside transformers' generate, and answers that do not disturb each other."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from swift.chat.message import Message
from swift.checkpoint import served
from swift.core.errors import UserError
from swift.engine import Delta, Request, Sampling
from swift.engine._torch import TorchEngine
from swift.engine.torch import Torch
from tests.kit import tiny_chat_model

GREEDY = Sampling(temperature=0, max_tokens=24, ignore_eos=True)
TIE = 1e-4
"""Two best logits this near each other may change places between two ways of computing."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[TorchEngine]:
    opened = open_engine(folder)
    yield opened
    opened.close()


def open_engine(folder: Path, **options: Any) -> TorchEngine:
    return TorchEngine(served(str(folder)), Torch(**options))


def prompts(count: int, seed: int = 0, most: int = 90) -> list[list[int]]:
    draw = random.Random(seed)
    return [[draw.randrange(280) for _ in range(draw.randint(1, most))] for _ in range(count)]


def by_transformers(
    folder: Path, rows: list[list[int]], new: int
) -> list[tuple[list[int], Tensor]]:
    """Return (new ids, logits of each) of a greedy generate, one prompt at a time."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    out = []
    for ids in rows:
        made = model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            max_new_tokens=new,
            min_new_tokens=new,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
            pad_token_id=0,
            eos_token_id=None,
        )
        out.append((made.sequences[0, len(ids) :].tolist(), torch.stack(made.logits)[:, 0]))
    return out


def same_but_for_ties(ours: tuple[int, ...], theirs: list[int], logits_TV: Tensor) -> bool:
    for n, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if a != b:
            best = logits_TV[n].topk(2).values
            return bool(best[0] - best[1] <= TIE)
    return True


def test_fifty_greedy_answers_equal_those_of_transformers(
    folder: Path, engine: TorchEngine
) -> None:
    rows = prompts(50)
    ours = engine.generate([Request(ids=r, sampling=GREEDY) for r in rows])
    theirs = by_transformers(folder, rows, 24)
    same = [
        same_but_for_ties(o.ids, ids, logits) for o, (ids, logits) in zip(ours, theirs, strict=True)
    ]
    assert all(same), same.count(False)
    assert len({o.ids for o in ours}) > 10, "the model says the same to all: nothing was compared"


@pytest.mark.parametrize("kind", ["qwen2", "qwen3", "mistral", "gemma2", "olmo2"])
def test_other_families_answer_as_with_transformers(tmp_path: Path, kind: str) -> None:
    """Sliding windows (mistral, gemma2), capped scores (gemma2), normed heads (qwen3)."""
    folder = tiny_chat_model(tmp_path, kind=kind)
    rows = prompts(6, seed=1, most=60)
    opened = open_engine(folder, max_step_tokens=16)
    try:
        ours = opened.generate([Request(ids=r, sampling=GREEDY) for r in rows])
    finally:
        opened.close()
    for answer, (ids, logits) in zip(ours, by_transformers(folder, rows, 24), strict=True):
        assert same_but_for_ties(answer.ids, ids, logits)


def mixed() -> list[Request]:
    draw = random.Random(4)
    return [
        Request(
            ids=ids,
            sampling=Sampling(
                temperature=draw.choice([0.0, 0.7, 1.3]),
                top_p=draw.choice([1.0, 0.8]),
                top_k=draw.choice([0, 40]),
                seed=n,
                max_tokens=draw.randint(1, 40),
                ignore_eos=True,
            ),
        )
        for n, ids in enumerate(prompts(12, seed=3))
    ]


def test_an_answer_is_the_same_alone_and_in_company(engine: TorchEngine) -> None:
    together = engine.generate(mixed())
    alone = [engine.generate([request])[0] for request in mixed()]
    assert [d.ids for d in together] == [d.ids for d in alone]


def test_too_few_blocks_make_answers_wait_not_change(engine: TorchEngine, folder: Path) -> None:
    """Answers give their blocks back to older ones and are read anew."""
    tight = open_engine(folder, block_size=4, context=140, cache_gb=4 * 36 * 256e-9)
    try:
        assert tight.load().blocks_total <= 36
        assert [d.ids for d in tight.generate(mixed())] == [d.ids for d in engine.generate(mixed())]
        assert tight.load().blocks == 0
    finally:
        tight.close()


def test_a_prompt_read_in_parts_gives_the_same_answer(engine: TorchEngine, folder: Path) -> None:
    parts = open_engine(folder, max_step_tokens=7)
    try:
        assert [d.ids for d in parts.generate(mixed())] == [d.ids for d in engine.generate(mixed())]
    finally:
        parts.close()


def test_deltas_put_together_are_the_whole_answer(engine: TorchEngine) -> None:
    for request in mixed():
        whole = engine.generate([request])[0]
        deltas = stream(engine, Request(ids=request.ids, sampling=request.sampling, stream=True))
        assert "".join(d.text for d in deltas) == whole.text
        assert tuple(i for d in deltas for i in d.ids) == whole.ids
        assert [d.finish for d in deltas[:-1]] == [None] * (len(deltas) - 1)
        assert deltas[-1].finish == whole.finish


def stream(engine: TorchEngine, request: Request) -> list[Delta]:
    import queue

    got: queue.SimpleQueue[Delta] = queue.SimpleQueue()
    engine.submit(request, got.put)
    deltas = [got.get(timeout=60)]
    while deltas[-1].finish is None:
        deltas.append(got.get(timeout=60))
    return deltas


def test_a_stop_text_ends_the_answer_and_is_not_told(engine: TorchEngine) -> None:
    ids = prompts(1, seed=9)[0]
    free = engine.generate([Request(ids=ids, sampling=GREEDY)])[0].text
    stop = free[5:8]
    for streamed in (False, True):
        request = Request(
            ids=ids, sampling=GREEDY.model_copy(update={"stop": (stop,)}), stream=streamed
        )
        deltas = stream(engine, request)
        assert "".join(d.text for d in deltas) == free[: free.index(stop)]
        assert deltas[-1].finish == "stop"


def test_an_end_of_text_ends_the_answer_unless_it_is_too_short(engine: TorchEngine) -> None:
    ids = prompts(1, seed=9)[0]
    free = engine.generate([Request(ids=ids, sampling=GREEDY)])[0].ids
    ends = GREEDY.model_copy(update={"stop_token_ids": (free[2],)})
    answer = engine.generate([Request(ids=ids, sampling=ends)])[0]
    assert (answer.ids, answer.finish) == (free[:3], "stop")
    longer = ends.model_copy(update={"min_tokens": 8})
    answer = engine.generate([Request(ids=ids, sampling=longer)])[0]
    assert len(answer.ids) >= 8 and free[2] not in answer.ids[:8]


def test_logprobs_are_those_of_the_model(folder: Path, engine: TorchEngine) -> None:
    ids = prompts(1, seed=2)[0]
    sampling = GREEDY.model_copy(update={"logprobs": 3})
    answer = engine.generate([Request(ids=ids, sampling=sampling)])[0]
    _, logits = by_transformers(folder, [ids], 24)[0]
    logp = logits.log_softmax(-1)
    for n, told in enumerate(answer.logprobs):
        assert told.id == answer.ids[n]
        assert told.logprob == pytest.approx(float(logp[n, told.id]), abs=1e-4)
        best = logp[n].topk(3)
        assert [i for i, _ in told.top] == best.indices.tolist()


def test_a_cancelled_answer_frees_its_slot_and_blocks(engine: TorchEngine) -> None:
    import queue

    got: queue.SimpleQueue[Delta] = queue.SimpleQueue()
    long = Request(ids=[5], sampling=Sampling(max_tokens=200, ignore_eos=True), stream=True)
    cancel = engine.submit(long, got.put)
    got.get(timeout=60)
    cancel()
    while (delta := got.get(timeout=60)).finish is None:
        pass
    assert delta.finish == "cancelled"
    assert (engine.load().running, engine.load().blocks) == (0, 0)


def test_a_bad_prompt_is_refused_at_once(engine: TorchEngine) -> None:
    for ids in ([], [300000], [-1], [1] * 256):
        with pytest.raises(UserError):
            engine.submit(Request(ids=ids), lambda delta: None)


def test_draining_ends_what_runs_and_closing_does_not(folder: Path) -> None:
    for drain, reason in ((True, "length"), (False, "cancelled")):
        opened = open_engine(folder)
        ends: list[Delta] = []
        sampling = Sampling(max_tokens=60, ignore_eos=True)
        for n in range(3):
            opened.submit(Request(ids=[n + 3] * 4, sampling=sampling), ends.append)
        opened.close(drain=drain)
        assert [d.finish for d in ends] == [reason] * 3


def test_chat_prompts_are_the_trained_ones(engine: TorchEngine) -> None:
    """What is served before an answer is, id for id, what training puts before it."""
    speaker = engine.speaker
    talk = [Message(role="user", content="red tree"), Message(role="assistant", content="river")]
    assert speaker.template is not None
    ids, marks = speaker.tokenizer.encode_spanned([speaker.template.spans(talk)])[0]
    prompt = speaker.chat(talk[:1])
    assert ids[: len(prompt)] == prompt
    assert marks.index(True) == len(prompt)


def test_what_the_model_has_no_logit_for_is_refused_or_passed_over(engine: TorchEngine) -> None:
    """One request must not spoil the step of all others."""
    for sampling in (Sampling(logit_bias={999: 1.0}), Sampling(stop_token_ids=(999,))):
        with pytest.raises(UserError, match="unknown token"):
            engine.submit(Request(ids=[5], sampling=sampling), lambda delta: None)


@pytest.mark.parametrize("heat", [1e-45, 1e-38, 1e-9])
def test_the_smallest_temperatures_are_greedy(engine: TorchEngine, heat: float) -> None:
    ids = prompts(1, seed=12)[0]
    cold = GREEDY.model_copy(update={"temperature": heat, "seed": 1})
    ours = engine.generate([Request(ids=ids, sampling=cold), Request(ids=ids, sampling=GREEDY)])
    assert ours[0].ids == ours[1].ids


def test_seeds_below_zero_are_seeds_of_their_own(engine: TorchEngine) -> None:
    ids = prompts(1, seed=13)[0]
    hot = [Sampling(temperature=2.0, seed=s, max_tokens=20, ignore_eos=True) for s in (1, -1)]
    a, b = engine.generate([Request(ids=ids, sampling=s) for s in hot])
    assert a.ids != b.ids
