"""Files of our own tree: a source checkout or an unpacked zipapp.

The root is derived from the name of this module, so that no path depends on the location of other modules.
"""

import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[__name__.count(".")]  # the parent of `agent`, `mcp`, `proto` and `deploy`


def source_tree() -> Path | None:
    """Return the source checkout that this program runs from; None in a zipapp."""
    return ROOT if (ROOT / "build.py").is_file() else None


def deploy_file(name: str) -> str:
    """Return the text of a file of deploy/; in a zipapp only those that build.py packs are there."""
    return (ROOT / "deploy" / name).read_text(encoding="utf-8")


def module_argv(module: ModuleType) -> list[str]:
    """Build the argv of a Python that runs `main()` of one of our modules; arguments may follow.

    It has the standard library and our tree only, and does not run site: it starts in 20 ms.
    """
    code = f"import sys; sys.path.append({str(ROOT)!r}); from {module.__name__} import main; main()"
    return [sys.executable, "-I", "-S", "-c", code]
