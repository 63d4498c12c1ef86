"""What the kin of GRPO are: each is a choice of the same few things.

`advantage`, `scale`, `ratio`, `average`, `loss`, `kl_in`, `epsilon`, `epsilon_high`,
`dynamic_sampling` and `mask_truncated` are options of `grpo`, explained there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_GRPO: Mapping[str, Any] = {
    "advantage": "group",
    "scale": "group",
    "ratio": "token",
    "average": "sequence",
    "loss": "clip",
    "kl_in": "loss",
    "epsilon": 0.2,
    "epsilon_high": None,
    "dynamic_sampling": False,
    "mask_truncated": False,
}
"""Shao et al., 2024, arXiv:2402.03300, eq. 3."""

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "grpo": _GRPO,
    # Yu et al., 2025, arXiv:2503.14476: sections 3.1 to 3.4
    "dapo": {
        **_GRPO,
        "average": "token",
        "epsilon_high": 0.28,
        "dynamic_sampling": True,
        "mask_truncated": True,
    },
    # Liu et al., 2025, arXiv:2503.20783: no division by the group's spread or the answer's length
    "dr-grpo": {**_GRPO, "scale": "none", "average": "length"},
    # Zheng et al., 2025, arXiv:2507.18071: eq. 5 and 7, its section 5.1
    "gspo": {**_GRPO, "ratio": "sequence", "epsilon": 3e-4, "epsilon_high": 4e-4},
    # Ahmadian et al., 2024, arXiv:2402.14740: eq. 8
    "rloo": {
        **_GRPO,
        "advantage": "leave-one-out",
        "scale": "none",
        "ratio": "whole",
        "kl_in": "reward",
    },
    # Hu et al., 2025, arXiv:2501.03262; the KL is that of a whole answer
    "reinforce++": {
        **_GRPO,
        "advantage": "batch",
        "scale": "batch",
        "average": "token",
        "kl_in": "reward",
    },
    # MiniMax, 2025, arXiv:2506.13585, eq. 4 and 5
    "cispo": {**_GRPO, "loss": "cispo", "average": "token", "epsilon_high": 5.0},
}
