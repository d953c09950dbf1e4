"""Every room has the same furniture; nothing has a name that says nothing."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.tidy.source import OURS, REPOSITORY, Fault, calls_and_imports, files, python_files

FURNITURE = {"__init__", "__main__", "app", "core", "ports", "adapters", "config", "metrics", "README"}
SAYS_NOTHING = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "base", "stuff"}
LINES_MAX = 400
FUNCTION_LINES_MAX = 50
# Names may leave these sets, never enter.
STILL_LONG_FILES: frozenset[str] = frozenset()
STILL_LONG_FUNCTIONS = frozenset(
    {
        # One object of Stripe's with all its fields: as long as Stripe made it.
        "devstack/stripe_emulator/invoices.py:_invoice",
        "devstack/stripe_emulator/subscriptions.py:_subscription",
    }
)


def rooms() -> list[Path]:
    return [path for path in (REPOSITORY / "services").iterdir() if path.is_dir() and (path / "__init__.py").exists()]


def test_rooms_have_the_same_furniture() -> None:
    """So nobody asks where the retry is. A piece may be missing or become a folder; none is renamed or added."""
    assert rooms()
    strange = [
        f"{room.name}/{piece.name}"
        for room in rooms()
        for piece in room.iterdir()
        if piece.stem not in FURNITURE and piece.name != "__pycache__"
    ]
    assert not strange


def test_every_room_says_what_it_owns_promises_and_refuses() -> None:
    """A README of one screen, in the room itself."""
    for room in rooms():
        text = (room / "README.md").read_text(encoding="utf-8")
        assert all(word in text.lower() for word in ("owns", "promises", "refuses")), room.name
        assert len(text.splitlines()) <= 60, f"{room.name}: more than one screen"


def test_names_say_something() -> None:
    """What a file called utils holds, nobody can know."""
    assert not [path for path in files() if path.endswith(".py") and SAYS_NOTHING & set(Path(path).with_suffix("").parts)]


def test_files_and_functions_are_short() -> None:
    """Two rooms in one file, or two thoughts in one function, are found by their length."""
    faults = []
    for path, text in python_files(*OURS):
        lines = text.count("\n")
        if lines > LINES_MAX and path not in STILL_LONG_FILES:
            faults.append(Fault(path, 1, f"{lines} lines"))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES_MAX and f"{path}:{node.name}" not in STILL_LONG_FUNCTIONS:
                    faults.append(Fault(path, node.lineno, f"{node.name} has {length} lines"))
    assert not faults, "\n".join(map(str, faults))


def test_the_judge_imports_nothing_of_ours() -> None:
    """The emulator judges what we send; what it shared with us could be wrong on both sides alike."""
    ours = ("trueup.", "services.", "devstack.", ".")
    faults = [
        Fault(path, line, name)
        for path, text in python_files("devstack/stripe_emulator")
        for line, name in calls_and_imports(ast.parse(text))
        if name.startswith(ours) and not name.startswith("devstack.stripe_emulator")
    ]
    assert not faults, "\n".join(map(str, faults))


def test_nothing_is_mocked_or_passed_over() -> None:
    """A skipped test is a claim nobody checks; a mock of our own code proves the mock."""
    words = (
        "unittest.mock",
        "pytest.skip",
        "pytest.mark.skip",
        "pytest.mark.skipif",
        "pytest.mark.xfail",
        "pytest.importorskip",
        "pytest.xfail",
    )
    faults = [
        Fault(path, line, name)
        for path, text in python_files("tests")
        for line, name in calls_and_imports(ast.parse(text))
        if any(name == word or name.startswith(f"{word}.") for word in words)
    ]
    assert not faults, "\n".join(map(str, faults))


def test_no_file_names_one_machine() -> None:
    """A clone may lie anywhere."""
    here = "/".join(("", "work", ""))  # written so that this file does not trip itself
    faults = []
    for path in files():
        if path.endswith((".py", ".md", ".toml", ".sql", ".sh", ".yml", ".yaml", ".lock")) or path in {"Makefile", ".ci/run"}:
            for number, line in enumerate((REPOSITORY / path).read_text(encoding="utf-8", errors="replace").splitlines(), 1):
                if here in line and "net" + here not in line:
                    faults.append(Fault(path, number, line.strip()[:80]))
    assert not faults, "\n".join(map(str, faults))


def test_the_lock_names_no_place_to_fetch_from() -> None:
    """Where packages come from is the machine's business; what they are is ours."""
    lines = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8").splitlines()
    assert sum("--hash=sha256:" in line for line in lines) > len([line for line in lines if "==" in line]) > 50
    assert not [
        line for line in lines if "://" in line or line.lstrip().startswith(("-i", "--index", "--extra-index", "--find-links", "--trusted"))
    ]
