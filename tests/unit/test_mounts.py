"""The paths of the node that no container gets: whatever they are called, and wherever they lead."""

from pathlib import Path

import pytest

from agent.files.files import ServiceFiles
from agent.files.mounts import mount_problem, planted_link, resolve
from agent.files.sources import provide_sources
from mcp.shared.errors import NotReady


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A node: services, the agent's folder beside them, its runtime folder, and podman's storage."""
    for folder in ("srv/mcp/certs", "srv/shop/data", "run/user/1000/podman", "var/storage/volumes", "data/other"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "srv/mcp/mcp.db").touch()
    (tmp_path / "run/user/1000/bus").touch()
    return tmp_path


def node(root: Path, *allowed: str) -> ServiceFiles:
    """The services' files of that node."""
    private = ("srv/mcp", "srv/mcp/mcp.db", "run/user/1000")
    return ServiceFiles(root / "srv", tuple(root / path for path in private), tuple(root / path for path in allowed))


def problem(root: Path, source: str, *allowed: str) -> str:
    """Judge a source on that node."""
    return mount_problem(node(root, *allowed), source, [root / "var/storage"])


@pytest.mark.parametrize(
    "source",
    [
        *("srv/mcp", "srv/mcp/", "srv//mcp", "srv/./mcp", "srv/mcp/mcp.db", "srv/mcp/certs", "srv/mcp/new"),
        *("srv", "run/user/1000", "run/user/1000/bus", "run/user/1000/podman", "run/user", "run", ""),
        *("var/storage", "var/storage/volumes", "var"),
    ],
)
def test_what_is_the_agents_or_podmans_is_refused_by_its_spelling(root: Path, source: str) -> None:
    assert " is the agent's or podman's own; to allow it, add it to allow_mounts" in problem(root, f"{root}/{source}")


@pytest.mark.parametrize("source", ["/", "//", "/proc", "/proc/1/root", "/proc/self/cwd", "/dev/fd/0", "/dev/stdin"])
def test_what_holds_everything_is_refused(root: Path, source: str) -> None:
    assert problem(root, source)


@pytest.mark.parametrize(
    "source", ["srv/shop", "srv/shop/data", "srv/shop/new", "srv/new", "data", "data/other", "none"]
)
def test_everything_else_may_be_mounted(root: Path, source: str) -> None:
    assert problem(root, f"{root}/{source}") == ""
    assert problem(root, "/etc/localtime") == problem(root, "/sys") == problem(root, "/dev/null") == ""


@pytest.mark.parametrize(
    ("target", "refused"),
    [
        *(("../mcp", True), ("../mcp/mcp.db", True), ("..", True), ("../../run/user/1000", True), ("/", True)),
        *(("/proc/self/fd/0", True), ("../../var/storage", True), ("data", False), ("../../data", False)),
        ("link", True),  # to itself
    ],
)
def test_a_link_is_judged_by_what_it_leads_to(root: Path, target: str, refused: bool) -> None:
    link = root / "srv/shop/link"
    link.symlink_to(target)
    (root / "data/chain").symlink_to(link)
    assert bool(problem(root, str(link))) == refused
    assert bool(problem(root, f"{root}/data/chain")) == refused
    assert bool(planted_link(node(root), str(link))) == (refused and "var" not in target)
    (root / "data/shop").symlink_to(root / "srv")
    assert problem(root, f"{root}/data/shop/shop/data") == ""
    assert "leads into" in problem(root, f"{root}/data/shop/mcp/certs")


def test_a_folder_that_is_seen_at_two_places_is_known_by_its_inode(root: Path) -> None:
    """As of a bind mount; here a hard link stands for it, which needs no root."""
    (root / "data/registry").hardlink_to(root / "srv/mcp/mcp.db")
    assert f"data/registry is {root}/srv/mcp/mcp.db, which" in problem(root, f"{root}/data/registry")


def test_the_configuration_allows_a_mount_and_not_what_it_leads_to_elsewhere(root: Path) -> None:
    socket = f"{root}/run/user/1000/podman"
    assert problem(root, socket, "run/user/1000/podman") == ""
    assert problem(root, f"{root}/run/user/1000", "run/user/1000/podman") != ""
    (root / "var/run").symlink_to(root / "run")
    assert problem(root, f"{root}/var/run/user/1000/podman", "var/run/user/1000/podman") == ""
    (root / "run/user/1000/podman/link").symlink_to(root / "srv/mcp")
    assert problem(root, f"{socket}/link", "run/user/1000/podman") != ""


def test_the_services_of_a_trial_are_in_the_agents_folder(root: Path) -> None:
    """As of `mcp-agent dev`, which has everything in one folder."""
    state = root / "srv/mcp"
    (state / "srv/web").mkdir(parents=True)
    files = ServiceFiles(state / "srv", (state,))
    assert mount_problem(files, f"{state}/srv/web") == mount_problem(files, f"{state}/srv/web/new") == ""
    for source in (state, state / "srv", state / "certs", state.parent):
        assert mount_problem(files, str(source)) != ""


def test_a_start_refuses_a_link_that_a_container_has_put_in_its_folder(root: Path) -> None:
    files, data = node(root), root / "srv/shop/data"
    provide_sources(files, "shop", [str(data)])
    data.rmdir()
    data.symlink_to("../mcp")
    with pytest.raises(NotReady, match=r"shop/data is .*/srv/mcp, which is the agent's"):
        provide_sources(files, "shop", [str(data)])
    provide_sources(files, "shop", [str(root / "srv/mcp")])  # it was deployed like this, by an earlier release


def test_a_path_is_followed_as_the_kernel_does(root: Path) -> None:
    (root / "a").symlink_to("srv/shop/../mcp")
    (root / "b").symlink_to("a/certs")
    resolved = resolve(f"{root}/b/none/../x")
    assert resolved is not None
    assert resolved.real == root / "srv/mcp/certs/x"
    assert root / "a" in resolved.passed
