"""Service definitions for the tests."""

from tests.component.fakes import WEB, WORKER


def component(name: str = "api", image: str = WEB, more: str = "") -> str:
    """One component in TOML; `more` is further lines of it."""
    return f'[[components]]\nname = "{name}"\nimage = "{image}"\n{more}\n'


def service(name: str = "web", *components: str, more: str = "", node: str = "rift") -> str:
    """A definition in TOML; one component `api` where none is given."""
    return f'name = "{name}"\nnode = "{node}"\n{more}\n{"".join(components) or component()}'


def route(name: str = "", port: int = 8443) -> str:
    """A route of the component before it."""
    named = f'name = "{name}"\n' if name else ""
    return f"[[components.routes]]\n{named}port = {port}\n"


TWO = service("web", component("api"), component("work", WORKER))
