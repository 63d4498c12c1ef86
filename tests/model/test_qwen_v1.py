"""Qwen-7B v1's layout, opened as a Qwen2 model: the same numbers, the same ids, once."""

from __future__ import annotations

import base64
import json
import multiprocessing
import os
import shutil
import unicodedata
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import regex  # transformers brings it
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from swift.chat.tokenize import Tokenizer
from swift.core.errors import MachineError, PlanError
from swift.model.facts import read_facts
from swift.model.find import find_model
from swift.model.quirks import _rewrite
from tests.kit import tiny_qwen_v1

WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEXTS = [
    "Hello, it's the model; IT'LL say 12345!\n\n  the end  ",
    "你好世界，今天天气很好。你说你好吗？\r\n\t二〇二四",
    "🙂👩‍👩‍👧 e\u0301 ﬁ Å naïve 한국어 \u00a0\u3000x",
    "<|im_start|>user\n你好<|im_end|>\n<|endoftext|><|extra_0|><|extra_204|><|extra_205|>",
    "",
]


@pytest.fixture(scope="module")
def v1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_qwen_v1(tmp_path_factory.mktemp("v1") / "Qwen-7B")


@pytest.fixture(scope="module")
def qwen2(v1: Path) -> Path:
    return find_model(str(v1), v1.parent / "cache")


def v1_logits(folder: Path, ids_BT: Tensor) -> Tensor:
    """Return v1's logits [batch, position, row], as its published code computes them."""
    w: dict[str, Tensor] = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    heads, size, eps = config["num_attention_heads"], config["kv_channels"], 1e-5
    B, T = ids_BT.shape
    powers = torch.arange(0, size, 2).float() / size
    angles_TD = torch.outer(torch.arange(T).float(), config["rotary_emb_base"] ** -powers)
    angles_TD = torch.cat((angles_TD, angles_TD), -1)
    causal_TT = torch.ones(T, T).tril().bool()

    def norm(x: Tensor, name: str) -> Tensor:
        scaled: Tensor = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)
        return scaled * w[f"{name}.weight"]

    def turned(x_BTHD: Tensor) -> Tensor:
        a, b = x_BTHD.chunk(2, -1)
        cos, sin = angles_TD.cos()[None, :, None], angles_TD.sin()[None, :, None]
        return x_BTHD * cos + torch.cat((-b, a), -1) * sin

    x = w["transformer.wte.weight"][ids_BT]
    for layer in range(config["num_hidden_layers"]):
        at = f"transformer.h.{layer}"
        mixed = norm(x, f"{at}.ln_1") @ w[f"{at}.attn.c_attn.weight"].T
        parts = (mixed + w[f"{at}.attn.c_attn.bias"]).chunk(3, 2)
        q, k, v = (p.view(B, T, heads, size) for p in parts)
        q, k, v = (p.transpose(1, 2) for p in (turned(q), turned(k), v))
        scores = (q @ k.transpose(-1, -2) / size**0.5).masked_fill(~causal_TT, -torch.inf)
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(B, T, heads * size)
        x = x + mixed @ w[f"{at}.attn.c_proj.weight"].T
        h = norm(x, f"{at}.ln_2")
        a1, a2 = (h @ w[f"{at}.mlp.{part}.weight"].T for part in ("w1", "w2"))
        x = x + (a1 * torch.nn.functional.silu(a2)) @ w[f"{at}.mlp.c_proj.weight"].T
    return norm(x, "transformer.ln_f") @ w["lm_head.weight"].T


def ranks_of(folder: Path) -> dict[bytes, int]:
    lines = (folder / "qwen.tiktoken").read_bytes().splitlines()
    return {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, lines)}


def naive_ids(text: str, ranks: dict[bytes, int]) -> list[int]:
    """Return tiktoken's ids: special tokens first, then each piece merged, lowest rank first."""
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{i}|>" for i in range(205))]
    special = {name: len(ranks) + i for i, name in enumerate(names)}
    ids: list[int] = []
    for part in regex.split("(" + "|".join(map(regex.escape, names)) + ")", text):
        if part in special:
            ids.append(special[part])
            continue
        for piece in regex.findall(WORDS, unicodedata.normalize("NFC", part)):
            ids += merged(piece.encode(), ranks)
    return ids


