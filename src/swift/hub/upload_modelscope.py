"""Uploading to ModelScope, by HTTP: its own client spreads a folder over several commits."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from functools import partial
from http.client import HTTPException
from pathlib import PurePosixPath
from typing import IO, Any
from urllib.parse import quote, urlsplit

from swift.core.errors import Problem, UserError
from swift.hub.modelscope import ModelScope
from swift.hub.parcel import CARD, Bytes, Parcel, digest_of, opened, size_of
from swift.hub.progress import Progress, Show, Tally
from swift.hub.ref import Ref
from swift.hub.web import Cut, Refused, Unreachable, Web

_PRIVATE, _PUBLIC = 1, 5
"""How its API writes who sees a repository."""

_INLINE = 1 << 16
"""Bytes up to which a text travels within the commit."""

_PARSED = ("README.md", "config.json", "configuration.json", ".gitattributes", "dataset_infos.json")
"""Files that the hub itself reads, which therefore must not become pointers."""

_TEXT = (".json", ".jinja", ".txt", ".md", ".py", ".yaml", ".csv", ".jsonl", "")
_MOST = 2000
"""Files that one commit can hold."""


class Up:
    """ModelScope, written to."""

    def __init__(self, site: ModelScope) -> None:
        self._site = site

    def private(self, ref: Ref, web: Web) -> bool | None:
        """Return whether a repository is private; None where there is none."""
        try:
            info = self._ask("GET", f"{ref.kind}/{quote(ref.id)}", web)
        except Refused as error:
            if error.status == 404:
                return None
            raise
        return isinstance(info, dict) and info.get("Visibility") == _PRIVATE

    def create(self, parcel: Parcel, web: Web) -> None:
        """Make the repository."""
        owner, _, name = parcel.ref.id.partition("/")
        sees = _PRIVATE if parcel.private else _PUBLIC
        models = parcel.ref.kind == "models"
        body = {"Path" if models else "Owner": owner, "Name": name, "Visibility": sees}
        if license := _license(parcel.files.get(CARD)):
            body["License"] = license
        self._ask("POST", parcel.ref.kind, web, body=body, form=not models)

    def send(self, parcel: Parcel, web: Web, show: Show) -> str:
        """Upload the files, commit them, and return the commit's sha where it is told."""
        if len(parcel.files) > _MOST:
            what = f"{len(parcel.files)} files are more than the {_MOST} of one commit there"
            raise UserError(Problem(where="modelscope", what=what, fix="pack them into fewer"))
        large = {p: f for p, f in parcel.files.items() if not _inline(p, size_of(f))}
        oids = {path: digest_of(source) for path, source in large.items()}
        if large:
            self._upload(parcel.ref, large, oids, web, show)
        actions = [_action(path, f, oids.get(path)) for path, f in parcel.files.items()]
        branch = quote(parcel.ref.revision or "master", safe="")
        body = {"commit_message": parcel.message, "actions": actions}
        done = self._ask("POST", f"{_repo(parcel.ref)}/commit/{branch}", web, body=body)
        commit = (done.get("Oid") or done.get("CommitId")) if isinstance(done, dict) else ""
        return str(commit or "")

    def page(self, ref: Ref) -> str:
        """Return where people see a repository."""
        return f"{self._site.endpoint}/{ref.kind}/{ref.id}"

    def _upload(
        self, ref: Ref, files: Mapping[str, Bytes], oids: Mapping[str, str], web: Web, show: Show
    ) -> None:
        """Send the contents that the hub does not have yet."""
        by_oid = {oids[path]: source for path, source in files.items()}
        objects = [{"oid": oid, "size": size_of(source)} for oid, source in by_oid.items()]
        asked = {"operation": "upload", "objects": objects}
        answer = self._ask("POST", f"{_repo(ref)}/info/lfs/objects/batch", web, body=asked)
        missing = dict(_missing(answer))
        progress = Progress(
            id=ref.id,
            source=urlsplit(self._site.endpoint).netloc,
            total=sum(map(size_of, by_oid.values())),
            files=len(by_oid),
            up=True,
        )
        tally = Tally(progress, show)
        try:
            for oid, source in by_oid.items():
                if oid in missing:
                    put = partial(self._put, missing[oid], source, web, tally)
                    web.patiently(put, tally.note)
                else:
                    tally.add(size_of(source))
        finally:
            tally.end()

    def _put(self, address: str, source: Bytes, web: Web, tally: Tally) -> None:
        """Send one content, from its first byte."""
        own = _kin(address, self._site.endpoint)
        with opened(source) as file:
            body = _Counted(file, size_of(source), tally)
            try:
                headers = self._site.headers if own else {}
                with web.send("PUT", address, headers, body, body.size) as answer:
                    said = _parsed(answer.read())
            except BaseException:
                tally.add(-body.read_so_far)
                raise
        if isinstance(said, dict) and said.get("Success") is False:
            raise Cut(f"the hub did not take a file: {said.get('Message')}")

    def _ask(
        self, method: str, path: str, web: Web, *, body: Any = None, form: bool = False
    ) -> Any:
        """Return the `Data` of an answer, in whichever of its two forms.

        Raises:
            Refused: The hub says no.
            Unreachable: It says nothing, or no JSON.
        """
        url = f"{self._site.endpoint}/api/v1/{path}"
        kind, data = _form(body) if form else ("application/json", json.dumps(body).encode())
        headers = {"Content-Type": kind, **self._site.headers}

        def once() -> Any:
            sent = data if body is not None else b""
            with web.send(method, url, headers, sent, len(sent)) as answer:
                try:
                    return json.loads(answer.read())
                except (HTTPException, OSError) as error:
                    raise Cut(f"the answer of {self._site.endpoint} was cut") from error
                except (ValueError, RecursionError) as error:
                    raise Cut(f"{self._site.endpoint} answers what is no JSON") from error

        answer = web.patiently(once)
        if not isinstance(answer, dict):
            raise Unreachable(f"{self._site.endpoint} does not answer as ModelScope does")
        if answer.get("Success") is False or answer.get("success") is False:
            code = answer.get("Code")
            status = code if isinstance(code, int) and 400 <= code < 500 else 404
            raise Refused(status, str(answer.get("Message") or code), self._site.endpoint)
        return answer.get("Data", answer)


