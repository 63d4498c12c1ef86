"""Hugging Face and its mirrors: what a revision holds and where."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from swift.hub.ref import File, Listing, Ref, safe
from swift.hub.web import Unreachable, Web


@dataclass(frozen=True, kw_only=True)
class HuggingFace:
    """One address that speaks Hugging Face's API."""

    endpoint: str
    token: str = field(default="", repr=False)
    name: str = "huggingface"

    def listing(self, ref: Ref, web: Web) -> Listing:
        """Return the files of a revision, with sha256 (LFS) or git's sha1 (all others).

        Raises:
            Refused: There is no such repository or revision, or it may not be read.
            Unreachable: There is no answer, or none that makes sense.
            UserError: It holds a file whose name leads out of its folder.
        """
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        revision = ref.revision or "main"
        api = f"{self.endpoint}/api/{ref.kind}/{quote(ref.id)}"
        info, _ = web.json(f"{api}/revision/{quote(revision, safe='')}", headers)
        commit = info.get("sha") if isinstance(info, dict) else None
        if not isinstance(commit, str) or not _is_hex(commit, 40):
            raise Unreachable(f"{self.endpoint} does not answer as Hugging Face does")
        half = "" if ref.kind == "models" else f"{ref.kind}/"
        base = f"{self.endpoint}/{half}{quote(ref.id)}/resolve/{commit}/"
        return Listing(
            hub=self.name,
            endpoint=self.endpoint,
            commit=commit,
            revision=revision,
            files=tuple(map(_file, self._tree(f"{api}/tree/{commit}", headers, web))),
            address=lambda file: base + quote(file.path),
            headers=headers,
        )

    def _tree(self, url: str, headers: dict[str, str], web: Web) -> list[dict[str, Any]]:
        """Return every file's entry, page by page; a page's link is asked of our own address."""
        found: list[dict[str, Any]] = []
        asked = {"recursive": "true", "expand": "false"}
        while True:
            page, answer = web.json(f"{url}?{urlencode(asked)}", headers)
            if not isinstance(page, list):
                raise Unreachable(f"{self.endpoint} does not answer as Hugging Face does")
            found += [e for e in page if isinstance(e, dict) and e.get("type") == "file"]
            cursor = _cursor(answer.get("Link") or "")
            if not cursor or cursor == asked.get("cursor"):
                return found
            asked["cursor"] = cursor


def _file(entry: dict[str, Any]) -> File:
    path = safe(str(entry.get("path") or ""))
    lfs = entry.get("lfs") or {}
    sha256, sha1 = str(lfs.get("oid") or ""), str(entry.get("oid") or "")
    size = lfs.get("size", entry.get("size"))
    if not isinstance(size, int) or size < 0:
        raise Unreachable(f"the hub tells no size of {path}")
    if _is_hex(sha256, 64):
        return File(path=path, size=size, check="sha256", digest=sha256)
    if _is_hex(sha1, 40):
        return File(path=path, size=size, check="git-sha1", digest=sha1)
    raise Unreachable(f"the hub tells no checksum of {path}")


def _is_hex(text: str, length: int) -> bool:
    return len(text) == length and not set(text) - set("0123456789abcdef")


def _cursor(link: str) -> str:
    """Return the cursor of the next page from a Link header; "" on the last page."""
    for part in link.split(","):
        url, _, rel = part.partition(";")
        if 'rel="next"' in rel:
            query = parse_qs(urlsplit(url.strip().strip("<>")).query)
            return query.get("cursor", [""])[0]
    return ""
