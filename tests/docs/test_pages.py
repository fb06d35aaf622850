"""The README, the tutorials and the how-tos, followed to the letter."""

from pathlib import Path

import pytest

from tests.walkthrough import FOLLOWED, ROOT, follow, read_page


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All pages share the cache of models, as on a reader's machine."""
    return tmp_path_factory.mktemp("places")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", FOLLOWED)
def test_a_page_does_what_it_says(places: Path, page: str) -> None:
    folder = places / page.replace("/", "-").removesuffix(".md")
    folder.mkdir()

    follow(read_page((ROOT / page).read_text(encoding="utf-8")), folder)
