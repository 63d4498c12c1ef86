"""Ripple: attention as everywhere, and sines where others have a gate. A made-up structure."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicCache
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS


class RippleConfig(PretrainedConfig):
    """Sizes of a Ripple model."""

    model_type = "ripple"

    def __init__(
        self,
        vocab_size: int = 512,
        hidden_size: int = 64,
        num_hidden_layers: int = 2,
        num_attention_heads: int = 4,
        max_position_embeddings: int = 256,
        **more: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = self.num_key_value_heads = num_attention_heads
        self.max_position_embeddings = max_position_embeddings
        super().__init__(**{"tie_word_embeddings": False, **more})


class Attention(nn.Module):
    """Causal attention by whatever implementation is asked for: sdpa, eager, an engine's own."""

    def __init__(self, config: RippleConfig, layer_idx: int) -> None:
        super().__init__()
        self.config, self.layer_idx, self.is_causal = config, layer_idx, True
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.num_key_value_groups = 1
        self.scaling = self.head_dim**-0.5
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            setattr(self, name, nn.Linear(config.hidden_size, config.hidden_size, bias=False))

    def forward(self, x: Tensor, mask: Tensor | None, cache: Any, **more: Any) -> Tensor:
        """Return attention of x [B, T, H] over itself and what the cache holds."""
        shape = (*x.shape[:-1], -1, self.head_dim)
        parts = (self.q_proj, self.k_proj, self.v_proj)
        query, key, value = (part(x).view(shape).transpose(1, 2) for part in parts)
        if cache is not None:
            key, value = cache.update(key, value, self.layer_idx)
        attend = ALL_ATTENTION_FUNCTIONS[self.config._attn_implementation]
        out, _ = attend(self, query, key, value, mask, scaling=self.scaling, dropout=0.0, **more)
        mixed: Tensor = self.o_proj(out.reshape(x.shape))
        return mixed


class Ripple(nn.Module):
    """fold(sin(rise(x)) * swell(x)): the module that no other structure has."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.rise = nn.Linear(size, 2 * size, bias=False)
        self.swell = nn.Linear(size, 2 * size, bias=False)
        self.fold = nn.Linear(2 * size, size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, T, H]."""
        folded: Tensor = self.fold(torch.sin(self.rise(x)) * self.swell(x))
        return folded


class RippleLayer(GradientCheckpointingLayer):
    """Attention, then ripples; each beside a straight path."""

    def __init__(self, config: RippleConfig, layer_idx: int) -> None:
        super().__init__()
        self.self_attn = Attention(config, layer_idx)
        self.ripple = Ripple(config.hidden_size)
        self.before = nn.LayerNorm(config.hidden_size)
        self.between = nn.LayerNorm(config.hidden_size)

    def forward(self, x: Tensor, mask: Tensor | None, cache: Any, **more: Any) -> Tensor:
        """Return [B, T, H]."""
        x = x + self.self_attn(self.before(x), mask, cache, **more)
        out: Tensor = x + self.ripple(self.between(x))
        return out


class RipplePreTrained(PreTrainedModel):
    """What transformers must know of all Ripple models."""

    config_class = RippleConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ("RippleLayer",)
    _supports_sdpa = True
    _supports_attention_backend = True


class RippleModel(RipplePreTrained):
    """Words and places in, hidden states out."""

    def __init__(self, config: RippleConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.places = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        layers = (RippleLayer(config, number) for number in range(config.num_hidden_layers))
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(config.hidden_size)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        **more: Any,
    ) -> BaseModelOutputWithPast:
        """Return hidden states [B, T, H]."""
        x = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        if position_ids is None:
            begin = past_key_values.get_seq_length() if past_key_values is not None else 0
            position_ids = torch.arange(begin, begin + x.shape[1], device=x.device)[None]
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=x,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            position_ids=position_ids,
        )
        x = x + self.places(position_ids)
        for layer in self.layers:
            x = layer(x, mask, past_key_values, **more)
        return BaseModelOutputWithPast(
            last_hidden_state=self.norm(x), past_key_values=past_key_values
        )


class RippleForCausalLM(RipplePreTrained, GenerationMixin):
    """A language model."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012 - transformers' own

    def __init__(self, config: RippleConfig) -> None:
        super().__init__(config)
        self.model = RippleModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        **more: Any,
    ) -> CausalLMOutputWithPast:
        """Return logits of all places, of the last few, or of those that a tensor names."""
        more.pop("labels", None)
        out = self.model(input_ids, **more)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        hidden = out.last_hidden_state[:, kept]  # -0 is 0: all of them
        return CausalLMOutputWithPast(
            logits=self.lm_head(hidden), past_key_values=out.past_key_values
        )
