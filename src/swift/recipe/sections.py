"""The sections of a recipe that hold plain options; each option is explained under its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field, field_validator

from swift.core.schema import Value, Word

Count: TypeAlias = Annotated[int, Field(ge=1)]


class Model(Value):
    """The model that is trained, and how it is opened."""

    shorthand: ClassVar[str] = "id"

    id: str = Field(default="nano", min_length=1)
    """Name, folder or run folder of the model. `nano` is the tiny one inside the package."""

    hub: Literal["auto", "huggingface", "modelscope"] = "auto"
    """Where it is fetched from if it is not here. auto: Hugging Face, else ModelScope."""

    revision: str = ""
    """Branch, tag or commit of it on the hub. empty: the main branch."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the computation. auto: bfloat16 where the device has it, else float32."""

    attention: Literal["auto", "sdpa", "flash_attention_2", "eager"] = "auto"
    """Implementation of attention. auto: flash_attention_2 if its package is installed and knows
    the devices, else sdpa; eager for a model that has neither."""

    device_map: str = Field(default="auto", min_length=1)
    """Where a model that answers lies. auto: on one device if it fits, else layer by layer over
    all, at last in the CPU's memory; none: on the first device, whatever its size; or a device:
    cpu, npu:1. For training, `parallel` spreads it."""

    template: str = Field(default="auto", min_length=1)
    """Chat template: auto (the model's own), the path of a Jinja file, or a template's name."""

    trust_remote_code: bool = False
    """Run the code in the model's folder, where nothing else computes the model. Read it first."""


class Dataset(Value):
    """Rows to train on: what they are called, and how they are to be understood."""

    shorthand: ClassVar[str] = "name"

    name: str = Field(min_length=1)
    """Path of a file or folder, or name of a data set, as `NAME:SUBSET#ROWS` where one likes."""

    subset: str = ""
    """Which of its subsets, if it has several: one, `a/b`, or `all`. empty: the default one."""

    split: str = ""
    """Which of its parts to read: train, test, ... empty: the one that is made for training."""

    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Share of it among data sets that all have a weight; only ratios count. null: every row once,
    one data set after the other."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """Seed of the draw of `NAME#500`. null: `train.seed`."""

    documents: Literal["file", "paragraph", "line"] = "file"
    """What is one document of a .txt file: all of it, what stands between blank lines, a line."""

    format: str = Field(default="auto", min_length=1)
    """How a row spells a sample: messages, alpaca, ... auto: seen from the columns."""

    columns: Mapping[str, str] = Field(default_factory=dict)
    """Columns to rename before the format is applied: {name in the file: name of the format}."""


class Data(Value):
    """How rows are prepared: every option of preparation."""

    max_length: int = Field(default=2048, ge=2)
    """Longest sample, in tokens; `on_long` says what happens to longer ones."""

    shuffle: bool = True
    """Draw the samples of each epoch in a new order, from `train.seed`."""

    bucket: bool = True
    """Put samples of like length into one micro-batch, which saves padding."""

    packing: bool = False
    """Fill rows of max_length tokens with several samples, which do not see each other. Sizes then
    count such packs, not samples."""

    padding_free: Literal["auto"] | bool = "auto"
    """Lay the samples of a micro-batch end to end instead of padding them to one length; they do
    not see each other, but the answers of a pair look at one prompt, computed once. auto: with
    packing, and for pairs. A model that mixes samples is found out, and padded."""

    on_long: Literal["truncate", "drop", "split", "fail"] = "truncate"
    """What to do with a sample of more than max_length tokens: cut its end; leave it out; make
    several of it, text between words and a conversation between turns; or stop."""

    on_bad: Literal["drop", "fail"] = "drop"
    """What to do with a row that is broken, empty, or not what its format wants: leave it out and
    count it, or stop and name the first ones."""

    on_duplicate: Literal["keep", "drop", "fail"] = "keep"
    """What to do with samples that say exactly what one before says. They are counted."""

    near_duplicates: Annotated[float, Field(ge=0.5, lt=1)] | None = None
    """Leave out samples of whose words this share is an earlier one's too: 0.9. null: do not look
    for them, which takes its time."""

    on_leak: Literal["keep", "drop", "fail"] = "keep"
    """What to do with validation samples that are trained on too. They are counted."""

    strict: bool = False
    """Stop whenever anything at all is wrong with a row, whatever the options above say."""

    thinking: Literal["keep", "drop", "empty"] = "keep"
    """Reasoning before answers (`reasoning_content`, <think>): keep it as the template writes it;
    drop it; or empty: drop it, and learn to answer as asked with enable_thinking: false."""

    image_folder: Annotated[str, Field(min_length=1)] | None = None
    """Folder that paths of pictures, films and recordings start from. It is the data set too where
    none is named: with metadata.jsonl or metadata.csv in it, or x.txt or x.json beside x.jpg."""

    validation: Annotated[float, Field(ge=0, lt=1)] | Annotated[str, Field(min_length=1)] = 0.0
    """Rows held out for validation: a share in [0, 1), or the name or path of a data set."""

    stopping: Literal["first_exhausted", "all_exhausted"] = "first_exhausted"
    """Where data sets have weights: end when the first has no row left, so that none comes twice;
    or begin those that end again until all have ended, which the report counts."""

    streaming: bool = False
    """Read and encode rows while they are trained on, for data that is too large to be encoded
    first: 64 steps at a time, shuffled among themselves. Wants train.max_steps."""

    num_proc: Count | None = None
    """Processes that tokenise. null: one, and as many as there are cores once rows are many; the
    tokens are the same."""


class Train(Value):
    """The loop: how long, how fast, how much at once, and when to save."""

    epochs: float = Field(default=3.0, gt=0)
    """Passes over the data; a fraction ends within a pass."""

    max_steps: Count | None = None
    """Optimiser steps of the whole run, instead of epochs. null: as many as the epochs take."""

    learning_rate: Literal["auto"] | Annotated[float, Field(gt=0)] = "auto"
    """Highest learning rate. auto: 1e-4 for adapters, 1e-5 otherwise."""

    batch_size: Count | None = None
    """Samples in one optimiser step, over all processes and accumulation. null: from the two
    sizes below. A pair counts as one."""

    micro_batch_size: Literal["auto"] | Count = "auto"
    """Samples in one forward on one device."""

    gradient_accumulation_steps: Count | None = None
    """Forwards of one device in an optimiser step. null: batch_size tells."""

    seed: int = Field(default=42, ge=0, lt=2**32)
    """Seed of order, dropout and new weights."""

    save_every: int = Field(default=100, ge=0)
    """Optimiser steps between checkpoints. 0: only at the end."""

    eval_every: int = Field(default=100, ge=0)
    """Optimiser steps between validations. 0: only at the end."""

    keep: int = Field(default=2, ge=1)
    """How many of the newest checkpoints stay on disk."""

    gradient_checkpointing: Literal["auto"] | bool = "auto"
    """Compute activations again in the backward to save memory. auto: where it is short."""

    max_grad_norm: Annotated[float, Field(gt=0)] | None = 1.0
    """Longest gradient; longer ones are scaled down to it. null: no clipping."""

    neftune: Annotated[float, Field(gt=0)] | None = None
    """Size alpha of the noise on what the model reads while it learns (NEFTune, arXiv:2310.05914):
    uniform in (-1, 1) times alpha / sqrt(L d) for a sequence of L tokens, d wide. null: none."""

    warmup: float = Field(default=0.03, ge=0)
    """Rise of the learning rate at the start: a share of all steps below 1, or a count of steps."""

    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Course of the learning rate after the warm-up: down to 0, or level."""

    @field_validator("warmup")
    @classmethod
    def _share_or_steps(cls, warmup: float) -> float:
        if warmup >= 1 and warmup != int(warmup):
            raise ValueError("give a share below 1, or a whole number of steps")
        return warmup


