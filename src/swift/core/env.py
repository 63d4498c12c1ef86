"""The only reader of the environment."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from swift.core.errors import Problem, UserError


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among those that torchrun started; one process without it."""

    rank: int = 0
    local_rank: int = 0
    """Number on this machine: which GPU is this process's."""

    world: int = 1
    run_id: str = ""
    """torchrun's name of the run: the same after a restart."""

    restarts: int = 0
    """How often torchrun has started these processes again."""

    agent: int = 0
    """Process id of the torchrun that started this process; 0 without one."""


def ranks() -> Ranks:
    """Return what torchrun said of this process."""
    return Ranks(
        rank=int(os.environ.get("RANK", "0")),
        local_rank=int(os.environ.get("LOCAL_RANK", "0")),
        world=int(os.environ.get("WORLD_SIZE", "1")),
        run_id=os.environ.get("TORCHELASTIC_RUN_ID", ""),
        restarts=int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")),
        agent=os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else 0,
    )


def cache_home() -> Path:
    """Return the folder for what can be made again: $SWIFT_CACHE, or the user's cache folder."""
    named = os.environ.get("SWIFT_CACHE")
    if named:
        return Path(named)
    return _user_cache() / "swift"


def spare_home() -> Path:
    """Return a folder of this user's alone, for what must lie somewhere if no cache can be written.

    The same one every time, in the system's folder for temporary files; where somebody else made
    one of that name, or may look into it, a new one.
    """
    import tempfile

    folder = Path(tempfile.gettempdir()) / f"swift-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return Path(tempfile.mkdtemp(prefix="swift-"))
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
        return folder
    return Path(tempfile.mkdtemp(prefix="swift-"))


def _user_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(base) if base else Path.home() / ".cache"


HUBS = ("auto", "huggingface", "modelscope")
"""What SWIFT_HUB may be besides a folder; auto: Hugging Face, its mirrors, then ModelScope."""


@dataclass(frozen=True, kw_only=True)
class Hubs:
    """How the hubs over the network are reached, and where what they gave is kept."""

    chosen: str
    """One of HUBS."""

    huggingface: tuple[str, ...]
    """Addresses of Hugging Face and its mirrors, in the order they are tried."""

    modelscope: str
    """Address of ModelScope."""

    huggingface_cache: Path
    modelscope_cache: Path
    huggingface_token: str = field(default="", repr=False)
    modelscope_token: str = field(default="", repr=False)
    huggingface_token_in: str = "HF_TOKEN"
    """The variable or the file that the token was read from."""

    modelscope_token_in: str = "MODELSCOPE_API_TOKEN"
    strangers: tuple[str, ...] = ()
    """Those of the addresses that the user did not name: they get no token."""

    offline: bool = False
    """Nothing is asked of the network."""


def hubs() -> Hubs:
    """Return what the environment says of hubs, under the names that their own clients read."""
    said = os.environ.get
    home = Path(said("HF_HOME") or _user_cache() / "huggingface").expanduser()
    kept = said("HF_HUB_CACHE") or said("HUGGINGFACE_HUB_CACHE") or home / "hub"
    chosen = said("SWIFT_HUB", "")
    named = _addresses(said("HF_ENDPOINT", ""))
    token, token_in = _huggingface_token(home)
    session, session_in = _modelscope_token()
    return Hubs(
        chosen=chosen if chosen in HUBS else "auto",
        huggingface=named or (_HUGGINGFACE, _MIRROR),
        strangers=() if named else (_MIRROR,),
        modelscope=next(iter(_addresses(said("MODELSCOPE_ENDPOINT", ""))), _MODELSCOPE),
        huggingface_cache=Path(kept).expanduser(),
        modelscope_cache=Path(
            said("MODELSCOPE_CACHE") or Path.home() / ".cache" / "modelscope"
        ).expanduser(),
        huggingface_token=token,
        huggingface_token_in=token_in,
        modelscope_token=session,
        modelscope_token_in=session_in,
        offline=(said("HF_HUB_OFFLINE") or said("TRANSFORMERS_OFFLINE") or "").strip().upper()
        in ("1", "ON", "YES", "TRUE"),
    )


_HUGGINGFACE, _MIRROR = "https://huggingface.co", "https://hf-mirror.com"
_MODELSCOPE = "https://modelscope.cn"


