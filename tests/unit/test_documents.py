"""Links and anchors of all documents, as the repository shows them, and what their code blocks are."""

import re
from pathlib import Path

import pytest

from adapters.settings import Settings
from tests.walkthrough import FOLLOWED, ROOT, is_as_shown, read_page

DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", "ezkl/*.md")
    for path in ROOT.glob(pattern)
)
CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^()\s#]*)(?:#([^()\s]*))?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def anchors_of(path: Path) -> set[str]:
    prose = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(prose)}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document: str) -> None:
    folder = (ROOT / document).parent
    lost = []
    for target, anchor in LINK.findall(CODE.sub("", text_of(document))):
        if re.match(r"[a-z]+:", target):
            continue
        path = folder / target if target else ROOT / document
        if not path.exists() or (anchor and anchor not in anchors_of(path)):
            lost.append(f"{target}#{anchor}")

    assert lost == []


@pytest.mark.parametrize("page", FOLLOWED)
def test_every_block_is_run_or_says_why_not(page: str) -> None:
    text = text_of(page)

    assert len(read_page(text).blocks) == len(re.findall(r"^```\w", text, re.MULTILINE))


@pytest.mark.parametrize("page", FOLLOWED)
def test_lines_of_settings_are_settings(page: str, tmp_path: Path) -> None:
    names = {str(field.validation_alias) for field in Settings.model_fields.values()}
    for number, block in enumerate(read_page(text_of(page)).blocks):
        if block.language == "ini":
            lines = tmp_path / f"{number}.env"
            lines.write_text(block.text, encoding="utf-8")
            assert set(re.findall(r"^(\w+)=", block.text, re.MULTILINE)) <= names
            Settings(_env_file=lines)


def test_a_block_of_no_known_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="zsh"):
        read_page("```zsh\nls\n```\n")


def test_a_block_that_is_not_run_has_a_reason() -> None:
    with pytest.raises(ValueError, match="not run"):
        read_page("<!-- not run: -->\n```bash\nls\n```\n")


@pytest.mark.parametrize(
    ("shown", "printed", "agrees"),
    [
        ("status 1 (success)", "blockNumber 7\nstatus    1 (success)", True),
        ("status 1 (success)", "status 0 (failed)", False),
        ("Verifier  0x5fbdb2315678afec  5,280,495 gas", "Verifier  0xe7f1725e7734ce28  5,280,501 gas", True),
        ('{"action": "buy", "p": 0.5}', '{"action": "buy", "p": 0.25}', True),
        ('{"action": "buy", "p": 0.5}', '{"action": "sell", "p": 0.5}', False),
        ('{"action": "buy"}', '{"action": "buy", "proof": {}}', False),
        ('{"answer": "HELLO…"}', '{"answer": "HELLO THERE"}', True),
        ('"The capital of France is Paris."', '"The capital of France is Rome."', False),
        ('{"vector": [0.1, "…"]}', '{"vector": [0.2, 0.3, 0.4]}', True),
    ],
)
def test_an_output_is_compared_but_for_what_differs_from_run_to_run(
    shown: str, printed: str, agrees: bool
) -> None:
    assert is_as_shown(printed, shown) is agrees