def merged(piece: bytes, ranks: dict[bytes, int]) -> list[int]:
    if piece in ranks:
        return [ranks[piece]]
    parts = [bytes([byte]) for byte in piece]
    while True:
        found = [(ranks[a + b], i) for i, (a, b) in enumerate(pairwise(parts)) if a + b in ranks]
        if not found:
            return [ranks[part] for part in parts]
        _, at = min(found)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


def logits(folder: Path, ids_BT: Tensor) -> Tensor:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        found: Tensor = model(ids_BT).logits
    return found


IDS = torch.arange(2 * 60).view(2, 60) * 7 % 500


def test_plain_transformers_computes_v1s_logits(v1: Path, qwen2: Path) -> None:
    theirs = v1_logits(v1, IDS)
    assert float(theirs.std()) > 1  # they differ from word to word: an equal zero shows nothing
    assert float((logits(qwen2, IDS) - theirs).abs().max()) <= 1e-5


def test_the_gate_is_w2(v1: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    w = load_file(v1 / "model.safetensors")
    model = AutoModelForCausalLM.from_pretrained(find_model(str(v1), tmp_path))
    mlp = model.model.layers[1].mlp
    assert torch.equal(mlp.gate_proj.weight, w["transformer.h.1.mlp.w2.weight"])
    assert torch.equal(mlp.up_proj.weight, w["transformer.h.1.mlp.w1.weight"])


def test_the_ids_are_tiktokens_here_and_in_transformers(v1: Path, qwen2: Path) -> None:
    from transformers import AutoTokenizer

    ours, theirs, ranks = Tokenizer.load(qwen2), AutoTokenizer.from_pretrained(qwen2), ranks_of(v1)
    for text in TEXTS:
        ids = naive_ids(text, ranks)
        assert ours.encode(text) == ids
        assert theirs(text)["input_ids"] == ids
        assert theirs.decode(ids) == ours.decode(ids) == unicodedata.normalize("NFC", text)
    assert len(theirs) == ours.size == len(ranks) + 208


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=" '\n\t.,的好你世thedsamlEN12é🙂\u0301", max_size=30))
def test_the_ids_of_any_text_are_tiktokens(v1: Path, qwen2: Path, text: str) -> None:
    assert _tokenizer(qwen2).encode(text) == naive_ids(text, ranks_of(v1))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.text("abc", min_size=2, max_size=5), max_size=14, unique=True),
    st.lists(st.text("abc", max_size=12), min_size=1, max_size=6),
)
@example(["abc"], ["abc", "abcc"])  # a token that no merge makes
@example(["bc", "abc", "ab"], ["abc", "aabc"])  # a part of a lower rank than its whole
def test_even_ranks_that_no_training_gives_are_merged_as_tiktoken_does(
    tokens: list[str], texts: list[str]
) -> None:
    from tokenizers import Tokenizer as Backend

    from swift.model.quirks._tiktoken import fast_tokenizer

    ranks = {bytes([b]): b for b in range(256)}
    ranks |= {token.encode(): 256 + i for i, token in enumerate(tokens)}
    backend = Backend.from_str(json.dumps(fast_tokenizer(ranks, {}, WORDS)))
    for text in texts:
        assert backend.encode(text).ids == (merged(text.encode(), ranks) if text else [])


_loaded: dict[Path, Tokenizer] = {}


def _tokenizer(folder: Path) -> Tokenizer:
    if folder not in _loaded:
        _loaded[folder] = Tokenizer.load(folder)
    return _loaded[folder]


