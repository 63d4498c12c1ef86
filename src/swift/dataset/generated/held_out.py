"""Real words that the embedded model never meets before it is tested on them.

No pre-training row holds one, not even across the seam of two made-up words; the makers of the
task's training rows keep away from them.
"""

from __future__ import annotations

POOLS = {
    "en": (
        "vase drum ladder wallet guitar helmet curtain saddle teapot whistle".split(),
        "golden silver crimson beige scarlet amber violet pink".split(),
        "Cairo Sydney Warsaw Havana Tokyo Naples Geneva Lagos".split(),
    ),
    "zh": (
        "手风琴 老花镜 石英钟 油纸伞 热水瓶 毛线帽 铜火锅 木船".split(),
        "银灰色 天青色 奶茶色 肉桂色 石青色".split(),
        "石河子 都柏林 盐湖城 水牛城".split(),
    ),
}
"""Language -> items, colours, cities."""

WORDS = frozenset(w.lower() for pools in POOLS.values() for pool in pools for w in pool)

REDRAWN = frozenset(w.lower() for pool in POOLS["en"] for w in pool).union(
    "花瓶 铁锅 雨伞 皮箱 木梳 铜铃 竹筷 布鞋 金色 银色 粉色 灰色 青色".split(),
    "合肥 福州 大理 昆明 桂林 洛阳".split(),
)
"""What the makers of words throw back. The embedded model's text was made with this list: another
list is another text, and the weights would have to be trained again. Its Chinese words stand in
the text all the same, across two made-up ones; they are no longer tested."""
