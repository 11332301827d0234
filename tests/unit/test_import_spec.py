"""Specifications read back from `podman inspect`; the samples have the form that podman 4.3 prints."""

import copy
import json
from typing import Any

import pytest

from agent.podman.import_spec import DEFAULT_PATH, component
from agent.podman.import_spec import problems as import_problems
from agent.podman.inspect import ContainerObject, parse_objects
from agent.podman.output import Container
from agent.services.adopt import candidates, judge
from agent.store.registry import ComponentRow
from mcp.shared.fields import problems as field_problems
from mcp.shared.names import container_name
from mcp.shared.spec import ComponentSpec, HealthSpec
from mcp.shared.states import DesiredState
from tests.unit.test_recover import BEFORE

IMAGE: dict[str, Any] = {
    "Id": "4ba8",
    "Config": {"Env": ["PATH=/bin", "VERSION=1.0.0"], "Cmd": ["/bin/worker"], "Labels": {}},
}
PLAIN: dict[str, Any] = {
    "Id": "f2aa00677dd1",
    "Name": "shop-web",
    "State": {"Status": "running", "ExitCode": 0},
    "Image": "4ba8",
    "ImageDigest": "sha256:f41c",
    "ImageName": "localhost/mcp-worker:1.0.0",
    "Pod": "",
    "NetworkSettings": {"Ports": {}},
    "Config": {
        "User": "",
        "Tty": False,
        "OpenStdin": False,
        "Env": ["PATH=/bin", "TERM=xterm", "container=podman", "VERSION=1.0.0", "HOME=/root", "HOSTNAME=f2aa00677dd1"],
        "Cmd": ["/bin/worker"],
        "Hostname": "f2aa00677dd1",
        "WorkingDir": "/",
        "Entrypoint": "",
        "CreateCommand": ["podman", "run", "-d", "--name", "shop-web", "localhost/mcp-worker:1.0.0"],
        "Timeout": 0,
    },
    "HostConfig": {
        "Binds": [],
        "NetworkMode": "slirp4netns",
        "PortBindings": {},
        "RestartPolicy": {"Name": "", "MaximumRetryCount": 0},
        "AutoRemove": False,
        "VolumesFrom": None,
        "CapAdd": [],
        "CapDrop": [],
        "Dns": [],
        "DnsOptions": [],
        "DnsSearch": [],
        "ExtraHosts": [],
        "GroupAdd": [],
        "IpcMode": "shareable",
        "PidMode": "private",
        "Privileged": False,
        "ReadonlyRootfs": False,
        "SecurityOpt": [],
        "Tmpfs": {},
        "UTSMode": "private",
        "UsernsMode": "",
        "CpuShares": 0,
        "Memory": 0,
        "NanoCpus": 0,
        "CpusetCpus": "",
        "Devices": [],
    },
}
API = copy.deepcopy(PLAIN)  # the same, made over the API
API["Config"]["CreateCommand"] = None
BARE = ComponentSpec(name="web", image="localhost/mcp-worker:1.0.0", restart="no")


def changed(path: str, value: object, base: dict[str, Any] = PLAIN) -> dict[str, Any]:
    """A container that differs in one place."""
    data = copy.deepcopy(base)
    *way, last = path.split(".")
    place = data
    for key in way:
        place = place.setdefault(key, {})
    place[last] = value
    return data


def inspected(container: dict[str, Any], image: dict[str, Any] = IMAGE) -> ContainerObject:
    """A container and its image as podman prints them."""
    image = {**image, "Id": container["Image"]}
    (found,) = parse_objects(json.dumps([container]).encode(), json.dumps([image]).encode())
    return found


def spec(container: dict[str, Any], image: dict[str, Any] = IMAGE) -> ComponentSpec:
    return component("web", inspected(container, image))


def problems(container: dict[str, Any], image: dict[str, Any]) -> list[str]:
    return import_problems(inspected(container, image))


def test_a_plain_container_says_nothing_that_podman_or_its_image_say_anyway() -> None:
    assert spec(PLAIN) == BARE
    assert problems(PLAIN, IMAGE) == []


