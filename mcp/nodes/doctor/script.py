"""The read-only POSIX sh script of the checks over ssh, with its output in sections.

It runs podman only if it has run as mcp since the last boot: its very first command pins folders permanently.
"""

from mcp.nodes.layout import USER

PODMAN_SECONDS = 15
VERIFY_SECONDS = 45
# of the archive itself, with nothing of the tree that it examines; agents before 0.3 have no such module
VERIFY = "import sys; sys.path.insert(0, sys.argv[1]); import _verify; _verify.main(*sys.argv[1:])"

SCRIPT = """\
export LC_ALL=C PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH"
mark=$1 user=$2 limit=$3 verify=$4 verify_limit=$5
section() { printf '\\n%s %s\\n' "$mark" "$1"; }
uid=$(id -u "$user" 2>/dev/null) gid=$(id -g "$user" 2>/dev/null)
home=$(getent passwd "$user" | cut -d: -f6)
runtime=/run/user/$uid
storage=$home/.local/share/containers/storage

section account; getent passwd "$user"
section users; getent passwd | cut -d: -f1,3
section groups; id -nG "$user"
section linger; ls /var/lib/systemd/linger
section subuid; cat /etc/subuid
section subgid; cat /etc/subgid
section programs; for each in podman newuidmap newgidmap python3; do command -v "$each"; done
section runtime; stat -c %u "$runtime"
section cgroup; stat -f -c %T /sys/fs/cgroup
section ports; cat /proc/sys/net/ipv4/ip_local_port_range
section listening; cat /proc/net/tcp /proc/net/tcp6
section unit
systemctl show --property=LoadState --property=ActiveState --property=Result --property=UnitFileState \\
    --property=FragmentPath --property=NeedDaemonReload --property=Environment --property=StatusText mcp-agent.service
section unit-file
file=$(systemctl show --property=FragmentPath --value mcp-agent.service)
test -z "$file" || cat "$file"
section switch; cat /var/lib/mcp-agent-switch/result
section switching; systemctl is-active mcp-agent-switch.service mcp-agent-switch-resume.service
section disk; df -kP / /srv "$home" "$storage"
section inodes; df -iP / /srv "$home" "$storage"

me=$(id -u)
test "$me" = 0 || test "$me" = "$uid" || exit 0
test -n "$uid" || exit 0
section bus; test ! -S "$runtime/bus" || echo yes
section storage-owner; stat -c %u "$storage"
section staged; ls -d "$home"/mcp-agent.new* "$home"/mcp-agent.prev.old* "$home"/mcp-agent.prev.new
section auth; stat -c %a:%U "$home"/auth.json
section tree
set -- env -i "HOME=$home" "PATH=$PATH" timeout -k 2 "$verify_limit" \\
    python3 -I -c "$verify" "$home/mcp-agent" mcp-agent
test "$me" != 0 || set -- setpriv "--reuid=$uid" "--regid=$gid" --init-groups -- "$@"
(cd "$home" && "$@" </dev/null 2>/dev/null)
section podman
if ! test -d "$storage" || ! test -e "$runtime/libpod/tmp/pause.pid"; then echo 'not since boot'; exit 0; fi
set -- env -i "HOME=$home" "PATH=$PATH" "XDG_RUNTIME_DIR=$runtime" "DBUS_SESSION_BUS_ADDRESS=unix:path=$runtime/bus" \\
    timeout -k 2 "$limit" podman info --format json
test "$me" != 0 || set -- setpriv "--reuid=$uid" "--regid=$gid" --init-groups -- "$@"
cd "$home" || exit 0
said=$("$@" 2>&1 </dev/null)
status=$?
printf '%s\\n' "$said"
section podman-status; echo "$status"
"""


def argv(mark: str) -> list[str]:
    """Return the command that runs SCRIPT from stdin; lines that begin with `mark` name sections."""
    return ["sh", "-s", mark, USER, str(PODMAN_SECONDS), VERIFY, str(VERIFY_SECONDS)]


def sections(text: str, mark: str) -> dict[str, str]:
    """Split the output of the script into sections."""
    found: dict[str, str] = {}
    for part in ("\n" + text).split(f"\n{mark} ")[1:]:
        name, _, rest = part.partition("\n")
        found[name.strip()] = rest
    return found
