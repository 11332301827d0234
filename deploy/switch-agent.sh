#!/bin/sh
# The node's own part of `mcp agent upgrade` and `rollback`. The CLI sends it over ssh and runs it as root:
#
#   facts                               what there is, as NAME=VALUE lines
#   stage ID SHA256 VERSION DEADLINE    take the agent file from stdin, check it, and hand over to `switch`
#   rollback ID DEADLINE                the same with what is kept as .prev
#   tidy                                bring to its end what was interrupted, and remove what it left
#   result ID SECONDS                   wait for the end of a switch, and say how it went
#   switch ID SHA256 VERSION DEADLINE   keep the old agent as .prev, put the new one in its place, restart; undo what fails
#   resume                              bring to its end what a power cut interrupted
#
# `switch` runs as a transient service: neither the end of ssh nor that of the CLI stops it, and a second one at the
# same time is refused by its name. A unit that is there only for the time of a switch runs `resume` after a reboot.
# $script holds this text where it is not run from a file. Errors are one line on stderr, exit status 1.
set -u
export LC_ALL=C

home=/srv/mcp
agent=$home/mcp-agent
unit=mcp-agent.service
state=/var/lib/mcp-agent-switch
switch_unit=mcp-agent-switch
resume_unit=mcp-agent-switch-resume.service
resume_file=/etc/systemd/system/$resume_unit
wants=/etc/systemd/system/multi-user.target.wants
settle=2 # seconds that the new agent must go on after it has said that it serves

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

# --- small things ---

# Run a command as mcp: it owns the folder, so root must not write there by a name that mcp could make a link. Root
# only renames, links and removes there, always with -T: into no folder, not even one that a link leads to.
as_mcp() {
    setpriv --reuid=mcp --regid=mcp --init-groups -- env -i "HOME=$home" "PATH=$PATH" LC_ALL=C "$@"
}

# Run an agent file with the Python that the unit runs it with.
run_agent() {
    python=$(systemctl show --property=ExecStart --value "$unit" | sed -n 's/^{ path=\([^ ;]*\).*/\1/p')
    case $python in
    */python3*) as_mcp "$python" -I "$@" ;;
    *) as_mcp "$@" ;;
    esac
}

sum() {
    sha256sum <"$1" 2>/dev/null | cut -d' ' -f1
}

property() {
    systemctl show --property="$1" --value "$2"
}

# Whether a switch runs, or is to be resumed in this boot.
is_busy() {
    for each in "$switch_unit.service" "$resume_unit"; do
        case $(property ActiveState "$each") in
        active | activating | deactivating) return 0 ;;
        esac
    done
    case $(property Job "$resume_unit") in
    '' | 0) return 1 ;;
    esac
}

# record STATE WHY: what `result` says, whole or not at all, and on the disk.
record() {
    {
        printf 'id=%s\nstate=%s\nsha256=%s\nto=%s\ndeadline=%s\n' "$id" "$1" "$sha" "$version" "$deadline"
        printf 'time=%s\nwhy=%s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$2"
    } >"$state/result.tmp" && sync "$state/result.tmp" && mv -f "$state/result.tmp" "$state/result" && sync "$state"
}

recorded() {
    sed -n "s/^$1=//p" "$state/result" 2>/dev/null
}

# --- before the switch ---

# Remove what was staged, and what checking it left in the cache: any start of the old agent clears that.
discard() {
    rm -f "$agent.new"
    run_agent "$agent" version >/dev/null 2>&1 || :
}

facts() {
    printf 'machine=%s\nsha256=%s\n' "$(uname -m)" "$(sum "$agent")"
    printf 'active=%s\nstatus=%s\n' "$(property ActiveState "$unit")" "$(property StatusText "$unit")"
    printf 'version=%s\nprevious=%s\n' "$(run_agent "$agent" version 2>/dev/null)" "$(sum "$agent.prev")"
    printf 'unfinished=%s\n' "$(unfinished)"
}

# Says yes where something was interrupted, or left something behind.
unfinished() {
    for each in "$agent".new* "$agent.prev.old" "$agent.prev.new"; do
        [ ! -e "$each" ] || { echo yes && return; }
    done
    case $(recorded state) in
    handed-over | switching) echo yes ;;
    esac
}

tidy() {
    prepare
    remove_leftovers
}

# Also what a copy left whose connection and node ended at once.
remove_leftovers() {
    rm -f "$agent".new* "$agent.prev.old" "$agent.prev.new"
}

