"""Parse the command line that made a container (`Config.CreateCommand`), and find options that definitions lack. Pure.

The result of an option is taken from `podman inspect` where that reports it in full; an option that is in none of the
tables here, such as one of a later podman, cannot be expressed.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

VERBS = (["run"], ["create"], ["container", "run"], ["container", "create"])
TRUE = ("1", "t", "T", "true", "TRUE", "True")


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


FLAGS = _names(
    "detach disable-content-trust env-host http-proxy init interactive no-healthcheck no-hostname no-hosts "
    "oom-kill-disable passwd privileged publish-all quiet read-only read-only-tmpfs replace rm rmi rootfs sig-proxy "
    "tls-verify tty unsetenv-all"
)
SHORTS = {
    **{"a": "attach", "c": "cpu-shares", "d": "detach", "e": "env", "h": "hostname", "i": "interactive", "l": "label"},
    **{"m": "memory", "p": "publish", "P": "publish-all", "q": "quiet", "t": "tty", "u": "user", "v": "volume"},
    "w": "workdir",
}
GLOBAL_FLAGS = _names("help noout remote syslog trace transient-store version")
GLOBAL_SHORTS = {"c": "connection", "r": "remote", "v": "version"}
ALIASES = {"net": "network"}

# Without effect on the container: where its image comes from, what the command printed and waited for, names of files.
NO_EFFECT = _names(
    "arch attach authfile cert-dir cidfile conmon-pidfile creds decryption-key detach detach-keys "
    "disable-content-trust expose name os pidfile platform pull quiet replace retry retry-delay sig-proxy "
    "tls-verify variant"
)
# `podman inspect` has the result.
REPORTED = _names(
    "entrypoint env env-file env-host env-merge health-cmd health-retries health-start-period health-timeout "
    "http-proxy label label-file log-driver no-healthcheck publish publish-all restart stop-signal stop-timeout user "
    "workdir"
)
GLOBAL_NO_EFFECT = _names(
    "config connection events-backend help identity imagestore log-level namespace noout out pull-option remote root "
    "runroot ssh storage-driver storage-opt syslog tmpdir trace transient-store url version"
)
DEFAULTS = {
    "cgroupns": ("private",),
    "cgroups": ("enabled",),
    "cpus": ("0",),
    "health-on-failure": ("none",),
    "image-volume": ("bind", "anonymous"),
    "ipc": ("private", "shareable"),
    "memory": ("0",),
    "passwd": ("true",),
    "pid": ("private",),
    "read-only-tmpfs": ("true",),
    "sdnotify": ("container",),
    "seccomp-policy": ("default",),
    "systemd": ("true",),
    "timeout": ("0",),
    "umask": ("0022", "022"),
    "userns": ("host",),
    "uts": ("private",),
}
# Options of a volume that are podman's defaults, and those that podman does not report.
VOLUME_DEFAULTS = ("rw", "rprivate", "rbind", "nosuid", "nodev")
VOLUME_UNREPORTED = ("z", "Z")
MOUNT_TYPES = ("bind", "volume")
MOUNT_KEYS = _names("type src source dst destination target ro readonly rw U chown bind-propagation")


@dataclass(frozen=True)
class Option:
    """An option with its value; that of a flag is `true` or `false`."""

    name: str
    value: str


@dataclass(frozen=True)
class CreateCommand:
    """The options of a `podman run` or `podman create`, and those of podman before it."""

    general: tuple[Option, ...]
    options: tuple[Option, ...]

    def values(self, *names: str) -> list[str]:
        """Return the values given to any of these options."""
        return [option.value for option in self.options if option.name in names]


def parse(words: Sequence[str]) -> CreateCommand | None:
    """Parse a command line; None if it is not one of `podman run` or `podman create`."""
    general, rest = _options(list(words[1:]), GLOBAL_FLAGS, GLOBAL_SHORTS)
    for verb in VERBS:
        if rest[: len(verb)] == verb:
            return CreateCommand(tuple(general), tuple(_options(rest[len(verb) :], FLAGS, SHORTS)[0]))
    return None


def _options(words: list[str], flags: frozenset[str], shorts: dict[str, str]) -> tuple[list[Option], list[str]]:
    """Split words into the options before the first word that is none, and the rest."""
    found: list[Option] = []
    while words and words[0].startswith("-") and words[0] != "-":
        word, *words = words
        if word == "--":
            break
        pairs = [_long(word[2:], flags)] if word.startswith("--") else list(_short(word[1:], flags, shorts))
        for name, value in pairs:
            if value is None:
                value, *words = words or [""]
            found.append(Option(name, value))
    return found, words


def _long(text: str, flags: frozenset[str]) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    name = ALIASES.get(name, name)
    return (name, _flag(value or "true")) if name in flags else (name, value if equals else None)


def _short(text: str, flags: frozenset[str], shorts: dict[str, str]) -> Iterator[tuple[str, str | None]]:
    """Yield options like -dit, -p8080:80 and -p=8080:80; the value None is the next word."""
    while text:
        name, text = shorts.get(text[0], text[0]), text[1:]
        if name in flags and not text.startswith("="):
            yield name, "true"
        else:
            value = text.removeprefix("=")
            yield name, _flag(value) if name in flags else value if text else None
            return


def _flag(value: str) -> str:
    return "true" if value in TRUE else "false"


def problems(command: CreateCommand, volumes: Sequence[str]) -> Iterator[str]:
    """Yield the options that a definition cannot express, given the volumes of the one that was derived."""
    for option in command.general:
        if option.name not in GLOBAL_NO_EFFECT:
            yield f"podman's option --{option.name} cannot be expressed in a definition"
    for option in command.options:
        if option.name not in NO_EFFECT | REPORTED and not _is_default(option):
            check = CHECKS.get(option.name, _inexpressible)
            yield from check(option, volumes)


def inexpressible(option: str) -> str:
    """Return the problem of an option that definitions do not have."""
    return f"{option} cannot be expressed in a definition"


def _is_default(option: Option) -> bool:
    default = "false" if option.name in FLAGS else ""
    return option.value in DEFAULTS.get(option.name, (default,))


def _inexpressible(option: Option, _volumes: Sequence[str]) -> Iterator[str]:
    yield inexpressible(f"--{option.name}")


def _log_problems(option: Option, _volumes: Sequence[str]) -> Iterator[str]:
    for name in (entry.partition("=")[0] for entry in option.value.split(",")):
        if name != "max-size":
            yield inexpressible(f"--log-opt={name}")


def _interval_problems(option: Option, _volumes: Sequence[str]) -> Iterator[str]:
    if option.value in ("disable", "0", "0s"):
        yield inexpressible("--health-interval=disable")


def _network_problems(option: Option, _volumes: Sequence[str]) -> Iterator[str]:
    if ":" in option.value and not option.value.startswith(("container:", "ns:")):
        yield f"options of a network ({option.value}) cannot be expressed in a definition"


def _volume_problems(option: Option, volumes: Sequence[str]) -> Iterator[str]:
    """Compare a volume's options with those of the derived definition."""
    target, given = volume_options(option.value)
    known = {word for volume in volumes if volume_options(volume)[0] == target for word in volume_options(volume)[1]}
    for word in given:
        if target and word not in known and word not in VOLUME_DEFAULTS:
            yield inexpressible(f"--volume option {word}")


def volume_options(text: str) -> tuple[str, list[str]]:
    """Return the target and options of SOURCE:TARGET[:OPTIONS]."""
    _, target, options = (*text.split(":", 2), "", "")[:3]
    return target.rstrip("/") or target, [word for word in options.split(",") if word]


def _mount_problems(option: Option, _volumes: Sequence[str]) -> Iterator[str]:
    entries = dict(entry.partition("=")[::2] for entry in option.value.split(","))
    kind = entries.get("type", "volume")
    if kind not in MOUNT_TYPES:
        yield inexpressible(f"--mount=type={kind}")
    else:
        yield from (inexpressible(f"--mount option {key}") for key in entries if key not in MOUNT_KEYS)


CHECKS: dict[str, Callable[[Option, Sequence[str]], Iterator[str]]] = {
    "health-interval": _interval_problems,
    "log-opt": _log_problems,
    "mount": _mount_problems,
    "network": _network_problems,
    "volume": _volume_problems,
}