class _Counted:
    """A body that tells how much of it was read."""

    def __init__(self, file: IO[bytes], size: int, tally: Tally) -> None:
        self.size, self.read_so_far = size, 0
        self._file, self._tally = file, tally

    def read(self, count: int = -1) -> bytes:
        data = self._file.read(count)
        self.read_so_far += len(data)
        self._tally.add(len(data))
        return data


def _missing(answer: Any) -> list[tuple[str, str]]:
    """Return (oid, address) of the contents that are to be sent."""
    objects = answer.get("objects") if isinstance(answer, dict) else None
    if not isinstance(objects, list):
        raise Unreachable("the hub does not say which contents it has")
    actions = [(str(o.get("oid")), (o.get("actions") or {}).get("upload")) for o in objects]
    return [(oid, str(upload["href"])) for oid, upload in actions if upload and upload.get("href")]


def _action(path: str, source: Bytes, oid: str | None) -> dict[str, Any]:
    """Return what a commit says of one file: its text, or the digest of what was sent."""
    said = {"action": "create", "path": path, "size": size_of(source)}
    if oid is not None:
        return {**said, "type": "lfs", "sha256": oid, "content": "", "encoding": ""}
    with opened(source) as file:
        text = base64.b64encode(file.read()).decode()
    return {**said, "type": "normal", "sha256": "", "content": text, "encoding": "base64"}


def _inline(path: str, size: int) -> bool:
    at = PurePosixPath(path)
    return not size or at.name in _PARSED or (size <= _INLINE and at.suffix.lower() in _TEXT)


def _license(card: Bytes | None) -> str:
    """Return the licence that a page's front matter names; "" where it names none."""
    if card is None:
        return ""
    with opened(card) as file:
        text = file.read(1 << 16).decode("utf-8", "replace")
    head = re.match(r"---\n(.*?\n)---", text, re.DOTALL)
    said = re.search(r"^license: *([\w.-]+) *$", head[1], re.MULTILINE) if head else None
    return said[1] if said else ""


def _repo(ref: Ref) -> str:
    return f"repos/{ref.kind}/{quote(ref.id)}"


def _kin(address: str, endpoint: str) -> bool:
    """Return whether an address is of the hub's own domain, to which its token may go."""
    there, here = urlsplit(address), urlsplit(endpoint)
    if there.netloc == here.netloc:
        return True
    own = ".".join((here.hostname or "").split(".")[-2:])
    return there.scheme == "https" and (there.hostname or "").endswith(f".{own}")


def _form(body: Mapping[str, Any]) -> tuple[str, bytes]:
    """Return fields as a form of several parts, which the data sets' half of the API wants."""
    edge = "swift-push-edge"
    parts = [
        f'--{edge}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in body.items()
    ]
    return f"multipart/form-data; boundary={edge}", f"{''.join(parts)}--{edge}--\r\n".encode()


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
