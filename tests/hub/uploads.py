"""The half of the local hub that takes files: creating, uploading, committing on both hubs."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

from swift.core import yaml

if TYPE_CHECKING:
    from tests.hub.world import Asked, World

_PIECE = 1 << 16
BLANK = "### 当前模型的贡献者未提供更加详细的模型介绍。"
"""How the page begins that ModelScope gives a new repository."""


class Uploads(BaseHTTPRequestHandler):
    """Mixed into the server's handler. Knobs of `World.refuse`: :create, :batch, :put, :commit."""

    world: World
    asked: Asked

    def _json(self, status: int, value: Any, extra: Any = None) -> None:
        raise NotImplementedError

    def _refused(self, key: str) -> bool:
        raise NotImplementedError

    def write(self, parts: list[str]) -> None:
        """Answer a POST or a PUT."""
        if parts[0] == "lfs":
            return self._put(parts[1])
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.world.token and self.world.token not in self.asked.secret:
            return self._json(401, {"error": "Invalid credentials", "Message": "no such token"})
        if parts[:2] == ["api", "v1"]:
            return self._to_modelscope(parts[2:], body)
        if parts[:3] == ["api", "repos", "create"]:
            return self._create(json.loads(body))
        if parts[:2] == ["api", "validate-yaml"]:
            return self._validate(json.loads(body)["content"])
        if parts[-1] == "batch":
            kind = parts.pop(0) if parts[0] == "datasets" else "models"
            return self._batch(f"{kind}/{parts[0]}/{parts[1].removesuffix('.git')}", body, dict)
        name, what = "/".join(parts[1:4]), parts[4]
        if name not in self.world.repos:
            return self._json(404, {"error": "no"}, {"X-Error-Code": "RepoNotFound"})
        if what == "branch":
            self.world.branches.add((name, parts[5]))
            return self._json(200, {})
        if parts[5] != "main" and (name, parts[5]) not in self.world.branches:
            return self._json(404, {"error": "no"}, {"X-Error-Code": "RevisionNotFound"})
        if what == "preupload":
            return self._preupload(name, json.loads(body))
        return self._commit(name, [json.loads(line) for line in body.splitlines()])

    # --- Hugging Face ---------------------------------------------------------------------------

    def _create(self, said: dict[str, Any]) -> None:
        if self._refused(":create"):
            return None
        owner, kind = said.get("organization") or "me", said.get("type") or "model"
        name = f"{kind}s/{owner}/{said['name']}"
        half = "" if kind == "model" else f"{kind}s/"
        found = {"url": f"{self.world.address}/{half}{owner}/{said['name']}"}
        if name in self.world.repos:
            return self._json(409, {"error": "You already created this repo", **found})
        self.world.repos[name] = {}
        if said.get("visibility") == "private" or said.get("private"):
            self.world.private.add(name)
        return self._json(200, found)

    def _validate(self, text: str) -> None:
        """Refuse a card whose head is no YAML, as the hub does."""
        head = re.match(r"---\n(.*?\n)---\n", text, re.DOTALL)
        wrong = yaml.parse(head[1], name="README.md").problems if head else ()
        errors = [{"message": str(problem)} for problem in wrong]
        self._json(400 if errors else 200, {"errors": errors, "warnings": []})

    def _preupload(self, name: str, said: dict[str, Any]) -> None:
        from tests.hub.world import blob_name, is_lfs

        there = self.world.repos[name]
        files = [
            {
                "path": f["path"],
                "uploadMode": "lfs" if is_lfs(f["path"]) else "regular",
                "shouldIgnore": False,
                "oid": blob_name(f["path"], there[f["path"]]) if f["path"] in there else None,
            }
            for f in said["files"]
        ]
        self._json(200, {"files": files})

    def _batch(self, name: str, body: bytes, wrap: Any) -> None:
        """Say which contents are missing, and where they go."""
        if self._refused(":batch"):
            return
        objects = []
        for said in json.loads(body)["objects"]:
            put = {"href": f"{self.world.address}/lfs/{said['oid']}"}
            missing = said["oid"] not in self.world.blobs
            objects.append({**said, **({"actions": {"upload": put}} if missing else {})})
        answer = {"transfer": "basic", "objects": objects}
        self._json(200, wrap(answer))

    def _commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        if self._refused(":commit"):
            return
        files: dict[str, bytes] = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.world.blobs[value["oid"]]
        self._take(name, files)
        url = f"{self.world.address}/{name}/commit/x"
        self._json(200, {"commitUrl": url, "commitOid": self.world.commit(name), "success": True})

    # --- ModelScope -----------------------------------------------------------------------------

    def _to_modelscope(self, parts: list[str], body: bytes) -> None:
        if parts[0] == "login":
            return self._json(200, {"Code": 200, "Success": True, "Data": {"Username": "me"}})
        if parts[0] in ("models", "datasets") and len(parts) == 1:
            return self._create_there(parts[0], body)
        name = "/".join(parts[1:4])
        if name not in self.world.repos:
            return self._json(404, {"Code": 404, "Success": False, "Message": "no such repo"})
        if parts[-1] == "batch":
            return self._batch(name, body, lambda a: {"Code": 200, "Success": True, "Data": a})
        if self._refused(":commit"):
            return None
        files: dict[str, bytes] = {}
        for action in json.loads(body)["actions"]:
            lfs = action["type"] == "lfs"
            inline = base64.b64decode(action["content"])
            files[action["path"]] = self.world.blobs[action["sha256"]] if lfs else inline
            assert len(files[action["path"]]) == action["size"]
        self._take(name, files)
        data = {"Oid": self.world.commit(name)}
        return self._json(200, {"Code": 200, "Success": True, "Data": data})

    def _create_there(self, kind: str, body: bytes) -> None:
        if self._refused(":create"):
            return
        if kind == "models":
            said = json.loads(body)
            owner = said["Path"]
        else:
            pairs = re.findall(rb'name="(\w+)"\r\n\r\n(.*?)\r\n--', body)
            said = {key.decode(): value.decode() for key, value in pairs}
            owner = said["Owner"]
        name = f"{kind}/{owner}/{said['Name']}"
        self.world.repos[name] = {"README.md": BLANK.encode()}
        self.world.licenses[name] = said.get("License", "")
        if str(said["Visibility"]) == "1":
            self.world.private.add(name)
        self._json(200, {"Code": 200, "Success": True, "Data": {"Name": said["Name"]}})

    # --- both -----------------------------------------------------------------------------------

    def _take(self, name: str, files: dict[str, bytes]) -> None:
        self.world.repos[name] = {**self.world.repos[name], **files}
        self.world.commits.append((name, sorted(files)))

    def _put(self, oid: str) -> None:
        """Take one content, unless a knob cuts it off; its digest must be its name."""
        self.asked.file = oid
        size, data = int(self.headers.get("Content-Length") or 0), b""
        with self.world.lock:
            stop = self.world.cut_up.pop(0) if self.world.cut_up else None
        while len(data) < size:
            more = self.rfile.read(min(_PIECE, size - len(data)))
            data += more
            if not more or (stop is not None and len(data) >= stop):
                if self.world.when_cut is not None:
                    self.world.when_cut()
                self.close_connection = True
                return
        if self._refused(":put"):
            return
        assert hashlib.sha256(data).hexdigest() == oid
        self.asked.sent = len(data)
        self.world.blobs[oid] = data
        self.world.stored.set()
        self._json(200, {})
