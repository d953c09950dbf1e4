"""What the house's own rules look at: the files of the repository, as text and as trees."""

from __future__ import annotations

import ast
import functools
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
OURS = ("trueup", "services", "devstack")


@dataclass(frozen=True, slots=True)
class Fault:
    """A place that breaks a rule."""

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


@functools.cache
def files() -> tuple[str, ...]:
    """Every file of the work tree that git would keep, so that caches and downloads are not looked at."""
    listed = subprocess.run(
        ("git", "ls-files", "--cached", "--others", "--exclude-standard"), cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return tuple(sorted(name for name in listed.stdout.splitlines() if (REPOSITORY / name).is_file()))


def python_files(*roots: str) -> Iterator[tuple[str, str]]:
    """Path and text of our Python files under these folders."""
    for name in files():
        if name.endswith(".py") and name.startswith(tuple(f"{root}/" for root in roots)):
            yield name, (REPOSITORY / name).read_text(encoding="utf-8")


def calls_and_imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every dotted name that is used or imported, with its line: `time.time`, `datetime.datetime.now`, `trueup.runtime`."""
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                known[name.asname or name.name.partition(".")[0]] = name.name if name.asname else name.name.partition(".")[0]
                yield node.lineno, name.name
        elif isinstance(node, ast.ImportFrom):
            for name in node.names:
                full = f"{'.' * node.level}{node.module or ''}.{name.name}"
                known[name.asname or name.name] = full
                yield node.lineno, full
    for node in ast.walk(tree):
        dotted = _dotted(node)
        if isinstance(node, ast.Attribute) and dotted is not None:
            first, _, rest = dotted.partition(".")
            yield node.lineno, f"{known.get(first, first)}.{rest}"


def _dotted(node: ast.AST) -> str | None:
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return ".".join(reversed([*names, node.id])) if names and isinstance(node, ast.Name) else None
