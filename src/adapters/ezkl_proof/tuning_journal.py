"""What a tuning found so far, in a file, so that one that was interrupted goes on where it was."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


class TuningJournal:
    """Findings by name.

    Args:
        file: kept up to date after each finding; None: nothing is kept.
        fingerprint: of what is tuned; a file about something else is forgotten.
    """

    def __init__(self, file: Path | None, fingerprint: str) -> None:
        self._file = file
        self._fingerprint = fingerprint
        self._findings: dict[str, Any] = {}
        if file is not None and file.is_file():
            try:
                content = json.loads(file.read_text(encoding="utf-8"))
                if content["fingerprint"] == fingerprint:
                    self._findings = content["findings"]
            except (ValueError, KeyError, TypeError):
                return  # of a tuning that was interrupted while it wrote

    def finding(self, name: str, find: Callable[[], Any]) -> Any:
        """Return a finding: as it was written, or found now. It must be JSON."""
        if name not in self._findings:
            self._findings[name] = find()
            if self._file is not None:
                content = {"fingerprint": self._fingerprint, "findings": self._findings}
                self._file.write_text(json.dumps(content), encoding="utf-8")
        return self._findings[name]
