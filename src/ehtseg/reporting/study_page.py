"""A document, as of a study: one HTML page that needs nothing else, its Markdown twin, their parts.

report.html, report.md   the same document twice
figures/*.svg            every figure
tables/*.csv, *.md       every table: the numbers, and what the page shows

Nothing here depends on when or where it is written: the same document gives the same bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ehtseg.records import written_whole
from ehtseg.reporting.document import Block, Document, Picture, Points, Table
from ehtseg.reporting.embedded import as_address, as_svg
from ehtseg.reporting.page import templates
from ehtseg.reporting.tables import write_rows

OWN = {"figures": ("*.svg",), "tables": ("*.csv", "*.md")}  # what a new report takes the place of


def write_document(document: Document, folder: Path) -> Path:
    """Write page, twin, figures and tables into a folder; returns the page.

    Raises: UserError where the folder cannot be made or the disk is full.
    """
    drawn = figures_of(document)
    for name, svg in drawn.items():
        _write(folder / "figures" / f"{name}.svg", svg)
    for table in document.each(Table):
        with written_whole(folder / "tables" / f"{table.name}.csv") as beside:
            write_rows(beside, (line.values for line in table.lines))
        _write(folder / "tables" / f"{table.name}.md", as_markdown(table))
    _write(folder / "report.md", markdown(document))
    _write(folder / "report.html", html(document, drawn))
    _forget_others(folder, document)
    return folder / "report.html"


def figures_of(document: Document) -> dict[str, str]:
    """Every figure as SVG, by its name."""
    return {picture.name: as_svg(picture.figure) for picture in document.each(Picture)}


def html(document: Document, drawn: dict[str, str]) -> str:
    """The page, with its figures inside (`drawn`: SVG by name)."""
    page = templates().get_template("study.html.j2")
    context: dict[str, Any] = {
        "document": document,
        "kind": lambda block: type(block).__name__,
        "address": lambda block: as_address(drawn[block.name]),
    }
    return page.render(context)


def markdown(document: Document) -> str:
    """The document as Markdown; figures are named by their files."""
    parts = [f"# {_escaped(document.title)}", _escaped(document.subtitle)]
    for section in document.sections:
        parts.append(f"## {_escaped(section.title)}")
        parts += [as_markdown(block) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def as_markdown(block: Block) -> str:
    """One block as Markdown."""
    if isinstance(block, str):
        return _escaped(block)
    if isinstance(block, Points):
        return "\n".join(f"- {_escaped(sentence)}" for sentence in block.sentences)
    if isinstance(block, Picture):
        shown = f"![{_escaped(block.title)}](figures/{block.name}.svg)"
        return _joined(f"**{_escaped(block.title)}**", shown, _escaped(block.note))
    rule = ["---", *("---" if name in block.words else "---:" for name in block.columns[1:])]
    rows = [block.columns, rule, *(line.shown for line in block.lines)]
    text = "\n".join("| " + " | ".join(map(_escaped, row)) + " |" for row in rows)
    return _joined(f"**{_escaped(block.title)}**", text, _escaped(block.note))


def _forget_others(folder: Path, document: Document) -> None:
    """Remove figures and tables of a former report that this one does not have."""
    kept = {block.name for block in (*document.each(Picture), *document.each(Table))}
    for name, patterns in OWN.items():
        former = (path for pattern in patterns for path in (folder / name).glob(pattern))
        for path in [path for path in former if path.stem not in kept]:
            path.unlink()


def _write(path: Path, text: str) -> None:
    with written_whole(path) as beside:
        beside.write_text(text, encoding="utf-8")


def _joined(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is, in a cell as well."""
    for sign, shown in (("\\", "\\\\"), ("|", "\\|"), ("*", "\\*"), ("<", "&lt;"), ("\n", " ")):
        text = text.replace(sign, shown)
    return text
