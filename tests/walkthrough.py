"""A page of the documents, followed to the letter: its blocks of code run in order, as in one terminal.

What a block is, the page says in HTML comments, which readers do not see::

    <!-- given: COMMAND -->              near the top: what runs in another terminal before the page begins
    <!-- keeps running: service -->      in another terminal, until the next of its kind or the page's end
    <!-- keeps running: chain -->
    <!-- not run: REASON -->

``bash`` is run, and must succeed; so is ``python``. A block with a title is written to the file of that name.
``ini`` are lines of settings. ``json`` and ``text`` right after a block that ran are what it prints, but for
numbers, hashes, what stands behind "…", and other lines.
"""

import json
import os
import re
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.service_environment import OURS

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(
    r'^(?:<!-- ([^\n]*?) -->\n+)?```(\w+)(?: title="([^"\n]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL
)
GIVEN = re.compile(r"^<!-- given: (.+) -->$", re.MULTILINE)
RUN, KEPT = {"bash", "python"}, {"service", "chain"}
SHOWN, READ = {"json", "text"}, {"ini", "mermaid", "solidity", "yaml"}
PAGES = ("README.md", "docs/tutorials/*.md", "docs/how-to/*.md")
FOLLOWED = sorted(path.relative_to(ROOT).as_posix() for pattern in PAGES for path in ROOT.glob(pattern))
BLOCK_TIMEOUT_S = 170
START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 40
PROSE_LETTERS = 6
"""Of an answer: another processor may round to other words further on."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its file's name, its remark (kind and text), and what stands in it."""

    language: str
    title: str
    kind: str
    remark: str
    text: str


@dataclass(frozen=True)
class Page:
    """A page's blocks, and what must be running before."""

    given: str
    blocks: list[Block]


def read_page(markdown: str) -> Page:
    """Read a page. Raises ``ValueError`` for a block that is neither run nor marked with a reason."""
    given = GIVEN.search(markdown)
    blocks = []
    for remark, language, title, text in BLOCK.findall(markdown):
        kind, _, about = (part.strip() for part in remark.partition(":"))
        kind = kind if kind in {"not run", "keeps running"} else ""
        if language not in RUN | SHOWN | READ and not title:
            raise ValueError(f"a block of {language}: {text[:60]}")
        if (kind == "not run" and not about) or (kind == "keeps running" and about not in KEPT):
            raise ValueError(f"{remark}: {text[:60]}")
        blocks.append(Block(language, title, kind, about, text))
    return Page(given[1] if given else "", blocks)


def follow(page: Page, folder: Path) -> None:
    """Run a page's blocks in a folder of its own. Raises ``AssertionError`` where one fails."""
    with ExitStack() as stack:
        place = Place(folder)
        terminal = stack.enter_context(Terminal.opened(place))
        kept: dict[str, ExitStack] = {}
        if page.given:
            kept["service"] = stack.enter_context(ExitStack())
            kept["service"].enter_context(keeps_running("service", page.given, place))
        printed: str | None = None
        for block in page.blocks:
            before, printed = printed, None
            if block.kind == "not run":
                continue
            if block.title:
                (folder / block.title).unlink(missing_ok=True)  # or the repository's own would be written to
                (folder / block.title).write_text(block.text, encoding="utf-8")
            elif block.kind == "keeps running":
                kept.setdefault(block.remark, stack.enter_context(ExitStack())).close()
                kept[block.remark].enter_context(keeps_running(block.remark, block.text, place))
            elif block.language == "bash":
                printed = terminal.run(block.text)
            elif block.language == "python":
                printed = terminal.run(f".venv/bin/python - <<'END_OF_BLOCK'\n{block.text}END_OF_BLOCK\n")
            elif block.language in SHOWN and before is not None:
                assert is_as_shown(before, block.text), f"printed:\n{before}\nshown:\n{block.text}"


class Place:
    """Where a page is followed: a folder that looks like the repository, ports of its own, an environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (ROOT / "build").mkdir(exist_ok=True)
        for entry in ROOT.iterdir():
            if entry.name not in {".git", ".env", ".ci"}:
                (folder / entry.name).symlink_to(entry)
        (folder / ".curlrc").write_text("silent\nshow-error\nfail-with-body\n")
        self.ports = {"service": _free_port(), "chain": _free_port()}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        self.env = {
            **inherited,
            "CURL_HOME": str(folder),
            "LLM_JOURNAL_PATH": str(folder / "journal" / "journal.sqlite3"),
            "LLM_CACHE_DIR": str(folder.parent / "cache"),
        }

    def with_ports(self, text: str) -> str:
        """Put this place's ports where the page has its own, which may be taken."""
        service, chain = str(self.ports["service"]), str(self.ports["chain"])
        text = re.sub(r"\bmake run\b", f"make run PORT={service}", text)
        text = re.sub(r"(node_modules/\.bin/anvil)$", rf"\1 --port {chain}", text, flags=re.MULTILINE)
        return text.replace("4999", service).replace("8545", chain)


