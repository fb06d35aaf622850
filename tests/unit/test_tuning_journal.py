"""A tuning that was interrupted goes on with what it had found."""

from pathlib import Path

import pytest

from adapters.ezkl_proof.tuning_journal import TuningJournal


def forbidden() -> int:
    raise AssertionError("found again")


def test_a_finding_is_found_once_and_survives(tmp_path: Path) -> None:
    file = tmp_path / "tuning.json"
    assert TuningJournal(file, "a").finding("scale", lambda: [7, 0.5]) == [7, 0.5]

    assert TuningJournal(file, "a").finding("scale", forbidden) == [7, 0.5]


def test_a_refusal_is_a_finding_too(tmp_path: Path) -> None:
    TuningJournal(tmp_path / "tuning.json", "a").finding("layout", lambda: None)

    assert TuningJournal(tmp_path / "tuning.json", "a").finding("layout", forbidden) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"fingerprint": "b", "findings": {"scale": 3}}'])
def test_a_file_that_is_broken_or_of_another_tuning_is_forgotten(tmp_path: Path, content: str) -> None:
    (tmp_path / "tuning.json").write_text(content)

    assert TuningJournal(tmp_path / "tuning.json", "a").finding("scale", lambda: 5) == 5
