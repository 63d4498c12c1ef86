"""Words that nobody has seen: made up of syllables, or of common Chinese characters.

No word of `held_out.REDRAWN` is ever made.
"""

from __future__ import annotations

from random import Random

from swift.dataset.generated.held_out import REDRAWN

_STARTS = (
    "b bl br c ch cl cr d dr f fl fr g gl gr gu h j k kl kn l m n p ph pl pr qu r s sc sh sk sl sn",
    "sp st str sw t th tr tw v w wh wr y z",
)
_VOWELS = ("a a a e e e i i i o o o u u y ai au ea ee ei ia ie io oa oi oo ou",)
_ENDS = (
    "b ck d ce ch er en el et ey f ft g ge ish ing ks l ld le ll lm m mp n na nce nd ng nt o on or",
    "p pt r ra rd rk rm rn rt s ss st t tch te th tle tte um us v ve w x y z",
)
_LETTERS = "abcdefghijklmnopqrstuvwxyz"

HAN = (
    "山水火木石金土日月星云风雨雪雷电花草树林果叶根枝春夏秋冬东南西北中上下左右前后里"
    "外大小多少长短高低远近新旧老男女父母兄弟姐妹朋友师生人口手足头目耳心身体天地江河"
    "湖海牛马羊鸡狗猫鱼鸟虫龙虎象鹿熊猴兔鼠蛇红黄蓝绿白黑紫灰青粉橙银米面饭菜肉蛋奶茶"
    "酒油盐糖门窗墙床桌椅灯伞杯盘碗刀笔纸书画琴棋车船路桥站城市村镇乡国州省区县街店铺"
    "楼房屋室园光明亮暗冷热温凉干湿软硬轻重快慢早晚忙闲真假好坏美丑香甜苦辣酸咸圆方平"
    "直尖宽窄深浅布丝棉麻皮毛线绳带帽衣裤裙鞋袜包箱盒瓶壶锅铲勺筷钟表镜梳刷盆桶球牌鼓"
    "号铃旗塔井泉安宁和福寿康乐文武英杰华强志成永兴昌盛庆祥瑞丰裕清静雅秀丽芳兰梅竹菊"
    "莲松柏杨柳桃李铁铜色合肥理昆桂洛阳烛架广都汉津台子毯岛京"
)


def _pick(draw: Random, parts: tuple[str, ...]) -> str:
    return draw.choice(" ".join(parts).split())


def word(draw: Random) -> str:
    """Return a made-up English-looking word, such as `troufiek`; one in ten is mere letters."""
    while True:
        if draw.random() < 0.1:
            made = "".join(draw.choice(_LETTERS) for _ in range(draw.randint(3, 8)))
        else:
            made = ""
            for _ in range(draw.choice((1, 1, 2, 2, 2, 3))):
                made += _pick(draw, _STARTS) + _pick(draw, _VOWELS)
            made += _pick(draw, _ENDS) if draw.random() < 0.8 else ""
        if made not in REDRAWN:
            return made


def han(draw: Random) -> str:
    """Return a made-up Chinese word of two or three characters."""
    while True:
        made = "".join(draw.choice(HAN) for _ in range(draw.choice((2, 2, 3))))
        if made not in REDRAWN:
            return made


def number(draw: Random) -> int:
    """Return a whole number of one to three digits, each length as likely."""
    return draw.randrange(*draw.choice(((1, 10), (10, 100), (100, 1000))))
