"""Container image references, in the grammar of the OCI distribution project.

Source of the grammar: https://pkg.go.dev/github.com/distribution/reference
"""

import re
from dataclasses import dataclass

NAME_LIMIT = 255  # characters of a repository's name, registry included

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]+\])"
_PATH = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = rf"(?P<repository>(?:{_HOST}(?::[0-9]+)?/)?{_PATH}(?:/{_PATH})*)"
_TAG = r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))"
_DIGEST = r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
_REFERENCE = rf"{_REPOSITORY}{_TAG}?{_DIGEST}"
PINNED = rf"(?!.*:latest(@|$)){_REPOSITORY}{_TAG}{_DIGEST}"  # the rule of `image_problem`


@dataclass(frozen=True)
class ImageReference:
    """A parsed reference; `tag` and `digest` may be empty."""

    repository: str
    tag: str
    digest: str


def parse_image(text: str) -> ImageReference | None:
    """Parse an image reference; None if it is invalid."""
    match = re.fullmatch(_REFERENCE, text) if len(text) <= 512 else None
    if match is None or len(match["repository"]) > NAME_LIMIT:
        return None
    return ImageReference(match["repository"], match["tag"] or "", match["digest"] or "")


def image_problem(text: str) -> str:
    """Return the problem of `text` as the image of a component; empty if it is valid."""
    if not text:
        return "is missing; expected REGISTRY/PATH:TAG"
    reference = parse_image(text)
    if reference is None:
        return "is not an image reference; expected REGISTRY/PATH:TAG"
    if not reference.tag:
        return "has no tag; pin a version, as in NAME:v1.2.3"
    if reference.tag == "latest":
        return "is tagged latest, which changes under you; pin a version, as in NAME:v1.2.3"
    return ""


def image_version(text: str) -> str:
    """Return the tag of an image, which is the version of a component; empty if there is none."""
    reference = parse_image(text)
    return reference.tag if reference else ""
