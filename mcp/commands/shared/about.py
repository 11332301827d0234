"""Texts of `mcp --help` and mcp(1) beyond those of commands."""

DESCRIPTION = "Run services as rootless podman containers on a small fleet of nodes: the Metacircular Control Plane."
EXAMPLES = """\
mcp service edit web    write the definition of a service
mcp deploy web          deploy it to its node
mcp logs -f web/api     follow the log of a component
"""
EXIT_STATUS = {
    0: "done",
    1: "failed",
    2: "wrong command line, configuration or definition",
    3: "not authenticated, or not authorized",
    4: "node unreachable",
    130: "interrupted by Ctrl-C",
    141: "standard output was closed, for example by head in mcp logs web | head",
}
EPILOG = f"""\
Services are defined in SERVICE.toml files, nodes in mcp.toml. `mcp COMMAND --help` explains a command.

examples:
{"".join(f"  {line}" for line in EXAMPLES.splitlines(keepends=True))}
"""
