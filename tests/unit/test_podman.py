"""Commands compared whole; parsers fed with what podman 4.3.1 and 5.4.2 really printed, and with garbage."""

import asyncio
import io
import json
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.monitor.state import observed_state
from agent.podman import output as parsers
from agent.podman.argv import NewContainer, logs_argv, run_argv, trial_argv
from agent.podman.client import Podman, labelled
from agent.podman.inspect import parse_details
from agent.podman.output import Container
from mcp.shared.errors import NotReady, Unavailable
from mcp.shared.states import DesiredState

DATA = Path(__file__).parent / "data"  # files podman-VERSION-COMMAND.json
VERSIONS = ("4.3.1", "5.4.2")
WHOLE = NewContainer(
    name="web-api",
    image="localhost/web:1",
    service="web",
    component="api",
    restart="on-failure:3",
    network="mcpnet",
    user="0:0",
    ports=("127.0.0.1:18443:8443", "53:53/udp"),
    volumes=("/srv/web:/srv/web", "data:/data:ro"),
    cmd=("server", "--config", "/srv/web/a b.toml"),
    env=("SECRET=hunter2", "PORT=8443"),
    log_max_bytes=32_000_000,
    stop_seconds=30,
    stop_signal="SIGINT",
)


def printed(version: str, command: str) -> bytes:
    """What a podman really printed."""
    return (DATA / f"podman-{version}-{command}.json").read_bytes()


def test_run_argv_whole() -> None:
    assert run_argv(WHOLE) == [
        *("run", "--detach", "--name=web-api", "--pull=never", "--log-driver=k8s-file", "--log-opt=max-size=32000000"),
        *("--label=mcp.service=web", "--label=mcp.component=api", "--restart=on-failure:3"),
        *("--stop-timeout=30", "--stop-signal=SIGINT", "--http-proxy=false"),
        *("--network=mcpnet", "--user=0:0"),
        *("--publish=127.0.0.1:18443:8443", "--publish=53:53/udp"),
        *("--volume=/srv/web:/srv/web", "--volume=data:/data:ro", "--env-file=/dev/stdin"),
        *("localhost/web:1", "server", "--config", "/srv/web/a b.toml"),
    ]


def test_run_argv_smallest() -> None:
    new = NewContainer(name="web", image="localhost/web:1", service="web", component="web", restart="no")
    assert run_argv(new) == [
        *("run", "--detach", "--name=web", "--pull=never", "--log-driver=k8s-file"),
        *("--label=mcp.service=web", "--label=mcp.component=web", "--restart=no", "--stop-timeout=10"),
        *("--http-proxy=false", "localhost/web:1"),
    ]


def test_a_trial_is_created_without_the_volumes_of_its_image() -> None:
    assert trial_argv(WHOLE) == ["create", "--image-volume=ignore", *run_argv(WHOLE)[2:]]
    assert run_argv(WHOLE)[:2] == ["run", "--detach"]


