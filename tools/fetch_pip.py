"""Fetches pip's wheel with nothing but Python, from where pip itself would look.

    python fetch_pip.py FOLDER     # prints the path of the wheel

For a Python without ensurepip. Reads what pip reads: PIP_* variables, PIP_CONFIG_FILE,
/etc/pip.conf and the user's pip.conf. The pip named below is known by its digest, so it may come
over a connection whose certificate cannot be checked (a machine without certificates); any other
needs a checked one. Exit 3 with the reasons if no place has one.
"""

from __future__ import annotations

import configparser
import hashlib
import os
import re
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit
from urllib.request import urlopen

KNOWN = "pip-26.3-py3-none-any.whl"
DIGEST = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"
PYPI = "https://pypi.org/simple"
_WHEEL = re.compile(r"pip-(\d+(?:\.\d+)+)-py3-none-any\.whl")
_LINK = re.compile(r"""<a\s[^>]*?href=["']([^"']+)["']""", re.IGNORECASE)
TIMEOUT = 60


def options() -> dict[str, str]:
    """Return pip's options as its files and variables say, the stronger over the weaker."""
    home = Path.home()
    config = os.environ.get("XDG_CONFIG_HOME") or str(home / ".config")
    files = [
        Path("/etc/xdg/pip/pip.conf"),
        Path("/etc/pip.conf"),
        home / "Library/Application Support/pip/pip.conf",
        home / ".pip/pip.conf",
        Path(config) / "pip/pip.conf",
    ]
    named = os.environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        files = []
    elif named:
        files.append(Path(named))
    found: dict[str, str] = {}
    for path in files:
        parser = configparser.RawConfigParser()
        parser.read(path, encoding="utf-8")
        for section in ("global", "install"):
            if parser.has_section(section):
                found |= {k.replace("_", "-"): v for k, v in parser.items(section)}
    said = {k[4:].lower().replace("_", "-"): v for k, v in os.environ.items() if k[:4] == "PIP_"}
    return found | {k: v for k, v in said.items() if v}


def places(said: dict[str, str]) -> Iterator[str]:
    """Yield the folders and pages that may list pip, in the order of trust."""
    for link in said.get("find-links", "").split():
        yield link if "://" in link else Path(link).resolve().as_uri()
    if said.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        return
    for index in [said.get("index-url", PYPI), *said.get("extra-index-url", "").split()]:
        yield index.rstrip("/") + "/pip/"


def contexts(said: dict[str, str], place: str) -> Iterator[tuple[bool, ssl.SSLContext | None]]:
    """Yield (whether the far side is known, how to connect), the safest first."""
    if place.startswith("file:"):
        yield True, None
        return
    if place.startswith("http:"):
        trusted = said.get("trusted-host", "").split()
        yield urlsplit(place).hostname in trusted or urlsplit(place).netloc in trusted, None
        return
    cert = said.get("cert")
    yield True, ssl.create_default_context(cafile=cert if cert and Path(cert).exists() else None)
    yield False, ssl._create_unverified_context()


def links(place: str, context: ssl.SSLContext | None) -> dict[str, str]:
    """Return file name -> address of every wheel of pip that `place` lists."""
    if place.startswith("file:"):
        folder = Path(unquote(urlsplit(place).path))
        if folder.is_dir() and not (folder / "index.html").is_file():
            found = [path.resolve().as_uri() for path in folder.iterdir()]
        else:
            page = folder / "index.html" if folder.is_dir() else folder
            found = [urljoin(page.as_uri(), a) for a in _LINK.findall(page.read_text("utf-8"))]
    else:
        with urlopen(place, timeout=TIMEOUT, context=context) as answer:
            text = answer.read().decode("utf-8", "replace")
            found = [
                urljoin(answer.url, link.replace("&amp;", "&")) for link in _LINK.findall(text)
            ]
    named = {unquote(urlsplit(link).path.rpartition("/")[2]): link for link in found}
    return {name: link for name, link in named.items() if _WHEEL.fullmatch(name)}


def fetch(place: str, context: ssl.SSLContext | None, folder: Path, *, checked: bool) -> Path:
    """Return the wheel from `place`: the known one, else the newest if the far side is known.

    Raises:
        LookupError: There is none that may be used.
        OSError: The place does not answer.
    """
    found = links(place, context)
    newest = max(found, key=lambda name: [int(n) for n in re.findall(r"\d+", name)], default="")
    name = KNOWN if KNOWN in found else newest if checked else ""
    if not name:
        raise LookupError(
            "it lists no pip" if checked else f"its certificate is not known, no {KNOWN}"
        )
    link, fragment = urldefrag(found[name])
    with urlopen(link, timeout=TIMEOUT, context=context) as answer:
        data: bytes = answer.read()
    said = DIGEST if name == KNOWN else fragment.removeprefix("sha256=")
    if said and hashlib.sha256(data).hexdigest() != said:
        raise LookupError(f"{name} is not what its digest says")
    path = folder / name
    path.write_bytes(data)
    return path


def main() -> int:
    """Print the path of the wheel, or the reasons why there is none."""
    said, folder = options(), Path(sys.argv[1])
    reasons = []
    for place in places(said):
        for checked, context in contexts(said, place):
            try:
                path = fetch(place, context, folder, checked=checked)
            except (OSError, LookupError, ValueError) as error:
                reasons.append(f"  {place}: {error}")
                if not isinstance(getattr(error, "reason", None), ssl.SSLError):
                    break  # only a certificate is worth a second try
            else:
                sys.stdout.write(f"{path}\n")
                return 0
    sys.stderr.write("\n".join(["pip could not be fetched:", *reasons, ""]))
    return 3


if __name__ == "__main__":
    raise SystemExit(main())