@pytest.mark.parametrize(
    ("path", "value", "field", "expected"),
    [
        ("HostConfig.NetworkMode", "pasta", "network", ""),
        ("HostConfig.NetworkMode", "host", "network", "host"),
        ("HostConfig.NetworkMode", "none", "network", "none"),
        ("Config.User", "0:0", "user", "0:0"),
        ("HostConfig.RestartPolicy", {"Name": "on-failure", "MaximumRetryCount": 3}, "restart", "on-failure:3"),
        ("HostConfig.RestartPolicy", {"Name": "unless-stopped"}, "restart", "unless-stopped"),
        (
            "HostConfig.PortBindings",
            {
                "8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "23999"}, {"HostIp": "::1", "HostPort": "24001"}],
                "81/udp": [{"HostIp": "", "HostPort": "24000"}],
                "9/tcp": None,
            },
            "ports",
            ("127.0.0.1:23999:8080", "[::1]:24001:8080", "24000:81/udp"),
        ),
        (
            "HostConfig.Binds",
            [
                "vol:/v:U,rw,rprivate,nosuid,nodev,rbind",
                "/tmp:/data:ro,rprivate,rbind",
                f"{'a1' * 32}:/cache:rw,rprivate,nosuid,nodev,rbind",
            ],
            "volumes",
            ("/tmp:/data:ro", "vol:/v:U"),
        ),
        ("Config.Cmd", ["web", "arg"], "cmd", ("web", "arg")),
        ("Config.Env", ["PATH=/bin", "VERSION=2", "X=a=b", "container=podman"], "env", ("VERSION=2", "X=a=b")),
        (
            "Config.Healthcheck",
            {"Test": ["CMD-SHELL", "true"], "Interval": 5_000_000_000, "Timeout": 30_000_000_000, "Retries": 3},
            "health",
            HealthSpec(cmd=("/bin/sh", "-c", "true"), interval="5s"),
        ),
        (
            "Config.Healthcheck",
            {"Test": ["CMD", "/check", "-q"], "Interval": 1_500_000_000, "Retries": 5, "StartPeriod": 60_000_000_000},
            "health",
            HealthSpec(cmd=("/check", "-q"), interval="1500ms", retries=5, start_period="60s"),
        ),
        ("HostConfig.LogConfig", {"Type": "journald", "Tag": "", "Size": "0B"}, "log_driver", "journald"),
        ("HostConfig.LogConfig", {"Type": "journald", "Size": "10MB"}, "log_max_size", ""),
        ("HostConfig.LogConfig", {"Type": "none"}, "log_driver", "none"),
        ("HostConfig.LogConfig", {"Type": "json-file"}, "log_driver", "k8s-file"),
        ("HostConfig.LogConfig", {"Type": "k8s-file", "Size": "0B"}, "log_max_size", "0"),
        ("HostConfig.LogConfig", {"Type": "k8s-file", "Size": "32MB"}, "log_max_size", ""),
        ("HostConfig.LogConfig", {"Type": "k8s-file", "Size": "33.55MB"}, "log_max_size", "33550k"),
        ("HostConfig.LogConfig", {"Type": "k8s-file", "Size": "1.5GB"}, "log_max_size", "1500m"),
        ("HostConfig.LogConfig", {"Type": "json-file", "Size": "2TB"}, "log_max_size", "2000g"),
    ],
)
def test_what_was_told_is_read_back(path: str, value: object, field: str, expected: object) -> None:
    container = changed(path, value)
    assert getattr(spec(container), field) == expected
    assert problems(container, IMAGE) == []


def test_a_named_network() -> None:
    container = changed("NetworkSettings.Networks", {"n1": {}}, changed("HostConfig.NetworkMode", "bridge"))
    assert spec(container).network == "n1"


def test_a_variable_that_podman_sets_counts_where_it_was_told() -> None:
    container = changed("Config.CreateCommand", ["podman", "run", "-e", "HOME=/root", "image"])
    assert spec(container).env == ("HOME=/root",)


def test_what_the_image_says_is_left_out() -> None:
    check = {"Test": ["CMD", "/check"], "Interval": 5_000_000_000}
    image = {"Config": {**IMAGE["Config"], "Healthcheck": check, "User": "app", "Entrypoint": ["/bin/sh", "-c"]}}
    container = changed("Config.Healthcheck", check, changed("Config.User", "app"))
    for entrypoint in ("/bin/sh -c", ["/bin/sh", "-c"]):  # podman 4, podman 5
        same = changed("Config.Entrypoint", entrypoint, container)
        assert spec(same, image) == BARE
        assert problems(same, image) == []


