"""A usage topic of the test's own, and workers on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.makers.dedupe_topics import Topics
from tests.makers.dedupe_workers import Worker, ended
from trueup.runtime.settings import StreetSettings

MakeWorker = Callable[..., Worker]


@pytest.fixture
def street(kafka_settings: StreetSettings) -> Topics:
    """The declared topics under the system clock, 4 partitions, with a catalogue."""
    made = Topics(kafka_settings)
    made.apply_catalogue()
    return made


@pytest.fixture
def make_worker(tmp_path: Path) -> Iterator[MakeWorker]:
    """Makes workers that end with the test: `make_worker("dedupe-1", settings)`."""
    with ExitStack() as ending:

        def make(name: str, settings: StreetSettings, **options: object) -> Worker:
            worker = Worker(name, settings, tmp_path, **options)  # type: ignore[arg-type]
            ending.enter_context(ended(worker))
            return worker

        yield make
