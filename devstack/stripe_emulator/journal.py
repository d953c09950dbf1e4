"""What the emulator remembers over a kill: one line per request that changed something, written before its answer."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Record = dict[str, Any]


class JournalDamaged(Exception):
    """A line in the middle of the journal can't be read: the books can't be trusted any more."""


class Journal:
    """An append-only file of JSON lines, each the list of records that one request caused.

    A line is handed to the operating system in one write before the answer goes out, so it outlives a killed process
    (not a killed machine: nothing is forced to disk). A torn last line belongs to a request that was never answered and is cut off.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        # Two emulators on one folder would each know half of the truth; the lock ends with the process, however it ends.
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._torn = False

    def replay(self) -> Iterator[Record]:
        """Give every record written so far, in order, and cut off a torn tail."""
        whole = 0
        with self._path.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                try:
                    records: list[Record] = json.loads(line)
                except ValueError as error:
                    raise JournalDamaged(f"{self._path} is damaged at byte {whole}") from error
                yield from records
                whole += len(line)
        os.ftruncate(self._file, whole)

    def write(self, records: list[Record]) -> None:
        """Append the records of one request as one line."""
        if self._torn:
            raise JournalDamaged(f"an earlier write to {self._path} failed; a restart cuts its torn line off")
        line = json.dumps(records, separators=(",", ":")).encode() + b"\n"
        self._torn = True
        written = 0
        while written < len(line):
            written += os.write(self._file, line[written:])
        self._torn = False

    def close(self) -> None:
        """Give the file and its lock back."""
        os.close(self._file)
