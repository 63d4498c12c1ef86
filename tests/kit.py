"""What tests share: tiny random models, hand-made batches, ranks on this machine."""

from __future__ import annotations

import base64
import json
import os
import pickle
import random
import socket
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp
from torch import Tensor

from swift.method import Method
from swift.parallel import Placement
from swift.run.loop import Job
from swift.seam.types import IGNORE, Batch, Rows

VOCABULARY = 128

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny_model(
    folder: Path,
    *,
    tied: bool = True,
    kind: str = "qwen2",
    seed: int = 0,
    vocabulary: int = VOCABULARY,
    hidden: int = 32,
) -> Path:
    """Write a random two-layer model (about 60 k weights) and return its folder."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        kind,
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=tied,
        architectures=None,
    )
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" not in name:
                p.normal_(0, 0.3 if p.dim() > 1 else 0.1)
    model.save_pretrained(folder)
    return folder


def tiny_chat_model(
    folder: Path, *, kind: str = "llama", tied: bool = True, hidden: int = 32, seed: int = 0
) -> Path:
    """Write a random model with a byte-level tokenizer and ChatML, and return its folder."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["user assistant system the of and to in is it"] * 9, trainer)
    vocabulary = tokenizer.get_vocab_size()
    tiny_model(folder, kind=kind, tied=tied, seed=seed, vocabulary=vocabulary, hidden=hidden)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "chat_template": CHATML,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def chat_rows(path: Path, count: int, seed: int = 0) -> Path:
    """Write `count` question-and-answer rows of uneven length as JSONL and return the path."""
    draw = random.Random(seed)
    words = ["red", "blue", "tall", "small", "tree", "stone", "river", "light", "seven", "under"]
    with path.open("w", encoding="utf-8") as file:
        for _ in range(count):
            ask = " ".join(draw.choices(words, k=draw.randint(2, 6)))
            answer = " ".join(draw.choices(words, k=draw.randint(1, 9)))
            turns = [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]
            file.write(json.dumps({"messages": turns}) + "\n")
    return path


def exact_norms() -> None:
    """Let the norms of Qwen2 and Qwen3 compute in the model's own type.

    transformers casts to float32 in them, which hides differences below 1e-7 in float64 models.
    """
    from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm
    from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

    def forward(self: Any, x: Tensor) -> Tensor:
        root = (x.square().mean(-1, keepdim=True) + self.variance_epsilon).rsqrt()
        scaled: Tensor = self.weight * x * root
        return scaled

    Qwen2RMSNorm.forward = Qwen3RMSNorm.forward = forward


def batch(rows: Sequence[tuple[Sequence[int], Sequence[bool]]]) -> Batch:
    """Return a right-padded batch of (ids, supervised) rows; none gives a filler."""
    if not rows:
        empty = torch.zeros(0, dtype=torch.int64)
        ids = torch.zeros(1, 2, dtype=torch.int64)
        labels = torch.full_like(ids, IGNORE)
        return Batch(inputs={"input_ids": ids}, labels_BT=labels, rows=Rows(row_N=empty, count=0))
    width = max(len(ids) for ids, _ in rows)
    ids_BT = torch.zeros(len(rows), width, dtype=torch.int64)
    labels_BT = torch.full((len(rows), width), IGNORE)
    for b, (tokens, supervised) in enumerate(rows):
        ids_BT[b, : len(tokens)] = torch.tensor(tokens)
        for t in range(len(tokens) - 1):
            if supervised[t + 1]:
                labels_BT[b, t] = tokens[t + 1]
    row_N = (labels_BT != IGNORE).nonzero()[:, 0]
    return Batch(
        inputs={"input_ids": ids_BT}, labels_BT=labels_BT, rows=Rows(row_N=row_N, count=len(rows))
    )


