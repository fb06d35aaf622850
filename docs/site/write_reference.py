"""Writes the pages that are made of the code, with the project's own environment; mkdocs has another.

Usage: python docs/site/write_reference.py FOLDER
"""

import sys
from pathlib import Path

from command_page import command_page
from http_page import http_page
from settings_page import settings_page

ROOT = Path(__file__).resolve().parents[2]


def main(folder: Path) -> None:
    """Write one file a page."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {
        "settings.md": settings_page((ROOT / ".env.example").read_text(encoding="utf-8")),
        "http.md": http_page(),
        "commands.md": command_page(),
    }
    for name, page in pages.items():
        (folder / name).write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