def archived(*members: tuple[str, bytes | None]) -> bytes:
    """What `podman cp` prints for files, or for links (no content)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size, info.linkname = len(content or b""), "elsewhere"
            info.type = tarfile.SYMTYPE if content is None else tarfile.REGTYPE
            archive.addfile(info, io.BytesIO(content or b""))
    return buffer.getvalue()


def test_a_file_of_a_container_comes_in_an_archive() -> None:
    assert parsers.parse_archived_file(archived(("passwd", b"root:x:0\n"))) == b"root:x:0\n"
    assert parsers.parse_archived_file(archived(("passwd", b""))) == b""
    assert parsers.parse_archived_file(archived(("passwd", None))) is None
    assert parsers.parse_archived_file(archived()) is None
    with pytest.raises(Unavailable, match="unexpected output of podman cp: not an archive"):
        parsers.parse_archived_file(b"nonsense")


def test_volumes_of_images() -> None:
    image = {"Id": "i", "Config": {"Volumes": {"/var/lib/pg": {}, "/data": {}}}}
    assert parsers.parse_image(json.dumps([image]).encode()).volumes == ("/data", "/var/lib/pg")
    assert parsers.parse_image(b'[{"Id": "i", "Config": {"Volumes": null}}]').volumes == ()


def test_ranges_of_published_ports() -> None:
    ports = [
        {"host_ip": "", "container_port": 80, "host_port": 8080, "range": 3, "protocol": "tcp"},
        {"host_ip": "", "container_port": 53, "host_port": 53, "range": 1, "protocol": "tcp,udp"},
    ]
    row = {"Id": "i", "Names": ["n"], "State": "running", "Ports": ports}
    (container,) = parsers.parse_containers(json.dumps([row]).encode())
    tcp = {(port, "tcp") for port in (8080, 8081, 8082, 53)}
    assert container.published == {*tcp, (53, "udp")}


def test_no_environment_value_is_in_argv() -> None:
    assert "hunter2" not in " ".join(run_argv(WHOLE))


def test_logs_argv() -> None:
    assert logs_argv("id1", "") == ["logs", "--timestamps", "id1"]
    since = "2026-01-31T12:00:00.000000000Z"
    assert logs_argv("id1", since) == ["logs", "--timestamps", f"--since={since}", "id1"]


def test_the_runtime_comes_first() -> None:
    assert Podman("/usr/bin/podman", 15).argv(["ps"]) == ["/usr/bin/podman", "ps"]


# --- what podman really prints ---


def test_the_containers_of_podman_4() -> None:
    web, brief, made = parsers.parse_containers(printed("4.3.1", "ps"))
    assert web == Container(
        identifier="f46d298a903d17cf079b994d061067ae1c9ede3ec86a1bb37c046905107e1c76",
        name="web",
        image="localhost/mcp-worker:1.0.0",
        state="running",
        exit_code=0,
        started=datetime(2026, 11, 22, 16, 1, 58, tzinfo=UTC),
        labels={"mcp.service": "web", "mcp.component": "web", "org.opencontainers.image.version": "1.0.0"},
        image_id="4ba8b5d235340eafc4f6d6afab1d48236e2acd38f8ef8d09c297697e1489416d",
        published=frozenset({(23456, "tcp")}),
    )
    assert web.running
    assert (brief.name, brief.state, brief.exit_code, brief.running) == ("web-brief", "exited", 3, False)
    assert (made.name, made.state, made.started) == ("made", "created", None)


def test_the_containers_of_podman_5() -> None:
    made, web, fail = parsers.parse_containers(printed("5.4.2", "ps"))
    assert (made.name, made.state, made.started) == ("made", "created", None)
    assert (web.name, web.state, web.running) == ("web", "running", True)
    assert web.started == datetime(2026, 11, 22, 16, 10, 2, tzinfo=UTC)
    assert web.labels == {"mcp.service": "web", "mcp.component": "web"}
    assert (fail.name, fail.state, fail.exit_code) == ("fail", "exited", 1)


def test_restarts_in_the_list_where_podman_counts_them() -> None:
    for version, restarts in (("4.3.1", 0), ("5.4.2", 2)):
        assert max(each.restarts for each in parsers.parse_containers(printed(version, "ps"))) == restarts


@pytest.mark.parametrize(
    ("status", "health", "state"),
    [
        ("Up 5 seconds (unhealthy)", "unhealthy", "degraded"),
        ("Up 5 seconds ago (healthy)", "healthy", "running"),
        ("Up 5 seconds ago (starting)", "starting", "running"),
        ("Up 5 seconds", "", "running"),
        ("Up 5 seconds (Paused)", "", "running"),
        ("", "", "running"),
    ],
)
def test_health_in_the_list(status: str, health: str, state: str) -> None:
    listed = [{"Id": "1", "Names": ["web"], "State": "running", "Status": status}]
    (container,) = parsers.parse_containers(json.dumps(listed).encode())
    assert (container.health, observed_state(container, DesiredState.RUNNING)) == (health, state)


@pytest.mark.parametrize("version", VERSIONS)
def test_versions(version: str) -> None:
    assert parsers.parse_version(printed(version, "version")) == version


def test_images_have_the_keys_by_which_podman_finds_them() -> None:
    web, other, untagged, listed = "sha256:197128", "sha256:a63686", "sha256:0badc0", "sha256:115700"
    names = ["localhost/mcp-web:1.0.0", "docker.io/library/web:3.0"]
    digests = [f"docker.io/library/web@{web}", f"docker.io/library/web@{listed}"]
    images = [  # podman 4.3.1 has a row for each name
        {"Id": "cd70e8", "RepoTags": None, "RepoDigests": digests, "Names": names, "Digest": web},
        {"Id": "cd70e8", "RepoTags": None, "RepoDigests": digests, "Names": names, "Digest": web},
        {"Id": "7d69af", "RepoDigests": [f"localhost/mcp-web@{other}"], "Names": ["localhost/mcp-web:1.1.0"]},
        {"Id": "0123ab", "RepoDigests": [], "Digest": untagged, "Dangling": True},
    ]
    assert parsers.parse_image_ids(json.dumps(images).encode()) == {
        **dict.fromkeys([*names, web, listed], "cd70e8"),
        **dict.fromkeys(["localhost/mcp-web:1.1.0", other], "7d69af"),
        untagged: "0123ab",
    }


@pytest.mark.parametrize("output", [b"[]\n", b"null"])
def test_no_containers(output: bytes) -> None:
    assert parsers.parse_containers(output) == []


def test_labelled() -> None:
    containers = parsers.parse_containers(printed("4.3.1", "ps"))
    assert [container.name for container in labelled(containers, "web")] == ["web", "web-brief"]
    assert list(labelled(containers, "we")) == []


# --- garbage ---

PARSERS = (parsers.parse_containers, parse_details, parsers.parse_version)


@pytest.mark.parametrize(
    "output",
    [
        b"",  # taken for no containers, it would have a deploy replace what it cannot see
        b"podman: command broke\n",
        b"{",
        b"\xff\xfe\xfd",
        b"\0",
        b'"text"',
        b"1",
        b"true",
        b"[1]",
        b"[null]",
        b"[[]]",
        b"[{}]",
        b'["Names"]',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" + b"9" * 5000 + b"]",
        b'[{"Id": "a", "Names": [], "State": "running"}]',
        b'[{"Id": "a", "Names": "web", "State": "running"}]',
        b'[{"Id": "a", "Names": ["web"], "State": "running", "Labels": ["x"]}]',
        b'[{"Id": "a", "Names": ["web"], "State": "running", "ExitCode": "many"}]',
        b'[{"Id": "a", "Names": ["web"], "State": "running", "StartedAt": 4611686018427387904}]',
        b'[{"Id": "a", "Names": ["web"], "State": "running", "StartedAt": 99999999999999999999}]',
        b'[{"State": {"Status": "running", "ExitCode": Infinity}}]',
        b'[{"State": {"Status": "running", "ExitCode": NaN}}]',
        b'[{"State": "running"}]',
        b'{"Client": null}',
        b'{"Client": "5"}',
        b'{"Client": {}}',
    ],
)
def test_garbage_is_unavailable(output: bytes) -> None:
    for parse in PARSERS:
        with pytest.raises(Unavailable, match=r"^unexpected output of podman .*: not "):
            parse(output)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
keys = st.sampled_from(
    ["Id", "Names", "State", "Labels", "ExitCode", "StartedAt", "Status", "RestartCount", "Client", "Version", "Image"]
)
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=8), max_leaves=20
)


def check_never_raises_otherwise(output: bytes) -> None:
    """Every parser returns what it promises, or raises Unavailable."""
    for parse, kind in zip(PARSERS, (list, list, str), strict=True):
        try:
            assert isinstance(parse(output), kind)
        except Unavailable:
            continue


@settings(max_examples=300)
@given(documents)
def test_any_json_is_an_answer_or_unavailable(document: object) -> None:
    check_never_raises_otherwise(json.dumps(document).encode())


@given(st.binary(max_size=60))
def test_any_bytes_are_an_answer_or_unavailable(output: bytes) -> None:
    check_never_raises_otherwise(output)


rows = st.fixed_dictionaries(
    {"Id": scalars, "Names": st.just(["web"]) | documents, "State": scalars},
    optional={"Labels": documents, "ExitCode": scalars, "StartedAt": st.integers(-(2**70), 2**70), "Image": scalars},
)


@settings(max_examples=300)
@given(st.lists(rows, max_size=3))
def test_what_looks_like_containers_is_an_answer_or_unavailable(document: object) -> None:
    check_never_raises_otherwise(json.dumps(document).encode())


@given(st.sampled_from(VERSIONS), st.sampled_from(["ps", "inspect", "version"]), st.data())
def test_output_that_was_cut_is_unavailable(version: str, command: str, data: st.DataObject) -> None:
    output = printed(version, command).rstrip()
    cut = output[: data.draw(st.integers(1, len(output) - 1))]
    for parse in PARSERS:
        with pytest.raises(Unavailable):
            parse(cut)


def test_logins_are_passed_on_by_their_file_only_if_nobody_else_can_read_it(tmp_path: Path) -> None:
    program, auth = tmp_path / "podman", tmp_path / "auth.json"
    program.write_text(f"""#!/bin/sh
