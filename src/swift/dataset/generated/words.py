"""Words that nobody has seen: made up of syllables, or of common Chinese characters.

A real word that a test holds out is never made by chance.
"""

from __future__ import annotations

from random import Random

from swift.dataset.generated.held_out import WORDS

_STARTS = [
    "b",
    "bl",
    "br",
    "c",
    "ch",
    "cl",
    "d",
    "dr",
    "f",
    "fl",
    "g",
    "gl",
    "gr",
    "h",
    "j",
    "k",
    "kl",
    "l",
    "m",
    "n",
    "p",
    "pl",
    "pr",
    "qu",
    "r",
    "s",
    "sh",
    "sk",
    "sl",
    "st",
    "t",
    "th",
    "tr",
    "v",
    "w",
    "z",
]
_VOWELS = ["a", "e", "i", "o", "u", "ai", "ea", "ee", "ie", "oa", "oo", "ou"]
_ENDS = [
    "b",
    "ck",
    "d",
    "f",
    "g",
    "l",
    "ll",
    "m",
    "n",
    "nd",
    "ng",
    "nt",
    "p",
    "r",
    "rd",
    "rk",
    "rn",
    "s",
    "ss",
    "st",
    "t",
    "th",
    "x",
]

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


def word(draw: Random) -> str:
    """Return a made-up English-looking word of two or three syllables, such as `troufiek`."""
    while True:
        parts = []
        for _ in range(draw.choice((1, 2, 2, 2, 3))):
            parts += [draw.choice(_STARTS), draw.choice(_VOWELS)]
        made = "".join(parts) + draw.choice(_ENDS)
        if made not in WORDS:
            return made


def han(draw: Random) -> str:
    """Return a made-up Chinese word of two or three characters."""
    while True:
        made = "".join(draw.choice(HAN) for _ in range(draw.choice((2, 2, 3))))
        if made not in WORDS:
            return made


def number(draw: Random) -> int:
    """Return a whole number of one to three digits, each length as likely."""
    return draw.randrange(*draw.choice(((1, 10), (10, 100), (100, 1000))))
