"""Every verb, option and target that a page tells a person to type is there: a runbook that names another one costs minutes at night."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main

from trueup.cli.__main__ import app

ROOT = Path(__file__).parents[2]
# Decision records and the log of changes tell of what was.
PAGES = sorted(
    page
    for pattern in (
        "*.md",
        "docs/*.md",
        "docs/runbook/*.md",
        "deploy/**/*",
        "services/*/README.md",
        "trueup/*/README.md",
        "devstack/**/README.md",
    )
    for page in ROOT.glob(pattern)
    if page.suffix in {".md", ".yaml", ".yml", ".example"} and page.name != "CHANGELOG.md"
)
COMMAND = re.compile(r"(?<![\w./-])trueup ((?:[a-z][a-z-]*\|?)+)(?: ((?:[a-z][a-z-]*\|?)+))?([^`\n]*)")
VERBS: Any = typer.main.get_command(app)
TARGETS = {line.partition(":")[0] for line in (ROOT / "Makefile").read_text().splitlines() if re.match(r"[a-z-]+:", line)}


def quoted(text: str) -> list[str]:
    """What stands in code: between backticks on a line, and in fenced or indented blocks."""
    fenced = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return re.findall(r"`([^`\n]+)`", text) + [line for block in fenced for line in block.splitlines()]


def faults(line: str) -> list[str]:
    """What of a line nobody could type."""
    found = [f"make {target}" for target in re.findall(r"(?<![\w./-])make ([a-z][a-z-]*)", line) if target not in TARGETS]
    for nouns, verbs, rest in COMMAND.findall(line):
        for noun in nouns.split("|"):
            command = VERBS.commands.get(noun)
            if hasattr(command, "commands"):
                found += [f"trueup {noun} {verb}" for verb in verbs.split("|") if verb and verb not in command.commands]
                command = command.commands.get(verbs) if "|" not in verbs else None
            elif command is None:
                found.append(f"trueup {noun}")
            if command is not None:
                known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
                found += [
                    " ".join(filter(None, ("trueup", noun, verbs, option)))
                    for option in re.findall(r"(?<!\S)(--[a-z-]+)", rest)
                    if option not in known
                ]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_what_can_be_typed(page: Path) -> None:
    assert [fault for line in quoted(page.read_text(encoding="utf-8")) for fault in faults(line)] == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("trueup review list", ["trueup review"]),
        ("trueup period show --json", []),
        ("trueup period shown", ["trueup period shown"]),
        ("trueup prove --required all", ["trueup prove --required"]),
        ("stripe arm|disarm", []),
        ("trueup stripe arm|disarmed", ["trueup stripe disarmed"]),
        ("make demo; make supper", ["make supper"]),
    ],
)
def test_what_is_not_there_is_found(line: str, found: list[str]) -> None:
    assert faults(line) == found
