"""What mkdocs calls: adds the pages that are made, and points links at the site's own pages.

Pages are made of the code (settings, HTTP, commands, ports) and of files elsewhere in the repository
(README.md, CHANGELOG.md, examples). None of them is committed. Those that need the code to run are written
before, by ``write_reference``.
"""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from repository import Repository

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "build" / "reference"
MERMAID = "assets/mermaid.min.js"
REPOSITORY = Repository(ROOT)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made, and the script that draws diagrams."""
    made = {
        **{f"reference/{path.name}": path.read_text(encoding="utf-8") for path in REFERENCE.glob("*.md")},
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
