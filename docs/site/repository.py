"""Files of the repository as pages of the site, and links to them.

In the repository, links are relative paths between files, so that they work wherever it is browsed. Here a
link to a file outside ``docs`` becomes one to the page that stands for it: a document, what is generated of
the file, or its text.
"""

import posixpath
import re
from pathlib import Path

GENERATED = {
    ".env.example": "reference/settings.md",
    "src/domain/ports.py": "reference/ports.md",
    "src/domain/workflow.py": "reference/workflow.md",
    "src/domain/errors.py": "reference/errors.md",
    "src/entrypoints/cli.py": "reference/commands.md",
    "src/entrypoints/http/openapi.py": "reference/http.md",
}
"""By file: the page that is generated of it."""

DOCUMENTS = {
    "README.md": "index.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "ezkl/README.md": "reference/calldata.md",
    "examples/agent_decision/README.md": "project/examples/agent_decision.md",
    "examples/agent_decision/report.md": "files/examples/agent_decision/report.md",
    "examples/onchain_agent/README.md": "project/examples/onchain_agent.md",
}
"""By file: the page that it is, where there is the file."""

LANGUAGES = {".py": "python", ".sol": "solidity", ".yaml": "yaml", ".json": "json", ".toml": "toml"}

CODE = re.compile(r"(^```.*?^```$|`[^`\n]*`)", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^()\s#]+)(#[^()\s]*)?\)")


class Repository:
    """The repository that the documents belong to."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._documents = {file: uri for file, uri in DOCUMENTS.items() if (root / file).exists()}
        self._origins = {uri: file for file, uri in self._documents.items()}
        self._uris = {**self._documents, **GENERATED, "docs/adr": "adr/README.md"}

    def pages(self) -> dict[str, str]:
        """Return the pages that are files elsewhere, Markdown by URI; links to them are known from then."""
        made = {uri: self._read(file) for file, uri in self._documents.items()}
        for origin in (*self._documents, *self._committed()):
            for file in self._linked_files(origin):
                self._uris[file] = f"files/{file}.md"
                made[self._uris[file]] = self._listing(file)
        return made

    def with_site_links(self, markdown: str, uri: str) -> str:
        """Return a page's Markdown with links between pages of the site."""
        origin = self._origins.get(uri, f"docs/{uri}")

        def replaced(match: re.Match[str]) -> str:
            target = self._target(origin, match[1])
            if target is None:
                return match[0]
            path = posixpath.relpath(target, posixpath.dirname(uri) or ".")
            return f"]({path}{match[2] or ''})"

        parts = CODE.split(markdown)
        return "".join(part if index % 2 else LINK.sub(replaced, part) for index, part in enumerate(parts))

    def _committed(self) -> list[str]:
        return [path.relative_to(self._root).as_posix() for path in sorted(self._root.glob("docs/**/*.md"))]

    def _linked_files(self, origin: str) -> set[str]:
        prose = "".join(CODE.split(self._read(origin))[::2])
        files = {self._file(origin, match[1]) for match in LINK.finditer(prose)}
        return {
            file
            for file in files
            if file not in self._uris
            and not file.startswith(("docs/", ".."))
            and (self._root / file).is_file()
        }

    def _target(self, origin: str, link: str) -> str | None:
        if re.match(r"[a-z]+:", link):
            return None
        file = self._file(origin, link)
        return self._uris.get(file, file.removeprefix("docs/") if file.startswith("docs/") else None)

    def _file(self, origin: str, link: str) -> str:
        return posixpath.normpath(posixpath.join(posixpath.dirname(origin), link))

    def _listing(self, file: str) -> str:
        path = Path(file)
        language = LANGUAGES.get(path.suffix, "text")
        return f'# {path.name}\n\n````{language} title="{file}"\n{self._read(file)}\n````\n'

    def _read(self, file: str) -> str:
        return (self._root / file).read_text(encoding="utf-8")
