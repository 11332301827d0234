"""The rules that a service must obey."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp.shared.fields import problems
from mcp.shared.ports import container_port
from mcp.shared.spec import (
    ENV_LIMIT,
    ComponentSpec,
    HealthSpec,
    RouteSpec,
    ServiceSpec,
    fixed_port,
    log_size,
    log_size_text,
)
from tests.unit import specs

WEB = ComponentSpec(name="web", image="localhost/web:1")
ONE = (RouteSpec(port=8443),)
REST = RouteSpec(name="rest", port=8443)
ADMIN = RouteSpec(name="admin", port=9443)


def found_in(**changes: object) -> list[str]:
    """The problems of a sound component after these changes."""
    return list(problems(replace(WEB, **changes)))  # type: ignore[arg-type]


@given(specs.services)
def test_valid_services_have_no_problems(service: ServiceSpec) -> None:
    assert list(problems(service)) == []


GOOD_VALUES = [
    ("network", "mcpnet"),
    ("network", "host"),
    ("user", "0"),
    ("user", "0:0"),
    ("user", "www-data:www-data"),
    ("restart", "on-failure:9999"),
    ("ports", ("8080:80", "127.0.0.1:1:65535/tcp", "[::1]:53:53/udp", "0.0.0.0:80:80")),
    ("volumes", ("/a:/b", "data:/b/c:ro,Z", "/srv/web/my data:/data", "/a..b:/..c")),
    ("volumes", ("/a:/b:O,U", "data:/data:O,ro", "/a:/c:ro,z,U,noexec,nodev,nosuid,rbind,rslave")),
    ("network", "containers"),
    ("image", f"localhost/web@sha256:{'0' * 64}"),
    ("env", ("A=", "A=b=c", "_a.b-c=d e", "A='\"$(id)", f"A={'x' * (ENV_LIMIT - 2)}")),
    ("cmd", ("", "--flag", "a b", "line\nbreak", "'\"")),
    ("routes", (RouteSpec("a", 1, "l4", "a.b"), RouteSpec("b", 65535, "l7", "*.example.net"))),
    ("routes", (RouteSpec(port=1, hostname="localhost"),)),
    ("log_driver", "journald"),
    ("log_driver", "none"),
    ("log_max_size", "0"),
    ("log_max_size", "1000000"),
    ("log_max_size", "1m"),
    ("log_max_size", "999999999999g"),
]


@pytest.mark.parametrize(("field", "value"), GOOD_VALUES)
def test_good_values(field: str, value: object) -> None:
    assert found_in(**{field: value}) == []


BAD_VALUES = [
    ("name", "-rf", 'name: "-rf" must be lower-case letters'),
    ("image", "web", 'image: "web" has no tag'),
    ("image", "web:latest", 'image: "web:latest" is tagged latest'),
    ("network", "-net", 'network: "-net" is not a network\'s name'),
    ("network", "a b", 'network: "a b" is not'),
    ("network", "a,b", 'network: "a,b" is not'),
    ("network", "host\n", r'network: "host\n" is not'),
    ("network", "container:other", 'network: "container:other" is not'),
    ("network", "ns:/run/netns/a", 'network: "ns:/run/netns/a" is not'),
    ("network", "container", 'network: "container" is not'),
    ("network", "ns", 'network: "ns" is not'),
    ("user", "-1", 'user: "-1" is not USER or USER:GROUP'),
    ("user", "a:b:c", 'user: "a:b:c" is not'),
    ("user", "root\n", r'user: "root\n" is not'),
    ("log_driver", "", 'log_driver: "" is not k8s-file, journald or none'),
    ("log_driver", "syslog", 'log_driver: "syslog" is not k8s-file, journald or none'),
    ("log_max_size", "10 MB", 'log_max_size: "10 MB" is not a number of bytes, or one with k, m or g, as in 10m'),
    ("log_max_size", "-1", 'log_max_size: "-1" is not a number of bytes'),
    ("log_max_size", "999k", 'log_max_size: "999k" is less than 1m; 0 is no limit'),
    ("restart", "sometimes", 'restart: "sometimes" is not no, always'),
    ("restart", "", 'restart: "" is not'),
    ("restart", "always:3", 'restart: "always:3" is not'),
    ("restart", "on-failure:x", 'restart: "on-failure:x" is not'),
    ("ports", ("80",), 'ports[0]: "80" is not [IP:]HOSTPORT:CONTAINERPORT'),
    ("ports", ("8080:80", ":80"), 'ports[1]: ":80" is not'),
    ("ports", ("0:80",), 'ports[0]: "0:80" has a host port outside 1 to 65535'),
    ("ports", ("80:65536",), 'ports[0]: "80:65536" has a container port outside 1 to 65535'),
    ("ports", ("999.0.0.1:80:80",), 'ports[0]: "999.0.0.1:80:80" does not begin with an IP address'),
    ("ports", ("[::g]:80:80",), 'ports[0]: "[::g]:80:80" is not'),
    ("ports", ("[:::]:80:80",), 'ports[0]: "[:::]:80:80" does not begin with an IP address'),
    ("ports", ("80:80/sctp",), 'ports[0]: "80:80/sctp" is not'),
    ("ports", ("80-90:80-90",), 'ports[0]: "80-90:80-90" is not'),
    ("ports", ("80:80\n",), r'ports[0]: "80:80\n" is not'),
    ("ports", ("٨٠:80",), 'ports[0]: "٨٠:80" is not'),
    ("volumes", ("/a",), 'volumes[0]: "/a" is not SOURCE:TARGET[:OPTIONS]'),
    ("volumes", ("/a:/b:ro:rw",), 'volumes[0]: "/a:/b:ro:rw" is not'),
    ("volumes", ("/a\0:/b",), r'volumes[0]: "/a\x00:/b" is not'),
    ("volumes", ("../a:/b",), 'volumes[0]: "../a:/b": the source must be a volume\'s name or an absolute path'),
    ("volumes", ("/srv/web/../../etc:/b",), "the source must be a volume's name or an absolute path without .."),
    ("volumes", ("/..:/b",), "the source must be"),
    ("volumes", (":/b",), "the source must be"),
    ("volumes", ("-a:/b",), "the source must be"),
    ("volumes", ("./a:/b",), "the source must be"),
    ("volumes", ("/a:b",), "the target must be an absolute path without .. in it"),
    ("volumes", ("/a:/b/..",), "the target must be"),
    ("volumes", ("/a:",), "the target must be"),
    ("volumes", ("/a:/b,c",), "the target must be"),
    ("volumes", ("/a:/b:quick",), 'unknown option "quick"'),
    ("volumes", ("/a:/b:",), 'unknown option ""'),
    ("volumes", ("/a:/",), '"/a:/": the target must not be /'),
    ("volumes", ("data://.",), "the target must not be /"),
    ("volumes", ("/a:/b:ro,rw",), '"/a:/b:ro,rw": ro and rw exclude each other'),
    ("volumes", ("data:/b:z,O",), "z and O exclude each other"),
    ("volumes", ("data:/b:ro,ro",), "ro and ro exclude each other"),
    ("volumes", ("/a:/b:O,noexec",), "O and noexec exclude each other"),
    ("volumes", ("/a:/b", "data:/b"), 'volumes[1]: "data:/b": the target is that of volumes[0] already'),
    ("volumes", ("/a:/b", "/a:/b"), "the target is that of volumes[0] already"),
    ("volumes", ("/a:/b/c", "/c:/d", "/a://b/./c//"), 'volumes[2]: "/a://b/./c//": the target is that of volumes[0]'),
    ("stop_signal", "SIGFOO", 'stop_signal: "SIGFOO" is not a signal, as in SIGINT'),
    ("stop_signal", "INT", "is not a signal"),
    ("stop_signal", "SIGRTMIN+16", "is not a signal"),
    ("stop_timeout", "61m", 'stop_timeout: "61m" is outside 0s to 1h'),
    ("cmd", ("ok", "a\0b"), "cmd[1]: contains a NUL byte"),
    ("env", ("A",), "env[0]: is not KEY=VALUE"),
    ("env", ("=b",), 'env[0]: "" is not KEY=VALUE'),
    ("env", ("1A=b",), 'env[0]: "1A" is not KEY=VALUE'),
    ("env", ("A B=c",), 'env[0]: "A B" is not KEY=VALUE'),
    ("env", ("#A=c",), 'env[0]: "#A" is not KEY=VALUE'),
    ("env", ("A*=c",), 'env[0]: "A*" is not KEY=VALUE'),
    ("env", ("A=b\nC=d",), "env[0]: A: a value cannot contain a line break"),
    ("env", ("A=b\0",), "env[0]: A: a value cannot contain a line break or NUL"),
    ("env", (f"A={'ä' * (ENV_LIMIT // 2)}",), "env[0]: A: is longer than 32768 bytes"),
    ("routes", (RouteSpec("Rest", 1),), 'routes[0].name: "Rest" must be lower-case letters'),
    ("routes", (RouteSpec("a", 0),), "routes[0].port: 0 is outside 1 to 65535"),
    ("routes", (RouteSpec("a", -1),), "routes[0].port: -1 is outside"),
    ("routes", (RouteSpec("a", 65536),), "routes[0].port: 65536 is outside"),
    ("routes", (RouteSpec("a", 1, "l5"),), 'routes[0].mode: "l5" is not l4 or l7'),
    ("routes", (RouteSpec("a", 1, "l4", "a b"),), 'routes[0].hostname: "a b" is not a host name'),
    ("routes", (RouteSpec("a", 1, "l4", "-a.b"),), 'routes[0].hostname: "-a.b" is not'),
    ("routes", (RouteSpec("a", 1, "l4", "a.b\n"),), r'routes[0].hostname: "a.b\n" is not'),
    ("routes", (RouteSpec("a", 1, "l4", "a." * 127 + "aa"),), "is not a host name"),
    ("routes", (ADMIN, RouteSpec(port=1)), "routes: with more than one route, each needs a name"),
    ("routes", (ADMIN, replace(ADMIN, port=1)), 'routes: 2 of them are called "admin"'),
    ("routes", (ADMIN, replace(REST, port=9443)), "routes[1].port: port 9443 of the proxy is taken by routes[0].port"),
]


@pytest.mark.parametrize(("field", "value", "problem"), BAD_VALUES)
def test_bad_values(field: str, value: object, problem: str) -> None:
    found = found_in(**{field: value})
    assert len(found) == 1, found
    assert problem in found[0]
    assert found[0].startswith(field)
    assert len(found[0].splitlines()) == 1


def test_a_secret_is_never_in_a_problem() -> None:
    env = ("A B=hunter2", "PASSWORD=hunter2\n", "LONG=hunter2" + "x" * ENV_LIMIT, "PORT=hunter2", "PORT_REST=hunter2")
    found = found_in(env=env, routes=(REST,))
    assert len(found) == 5
    assert "hunter2" not in "".join(found)


@pytest.mark.parametrize(
    ("service", "problem"),
    [
        (ServiceSpec("", components=(WEB,)), 'name: "" must be lower-case letters'),
        (ServiceSpec("-web", components=(WEB,)), 'name: "-web" must be lower-case letters'),
        (ServiceSpec("web"), "components: is empty; a service needs at least one component"),
        (ServiceSpec("x", components=(WEB, WEB)), 'components: 2 of them are called "web"'),
        (
            ServiceSpec("a", components=(replace(WEB, name="a"), replace(WEB, name="B"))),
            'components[1].name: "B" must be lower-case letters',
        ),
    ],
)
def test_bad_services(service: ServiceSpec, problem: str) -> None:
    found = list(problems(service))
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_every_problem_is_told_at_once() -> None:
    service = ServiceSpec("A", components=(replace(WEB, image="web", user="-"), replace(WEB, name="", env=("x",))))
    assert [problem.key for problem in problems(service)] == [
        "name",
        "components[0].image",
        "components[0].user",
        "components[1].name",
        "components[1].env[0]",
    ]


texts = st.text(max_size=12) | st.sampled_from(["", "a", "PORT=1", "PORT=x", "1:2", "/a:/b", "a\0", "l4", "a:1", "1:1"])


@given(
    st.builds(
        ServiceSpec,
        name=texts,
        components=st.lists(
            st.builds(
                ComponentSpec,
                name=texts,
                image=texts,
                network=texts,
                user=texts,
                restart=texts,
                ports=st.lists(texts, max_size=3).map(tuple),
                volumes=st.lists(texts, max_size=2).map(tuple),
                cmd=st.lists(texts, max_size=2).map(tuple),
                routes=st.lists(
                    st.builds(RouteSpec, name=texts, port=st.integers(), mode=texts, hostname=texts), max_size=2
                ).map(tuple),
                env=st.lists(texts, max_size=3).map(tuple),
                log_driver=texts | st.just("k8s-file"),
                log_max_size=texts,
            ),
            max_size=2,
        ).map(tuple),
    )
)
def test_no_strings_at_all_make_the_rules_raise(service: ServiceSpec) -> None:
    for problem in problems(service):
        key, colon, what = problem.partition(": ")
        assert key
        assert colon
        assert what
        assert len(problem.splitlines()) == 1


@given(specs.services)
def test_the_port_of_every_route_of_a_sound_service_is_known_or_free(service: ServiceSpec) -> None:
    for component in service.components:
        for route in component.routes:
            port = fixed_port(component, route)
            assert port is None or 1 <= port <= 65535


# --- PORT and explicit mappings: the explicit one wins (in the original it was overridden) ---


@pytest.mark.parametrize(
    ("component", "route", "port"),
    [
        (replace(WEB, routes=ONE), ONE[0], None),
        (replace(WEB, routes=ONE, ports=("127.0.0.1:18443:8443",)), ONE[0], 8443),
        (replace(WEB, routes=ONE, ports=("18443:8443", "18444:8443/tcp")), ONE[0], 8443),
        (replace(WEB, routes=ONE, env=("PORT=9000",)), ONE[0], 9000),
        (replace(WEB, routes=ONE, env=("PORT=1", "PORT=9000")), ONE[0], 9000),
        (replace(WEB, routes=ONE, env=("PORT=9000",), ports=("18443:8443",)), ONE[0], 9000),
        (replace(WEB, routes=ONE, env=("PORT=8443",), ports=("18443:8443", "19443:9443")), ONE[0], 8443),
        (replace(WEB, routes=ONE, env=("PORT_REST=9000",)), ONE[0], None),
        (replace(WEB, routes=(REST,)), REST, None),
        (replace(WEB, routes=(REST,), env=("PORT=9000",)), REST, 9000),
        (replace(WEB, routes=(REST,), env=("PORT_REST=9001", "PORT=9000")), REST, 9001),
        (replace(WEB, routes=(REST,), ports=("18443:8443",)), REST, 8443),
        (replace(WEB, routes=(REST, ADMIN)), REST, None),
        (replace(WEB, routes=(REST, ADMIN), env=("PORT_REST=9001",)), REST, 9001),
        (replace(WEB, routes=(REST, ADMIN), env=("PORT_REST=9001",)), ADMIN, None),
        (replace(WEB, routes=(REST, ADMIN), env=("PORT=9000",)), REST, None),
        (replace(WEB, routes=(REST, ADMIN), ports=("18443:8443",)), REST, None),
    ],
)
def test_fixed_port(component: ComponentSpec, route: RouteSpec, port: int | None) -> None:
    assert list(problems(component)) == []
    assert fixed_port(component, route) == port


@pytest.mark.parametrize("value", ["", "0", "65536", "http", "-1", " 80", "8_0", "٨٠", "123456"])
@pytest.mark.parametrize(("variable", "route"), [("PORT", ONE[0]), ("PORT", REST), ("PORT_REST", REST)])
def test_a_port_variable_must_be_a_port(variable: str, route: RouteSpec, value: str) -> None:
    assert found_in(routes=(route,), env=(f"{variable}={value}",)) == [f"env: {variable} is not a port from 1 to 65535"]


def test_port_variables_are_free_where_there_is_no_route() -> None:
    assert found_in(env=("PORT=unix:/run/x.sock", "PORT_REST=no")) == []


def test_several_mappings_need_a_word_on_which_one_the_route_leads_to() -> None:
    mappings = ("18443:8443", "19443:9443")
    ambiguous = ["routes: with several ports, say which one the route leads to: put PORT=CONTAINERPORT into env"]
    assert found_in(routes=ONE, ports=mappings) == ambiguous
    assert found_in(routes=(REST,), ports=mappings) == ambiguous
    assert found_in(routes=ONE, ports=mappings, env=("PORT=8443",)) == []
    assert found_in(routes=(REST,), ports=mappings, env=("PORT_REST=8443",)) == []
    assert found_in(routes=(REST, ADMIN), ports=mappings) == []


def test_container_port() -> None:
    assert container_port("127.0.0.1:1:2/udp") == 2
    with pytest.raises(ValueError, match="not a port mapping: '80'"):
        container_port("80")


DOCS = RouteSpec(name="docs", port=443, hostname="docs.example.net")
WIKI = RouteSpec(name="wiki", port=443, hostname="wiki.example.net")


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        ("8080:80", "8080:81", True),
        ("8080:80", "8080:80", True),
        ("8080:80", "08080:80", True),
        ("8080:80", "8080:80/tcp", True),
        ("8080:80", "127.0.0.1:8080:80", True),
        ("0.0.0.0:8080:80", "[::]:8080:80", True),
        ("[::]:8080:80", "127.0.0.1:8080:80", True),
        ("[::1]:8080:80", "[0:0:0:0:0:0:0:1]:8080:81", True),
        ("8080:80/udp", "8080:81/udp", True),
        ("8080:80", "8081:80", False),
        ("8080:80", "8080:80/udp", False),
        ("127.0.0.1:8080:80", "127.0.0.2:8080:80", False),
        ("127.0.0.1:8080:80", "[::1]:8080:80", False),
    ],
)
def test_a_host_port_has_one_container(first: str, second: str, clash: bool) -> None:
    number, protocol = int(first.split(":")[-2]), "udp" if first.endswith("/udp") else "tcp"
    taken = f"host port {number}/{protocol} is taken by"
    assert found_in(ports=(first, second)) == ([f"ports[1]: {taken} ports[0] already"] if clash else [])
    service = ServiceSpec("x", components=(replace(WEB, ports=(first,)), replace(WEB, name="db", ports=(second,))))
    told = f"components[1].ports[0]: {taken} component web already"
    assert list(problems(service)) == ([told] if clash else [])


def test_a_clash_within_a_component_is_told_once() -> None:
    service = ServiceSpec("x", components=(replace(WEB, ports=("1:1", "1:2")),))
    assert list(problems(service)) == ["components[0].ports[1]: host port 1/tcp is taken by ports[0] already"]


def test_a_port_of_the_proxy_has_one_route_of_each_name() -> None:
    assert found_in(routes=(DOCS, WIKI)) == []
    assert found_in(routes=(REST, DOCS, replace(WIKI, hostname=DOCS.hostname))) == [
        "routes[2].port: port 443 of the proxy for docs.example.net is taken by routes[1].port already"
    ]
    service = ServiceSpec("x", components=(replace(WEB, routes=ONE), replace(WEB, name="db", routes=(REST,))))
    assert list(problems(service)) == [
        "components[1].routes[0].port: port 8443 of the proxy is taken by component web already"
    ]


@pytest.mark.parametrize("network", ["host", "none"])
def test_a_network_without_ports_publishes_none(network: str) -> None:
    rule = f"podman publishes no port with the network {network}; leave out one of them"
    assert found_in(network=network) == []
    assert found_in(network=network, ports=("1:1",)) == [f"ports: {rule}"]
    assert found_in(network=network, routes=ONE) == [f"routes: {rule}"]


def test_small_helpers() -> None:
    component = replace(WEB, env=("A=1", "A=2", "B="))
    assert (component.variable("A"), component.variable("B"), component.variable("C")) == ("2", "", None)
    assert component.version == "1"
    assert ServiceSpec("x", components=(WEB, replace(WEB, name="db"))).component_names() == ["web", "db"]


@pytest.mark.parametrize(
    ("health", "problem"),
    [
        (HealthSpec(()), "health.cmd: is empty"),
        (HealthSpec(("a\0",)), "health.cmd[0]: contains a NUL byte"),
        (HealthSpec(("true",), interval="soon"), 'health.interval: "soon": expected a duration'),
        (HealthSpec(("true",), retries=-1), "health.retries: -1 is outside"),
        (HealthSpec(("true",), timeout="0s"), 'health.timeout: "0s" is outside 1s to 1d'),
        (HealthSpec(("true",), timeout="999ms"), 'health.timeout: "999ms" is outside 1s to 1d'),
        (HealthSpec(("true",), interval="0s"), 'health.interval: "0s" is outside 100ms to 1d'),
        (HealthSpec(("true",), interval="25h"), 'health.interval: "25h" is outside 100ms to 1d'),
        (HealthSpec(("true",), start_period="2d"), 'health.start_period: "2d" is outside 0s to 1d'),
        (HealthSpec(("",)), "health.cmd[0]: is empty; expected a program"),
        (HealthSpec(("NONE",)), "health.cmd: [\"NONE\"] is Docker's form; a definition cannot turn off the image's"),
        (HealthSpec(("none", "a")), 'health.cmd: ["NONE"] is Docker\'s form; a definition cannot turn off'),
        (HealthSpec(("CMD", "a", "b")), 'health.cmd: ["CMD", …] is Docker\'s form; leave out "CMD"'),
        (HealthSpec(("CMD-SHELL", "a | b")), 'health.cmd: ["CMD-SHELL", …] is Docker\'s form; write ["sh", "-c", …]'),
        (HealthSpec(("cmd-shell", "a")), 'health.cmd: ["CMD-SHELL", …] is Docker\'s form; write ["sh", "-c", …]'),
    ],
)
def test_health_checks_obey_rules(health: HealthSpec, problem: str) -> None:
    component = ComponentSpec("api", "localhost/x:1", health=health)
    assert [found.startswith(problem) for found in problems(component)] == [True]


def test_a_health_check_may_take_its_time() -> None:
    health = HealthSpec(("true", "CMD"), interval="1d", timeout="1s", start_period="0s")
    assert found_in(health=health) == []


@pytest.mark.parametrize("driver", ["journald", "none"])
def test_a_size_is_for_files(driver: str) -> None:
    rule = f"log_max_size: is for the log driver k8s-file, and this component's is {driver}"
    assert found_in(log_driver=driver, log_max_size="10m") == [rule]


@pytest.mark.parametrize(
    ("driver", "size", "limit"),
    [
        ("k8s-file", "", 32_000_000),
        ("k8s-file", "0", 0),
        ("k8s-file", "2g", 2_000_000_000),
        ("journald", "", 0),
        ("none", "", 0),
    ],
)
def test_the_size_of_a_log(driver: str, size: str, limit: int) -> None:
    assert replace(WEB, log_driver=driver, log_max_size=size).log_max_bytes == limit


@given(st.integers(0, 10**12 - 1))
def test_sizes_as_text(size: int) -> None:
    assert log_size(log_size_text(size)) == size
