"""ModelScope: what a revision holds and where."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256 as sha256_of
from typing import Any
from urllib.parse import quote, urlencode

from swift.hub.ref import File, Listing, Ref, safe
from swift.hub.web import Refused, Unreachable, Web

_PAGE = 200
_LIMIT = 3000
"""Files after which ModelScope ends a list of a model's files without saying so."""


@dataclass(frozen=True, kw_only=True)
class ModelScope:
    """One address that speaks ModelScope's API."""

    endpoint: str
    token: str = field(default="", repr=False)
    name: str = "modelscope"

    @property
    def headers(self) -> dict[str, str]:
        """What the hub itself is sent; a token in both ways that its API knows."""
        if not self.token:
            return {}
        return {"Authorization": f"Bearer {self.token}", "Cookie": f"m_session_id={self.token}"}

    def listing(self, ref: Ref, web: Web) -> Listing:
        """Return the files of a revision, each with its sha256.

        ModelScope tells no commit of a revision, only that which last touched each file; the
        newest of these is the commit.

        Raises:
            Refused: There is no such repository or revision, or it may not be read.
            Unreachable: There is no answer, or none that makes sense.
            UserError: It holds a file whose name leads out of its folder.
        """
        headers = self.headers
        revision = ref.revision or "master"
        api = f"{self.endpoint}/api/v1/{ref.kind}/{quote(ref.id)}/repo"
        if ref.kind == "models":
            entries = self._models(api, revision, headers, web)
        else:
            entries = self._pages(api, revision, headers, web)
        dated = [(int(e.get("CommittedDate") or 0), str(e.get("Revision") or "")) for e in entries]
        blobs = [e for e in entries if e.get("Type", "blob") != "tree"]
        return Listing(
            hub=self.name,
            endpoint=self.endpoint,
            commit=max(dated, default=(0, ""))[1],
            revision=revision,
            files=tuple(map(_file, blobs)),
            address=lambda file: (
                f"{api}?{urlencode({'Revision': revision, 'FilePath': file.path})}"
            ),
            headers=headers,
        )

    def _models(
        self, api: str, revision: str, headers: dict[str, str], web: Web
    ) -> list[dict[str, Any]]:
        """Return all entries; where the list ends at the limit, folder by folder."""
        found = self._ask(f"{api}/files", web, headers, Revision=revision, Recursive="True")
        if len(found) < _LIMIT:
            return found
        found, folders = [], [""]
        while folders:
            root = {"Root": folders.pop()}
            asked = {"Revision": revision, "Recursive": "False", **(root if root["Root"] else {})}
            inside = self._ask(f"{api}/files", web, headers, **asked)
            if len(inside) >= _LIMIT:
                raise Unreachable(f"a folder holds more than the {_LIMIT} files ModelScope lists")
            found += inside
            folders += [safe(str(e.get("Path"))) for e in inside if e.get("Type") == "tree"]
        return found

    def _pages(
        self, api: str, revision: str, headers: dict[str, str], web: Web
    ) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        number = 1
        while True:
            asked = {"Revision": revision, "Recursive": "True", "PageNumber": str(number)}
            page = self._ask(f"{api}/tree", web, headers, **asked, PageSize=str(_PAGE))
            found += page
            if len(page) < _PAGE:
                return found
            number += 1

    def _ask(self, url: str, web: Web, headers: dict[str, str], **asked: str) -> list[Any]:
        answer, _ = web.json(f"{url}?{urlencode(asked)}", headers)
        if not isinstance(answer, dict):
            raise Unreachable(f"{self.endpoint} does not answer as ModelScope does")
        if answer.get("Success") is False:
            code = answer.get("Code")
            status = code if isinstance(code, int) and 400 <= code < 500 else 404
            raise Refused(status, str(answer.get("Message") or code), self.endpoint)
        data = answer.get("Data")
        files = data.get("Files") if isinstance(data, dict) else data
        if not isinstance(files, list):
            raise Unreachable(f"{self.endpoint} does not answer as ModelScope does")
        return [entry for entry in files if isinstance(entry, dict)]


def _file(entry: dict[str, Any]) -> File:
    path = safe(str(entry.get("Path") or entry.get("Name") or ""))
    size, sha256 = entry.get("Size"), str(entry.get("Sha256") or "").lower()
    if not isinstance(size, int) or size < 0:
        raise Unreachable(f"the hub tells no size of {path}")
    if len(sha256) == 64 and not set(sha256) - set("0123456789abcdef"):
        return File(path=path, size=size, check="sha256", digest=sha256)
    known = f"{entry.get('Revision')} {size} {path}"  # stands for the bytes, as a commit's path
    return File(path=path, size=size, check="", digest=sha256_of(known.encode()).hexdigest())
