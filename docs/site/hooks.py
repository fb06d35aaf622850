"""What mkdocs calls: adds the pages that are made, and points links at the site's own pages.

Pages are made of the code (settings, HTTP, commands, ports) and of files elsewhere in the repository
(README.md, CHANGELOG.md, examples). None of them is committed.
"""

import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "ezkl")]

from command_page import command_page  # noqa: E402 - the code that is documented is on the path by now
from http_page import http_page  # noqa: E402
from repository import Repository  # noqa: E402
from settings_page import settings_page  # noqa: E402

MERMAID = "assets/mermaid.min.js"
REPOSITORY = Repository(ROOT)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made, and the script that draws diagrams."""
    made = {
        "reference/settings.md": settings_page((ROOT / ".env.example").read_text(encoding="utf-8")),
        "reference/http.md": http_page(),
        "reference/commands.md": command_page(),
        "reference/workflow.md": "# Workflow class\n\n::: domain.workflow\n",
        "reference/ports.md": "# Ports\n\n::: domain.ports\n",
        "reference/errors.md": "# Errors\n\n::: domain.errors\n",
        **REPOSITORY.pages(),
    }
    for uri, content in made.items():
        files.append(File.generated(config, uri, content=content))
    script = ROOT / "build" / "mermaid.min.js"
    files.append(File.generated(config, MERMAID, abs_src_path=str(script)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Point links that leave the documents' folder at the page that stands for their target."""
    return REPOSITORY.with_site_links(markdown, page.file.src_uri)


def on_post_page(output: str, page: Page, **_: object) -> str:
    """Load our copy of the script that draws diagrams, or the theme would fetch one."""
    if '<pre class="mermaid">' not in output:
        return output
    depth = page.file.dest_uri.count("/")
    return output.replace("</head>", f'<script src="{"../" * depth}{MERMAID}"></script></head>', 1)
