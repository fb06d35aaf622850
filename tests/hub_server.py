"""A small Hugging Face Hub: the parts of its HTTP interface that the client library uses to fetch a model."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.scripted_server import scripted_server, send

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """One repository, and how the Hub treats those who ask for it."""

    repository: str
    folder: Path
    token: str | None = None
    """Needed to see the repository; None: public."""
    is_gated: bool = False
    breaks_off: bool = False
    """Whether files end before their end."""
    status: int | None = None
    """Answered to everything, where set."""
    url: str = ""
    num_downloads: int = 0
    tokens_seen: set[str | None] = field(default_factory=set)

    def answer(self, handler: BaseHTTPRequestHandler, _: bytes) -> None:
        """Answer one request."""
        path = unquote(urlsplit(handler.path).path)
        token = handler.headers.get("Authorization")
        self.tokens_seen.add(token)
        if self.status is not None:
            return send(handler, self.status, b"{}")
        if self.token is not None and token != f"Bearer {self.token}":
            status, code = (403, "GatedRepo") if self.is_gated else (401, "RepoNotFound")
            return send(handler, status, b"{}", headers={"X-Error-Code": code})
        if path.startswith(f"/api/models/{self.repository}"):
            return self._describe(handler, path)
        prefix = f"/{self.repository}/resolve/"
        if path.startswith(prefix):
            return self._send_file(handler, path.removeprefix(prefix).partition("/")[2])
        return send(handler, 404, b"{}", headers={"X-Error-Code": "RepoNotFound"})

    def _describe(self, handler: BaseHTTPRequestHandler, path: str) -> None:
        files = sorted(f for f in self.folder.rglob("*") if f.is_file())
        names = [f.relative_to(self.folder).as_posix() for f in files]
        if "/tree/" in path:
            entries = [
                {"type": "file", "path": name, "size": file.stat().st_size, "oid": _digest(file)}
                for name, file in zip(names, files, strict=True)
            ]
            return send(handler, 200, json.dumps(entries).encode())
        content = {"id": self.repository, "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
        return send(handler, 200, json.dumps(content).encode())

    def _send_file(self, handler: BaseHTTPRequestHandler, name: str) -> None:
        file = self.folder / name
        if not file.is_file():
            return send(handler, 404, b"{}", headers={"X-Error-Code": "EntryNotFound"})
        content = file.read_bytes()
        headers = {"ETag": f'"{_digest(file)}"', "X-Repo-Commit": COMMIT}
        if handler.command == "HEAD":
            return send(handler, 200, content, headers=headers)
        self.num_downloads += 1
        if self.breaks_off:
            return send(
                handler, 200, content[: len(content) // 2], headers=headers, claimed_size=len(content)
            )
        return send(handler, 200, content, headers=headers)


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve a hub; its ``url`` is set meanwhile."""
    with scripted_server(hub.answer) as url:
        hub.url = url
        yield hub
