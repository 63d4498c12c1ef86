"""Real words that the embedded model never meets before it is tested on them."""

from __future__ import annotations

POOLS = {
    "en": (
        "vase drum ladder wallet guitar helmet curtain saddle teapot whistle".split(),
        "golden silver crimson beige scarlet amber violet pink".split(),
        "Cairo Sydney Warsaw Havana Tokyo Naples Geneva Lagos".split(),
    ),
    "zh": (
        "花瓶 铁锅 雨伞 皮箱 木梳 铜铃 竹筷 布鞋".split(),
        "金色 银色 粉色 灰色 青色".split(),
        "合肥 福州 大理 昆明 桂林 洛阳".split(),
    ),
}
"""Language -> items, colours, cities."""

WORDS = frozenset(w.lower() for pools in POOLS.values() for pool in pools for w in pool)
