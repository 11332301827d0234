"""Regenerate the field tables in docs/ from the declarations: `python -m tools.reference`."""

import re
import sys
from collections.abc import Iterable, Iterator

from mcp.config.configuration import ConfigFile
from mcp.definitions.definitions import document_fields
from mcp.shared.fields import Field, FieldKind, fields_of, in_file_order
from mcp.shared.resources import ROOT

TABLES: dict[str, Iterable[Field]] = {"services.md": document_fields(), "install.md": fields_of(ConfigFile)}
BLOCK = re.compile(r"(?<=<!-- fields, written by tools/reference.py -->\n).*?(?=<!-- end of fields -->)", re.S)


def with_table(text: str, fields: Iterable[Field]) -> str:
    """Return a document with its field table regenerated."""
    lines = ["| field | type | default | meaning |", "|---|---|---|---|", *_rows("", fields)]
    return BLOCK.sub(lambda _: "".join(f"{line}\n" for line in lines), text)


def _rows(path: str, fields: Iterable[Field]) -> Iterator[str]:
    for field in in_file_order(fields):
        cells = (f"`{path}{field.name}`", field.kind, _default(field), field.doc)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
        if field.model is not None:
            yield from _rows(f"{path}{field.name}.", fields_of(field.model))


def _default(field: Field) -> str:
    if field.required:
        return "required"
    if field.kind is FieldKind.FLAG:
        return f"`{str(field.default).lower()}`"
    return field.unset or (f"`{field.default}`" if field.default and field.kind is FieldKind.TEXT else "")


def main() -> int:
    """Regenerate all documents."""
    for name, fields in TABLES.items():
        path = ROOT / "docs" / name
        path.write_text(with_table(path.read_text(), fields))
    return 0


if __name__ == "__main__":
    sys.exit(main())