echo "$*" >>{tmp_path}/argv
case $1 in image) test -e {tmp_path}/pulled || exit 1; echo '[{{"Id": "1"}}]' ;; pull) touch {tmp_path}/pulled ;; esac
""")
    program.chmod(0o755)

    def pulled() -> list[str]:
        for name in ("argv", "pulled"):
            (tmp_path / name).unlink(missing_ok=True)
        asyncio.run(Podman(str(program), 10, auth).ensure_image("registry.example.net/x:1"))
        return [line for line in (tmp_path / "argv").read_text().splitlines() if line.startswith("pull")]

    assert pulled() == ["pull --quiet registry.example.net/x:1"]
    auth.write_text('{"auths": {"registry.example.net": {"auth": "c2VjcmV0"}}}')
    auth.chmod(0o600)
    assert pulled() == [f"pull --quiet --authfile={auth} registry.example.net/x:1"]
    auth.chmod(0o640)
    with pytest.raises(NotReady, match=f"{auth} is accessible to other users; chmod 600 {auth}") as caught:
        pulled()
    assert "secret" not in str(caught.value)
    assert "c2VjcmV0" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("reading manifest 1 in registry.example.net/x: unauthorized: authentication required", True),
        ("requested access to the resource is denied", True),
        ("connection refused", False),
    ],
)
def test_a_pull_without_a_login_says_where_to_log_in(tmp_path: Path, said: str, hint: bool) -> None:
    program, auth = tmp_path / "podman", tmp_path / "auth.json"
    program.write_text(f"#!/bin/sh\necho 'Error: {said}' >&2; exit 125\n")
    program.chmod(0o755)
    with pytest.raises(NotReady) as caught:
        asyncio.run(Podman(str(program), 10, auth).ensure_image("registry.example.net/x:1"))
    assert caught.value.what.endswith(f"cannot be pulled: Error: {said}")
    login = f"log in to the registry on the node: podman login --authfile {auth}"
    assert caught.value.hint == (login if hint else "")
