"""Edit a definition in a copy, which replaces the original only if valid and is kept otherwise."""

import errno
import os
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mcp.config.configuration import Config
from mcp.definitions import definitions, neighbours
from mcp.definitions.template import template
from mcp.shared.errors import InvalidFile, McpError, NotReady
from mcp.shared.files import Unusable, make_folder, mode_of, read_file, write_atomic
from mcp.shared.proc import on_terminal
from mcp.shared.toml import read_text
from mcp.terminal import output


@dataclass(frozen=True)
class _Original:
    """The file before editing."""

    path: Path
    content: bytes | None  # None: the file did not exist

    def replace(self, content: bytes, copy: Path) -> None:
        """Write the content of the copy unless the file changed meanwhile; raises McpError that names the copy."""
        hint = f"your version is {copy}"
        if _read(self.path) != self.content:
            raise NotReady(f"{self.path} was changed by another process meanwhile", hint)
        try:
            make_folder(self.path.parent)
            write_atomic(self.path, content, mode_of(self.path), follow=True)  # 0600 if new: `env` may have secrets
        except McpError as error:
            raise McpError(error.what, hint) from None


def edit(config: Config, service: str) -> bool:
    """Open a definition, or the template of a new one, in the editor; return True if it changed.

    Raises McpError; if the copy is invalid, InvalidFile with all problems and the path of the copy.
    """
    path = definitions.definition_path(config, service)
    content = _read(path)
    before = content if content is not None else template(service, _first_node(config)).encode()
    copy = _copy(service, before)
    try:
        return _edit_copy(config, service, _Original(path, content), copy, before)
    finally:
        if _read(copy) == before:
            copy.unlink()


def _edit_copy(config: Config, service: str, original: _Original, copy: Path, before: bytes) -> bool:
    while True:
        failure = _run_editor(copy)
        after = _read(copy)
        if failure:
            hint = "nothing was changed" if after in (None, before) else f"nothing was changed; it left {copy}"
            raise McpError(failure, hint)
        if after is None:
            raise McpError(f"the editor removed {copy}", f"{original.path} is unchanged")
        if after == before:
            return False
        try:
            _check(config, service, copy)
            break
        except InvalidFile as error:
            _offer_again(error, original.path, copy)
    original.replace(after, copy)
    copy.unlink()
    return True


def _check(config: Config, service: str, copy: Path) -> None:
    definition = definitions.parse(read_text(copy), str(copy))
    if definition.service.name != service:
        raise InvalidFile(str(copy), [f'name: is "{definition.service.name}", but this is the definition of {service}'])
    definitions.check_build(definition, str(copy))
    for _, problem in neighbours.problems(config, [definition]):
        output.note(f"mcp: note: {problem}")
    if definition.node not in [node.name for node in config.nodes]:
        output.note(f"mcp: note: {config.source} has no node {definition.node}; `mcp node add` adds one")


def _offer_again(error: InvalidFile, original: Path, copy: Path) -> None:
    """Return if the user chooses to edit again; else raise the problems with the path of the copy."""
    if output.is_interactive():
        output.error(str(error))
        if output.ask("Edit again?"):
            return
        raise McpError(f"nothing was changed; your version is {copy}")
    state = "is unchanged" if original.exists() else "was not written"
    raise InvalidFile(str(copy), [*error.problems, f"{original} {state}; this copy has your version"])


def _run_editor(file: Path) -> str:
    """Run the user's editor; return an error message, or an empty string."""
    variable = next((name for name in ("VISUAL", "EDITOR") if os.environ.get(name, "").strip()), "")
    text = os.environ[variable] if variable else "vi"
    try:
        argv = [*shlex.split(text), str(file)]
    except ValueError:
        raise McpError(f"{variable}: unbalanced quotes: {text}") from None
    try:
        status = on_terminal(argv)
    except NotReady as error:
        raise NotReady(error.what, "set EDITOR to the editor you use") from None
    return f"the editor {argv[0]} failed (exit status {status})" if status else ""


def _first_node(config: Config) -> str:
    return config.nodes[0].name if config.nodes else "NODE"


def _copy(service: str, content: bytes) -> Path:
    """Create a private copy, since definitions may contain secrets."""
    descriptor, name = tempfile.mkstemp(prefix=f"mcp-{service}-", suffix=".toml")
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    return Path(name)


def _read(path: Path) -> bytes | None:
    try:
        return read_file(path)
    except Unusable as error:
        if error.code == errno.ENOENT:
            return None
        raise