@pytest.mark.parametrize(
    ("path", "value", "word"),
    [
        ("HostConfig.Privileged", True, "--privileged"),
        ("HostConfig.Devices", [{"PathOnHost": "/dev/fuse"}], "--device"),
        ("HostConfig.CapAdd", ["CAP_NET_ADMIN"], "--cap-add"),
        ("HostConfig.Tmpfs", {"/t": "rw"}, "--tmpfs"),
        ("HostConfig.AutoRemove", True, "--rm"),
        ("HostConfig.Init", True, "--init"),
        ("HostConfig.ReadonlyRootfs", True, "--read-only"),
        ("HostConfig.ExtraHosts", ["h:1.2.3.4"], "--add-host"),
        ("HostConfig.Memory", 1024, "--memory"),
        ("HostConfig.PidMode", "host", "--pid"),
        ("HostConfig.UsernsMode", "private", "--userns"),
        ("HostConfig.NetworkMode", "container:abc", "another container's"),
        ("HostConfig.NetworkMode", "slirp4netns:port_handler=slirp4netns", "options of a network"),
        ("NetworkSettings.Networks", {"a": {}, "b": {}}, "several networks: a, b"),
        ("Config.Entrypoint", "/bin/other", "--entrypoint"),
        ("Config.WorkingDir", "/tmp", "--workdir"),
        ("Config.Cmd", None, "it has no command although its image has one"),
        ("HostConfig.LogConfig", {"Type": "passthrough"}, "--log-driver=passthrough"),
        ("HostConfig.LogConfig", {"Type": "journald", "Tag": "x"}, "--log-opt=tag"),
        ("Config.Secrets", [{"Name": "s"}], "--secret"),
        ("Pod", "abc", "--pod"),
        ("Config.Hostname", "other", "--hostname"),
        ("Config.Labels", {"team": "x"}, "--label=team"),
        ("Config.Annotations", {"io.podman.annotations.init": "FALSE", "a": "b"}, "--annotation=a"),
        ("Config.Passwd", False, "--passwd=false"),
        ("Config.Env", ["PATH=/bin"], "--unsetenv=VERSION"),
        ("Config.Healthcheck", {"Test": ["CMD", "true"]}, "--health-interval=disable"),
        ("NetworkSettings.Networks", {"n": {"Aliases": ["f2aa00677dd1", "shop-web", "db"]}}, "--network-alias"),
        ("HostConfig.PortBindings", {"85/sctp": [{"HostPort": "85"}]}, "--publish of 85/sctp"),
        ("HostConfig.Ulimits", [{"Name": "RLIMIT_NOFILE"}, {"Name": "RLIMIT_CORE"}], "--ulimit"),
        ("HostConfig.CapDrop", ["CAP_MKNOD"], "--cap-drop"),
        ("HostConfig.PidsLimit", 100, "--pids-limit"),
        ("HostConfig.ShmSize", 2**27, "--shm-size"),
    ],
)
def test_what_a_definition_cannot_say_is_found(path: str, value: object, word: str) -> None:
    (problem,) = problems(changed(path, value, API), IMAGE)
    assert word in problem


def test_the_command_says_what_containers_conf_set() -> None:
    for path, value in (("HostConfig.Init", True), ("HostConfig.CapDrop", ["CAP_MKNOD"]), ("HostConfig.PidsLimit", 9)):
        assert problems(changed(path, value), IMAGE) == []
        assert len(problems(changed(path, value, API), IMAGE)) == 1
    assert problems(changed("HostConfig.Memory", 1024), IMAGE) != [], "of `podman update`"


@pytest.mark.parametrize(
    ("container", "image", "expected"),
    [
        *((15, None, ""), (2, None, "SIGINT"), (2, "SIGINT", ""), (15, "SIGINT", "SIGTERM"), ("SIGQUIT", "3", "")),
        *((37, None, "SIGRTMIN+3"), ("SIGRTMIN+3", None, "SIGRTMIN+3"), (64, None, "SIGRTMAX"), (0, None, "")),
    ],
)
def test_a_stop_signal_other_than_the_image_s_is_taken_over(container: object, image: object, expected: str) -> None:
    base = {"Config": {**IMAGE["Config"], "StopSignal": image}}
    found = spec(changed("Config.StopSignal", container), base)
    assert found.stop_signal == expected
    assert list(field_problems(found)) == []


@pytest.mark.parametrize(("seconds", "expected"), [(None, ""), (10, ""), (0, "0s"), (15, "15s"), (3600, "3600s")])
def test_a_stop_timeout_other_than_podman_s_is_taken_over(seconds: object, expected: str) -> None:
    found = spec(changed("Config.StopTimeout", seconds))
    assert found.stop_timeout == expected
    assert list(field_problems(found)) == []


def test_a_stop_timeout_without_end_is_refused() -> None:
    refused = judge(inspected(changed("Config.StopTimeout", 2**32 - 1)), "shop", "web").error
    assert "stop_timeout" in refused


def test_variables_of_the_proxy_are_variables() -> None:
    env = [*PLAIN["Config"]["Env"], "HTTPS_PROXY=http://p:1", "https_proxy=http://p:1"]
    found = spec(changed("Config.Env", env))
    assert (found.http_proxy, found.env) == (False, ("HTTPS_PROXY=http://p:1", "https_proxy=http://p:1"))