def test_a_talk_without_a_system_gets_v1s(qwen2: Path) -> None:
    from swift.chat.message import Message
    from swift.chat.source import load

    asked = [Message(role="user", content="你好")]
    talk = "<|im_start|>user\n你好<|im_end|>\n<|im_start|>assistant\n"
    usual = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    assert load(qwen2).render(asked, generation_prompt=True) == usual + talk
    own = [Message(role="system", content="Be brief."), *asked]
    brief = "<|im_start|>system\nBe brief.<|im_end|>\n"
    assert load(qwen2).render(own, generation_prompt=True) == brief + talk


def test_a_chat_model_ends_a_turn_and_a_base_model_a_text(v1: Path, tmp_path: Path) -> None:
    chat = Tokenizer.load(find_model(str(v1), tmp_path))
    base = shutil.copytree(v1, tmp_path / "base")
    (base / "generation_config.json").unlink()
    text = Tokenizer.load(find_model(str(base), tmp_path))
    end, turn_end = chat.encode("<|endoftext|><|im_end|>")
    assert (chat.eos_id, chat.stop_ids, chat.pad_id) == (turn_end, (turn_end, end), end)
    assert (text.eos_id, text.stop_ids, text.pad_id) == (end, (end, turn_end), end)


def test_the_spine_opens_it_as_any_model(v1: Path, qwen2: Path) -> None:
    from swift.model.skeleton import skeleton
    from swift.model.weights import open_weights

    facts = read_facts("qwen-7b", qwen2)
    assert (facts.model_type, facts.layers, facts.hidden, facts.kv_heads) == ("qwen2", 2, 32, 4)
    assert facts.context == 256  # beyond it v1 computes otherwise
    assert facts.folder == str(qwen2)
    shapes = {name: w.shape for name, w in skeleton(facts, "sdpa").named_parameters()}
    weights = open_weights(facts, shapes)
    fused = load_file(v1 / "model.safetensors")["transformer.h.0.attn.c_attn.bias"]
    assert torch.equal(weights.read("model.layers.0.self_attn.k_proj.bias"), fused[32:64])


def test_a_second_look_converts_nothing(
    v1: Path, qwen2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_rewrite, "_rewrite", lambda *_: pytest.fail("converted again"))
    assert find_model(str(v1), v1.parent / "cache") == qwen2


