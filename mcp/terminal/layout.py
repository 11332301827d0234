"""Width of text on a terminal, and columns that fit it. Pure."""

import unicodedata
from collections.abc import Sequence

GAP = 2  # cells between two columns
NARROWEST = 8  # no column is cut below this, nor below its header
CUT_LAST = ("SERVICE", "COMPONENT", "NODE", "WHEN")  # needed whole: names to type, and times


def display_width(text: str) -> int:
    """Return the number of cells that text takes: 2 for East Asian wide characters, 0 for combining ones."""
    if text.isascii():
        return len(text)
    return sum(map(_cells, text))


def _cells(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def cut(text: str, width: int) -> str:
    """Return text that takes at most `width` cells, ending in … if something was cut off."""
    if display_width(text) <= width:
        return text
    end, left = 0, width - 1
    while left >= 0 and end < len(text) and (left := left - _cells(text[end])) >= 0:
        end += 1
    return text[:end].rstrip() + "…" if width > 0 else ""


def pad(text: str, width: int) -> str:
    """Return text followed by spaces up to `width` cells."""
    return text + " " * (width - display_width(text))


def fit(widths: Sequence[int], headers: Sequence[str], columns: int) -> list[int]:
    """Narrow the widest columns until the table takes at most `columns` cells, or none can be cut further.

    Those in CUT_LAST are narrowed only once all others are as narrow as they can be.
    """
    named = list(zip(headers, widths, strict=True))
    narrow = [min(width, max(NARROWEST, display_width(name))) for name, width in named]
    others = [width if name in CUT_LAST else least for (name, width), least in zip(named, narrow, strict=True)]
    return _narrowed(_narrowed(widths, others, columns), narrow, columns)


def _narrowed(widths: Sequence[int], floors: Sequence[int], columns: int) -> list[int]:
    fitted = list(widths)
    for _ in range(sum(fitted) + GAP * (len(fitted) - 1) - columns):
        room, widest = max((width if width > floors[index] else 0, index) for index, width in enumerate(fitted))
        if not room:
            break
        fitted[widest] -= 1
    return fitted
