"""Image references: the cases of the distribution's own reference tests, and the rules of components."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp.shared.image import PINNED, ImageReference, image_key, image_problem, image_version, parse_image

DIGEST = "sha256:" + "0123456789abcdef" * 4

# As in reference_test.go of the distribution's reference package: input, repository, tag, digest.
GOOD = [
    ("test_com", "test_com", "", ""),
    ("test.com:tag", "test.com", "tag", ""),
    ("test.com:5000", "test.com", "5000", ""),
    ("test.com/repo:tag", "test.com/repo", "tag", ""),
    ("test.com:5000/repo", "test.com:5000/repo", "", ""),
    ("test.com:5000/repo:tag", "test.com:5000/repo", "tag", ""),
    (f"test:5000/repo@{DIGEST}", "test:5000/repo", "", DIGEST),
    (f"test:5000/repo:tag@{DIGEST}", "test:5000/repo", "tag", DIGEST),
    ("test:5000/repo", "test:5000/repo", "", ""),
    ("lowercase:Uppercase", "lowercase", "Uppercase", ""),
    ("sub-dom1.foo.com/bar/baz/quux", "sub-dom1.foo.com/bar/baz/quux", "", ""),
    ("sub-dom1.foo.com/bar/baz/quux:some-long-tag", "sub-dom1.foo.com/bar/baz/quux", "some-long-tag", ""),
    ("b.gcr.io/test.example.com/my-app:test.example.com", "b.gcr.io/test.example.com/my-app", "test.example.com", ""),
    ("xn--n3h.com/myimage:xn--n3h.com", "xn--n3h.com/myimage", "xn--n3h.com", ""),
    ("foo_bar.com:8080", "foo_bar.com", "8080", ""),
    ("foo/foo_bar.com:8080", "foo/foo_bar.com", "8080", ""),
    ("192.168.1.1", "192.168.1.1", "", ""),
    ("192.168.1.1:tag", "192.168.1.1", "tag", ""),
    ("192.168.1.1:5000/repo:tag", "192.168.1.1:5000/repo", "tag", ""),
    ("[2001:db8::1]/repo:tag", "[2001:db8::1]/repo", "tag", ""),
    ("[2001:db8::1]:5000/repo:tag", "[2001:db8::1]:5000/repo", "tag", ""),
    ("Uppercase.example/lower:tag", "Uppercase.example/lower", "tag", ""),
    ("localhost/mcp-demo:1.0.0", "localhost/mcp-demo", "1.0.0", ""),
    ("a__b:1", "a__b", "1", ""),
    ("a---b:1", "a---b", "1", ""),
    ("a:_tag", "a", "_tag", ""),
    ("a:" + "t" * 128, "a", "t" * 128, ""),
    ("a" * 255 + ":tag", "a" * 255, "tag", ""),
]
BAD = [
    "",
    ":justtag",
    "@" + DIGEST,
    "repo@sha256:ffff",
    "validname@invalidDigest:" + "f" * 128,
    "Uppercase:tag",
    "test:5000/Uppercase/lowercase:tag",
    "a" * 256 + ":tag",
    "aa/asdf$$^/aa",
    "[2001:db8::1]",
    "[2001:db8::1]:5000",
    "[2001:db8::1]:tag",
    "[fe80::1%eth0]:5000/repo",
    "a___b",
    "a..b",
    "a-",
    "_a",
    "-a:1",
    "a:.tag",
    "a:-tag",
    "a:" + "t" * 129,
    "a:",
    "a:b:c",
    "a//b",
    "/a",
    "a/",
    "a b:1",
    "a:1\n",
    "\na:1",
    "a\0:1",
    "a:1 ",
    "a:ä",
    "http://example.net/a:1",
    "a:1@sha256:" + "A" * 64,
]


@pytest.mark.parametrize(("text", "repository", "tag", "digest"), GOOD)
def test_references(text: str, repository: str, tag: str, digest: str) -> None:
    assert parse_image(text) == ImageReference(repository, tag, digest)
    assert image_version(text) == (tag or digest[:19])


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_reference(text: str) -> None:
    assert parse_image(text) is None
    assert image_problem(text)
    assert image_version(text) == ""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("mcr.example.net:8443/web:v1.3.1", ""),
        (f"mcr.example.net:8443/web:v1@{DIGEST}", ""),
        (f"mcr.example.net:8443/web@{DIGEST}", ""),
        (f"localhost/web@{DIGEST}", ""),
        (f"localhost/web:latest@{DIGEST}", ""),
        ("localhost/a:latest-1", ""),
        ("docker.io/library/web:1", ""),
        ("docker.io/web:1", ""),
        ("192.168.1.1:5000/repo:tag", ""),
        ("[2001:db8::1]/repo:tag", ""),
        ("registry:5000/repo:tag", ""),
        ("", "is missing"),
        ("Web:1", "is not an image reference"),
        ("-a:1", "is not an image reference"),
        (f"localhost/web@{DIGEST[:-1]}", "is not an image reference"),
        ("localhost/web", "has no tag"),
        ("mcr.example.net:8443/web", "has no tag"),
        ("localhost/web:latest", "is tagged latest"),
        ("web:2.0", "names no registry; write localhost/web:2.0 for an image of the node, or the full name, as "),
        ("web.example.net:2.0", "names no registry; write localhost/web.example.net:2.0 "),
        ("team/web:2.0", "names no registry; write localhost/team/web:2.0 "),
        ("localhosts/web:2.0", "names no registry"),
        ("localhost:2.0", "names no registry"),
        (f"web@{DIGEST}", "names no registry; write localhost/web for"),
    ],
)
def test_images_have_a_registry_and_a_version(text: str, problem: str) -> None:
    found = image_problem(text)
    assert found.startswith(problem)
    assert bool(found) == bool(problem)
    assert bool(re.fullmatch(PINNED, text)) == (not problem)


def test_the_full_name_of_a_short_one() -> None:
    assert image_problem("web:2.0").endswith(" as docker.io/library/web:2.0")
    assert image_problem("team/web:2.0").endswith(" as docker.io/team/web:2.0")


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (f"localhost/web@{DIGEST}", "sha256:0123456789ab"),
        (f"localhost/web:2.0@{DIGEST}", "2.0"),
        (f"localhost/web:latest@{DIGEST}", "sha256:0123456789ab"),
    ],
)
def test_the_version_of_a_digest(text: str, version: str) -> None:
    assert image_version(text) == version


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("localhost/web:2.0", "localhost/web:2.0"),
        (f"localhost/web:2.0@{DIGEST}", DIGEST),
        (f"localhost/web@{DIGEST}", DIGEST),
        ("docker.io/web:1", "docker.io/library/web:1"),
        ("docker.io/library/web:1", "docker.io/library/web:1"),
        ("index.docker.io/web:1", "docker.io/library/web:1"),
        ("index.docker.io/team/web:1", "docker.io/team/web:1"),
        ("web:1", "web:1"),
        ("localhost/web", "localhost/web:latest"),
        ("no reference", "no reference"),
    ],
)
def test_the_key_of_an_image(text: str, key: str) -> None:
    assert image_key(text) == key


@given(st.text())
def test_any_text_has_an_answer(text: str) -> None:
    assert (parse_image(text) is None) <= bool(image_problem(text))


@pytest.mark.parametrize("unit", ["a", "a-", "a.", "a/", "a__", "a.b-", "a:1/", "[::]/", "-"])
def test_no_input_makes_it_slow(unit: str) -> None:
    started = time.process_time()
    parse_image((unit * 512)[:511] + "!")
    assert time.process_time() - started < 5