def test_changed_weights_are_converted_anew(v1: Path, qwen2: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(v1, tmp_path / "Qwen-7B")
    first = find_model(str(copy), tmp_path / "cache")
    tiny_qwen_v1(copy, seed=1)
    os.utime(copy / "model.safetensors", (1, 1))
    second = find_model(str(copy), tmp_path / "cache")
    assert second != first
    assert not torch.equal(logits(first, IDS), logits(second, IDS))


def in_two_files(v1: Path, folder: Path, save: Any, name: str, index: str) -> Path:
    """Copy a v1 folder with its weights in two files, every other weight in each."""
    weights = load_file(v1 / "model.safetensors")
    shutil.copytree(v1, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    places = {key: name.format(i % 2 + 1) for i, key in enumerate(weights)}
    for place in set(places.values()):
        save({k: w for k, w in weights.items() if places[k] == place}, folder / place)
    (folder / index).write_text(json.dumps({"weight_map": places}))
    return folder


@pytest.mark.parametrize(
    ("save", "name", "index"),
    [
        (save_file, "model-{:05}-of-00002.safetensors", "model.safetensors.index.json"),
        (torch.save, "pytorch_model-{:05}-of-00002.bin", "pytorch_model.bin.index.json"),
    ],
)
def test_weights_in_several_files_of_either_kind_give_the_same_model(
    v1: Path, qwen2: Path, tmp_path: Path, save: Any, name: str, index: str
) -> None:
    made = find_model(str(in_two_files(v1, tmp_path / "m", save, name, index)), tmp_path / "cache")
    assert len(list(made.glob("model-*-of-00002.safetensors"))) == 2
    assert torch.equal(logits(made, IDS), logits(qwen2, IDS))


def test_bfloat16_stays_bfloat16(v1: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(v1, tmp_path / "m")
    half = {k: w.bfloat16() for k, w in load_file(v1 / "model.safetensors").items()}
    torch.save(half, copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    made = find_model(str(copy), tmp_path / "cache")
    assert read_facts("m", made).dtype == "bfloat16"
    stored = load_file(made / "model.safetensors")
    assert torch.equal(stored["model.norm.weight"], half["transformer.ln_f.weight"])


def _die_while_writing(folder: Path, cache: Path) -> None:
    _rewrite._dump = lambda *_: os._exit(9)  # after the weights
    find_model(str(folder), cache)


def test_a_killed_conversion_leaves_nothing_that_is_taken_for_the_model(
    v1: Path, qwen2: Path, tmp_path: Path
) -> None:
    worker = multiprocessing.get_context("spawn").Process(
        target=_die_while_writing, args=(v1, tmp_path)
    )
    worker.start()
    worker.join(60)
    assert worker.exitcode == 9
    (half,) = [p for p in (tmp_path / "models").iterdir() if p.is_dir()]
    assert half.name.startswith(".aside-")
    made = find_model(str(v1), tmp_path)
    assert [p for p in (tmp_path / "models").iterdir() if p.is_dir()] == [made]
    assert torch.equal(logits(made, IDS), logits(qwen2, IDS))


def test_two_processes_convert_it_once(v1: Path, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        made = set(pool.map(lambda _: find_model(str(v1), tmp_path), range(4)))
    assert len(made) == 1


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"quantization_config": {"bits": 4}}, "its weights are quantised"),
        ({"no_bias": False}, "`no_bias: false` has no place"),
        ({"rotary_pct": 0.5}, "`rotary_pct: 0.5` is not 1.0"),
        ({"kv_channels": 16}, "`kv_channels` times the heads is 64, but `hidden_size` 32"),
        ({"hidden_size": "32"}, "`hidden_size` is `32`, not a number above 0"),
        ({"num_hidden_layers": 3}, "12 is lacking: the first is `model.layers.2.self_attn.q_proj"),
        ({"num_hidden_layers": 1}, "12 is unknown: the first is `model.layers.1"),
        ({"intermediate_size": 64}, "6 has another shape"),
        ({"vocab_size": 300}, "take 528 ids, but `vocab_size` is 300|another shape"),
    ],
)
def test_what_cannot_be_converted_is_said_and_nothing_is_written(
    v1: Path, tmp_path: Path, said: dict[str, Any], says: str
) -> None:
    copy = shutil.copytree(v1, tmp_path / "m")
    config = json.loads((copy / "config.json").read_text()) | said
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(PlanError, match=says):
        find_model(str(copy), tmp_path / "cache")
    assert not [p for p in (tmp_path / "cache").glob("models/*") if p.is_dir()]


def test_one_with_eyes_is_left_to_its_own_code(v1: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(v1, tmp_path / "m")
    config = json.loads((copy / "config.json").read_text()) | {"visual": {"layers": 48}}
    (copy / "config.json").write_text(json.dumps(config))
    assert find_model(str(copy), tmp_path / "cache") == copy
    with pytest.raises(PlanError, match="code of its own"):
        read_facts("m", copy)


def test_a_full_disk_is_said_before_a_byte_is_written(
    v1: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_rewrite, "free_bytes", lambda _: 1000)
    with pytest.raises(MachineError, match="SWIFT_CACHE"):
        find_model(str(v1), tmp_path)


@pytest.mark.parametrize(
    ("line", "says"),
    [("???? 3", r"qwen\.tiktoken:1: no token"), ("YQ== 0", "255 of the 256 bytes have no rank")],
)
def test_a_broken_rank_file_says_where(v1: Path, tmp_path: Path, line: str, says: str) -> None:
    copy = shutil.copytree(v1, tmp_path / "m")
    (copy / "qwen.tiktoken").write_text(line + "\n\n")
    with pytest.raises(PlanError, match=says):
        find_model(str(copy), tmp_path / "cache")
