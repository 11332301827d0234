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
_DIGEST = r"(?:@(?P<digest>sha256:[0-9a-f]{64}))"
_REFERENCE = rf"{_REPOSITORY}{_TAG}?{_DIGEST}?"
# the rule of `image_problem`, for editors
PINNED = rf"(?!.*:latest$)(?=localhost/|[^/]*[.:])(?=.*/.*[:@]){_REPOSITORY}{_TAG}?{_DIGEST}?"

_DOCKER_HUB = "docker.io/"
_SHORT_DIGEST = len("sha256:") + 12


@dataclass(frozen=True)
class ImageReference:
    """A parsed reference; `tag` and `digest` may be empty."""

    repository: str
    tag: str
    digest: str

    @property
    def version(self) -> str:
        """The tag, or the start of the digest if no tag names a version."""
        return self.digest[:_SHORT_DIGEST] if self.digest and self.tag in ("", "latest") else self.tag

    @property
    def is_short(self) -> bool:
        """True if it names no registry: podman then looks in several."""
        first, slash, _ = self.repository.partition("/")
        return not slash or (first != "localhost" and not any(character in first for character in ".:"))

    @property
    def key(self) -> str:
        """The name by which podman finds it among the node's images: the digest alone, or the full name with the tag.

        Docker Hub has two names, and its images without an owner are those of `library`.
        """
        if self.digest:
            return self.digest
        repository = re.sub(r"^index\.docker\.io/", _DOCKER_HUB, self.repository)
        repository = re.sub(r"^docker\.io/(?=[^/]+$)", f"{_DOCKER_HUB}library/", repository)
        return f"{repository}:{self.tag or 'latest'}"


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
    if not reference.tag and not reference.digest:
        return "has no tag; pin a version, as in NAME:v1.2.3"
    if reference.tag == "latest" and not reference.digest:
        return "is tagged latest, which changes under you; pin a version, as in NAME:v1.2.3"
    if reference.is_short:
        name = f"{reference.repository}{f':{reference.tag}' if reference.tag else ''}"
        full = f"docker.io/{name if '/' in name else f'library/{name}'}"
        return f"names no registry; write localhost/{name} for an image of the node, or the full name, as {full}"
    return ""


def image_version(text: str) -> str:
    """Return the version of a component with that image: its tag or its shortened digest; empty if it has neither."""
    reference = parse_image(text)
    return reference.version if reference else ""


def image_key(text: str) -> str:
    """Return the key of an image among those of a node (see ImageReference.key); other text is its own key."""
    reference = parse_image(text)
    return reference.key if reference else text
