"""Names: which are valid, and which follow from them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp.shared import names
from mcp.shared.errors import InvalidInput

GOOD = ["a", "0", "web", "a-b", "a-", "a" * 63, "0a-9z"]
BAD = [
    "",
    "-a",
    "-rf",
    "--help",
    "A",
    "a_b",
    "a.b",
    "a b",
    " a",
    "a ",
    "a\n",
    "\na",
    "a\0",
    "a'b",
    'a"b',
    "a/b",
    "..",
    "ä",
    "²",
    "a" * 64,
    "$(id)",
    "a;b",
    "\x1b[0m",
]


@pytest.mark.parametrize("name", GOOD)
def test_good_names(name: str) -> None:
    assert names.is_name(name)
    assert names.check_name("service", name) == name


@pytest.mark.parametrize("name", BAD)
def test_bad_names_are_one_line_that_names_the_field(name: str) -> None:
    assert not names.is_name(name)
    with pytest.raises(InvalidInput) as caught:
        names.check_name("service", name)
    assert str(caught.value).startswith("service: ")
    assert str(caught.value).endswith("have at most 63 characters")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(("text", "target"), [("web", ("web", "")), ("web/api", ("web", "api")), ("a/a", ("a", "a"))])
def test_targets(text: str, target: tuple[str, str]) -> None:
    assert names.parse_target(text) == target


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "service: is missing"),
        ("/", "service: is missing"),
        ("/api", "service: is missing"),
        ("web/", "component: is missing"),
        ("web/api/x", 'component: "api/x" is not a valid name'),
        ("-web", 'service: "-web" is not a valid name'),
        ("../etc", 'service: ".." is not a valid name'),
    ],
)
def test_bad_targets(text: str, what: str) -> None:
    with pytest.raises(InvalidInput, match=what.replace(".", r"\.")):
        names.parse_target(text)


def test_container_names() -> None:
    assert names.container_name("web", "api") == "web-api"
    assert names.container_name("web", "web") == "web"
    assert names.aside_name("web-api") == "web-api.old"


@given(st.sampled_from(GOOD), st.sampled_from(GOOD))
def test_a_container_put_aside_cannot_be_another_component(service: str, component: str) -> None:
    assert not names.is_name(names.aside_name(names.container_name(service, component)))


def test_port_variables() -> None:
    assert names.port_variable("") == "PORT"
    assert names.port_variable("rest-api2") == "PORT_REST_API2"


@given(st.from_regex(names.NAME_PATTERN, fullmatch=True), st.from_regex(names.NAME_PATTERN, fullmatch=True))
def test_two_routes_never_share_a_variable(one: str, other: str) -> None:
    assert (names.port_variable(one) == names.port_variable(other)) == (one == other)