# What must be so before anything is changed; holds the folder's lock until we end.
prepare() {
    id -u mcp >/dev/null 2>&1 || fail "there is no user mcp; set the node up with mcp node provision"
    [ -f "$agent" ] || fail "there is no $agent; set the node up with mcp node provision"
    [ "$(property LoadState "$unit")" = loaded ] || fail "there is no $unit; set the node up with mcp node provision"
    exec 9<"$home"
    flock --nonblock 9 || fail "another upgrade of this node is under way; wait for its end"
    ! is_busy || fail "another upgrade of this node is under way; wait for its end"
    if ! mkdir -p "$state" || ! chmod 0755 "$state"; then fail "$state cannot be made"; fi
    case $(recorded state) in
    handed-over | switching) resume ;; # a power cut, on a node that has no place for $resume_file
    esac
}

# The staged file must be the one that was sent, and must start here; `version` becomes what it says it is.
check() {
    [ "$(sum "$agent.new")" = "$sha" ] || {
        discard
        fail "the copy is not the file that was sent: its SHA-256 differs; try again"
    }
    said=$(run_agent "$agent.new" version 2>&1 9<&-) || {
        discard
        fail "the new agent does not start here: $(printf '%s\n' "$said" | tail -n 1)"
    }
    found=$(printf '%s\n' "$said" | sed -n '$s/^mcp-agent //p')
    [ -n "$version" ] || version=$found
    [ "$found" = "$version" ] || {
        discard
        fail "the new agent says it is $found, and not $version"
    }
}

stage() {
    prepare
    id=$1 sha=$2 version=$3 deadline=$4
    rm -f "$agent.new"
    # The first message is the cause; a connection that broke off is seen by the sum.
    # shellcheck disable=SC2016  # for the shell that mcp runs
    said=$(as_mcp sh -c 'umask 077; cat >"$1" && chmod 0755 "$1" && sync "$1"' sh "$agent.new" 2>&1) || {
        discard
        fail "the copy failed: $(printf '%s\n' "$said" | head -n 1)"
    }
    check
    hand_over
}

rollback() {
    prepare
    [ -f "$agent.prev" ] || fail "there is no $agent.prev to go back to; mcp agent upgrade keeps it"
    id=$1 sha=$(sum "$agent.prev") version='' deadline=$2
    rm -f "$agent.new"
    as_mcp ln -T "$agent.prev" "$agent.new" || fail "$agent.new cannot be made"
    check
    hand_over
}

# From here on the node is on its own. The lock is ours until the switch runs, which waits for it.
hand_over() {
    # shellcheck disable=SC2154  # set by whoever runs this text
    if ! printf '%s\n' "$script" >"$state/switch.sh" || ! record handed-over ''; then
        rm -f "$state/switch.sh" "$state/result.tmp"
        discard
        fail "$state cannot be written to: is the disk full?"
    fi
    install_resume || : # where /etc is read-only, what a power cut interrupts is brought to its end by the next upgrade
    said=$(systemd-run --quiet --collect --unit="$switch_unit" --property=Type=exec --setenv="PATH=$PATH" \
        /bin/sh "$state/switch.sh" switch "$id" "$sha" "$version" "$deadline" 2>&1 9<&-) || {
        said=$(printf '%s\n' "$said" | tail -n 1)
        discard
        finish failed "the switch could not be started: $said"
        fail "the switch could not be started: $said"
    }
    printf 'to=%s\n' "$version"
}

# --- the switch ---

lock() {
    exec 9<"$home"
    flock 9
}

switch() {
    id=$1 sha=$2 version=$3 deadline=$4
    lock
    if [ "$(sum "$agent.new")" != "$sha" ]; then
        finish failed "another upgrade has taken the place of the staged file; try again"
        return
    fi
    if ! record switching '' || ! keep_old; then
        restore_previous
        discard
        finish failed "$home or $state cannot be written to: is the disk full?"
        return
    fi
    mv -fT "$agent.new" "$agent"
    sync "$home"
    judge restart
}

keep_old() {
    rm -f "$agent.prev.old" "$agent.prev.new"
    [ ! -f "$agent.prev" ] || ln -T "$agent.prev" "$agent.prev.old" || return 1
    ln -T "$agent" "$agent.prev.new" && mv -fT "$agent.prev.new" "$agent.prev" && sync "$home"
}

# What was .prev before the switch is .prev again after one that failed.
restore_previous() {
    if [ -f "$agent.prev.old" ]; then
        mv -fT "$agent.prev.old" "$agent.prev"
    elif [ -f "$agent.prev" ] && [ "$(sum "$agent.prev")" = "$(sum "$agent")" ]; then
        rm -f "$agent.prev"
    fi
    rm -f "$agent.prev.old" "$agent.prev.new"
}

