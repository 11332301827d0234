"""Build the container of a component. Pure."""

from collections.abc import Mapping

from agent.podman.argv import NewContainer
from mcp.shared.names import container_name, port_variable
from mcp.shared.spec import ComponentSpec, fixed_port


def new_container(
    service: str,
    component: ComponentSpec,
    host_ports: Mapping[str, int],
    deploy: int = 0,
    anonymous_volumes: Mapping[str, str] | None = None,
) -> NewContainer:
    """Return the container of a component with these host ports by route, labelled with the deploy number.

    The container port equals the host port unless the definition fixes another one (see `fixed_port`).
    """
    published, env = list(component.ports), list(component.env)
    for route in component.routes:
        host_port = host_ports[route.name]
        inside = fixed_port(component, route) or host_port
        published.append(f"127.0.0.1:{host_port}:{inside}")
        names = [port_variable(route.name), *(["PORT"] if len(component.routes) == 1 else [])]
        env += [f"{name}={inside}" for name in dict.fromkeys(names) if component.variable(name) is None]
    return NewContainer(
        name=container_name(service, component.name),
        image=component.image,
        service=service,
        component=component.name,
        restart=component.restart,
        network=component.network,
        user=component.user,
        ports=tuple(published),
        volumes=(
            *component.volumes,
            *(f"{volume}:{target}" for target, volume in (anonymous_volumes or {}).items()),
        ),
        cmd=component.cmd,
        env=tuple(env),
        deploy=deploy,
        health=component.health,
        log_driver=component.log_driver,
        log_max_bytes=component.log_max_bytes,
        stop_seconds=component.stop_seconds,
        stop_signal=component.stop_signal,
        http_proxy=component.http_proxy,
    )