class Terminal:
    """One shell for all the blocks of a page: its variables and functions stay."""

    def __init__(self, process: subprocess.Popen[str], place: Place) -> None:
        self._process = process
        self._place = place

    @classmethod
    @contextmanager
    def opened(cls, place: Place) -> Iterator["Terminal"]:
        """Open one that ends with the first command that fails."""
        process = subprocess.Popen(
            ["bash", "-e", "-o", "pipefail"],
            cwd=place.folder,
            env=place.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            yield cls(process, place)
        finally:
            _kill(process)

    def run(self, text: str) -> str:
        """Run a block; returns what it printed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        names = ("block.sh", "block.out", "block.err")
        script, out, err = (self._place.folder / ".terminal" / name for name in names)
        script.parent.mkdir(exist_ok=True)
        script.write_text(self._place.with_ports(text))
        self._process.stdin.write(f". {script} >{out} 2>{err} </dev/null; echo done\n")
        self._process.stdin.flush()
        is_over, _, _ = select.select([self._process.stdout], [], [], BLOCK_TIMEOUT_S)
        has_succeeded = bool(is_over) and self._process.stdout.readline() == "done\n"
        assert has_succeeded, f"{text}\n{out.read_text()}\n{err.read_text()}"
        return out.read_text()


@contextmanager
def keeps_running(kind: str, command: str, place: Place) -> Iterator[None]:
    """Run a command in a terminal of its own; it is interrupted as with Ctrl-C."""
    log = place.folder / f".{kind}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            ["bash", "-e", "-c", place.with_ports(command)],
            cwd=place.folder,
            env=place.env,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    is_up = {"service": _is_service_up, "chain": _is_chain_up}[kind]
    try:
        _wait_until(lambda: is_up(place.ports[kind]), process, log)
        yield
    finally:
        os.killpg(process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
        _kill(process)


def is_as_shown(printed: str, shown: str) -> bool:
    """Tell whether an output is what a page shows, but for what differs from run to run."""
    try:
        shown_value = json.loads(shown)
    except ValueError:
        lines = [_steady(line) for line in printed.splitlines()]
        return all(
            any(_agrees(line, printed_line) for printed_line in lines)
            for line in map(_steady, shown.splitlines())
            if line
        )
    try:
        return _value_agrees(shown_value, json.loads(printed))
    except ValueError:
        return False


def _value_agrees(shown: Any, value: Any) -> bool:
    match shown:
        case dict():
            return (
                isinstance(value, dict)
                and shown.keys() == value.keys()
                and all(_value_agrees(item, value[name]) for name, item in shown.items())
            )
        case list():
            return isinstance(value, list) and (
                "…" in shown or (len(shown) == len(value) and all(map(_value_agrees, shown, value)))
            )
        case str():
            steady = _steady(shown)
            is_prose = len(steady) > 40 and " " in steady
            return isinstance(value, str) and _agrees(
                f"{steady[:PROSE_LETTERS]}…" if is_prose else steady, _steady(value)
            )
        case bool() | None:
            return shown is value
        case _:
            return isinstance(value, int | float)


def _steady(text: str) -> str:
    """Return a line without what differs: numbers, hashes, dates, the width of columns."""
    text = re.sub(r"\b(0x)?[0-9a-f]{8,}\b", "#", text)
    text = re.sub(r"\b(0x)?[0-9a-f]{8,}…", "#…", text)
    return re.sub(r"\s+", " ", re.sub(r"\d[\d.,:T+-]*", "#", text)).strip()


def _agrees(shown: str, printed: str) -> bool:
    head, cut, _ = shown.partition("…")
    return printed.startswith(head.rstrip()) if cut else printed == shown


def _wait_until(is_up: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not is_up():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline_s, log.read_text()
        time.sleep(0.1)


def _is_service_up(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/health/ready", timeout=10).status_code == httpx2.codes.OK
    except httpx2.TransportError:
        return False


def _is_chain_up(port: int) -> bool:
    request = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}
    try:
        return "result" in httpx2.post(f"http://127.0.0.1:{port}", json=request, timeout=10).json()
    except httpx2.TransportError:
        return False


def _kill(process: subprocess.Popen[Any]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