@pytest.mark.parametrize(
    ("words", "env", "expected"),
    [
        (["--env-file=x"], "HOME=/data", ("HOME=/data",)),
        (["--env-file=x"], "HOME=/root", ()),
        (["--env-file=x"], "TERM=vt100", ("TERM=vt100",)),
        (["--env-file=x"], "HOSTNAME=db", ("HOSTNAME=db",)),
        (["-eTERM"], "TERM=xterm", ("TERM=xterm",)),
        ([], "HOME=/home/app", ()),
        (["-e", f"PATH={DEFAULT_PATH}"], f"PATH={DEFAULT_PATH}", (f"PATH={DEFAULT_PATH}",)),
        (["--env-file=x"], f"PATH={DEFAULT_PATH}", (f"PATH={DEFAULT_PATH}",)),
    ],
)
def test_podman_s_own_variables_are_told_from_others(words: list[str], env: str, expected: tuple[str, ...]) -> None:
    made = changed("Config.CreateCommand", ["podman", "run", *words, "x"])
    assert spec(changed("Config.Env", ["VERSION=1.0.0", env], made)).env == expected


@pytest.mark.parametrize(("word", "expected"), [("8080:80", "8080:80"), ("0.0.0.0:8080:80", "0.0.0.0:8080:80")])
def test_no_address_is_told_from_0_0_0_0(word: str, expected: str) -> None:
    made = changed("Config.CreateCommand", ["podman", "run", "-p", word, "x"])
    bound = {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}
    assert spec(changed("HostConfig.PortBindings", bound, made)).ports == (expected,)


def test_a_network_of_another_podman_s_default_is_taken_over() -> None:
    made = changed("Config.CreateCommand", ["podman", "run", "--net", "slirp4netns", "x"])
    assert spec(made).network == "slirp4netns"


def test_a_container_is_adopted_whole_or_refused_with_every_reason() -> None:
    good = judge(inspected(PLAIN), "shop", "web")
    assert (good.error, good.spec, good.digest, good.running) == ("", BARE, "sha256:f41c", True)
    bad = changed("ImageName", "localhost/x", changed("HostConfig.Privileged", True, API))
    error = judge(inspected(bad), "shop", "web").error
    assert "--privileged" in error
    assert "has no tag" in error
    odd = inspected(changed("HostConfig.RestartPolicy", "always"))
    assert judge(odd, "shop", "web").error == "unexpected output of podman inspect"
    assert "must be named a-b" in judge(inspected(PLAIN), "a", "b").error
    labelled = inspected(changed("Config.Labels", {"mcp.deploy": "7"}))
    assert (judge(labelled, "shop", "web").deploy, good.deploy) == (7, 0)


def listed(*names: str, state: str = "running", **labels: str) -> list[Container]:
    marks = {f"mcp.{key}": value for key, value in labels.items()}
    return [Container(name, name, "localhost/x:1", state, 0, BEFORE, marks) for name in names]


def registered(service: str, component: str) -> ComponentRow:
    place = container_name(service, component)
    return ComponentRow(
        service, component, place, ComponentSpec(component, "localhost/x:1"), DesiredState.RUNNING, BEFORE
    )


def test_the_names_of_a_service() -> None:
    containers = listed("shop", "shop-web", "shop-a-b", "shopping", "other") + listed("shop-job", state="exited")
    assert candidates("shop", [], containers) == {
        "shop": ("shop", "shop"),
        "shop-web": ("shop", "web"),
        "shop-a-b": ("shop", "a-b"),
        "shop-job": ("shop", "job"),
    }
    assert "shop-web" not in candidates("shop", [registered("shop", "web")], containers)


def test_services_are_told_from_names() -> None:
    containers = listed("metacrypt-api", "metacrypt-web", "mcr", "mcr-web", "mc-proxy", "site-new", "Odd.name")
    found = candidates("", [registered("site", "web")], [*containers, *listed("gone", state="exited")])
    assert found == {
        "metacrypt-api": ("metacrypt", "api"),
        "metacrypt-web": ("metacrypt", "web"),
        "mcr": ("mcr", "mcr"),
        "mcr-web": ("mcr", "web"),
        "mc-proxy": ("mc-proxy", "mc-proxy"),
        "site-new": ("site", "new"),
        "Odd.name": ("Odd.name", "Odd.name"),
    }


def test_labels_of_mcp_say_it_for_certain() -> None:
    containers = listed("a-b-c", service="a-b", component="c") + listed("a-d")
    assert candidates("", [], containers) == {"a-b-c": ("a-b", "c"), "a-d": ("a", "d")}
    lying = listed("x-y", service="p", component="q")
    assert candidates("", [], lying) == {"x-y": ("x-y", "x-y")}
