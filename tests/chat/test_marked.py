"""Claims about tokens by their widths: the same ids and marks as by their places."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from swift.chat.template import Spanned
from swift.chat.tokenize import Tokenizer

CORPUS = [
    "the cat of the house é猫猫🙂🙂 is  in\n\nit",
    "e\u0301 e\u0301 \u00e9\u00e9 def f(x):\n  x",
]
SPECIAL = ["<|end|>", "<é>"]


def trained(**parts: Any) -> Tokenizer:
    backend = Backend(models.BPE(unk_token=parts.get("unknown")))
    level = pre_tokenizers.ByteLevel(add_prefix_space=parts.get("prefix", False))
    backend.pre_tokenizer = parts.get("splitter", level)
    backend.normalizer = parts.get("normalizer", normalizers.Sequence([]))
    backend.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet() if parts.get("letters", True) else []
    trainer = trainers.BpeTrainer(
        vocab_size=340, special_tokens=SPECIAL, initial_alphabet=letters, show_progress=False
    )
    backend.train_from_iterator(CORPUS * 5, trainer)
    if "added" in parts:
        backend.add_special_tokens([parts["added"]])
    return Tokenizer(backend, 0, 0)


SPLIT = pre_tokenizers.Sequence(
    [
        pre_tokenizers.Split(r" +", behavior="isolated"),
        pre_tokenizers.Digits(),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
)
LEAVING_OUT = pre_tokenizers.Sequence(
    [
        pre_tokenizers.Split("\n", behavior="removed"),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    ]
)
KINDS: dict[str, dict[str, Any]] = {
    "byte-level": {},
    "split": {"splitter": SPLIT},
    "composing": {"normalizer": normalizers.NFC()},
    "a-blank-before": {"prefix": True},
    "leaving-out": {"splitter": LEAVING_OUT},
    "lower-case": {"normalizer": normalizers.Lowercase()},
    "metaspace": {"splitter": pre_tokenizers.Metaspace(), "letters": False, "unknown": "<é>"},
    "greedy-token": {"added": AddedToken("<w>", lstrip=True, rstrip=True)},
}
KNOWN = ("byte-level", "split", "composing", "a-blank-before", "leaving-out", "greedy-token")
TOKENIZERS = {name: trained(**parts) for name, parts in KINDS.items()}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_ids_and_marks_by_width_are_those_by_place(kind: str, data: st.DataObject) -> None:
    pieces = st.sampled_from(
        ["e\u0301", "\u00e9", " ", "\n\n", "<|end|>", "<w>", "🙂", "猫", "the", "Á"]
    )
    letters = st.characters(exclude_categories=["Cs"])
    texts = st.lists(st.one_of(pieces, st.text(letters, max_size=5)), max_size=8).map("".join)
    spanned = []
    for text in data.draw(st.lists(texts, max_size=5)):
        cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), min_size=4, max_size=4)))
        spanned.append(Spanned(text, ((cuts[0], cuts[1]), (cuts[2], cuts[3]))))
    made = TOKENIZERS[kind].encode_marked(spanned)
    expected = TOKENIZERS[kind].encode_spanned(spanned)
    assert made.sizes.tolist() == [len(ids) for ids, _ in expected]
    assert made.ids.tolist() == [i for ids, _ in expected for i in ids]
    assert made.marks.tolist() == [mark for _, marks in expected for mark in marks]


def test_only_tokenizers_that_keep_all_bytes_are_measured_beforehand() -> None:
    assert tuple(name for name in KINDS if TOKENIZERS[name]._widths is not None) == KNOWN