# Seconds since the node was booted: nobody sets that clock.
uptime_seconds() {
    cut -d. -f1 /proc/uptime
}

judge() {
    began=$(uptime_seconds)
    if why=$(serves "$1"); then
        rm -f "$agent.prev.old"
        finish upgraded ''
    else
        undo
    fi
}

# Whether the agent serves as the version it should be, and goes on to; says why not.
serves() {
    if [ "$1" = restart ]; then
        systemctl reset-failed "$unit" 2>/dev/null
        timeout "$deadline" systemctl restart "$unit" >/dev/null 2>&1 9<&-
        case $? in
        0) ;;
        124) printf 'it did not serve within %s s' "$deadline" && return 1 ;;
        *) printf 'it did not start: %s' "$(last_words)" && return 1 ;;
        esac
    fi
    until [ "$(property ActiveState "$unit")" = active ]; do
        [ $(($(uptime_seconds) - began)) -lt "$deadline" ] || {
            printf 'it did not serve within %s s' "$deadline"
            return 1
        }
        sleep 1
    done
    pid=$(property MainPID "$unit")
    sleep "$settle"
    [ "$(property ActiveState "$unit") $(property MainPID "$unit")" = "active $pid" ] || {
        printf 'it ended soon after it had started: %s' "$(last_words)"
        return 1
    }
    status=$(property StatusText "$unit")
    case $status in
    "serving $version") return 0 ;;
    *) printf 'it is %s, and not %s' "${status#serving }" "$version" && return 1 ;;
    esac
}

last_words() {
    journalctl --sync 2>/dev/null
    # By the name and not by the unit: of a process that is gone already, journald does not know the unit.
    name=$(property SyslogIdentifier "$unit")
    # Not with --lines=1: older ones would give the first line since then.
    words=$(journalctl --quiet --output=cat --since="@$began" --identifier="${name:-python3}" 2>/dev/null | tail -n 1)
    printf '%s' "${words:-see journalctl -u $unit}" | tr '\n\r\t' '   ' | cut -c1-300
}

undo() {
    mv -fT "$agent.prev" "$agent"
    restore_previous
    sync "$home"
    systemctl reset-failed "$unit" 2>/dev/null
    if timeout 90 systemctl restart "$unit" >/dev/null 2>&1 9<&-; then
        finish undone "$why"
    else
        finish broken "$why; and the old one does not start any more: $(last_words)"
    fi
}

# finish STATE WHY: nothing is left but the result. What cannot be recorded is asked again by `resume`.
finish() {
    remove_leftovers
    record "$1" "$2" || return 1
    rm -f "$wants/$resume_unit" "$resume_file" "$state/switch.sh"
    systemctl daemon-reload 9<&-
}

# --- after a reboot ---

install_resume() {
    cat >"$resume_file" <<END || return 1
[Unit]
Description=Brings an upgrade of mcp-agent to its end that a reboot interrupted
After=$unit
ConditionPathExists=$state/switch.sh

[Service]
Type=oneshot
Environment=PATH=$PATH
ExecStart=/bin/sh $state/switch.sh resume
END
    mkdir -p "$wants" && ln -sf "$resume_file" "$wants/$resume_unit" && sync "$resume_file" "$wants"
}

# The new agent is judged as if it had just been restarted; before the rename nothing had happened yet.
resume() {
    id=$(recorded id) sha=$(recorded sha256) version=$(recorded to) deadline=$(recorded deadline)
    case $(recorded state) in
    handed-over | switching) ;;
    *) finish "$(recorded state)" "$(recorded why)" && return ;; # only the tidying up was left
    esac
    if [ "$(sum "$agent")" = "$sha" ]; then
        judge look
    else
        restore_previous
        discard
        finish undone "the node was restarted before the new agent was in place"
    fi
}

# --- asking ---

result() {
    wanted=$1 tries=$(($2 * 2))
    while [ "$tries" -gt 0 ] && is_under_way && ! is_decided; do
        tries=$((tries - 1))
        sleep 0.5
    done
    if is_under_way; then printf 'busy=yes\n'; fi
    [ "$(recorded id)" != "$wanted" ] || cat "$state/result"
}

is_under_way() {
    is_busy && return 0
    ! (exec 9<"$home" && flock --shared --nonblock 9)
}

is_decided() {
    [ "$(recorded id)" = "$wanted" ] || return 1
    case $(recorded state) in
    handed-over | switching) return 1 ;;
    esac
}

mode=$1
shift
case $mode in
facts | stage | rollback | tidy | result | switch) "$mode" "$@" ;;
resume) lock && resume ;;
*) fail "unknown mode $mode" ;;
esac
