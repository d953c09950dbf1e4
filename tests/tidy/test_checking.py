"""`make check` holds what it is said to hold, and so does what runs before a commit."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.tidy.source import REPOSITORY

SCHEMAS = "tests/unit/contracts/test_schemas.py"


def recipe(target: str) -> str:
    """The lines under a target of the Makefile."""
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    "part",
    [
        "ruff format --check",
        "ruff check",
        "mypy",
        "lint-imports",
        "squawk",
        "pytest -q tests/tidy",
        SCHEMAS,
        "tests/unit/contracts/test_golden.py",
    ],
)
def test_make_check_holds_each_part(part: str) -> None:
    """Format, lint, types, import contracts, SQL, the house's rules with promtool among them, schema compatibility."""
    assert part in recipe("check")


def test_a_schema_is_compared_before_it_is_committed() -> None:
    """With every released version, in both directions."""
    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    (schemas,) = [hook for hook in hooks if SCHEMAS in hook["entry"]]
    assert re.search(schemas["files"], "schemas/usage_event.avsc")
    assert (REPOSITORY / SCHEMAS).is_file()
    assert "test_promtool" in (REPOSITORY / "tests" / "tidy" / "test_watching.py").read_text(encoding="utf-8")
