"""Makes what the embedded model starts from: its tokenizer, and weights that can copy.

    python bench/nano/build.py OUT

Everything follows from the seed. Copying ("what followed this word before?") is an induction
circuit (Olsson et al., 2022, arXiv:2209.11895); found by training alone it costs a tiny model most
of its budget, so it is put into the first weights: a head of layer 0 looks back one word by the
phase of its query and key biases under rotary positions, and a head of layer 1 looks for the place
whose previous word is the present one, and says what stands there.
"""

from __future__ import annotations

import json
import math
import sys
from itertools import islice
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from swift.dataset.generated import samples

SEED, VOCABULARY, HIDDEN, LAYERS, HEADS = 1, 2048, 128, 4, 4
SIZE = HIDDEN // HEADS
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
PIECES = r"\p{Han}|[A-Za-z]+|\p{N}|\n|[^\p{Han}A-Za-z\p{N}\n]+"
CHATML = """{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


def tokenizer() -> Tokenizer:
    """Byte-level BPE; a word has the same tokens wherever it stands, a digit is a token."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts(), trainer)
    return made


def texts() -> list[str]:
    """What tokens are made of: the pre-training text alone, so that it has met every token."""
    said = [
        m["content"] for r in islice(samples("text", "train", SEED), 30_000) for m in r["messages"]
    ]
    return [*said, "user assistant system"]


def crafted(model: LlamaForCausalLM) -> None:
    """Put the induction circuit into layers 0 and 1."""
    draw = torch.Generator().manual_seed(SEED)
    embedding = model.model.embed_tokens.weight
    for name, p in model.named_parameters():
        if name.endswith("bias"):
            p.zero_()
        elif "norm" not in name:
            std = 0.1 if p is embedding else 1 / math.sqrt(p.shape[1])
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                std /= math.sqrt(2 * LAYERS)
            p.copy_(torch.randn(p.shape, generator=draw) * std)
    basis = torch.linalg.qr(torch.randn(HIDDEN, HIDDEN, generator=draw))[0]
    read, written = basis[:, :SIZE], basis[:, SIZE : 2 * SIZE]  # orthonormal columns
    first, second = model.model.layers[0].self_attn, model.model.layers[1].self_attn
    frequency = model.model.rotary_emb.inv_freq
    for layer in model.model.layers[:2]:  # quiet, so that the circuit is heard
        layer.self_attn.o_proj.weight *= 0.2
        layer.mlp.down_proj.weight *= 0.2
    for head, back in enumerate((1, 2, 3)):
        look_back(first, head, back, frequency)
    put(first, 0, value=read.T, output=0.2 * written)
    # Rotary positions scramble fast pairs over long ways: the match is made in the slow ones.
    slow = torch.cat([frequency, frequency])[:, None] < 0.02
    for head in (0, 1):
        put(second, head, query=4 * slow * read.T, key=slow * written.T)
        columns = basis[:, (2 + head) * SIZE : (3 + head) * SIZE]
        put(second, head, value=columns.T, output=0.3 * columns)


def look_back(attention: torch.nn.Module, head: int, back: int, frequency: Tensor) -> None:
    """Let a head attend to the token `back` places before, whatever it is.

    Rotary positions turn pair i of a query at m and of a key at n by m f_i and n f_i; constant
    queries exp(-i back f) and keys 1 give the score sum_i cos((m - n - back) f_i).
    """
    part = slice(head * SIZE, (head + 1) * SIZE)
    gain = 7.0 * torch.ones_like(frequency)
    query = torch.cat([gain * torch.cos(back * frequency), -gain * torch.sin(back * frequency)])
    key = torch.cat([gain, torch.zeros_like(gain)])
    attention.q_proj.bias[part], attention.k_proj.bias[part] = query, key
    attention.q_proj.weight[part] *= 0.1
    attention.k_proj.weight[part] *= 0.1


def put(
    attention: torch.nn.Module,
    head: int,
    *,
    query: Tensor | None = None,
    key: Tensor | None = None,
    value: Tensor | None = None,
    output: Tensor | None = None,
) -> None:
    part = slice(head * SIZE, (head + 1) * SIZE)
    for name, given in (("q_proj", query), ("k_proj", key), ("v_proj", value)):
        if given is not None:
            getattr(attention, name).weight[part] = given
    if output is not None:
        attention.o_proj.weight[:, part] = output


def main() -> None:
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    made = tokenizer()
    size = made.get_vocab_size()
    end, pad = made.token_to_id("<|im_end|>"), made.token_to_id("<|endoftext|>")
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=HIDDEN,
        intermediate_size=384,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        attention_bias=True,
        max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": 1e5},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=pad,
    )
    torch.manual_seed(SEED)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        crafted(model)
    model.generation_config = GenerationConfig(eos_token_id=end, pad_token_id=pad)
    model.save_pretrained(out)
    made.save(str(out / "tokenizer.json"))
    (out / "chat_template.jinja").write_text(CHATML, encoding="utf-8")
    words = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 2048,
    }
    (out / "tokenizer_config.json").write_text(json.dumps(words, indent=2) + "\n")
    print(f"{out}: {sum(p.numel() for p in model.parameters()):,} weights, {size} tokens")


if __name__ == "__main__":
    main()
