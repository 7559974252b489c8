"""Which rooms import which: from the bottom up, and never back."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

FLOORS = (
    ("utilities",),
    ("records", "language_model"),
    ("facts",),
    ("activations", "deltas"),
    ("tuning", "tasks", "measures"),
    ("editors", "attribution", "drift"),
    ("reports",),
    ("guards", "recoverability"),
    ("pages", "surgery"),
    ("erasers", "rewriters"),
    ("sweeps",),
    ("analysis",),
    ("detection", "verification"),
    ("run_folder", "checkpoint_io", "training_checks", "training_steps", "validation_steps"),
    ("fine_tuner", "data_module", "world"),
    ("callbacks", "cycles"),
    ("cli",),
    ("__main__",),
)
"""Rooms import rooms of lower floors only, not even their neighbors."""

FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
FIRST_WITH_LIGHTNING = FLOOR_OF["run_folder"]

FILES = sorted([*ROOT.glob("edit_lit/**/*.py"), *ROOT.glob("callbacks/**/*.py")])
MODULES = [path for path in FILES if path != ROOT / "edit_lit" / "__init__.py"]


def room_of(dotted: str) -> str | None:
    """The room of a module; none if it is not ours, or is the package itself."""
    parts = dotted.split(".")
    if parts[0] == "callbacks":
        return "callbacks"
    return parts[1] if parts[0] == "edit_lit" and len(parts) > 1 and not parts[1].startswith("__v") else None


def imports(path: Path) -> Iterator[str]:
    """Every module or name that a file imports, wherever in the file, by its full name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def home(path: Path) -> str:
    room = room_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
    assert room is not None
    return room


def test_every_room_has_its_floor():
    assert {home(path) for path in MODULES} == set(FLOOR_OF)


@pytest.mark.parametrize("room", FLOOR_OF)
def test_a_room_imports_lower_floors_only(room):
    for path in (path for path in MODULES if home(path) == room):
        for name in imports(path):
            other = room_of(name)
            if other not in (None, room):
                assert other in FLOOR_OF, f"{path} imports {name}, which has no floor"
                assert FLOOR_OF[other] < FLOOR_OF[room], f"{path} imports {name}, which is not below it"


@pytest.mark.parametrize("room", ["world", "callbacks"])
def test_only_the_command_line_imports_the_world_and_the_callbacks(room):
    users = {home(path) for path in MODULES for name in imports(path) if room_of(name) == room}
    assert users - {room} == {"cli"}


def test_lightning_stays_upstairs():
    users = {home(path) for path in MODULES for name in imports(path) if name.split(".")[0] == "lightning"}
    assert {"fine_tuner", "data_module", "callbacks", "cli"} <= users
    assert min(FLOOR_OF[room] for room in users) == FIRST_WITH_LIGHTNING
    assert "world" not in users


def test_no_private_name_of_another_package_is_imported():
    for path in MODULES:
        for name in imports(path):
            private = [part for part in name.split(".") if part.startswith("_") and not part.endswith("__")]
            assert not private or room_of(name) == home(path), f"{path} imports {name}"


def test_what_few_runs_need_is_imported_where_it_is_needed():
    for path in MODULES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                assert not any(name.split(".")[0] == "datasets" for name in names), path
