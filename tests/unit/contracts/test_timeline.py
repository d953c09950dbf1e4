"""Which version of the catalogue decides: a function of append time alone."""

import pytest

from trueup.contracts.catalogue import Timeline, parse
from trueup.contracts.errors import Broken

ONE, TWO, THREE = (parse(f'[meter.x]\nbilling_window = "PT{minutes}M"\n') for minutes in (1, 2, 3))
START = 1_700_000_000_000
LATER = Timeline.from_appended([(1, START, ONE), (2, START + 100_000, TWO), (5, START + 200_000, THREE)])


@pytest.mark.parametrize(
    ("append_ms", "version"),
    [
        (-1, 1),
        (0, 1),
        (START - 1, 1),
        (START, 1),
        (START + 100_000, 1),
        (START + 159_999, 1),
        (START + 160_000, 2),
        (START + 259_999, 2),
        (START + 260_000, 5),
        (2**62, 5),
    ],
)
def test_in_force(append_ms: int, version: int) -> None:
    """The first from the beginning, each later one 60 s after its append."""
    assert LATER.in_force_at(append_ms) == (version, {1: ONE, 2: TWO, 5: THREE}[version])


def test_no_version_decides_nothing() -> None:
    """The room waits."""
    with pytest.raises(LookupError):
        Timeline().in_force_at(START)


def test_the_same_version_again_changes_nothing() -> None:
    """Topics are read at least once."""
    assert LATER.with_version(2, START + 300_000, TWO) == LATER


@pytest.mark.parametrize(("version", "catalogue"), [(2, ONE), (4, TWO), (5, ONE), (1, THREE)])
def test_another_content_under_an_old_number_is_broken(version: int, catalogue: object) -> None:
    """Decisions were taken under it: they can't be taken back."""
    with pytest.raises(Broken):
        LATER.with_version(version, START + 300_000, catalogue)  # type: ignore[arg-type]


def test_order_on_the_topic_stands_over_append_times() -> None:
    """A clock that was set back can't put a version before the one it follows."""
    timeline = Timeline.from_appended([(1, START, ONE), (2, START + 100_000, TWO), (3, START + 50_000, THREE)])
    assert timeline.in_force_at(START + 159_999)[0] == 1
    assert timeline.in_force_at(START + 160_000)[0] == 3


def test_versions_are_shown_in_order() -> None:
    """For those who list them."""
    assert [(entry.version, entry.in_force_from_ms) for entry in LATER.versions[1:]] == [(2, START + 160_000), (5, START + 260_000)]