def strategy_words() -> tuple[str, ...]:
    """Return the words for a strategy; `tp` is chosen by tensor_model_parallel_size."""
    from swift.parallel import strategies

    named = [name for name in strategies if name not in ("none", "tp")]
    return ("auto", "none", *named)


class Parallel(Value):
    """How the work is spread over processes and devices."""

    shorthand: ClassVar[str] = "strategy"

    strategy: Annotated[
        str,
        Word(strategy_words, ("zero1", "zero2", "zero3", "megatron"), "`fsdp` shards the weights"),
    ] = "auto"
    """none: one process. ddp: a copy of the model on each device. fsdp: weights in shards.
    auto: none for one process, ddp for several."""

    tensor_model_parallel_size: int = Field(default=1, ge=1)
    """Devices that share each weight matrix; must divide the number of processes."""

    nproc_per_node: Literal["auto"] | Count = "auto"
    """Processes on this machine. auto: one for each GPU, one on a CPU."""


class Serve(Value):
    """The OpenAI-style API: where it listens, and who may ask."""

    shorthand: ClassVar[str] = "port"

    host: str = Field(default="127.0.0.1", min_length=1)
    """Address to listen on. Any but this machine's own asks for an api_key."""

    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0: a free one, said aloud. A taken one is an error."""

    api_key: Annotated[str, Field(min_length=8)] | None = None
    """What clients must send as a bearer token. null: anybody on this machine may ask."""

    name: Annotated[str, Field(min_length=1)] | None = None
    """The model's name in the API. null: as it was called when it was opened."""

    max_waiting: int = Field(default=1024, ge=1)
    """Requests that may wait for a slot; more are answered with 429."""

    sync: bool = False
    """Whether a training may exchange the weights, as rollouts want it. Then whoever may ask may
    do that too."""