def _addresses(said: str) -> tuple[str, ...]:
    """Return the addresses of a list with commas; one without a scheme is https."""
    words = (word.strip().rstrip("/") for word in said.split(","))
    return tuple(word if "://" in word else f"https://{word}" for word in words if word)


def _huggingface_token(home: Path) -> tuple[str, str]:
    """Return the token of a variable, or that which `hf auth login` stored; and its place."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if said := os.environ.get(name, "").strip():
            return said, name
    place = Path(os.environ.get("HF_TOKEN_PATH") or home / "token").expanduser()
    try:
        return place.read_text(encoding="utf-8").strip(), str(place)
    except (OSError, UnicodeDecodeError):
        return "", "HF_TOKEN"


def _modelscope_token() -> tuple[str, str]:
    """Return the token of a variable, or that which `modelscope login` stored; and its place."""
    name = "MODELSCOPE_API_TOKEN"
    if said := os.environ.get(name, "").strip():
        return said, name
    home = Path(os.environ.get("MODELSCOPE_HOME") or Path.home() / ".modelscope").expanduser()
    place = home / "credentials" / "cookies"
    if not place.is_file():
        return "", name
    from swift.core.login import session_of

    return session_of(place).strip(), str(place)


def secret(name: str) -> str:
    """Return what the variable `name` holds, which is shown to nobody; "" where it is unset."""
    return os.environ.get(name, "").strip()


def hub_root() -> Path | None:
    """Return the folder that SWIFT_HUB=file:///folder names as a hub; None where it names none.

    Raises:
        UserError: It is set to something else.
    """
    said = os.environ.get("SWIFT_HUB", "")
    if said in ("", *HUBS):
        return None
    url = urlsplit(said)
    path = Path(unquote(url.path))
    if url.scheme != "file" or url.netloc not in ("", "localhost") or not path.is_absolute():
        raise UserError(
            Problem(
                where="SWIFT_HUB",
                what=f"`{said}` is no folder and no hub",
                fix="SWIFT_HUB=file:///folder, which holds models/ORG/NAME and datasets/ORG/NAME, "
                f"or one of {', '.join(HUBS)}",
            )
        )
    return path


def colours(*, terminal: bool) -> bool:
    """Return whether text may be coloured, given that it goes to a terminal or not.

    NO_COLOR (any value) forbids it, FORCE_COLOR (any but 0) allows it anywhere.
    """
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") != "0":
        return True
    return terminal and os.environ.get("TERM", "") not in ("", "dumb")


def language() -> str:
    """Return the language of messages that have several: "zh" or "en"."""
    for name in ("SWIFT_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        said = os.environ.get(name)
        if said:
            return "zh" if said.lower().startswith("zh") else "en"
    return "en"


def without_plugins_of_pydantic() -> None:
    """Keep pydantic from reading the metadata of every installed package at its first model.

    For a command, whose start that would double in a large environment.
    """
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def patient_threads() -> None:
    """Let threads that wait for each other sleep instead of spinning.

    On cores that are shared, spinning ones keep the others from the work that they wait for: steps
    of a small model were seen to take 30 times as long. Read by OpenMP when torch is loaded.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")


def child_environment() -> dict[str, str]:
    """Return the environment of a process that does one thing on one core."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def guarded_environment() -> dict[str, str]:
    """Return the environment of a process none of whose children imports from where it stands.

    `python -m` would: a `torch.py` in the folder that a command is given in would run.
    """
    return {**os.environ, "PYTHONSAFEPATH": "1"}


def without_advice_of_bitsandbytes() -> None:
    """Keep bitsandbytes, which PEFT imports wherever it is, from advising kernels for CPUs.

    For a command, whose every start would say so on newer processors (bitsandbytes 0.50).
    """
    import logging

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def chosen_devices(name: str) -> tuple[str, ...] | None:
    """Return the words of a variable that says which devices may be used; None if it is unset.

    Args:
        name: CUDA_VISIBLE_DEVICES, ASCEND_RT_VISIBLE_DEVICES, …: numbers or ids with commas.
    """
    named = os.environ.get(name)
    if named is None:
        return None
    return tuple(word.strip() for word in named.split(",")) if named.strip() else ()