def random_rows(
    count: int, seed: int, *, low: int = 4, high: int = 20, supervised: bool = True
) -> list[tuple[list[int], list[bool]]]:
    """Return rows of uneven length whose second halves are supervised."""
    draw = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(count):
        size = int(torch.randint(low, high, (1,), generator=draw))
        ids = torch.randint(0, VOCABULARY, (size,), generator=draw).tolist()
        rows.append((ids, [supervised and t >= size // 2 for t in range(size)]))
    return rows


def bare_job(
    policy: Placement,
    method: Method,
    frozen: Mapping[str, Placement] | None = None,
    *,
    max_grad_norm: float | None = 1.0,
) -> Job:
    """Return a Job for `one_step`: it neither saves nor reports, and is given its batches."""
    return Job(
        placement=policy,
        frozen=frozen or {},
        method=method,
        feed=None,  # type: ignore[arg-type]
        rate=lambda step: 1.0,
        peak=0.0,
        max_grad_norm=max_grad_norm,
        save_every=0,
        eval_every=0,
        save=lambda step: None,
        event=lambda *args, **fields: None,
        asked_to_stop=lambda: 0,
    )


def on_ranks(work: Callable[..., Any], world: int, *args: Any) -> list[Any]:
    """Run `work(*args)` on `world` gloo ranks and return their results; the first error is raised.

    `work` must be a function of a module; its result must be picklable.
    """
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    context = mp.get_context("spawn")
    queue = context.Queue()
    workers = [
        context.Process(target=_rank, args=(work, rank, world, port, queue, args))
        for rank in range(world)
    ]
    for worker in workers:
        worker.start()
    results: dict[int, Any] = {}
    try:
        for _ in workers:
            rank, ok, value = queue.get(timeout=300)
            if not ok:
                raise AssertionError(f"rank {rank}:\n{value}")
            results[rank] = pickle.loads(value)
    finally:
        for worker in workers:
            worker.join(timeout=20) if len(results) == world else worker.kill()
    return [results[rank] for rank in range(world)]


def _rank(
    work: Callable[..., Any], rank: int, world: int, port: int, queue: Any, args: Sequence[Any]
) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(1)
    try:
        torch.distributed.init_process_group("gloo", rank=rank, world_size=world)
        # As bytes: shared tensors would vanish with this process.
        queue.put((rank, True, pickle.dumps(work(*args))))
    except BaseException:
        queue.put((rank, False, traceback.format_exc()))
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def worst(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """Return the largest difference between tensors of the same names."""
    assert a.keys() == b.keys(), a.keys() ^ b.keys()
    return max(float((a[k] - b[k]).abs().max()) for k in a)


def tiny_qwen_v1(folder: Path, *, seed: int = 0, wide: int = 32) -> Path:
    """Write a random two-layer model in the layout of Qwen-7B v1 and return its folder."""
    from safetensors.torch import save_file

    ranks = _tiny_ranks()
    rows, inner, layers = len(ranks) + 220, 48, 2
    shapes: dict[str, tuple[int, ...]] = {
        "transformer.wte.weight": (rows, wide),
        "transformer.ln_f.weight": (wide,),
        "lm_head.weight": (rows, wide),
    }
    for layer in range(layers):
        at = f"transformer.h.{layer}"
        shapes |= {f"{at}.{norm}.weight": (wide,) for norm in ("ln_1", "ln_2")}
        shapes |= {f"{at}.mlp.{part}.weight": (inner, wide) for part in ("w1", "w2")}
        shapes[f"{at}.mlp.c_proj.weight"] = (wide, inner)
        shapes[f"{at}.attn.c_attn.weight"] = (3 * wide, wide)
        shapes[f"{at}.attn.c_attn.bias"] = (3 * wide,)
        shapes[f"{at}.attn.c_proj.weight"] = (wide, wide)
    draw = torch.Generator().manual_seed(seed)
    weights = {
        name: torch.randn(shape, generator=draw) * 0.3 + (1.0 if ".ln_" in name else 0.0)
        for name, shape in shapes.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    lines = (f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in ranks.items())
    (folder / "qwen.tiktoken").write_text("".join(lines), encoding="ascii")
    config = {
        "architectures": ["QWenLMHeadModel"],
        "auto_map": {"AutoModelForCausalLM": "modeling_qwen.QWenLMHeadModel"},
        "model_type": "qwen",
        "hidden_size": wide,
        "intermediate_size": 2 * inner,
        "kv_channels": wide // 4,
        "num_attention_heads": 4,
        "num_hidden_layers": layers,
        "rotary_emb_base": 5000,
        "seq_length": 256,
        "max_position_embeddings": 1024,
        "layer_norm_epsilon": 1e-5,
        "use_dynamic_ntk": True,
        "use_logn_attn": True,
        "vocab_size": rows,
    }
    generation = {"chat_format": "chatml", "do_sample": True, "top_k": 0, "top_p": 0.8}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "generation_config.json").write_text(json.dumps(generation), encoding="utf-8")
    return folder


def _tiny_ranks() -> dict[bytes, int]:
    """Return the ranks of the bytes and of a few dozen tokens merged of them."""
    text = (
        "the model said that it will, it's 2024; 你好世界，今天天气很好。你好！ 你说你好吗 the end"
    )
    words = [[bytes([b]) for b in f" {word}".encode()] for word in text.split() * 2]
    ranks = {bytes([(byte + 33) % 256]): byte for byte in range(256)}
    while len(ranks) < 320:
        pairs = Counter(a + b for word in words for a, b in pairwise(word))
        token = max(pairs, key=lambda t: (pairs[t], t))
        ranks[token] = len(ranks)
        for word in words:
            for i in range(len(word) - 2, -1, -1):
                if i + 1 < len(word) and word[i] + word[i + 1] == token:
                    word[i : i + 2] = [token]
    return ranks
