"""The floor plan: the tree of docs/plan.md, the directions of imports, and the sizes of files."""

from __future__ import annotations

import ast
import re
import tomllib
from dataclasses import fields
from itertools import chain
from pathlib import Path

import pytest

from ehtseg.jobs import results
from ehtseg.jobs.analysis import FILES as ANALYSED
from ehtseg.measuring.changes import Change
from ehtseg.measuring.events import Effect
from ehtseg.measuring.flow import FlowFrame
from ehtseg.measuring.looks import Look
from ehtseg.measuring.manifest import NEEDED, OPTIONAL
from ehtseg.measuring.posts import PostFrame
from ehtseg.measuring.shapes import FrameShape
from ehtseg.reporting.how import HOW

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "ehtseg"
FILES = sorted(SOURCE.rglob("*.py"))
ORDER = [
    "records", "recipe", "reading", "nets", "seeing", "learning",
    "measuring", "reporting", "study", "jobs", "doors", "__main__",
]  # fmt: skip
NUMPY_ONLY = {"measuring", "reporting"}


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_by(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


def uphill(room: str, imports: set[str]) -> set[str]:
    """Imports of a room that lead up the order, or to the package's own __init__."""
    own = {name for name in imports if name.split(".")[0] == "ehtseg"}
    return {n for n in own if n == "ehtseg" or ORDER.index(n.split(".")[1]) > ORDER.index(room)}


def planned_files() -> set[str]:
    """The files that the floor plan names, below src/ehtseg."""
    text = (ROOT / "docs" / "plan.md").read_text(encoding="utf-8")
    block = re.search(r"```text\nsrc/ehtseg/\n(.*?)```", text, re.S)
    assert block, "docs/plan.md prints no tree"
    files, room = set(), ""
    for line in block[1].splitlines():
        name = line.split()[0]
        if name.endswith("/"):
            room = name
        else:
            files.add((room if line.startswith("    ") else "") + name)
    return files


def deepest(node: ast.AST, depth: int = 0) -> int:
    inner = (ast.If, ast.For, ast.While, ast.With, ast.Try)
    here = depth + isinstance(node, inner)
    return max([here, *(deepest(child, here) for child in ast.iter_child_nodes(node))])


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_file_keeps_the_manners(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    room = room_of(path)
    assert len(text.splitlines()) <= 320, "about 300 lines a file"
    assert text == "" or ast.get_docstring(tree), "every file says what it is for"
    if room != "__init__":
        assert room in ORDER, f"no such room: {room}"
        assert not uphill(room, imported_by(tree)), "imports run downhill"
    if room in NUMPY_ONLY:
        assert not {n for n in imported_by(tree) if n.split(".")[0] in ("torch", "torchvision")}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, f"{node.name} is too long"
            assert deepest(node) <= 4, f"{node.name} is nested too deep"
            arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
            own = [a for a in arguments if a.arg not in ("self", "cls")]
            assert len(own) <= 7 or room == "doors", f"{node.name} takes too many arguments"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print" or room == "doors", "only the doors print"
        if isinstance(node, ast.ExceptHandler):
            caught = node.type.id if isinstance(node.type, ast.Name) else node.type
            assert caught not in (None, "Exception", "BaseException"), "a broad except hides bugs"


def test_the_plan_names_every_file_and_no_other() -> None:
    on_disk = {str(p.relative_to(SOURCE)) for p in FILES if p.name != "__init__.py"}
    planned = planned_files()
    assert planned - on_disk == set(), "planned, but not on disk"
    assert on_disk - planned == set(), "on disk, but not in the plan"


def test_the_readme_is_short_and_names_every_room() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    rooms = [line.split()[0] for line in lines if re.match(r"  [a-z]+(/|\.py) ", line)]
    assert [room.removesuffix("/").removesuffix(".py") for room in rooms] == ORDER[:-1]


def test_the_formats_name_every_file_and_column() -> None:
    text = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    of_frames = [f.name for kind in (FrameShape, FlowFrame, Look, PostFrame) for f in fields(kind)]
    of_times = [f.name for kind in (Effect, Change) for f in fields(kind)]
    columns = {name.removesuffix("_px") for name in (*results.COLUMNS, *of_frames)}
    columns |= {*of_times, *HOW, *NEEDED, *OPTIONAL} - {"name", "event", "notes", "force"}
    said = set(re.findall(r"[\w.]+", text))
    files = {*results.FILES, *ANALYSED}
    assert {name for name in columns | files if not said & {name, f"{name}_px"}} == set()


def test_exact_versions_stand_in_constraints_only() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    floors = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    assert not [floor for floor in floors if "==" in floor]
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert all("==" in pin for pin in pins if pin and not pin.startswith("#"))


def test_the_rules_can_fail() -> None:
    assert uphill("reading", {"ehtseg.nets.build"}) == {"ehtseg.nets.build"}
    assert uphill("jobs", {"ehtseg", "ehtseg.records"}) == {"ehtseg"}
    assert uphill("learning", {"ehtseg.seeing.predict", "numpy"}) == set()
    assert deepest(ast.parse("if a:\n  for b in c:\n    with d: pass")) == 3
