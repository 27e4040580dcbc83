"""Figures and pictures as text that a page holds itself, so that it needs no other file."""

from __future__ import annotations

import base64
import io

import matplotlib as mpl
from matplotlib.figure import Figure

from ehtseg.reporting.figures import STYLE


def as_svg(figure: Figure, title: str = "") -> str:
    """A figure as SVG, without the date: the same figure gives the same text."""
    file, named = io.StringIO(), {"Title": title} if title else {}
    with mpl.rc_context(STYLE):
        figure.savefig(file, format="svg", metadata={"Date": None, **named})
    return file.getvalue()


def as_address(content: bytes | str, kind: str = "svg+xml") -> str:
    """A picture, of the `kind` image/KIND, as the address of itself.

    >>> as_address("<svg/>")
    'data:image/svg+xml;base64,PHN2Zy8+'
    """
    whole = content.encode() if isinstance(content, str) else content
    return f"data:image/{kind};base64,{base64.b64encode(whole).decode()}"
