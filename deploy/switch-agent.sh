#!/bin/sh
# The node's part of `mcp agent upgrade` and `rollback`, sent by the CLI over ssh and run as root:
#
#   facts                               print the state of the agent as NAME=VALUE lines
#   stage ID SHA256 VERSION DEADLINE    read the agent file from stdin, check it, and start `switch`
#   rollback ID DEADLINE                check the .prev file, and start `switch` with it
#   tidy                                finish an interrupted switch, and remove its files
#   result ID SECONDS                   wait for the end of a switch, and print its result
#   switch ID SHA256 VERSION DEADLINE   keep the old agent as .prev, install the new one, restart; roll back on failure
#   resume                              finish a switch interrupted by a power cut
#   stopped                             start the agent after a switch that was killed, which systemd runs then
#
# `switch` runs as a transient service: it survives the end of ssh and of the CLI, and its name excludes a second one.
# During a switch, a temporary unit runs `resume` after a reboot. $script holds this text if it is not run from a file.
# Errors are one line on stderr, with exit status 1.
#
# The registry belongs to its agent: a new agent may migrate the schema, which the old one then refuses. A copy of the
# registry as the old agent left it is kept with that agent, as .prev.db, and put back with it if the schema has changed.
#
# States of a result: handed-over and switching (in progress), upgraded, failed (nothing was changed), rolled-back (the
# old agent is running again), no-agent (no agent is running).
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
registry='' # restored: a copy of the registry was put back
settle=2 # seconds that the new agent must keep running after it is ready

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

# --- helpers ---

# Run a command as mcp. It owns the folder, so root must not write to names there that mcp could replace by links. Root
# only renames, links and removes files there, always with -T: never into a folder, not even one behind a link.
as_mcp() {
    setpriv --reuid=mcp --regid=mcp --init-groups -- env -i "HOME=$home" "PATH=$PATH" LC_ALL=C "$@"
}

# Run an agent file with the unit's Python.
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

# Succeed if a switch is running, or is about to be resumed in this boot.
is_busy() {
    for name in "$switch_unit.service" "$resume_unit"; do
        case $(property ActiveState "$name") in
        active | activating | deactivating) return 0 ;;
        esac
    done
    case $(property Job "$resume_unit") in
    '' | 0) return 1 ;;
    esac
}

# record STATE WHY: write the result atomically, and sync it to disk.
record() {
    {
        printf 'id=%s\nstate=%s\nsha256=%s\nto=%s\ndeadline=%s\n' "$id" "$1" "$sha" "$version" "$deadline"
        printf 'time=%s\nwhy=%s\nregistry=%s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$2" "$registry"
    } >"$state/result.tmp" && sync "$state/result.tmp" && mv -f "$state/result.tmp" "$state/result" && sync "$state"
}

recorded() {
    sed -n "s/^$1=//p" "$state/result" 2>/dev/null
}

# --- before the switch ---

# Remove the staged file, and its extracted tree in the cache, which any start of the old agent clears.
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

# Print yes if a switch was interrupted or has left files behind.
unfinished() {
    for file in "$agent".new* "$agent.prev.old" "$agent.prev.old.db" "$agent.prev.new"; do
        [ ! -e "$file" ] || { echo yes && return; }
    done
    case $(recorded state) in
    handed-over | switching) echo yes ;;
    esac
}

tidy() {
    prepare
    remove_leftovers
}

# Includes files of a copy whose connection and node ended at the same time.
remove_leftovers() {
    rm -f "$agent".new* "$agent.prev.old" "$agent.prev.old.db" "$agent.prev.new" "$home"/.mcp-agent.prev.db.*
}

# Check the preconditions, and hold the folder's lock until the end of the process.
prepare() {
    id -u mcp >/dev/null 2>&1 || fail "no user mcp; run mcp node provision"
    [ -f "$agent" ] || fail "no agent $agent; run mcp node provision"
    [ "$(property LoadState "$unit")" = loaded ] || fail "no unit $unit; run mcp node provision"
    exec 9<"$home"
    flock --nonblock 9 || fail "another upgrade of this node is in progress; wait for its end"
    ! is_busy || fail "another upgrade of this node is in progress; wait for its end"
    if ! mkdir -p "$state" || ! chmod 0755 "$state"; then fail "cannot create $state"; fi
    case $(recorded state) in
    handed-over | switching) resume ;; # after a power cut, on a node without $resume_file
    esac
}

# Check that the staged file is the sent one and starts on this node; sets `version` to its version.
check() {
    [ "$(sum "$agent.new")" = "$sha" ] || {
        discard
        fail "the copy is corrupt: SHA-256 mismatch; try again"
    }
    output=$(run_agent "$agent.new" version 2>&1 9<&-) || {
        discard
        fail "the new agent does not start on this node: $(printf '%s\n' "$output" | tail -n 1)"
    }
    reported=$(printf '%s\n' "$output" | sed -n '$s/^mcp-agent //p')
    [ -n "$version" ] || version=$reported
    [ "$reported" = "$version" ] || {
        discard
        fail "the new agent reports version $reported instead of $version"
    }
}

stage() {
    prepare
    id=$1 sha=$2 version=$3 deadline=$4
    rm -f "$agent.new"
    # The first message is the cause. The checksum detects a broken connection.
    # shellcheck disable=SC2016  # for the shell that mcp runs
    output=$(as_mcp sh -c 'umask 077; cat >"$1" && chmod 0755 "$1" && sync "$1"' sh "$agent.new" 2>&1) || {
        discard
        fail "the copy failed: $(printf '%s\n' "$output" | head -n 1)"
    }
    check
    hand_over
}

rollback() {
    prepare
    [ -f "$agent.prev" ] || fail "no previous agent $agent.prev; mcp agent upgrade keeps one"
    id=$1 sha=$(sum "$agent.prev") version='' deadline=$2
    rm -f "$agent.new"
    as_mcp ln -T "$agent.prev" "$agent.new" || fail "cannot create $agent.new"
    check
    hand_over
}

# From here on the node proceeds on its own. Holds the lock until the switch is running, which waits for it.
hand_over() {
    # shellcheck disable=SC2154  # set by the caller
    if ! printf '%s\n' "$script" >"$state/switch.sh" || ! record handed-over ''; then
        rm -f "$state/switch.sh" "$state/result.tmp"
        discard
        fail "cannot write to $state: is the disk full?"
    fi
    install_resume || : # if /etc is read-only, the next upgrade resumes after a power cut
    output=$(systemd-run --quiet --collect --unit="$switch_unit" --property=Type=exec --setenv="PATH=$PATH" \
        --property="ExecStopPost=-/bin/sh $state/switch.sh stopped" \
        /bin/sh "$state/switch.sh" switch "$id" "$sha" "$version" "$deadline" 2>&1 9<&-) || {
        output=$(printf '%s\n' "$output" | tail -n 1)
        discard
        finish failed "cannot start the switch: $output"
        fail "cannot start the switch: $output"
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
        finish failed "the staged file was replaced by another upgrade; try again"
        return
    fi
    why="cannot write to $home or $state: is the disk full?"
    if ! record switching '' || ! keep_old; then
        restore_previous
        discard
        systemctl start "$unit" >/dev/null 2>&1 9<&-
        finish failed "$why"
        return
    fi
    mv -fT "$agent.new" "$agent"
    sync "$home"
    start_with_registry
}

# Start the new agent; if it is the one kept until now, with the registry that it left if it cannot read today's.
start_with_registry() {
    if [ "$(sum "$agent.prev.old")" = "$sha" ]; then
        put_back "$agent" "$agent.prev.old.db" newer || put_back "$agent.prev" "$agent.prev.old.db" changed
    fi
    verify restart
}

keep_old() {
    rm -f "$agent.prev.old" "$agent.prev.old.db" "$agent.prev.new"
    if [ -f "$agent.prev" ]; then
        ln -T "$agent.prev" "$agent.prev.old" || return 1
        # an empty file: there is none
        ln -T "$agent.prev.db" "$agent.prev.old.db" 2>/dev/null || as_mcp touch "$agent.prev.old.db" || return 1
    fi
    systemctl stop "$unit" >/dev/null 2>&1 9<&- # its registry is complete from here on
    copy_registry || return 1
    ln -T "$agent" "$agent.prev.new" && mv -fT "$agent.prev.new" "$agent.prev" && sync "$home"
}

# Copy the registry by the new agent, since the old one may be broken; one from before there were copies needs none.
copy_registry() {
    output=$(run_agent "$agent.new" snapshot --if-exists --force "$agent.prev.db" 2>&1 9<&-)
    case $? in
    0) ;;
    2) rm -f "$agent.prev.db" ;;
    *) why="cannot copy the registry: $(printf '%s\n' "$output" | tail -n 1)" && return 1 ;;
    esac
}

# put_back AGENT COPY CONDITION: have an agent, none of which runs, put a copy of the registry back; sets `output`. The
# agent that will use it is the proven one, but it may be from before there were copies: then the other one does it.
put_back() {
    [ -s "$2" ] || return 0
    output=$(run_agent "$1" restore --if "$3" "$2" 2>&1 9<&-) || return 1
    case $output in
    restored) registry=restored ;;
    esac
}

# Restore the .prev file from before the switch, and its copy of the registry first: both can be done again.
restore_previous() {
    [ ! -e "$agent.prev.old.db" ] || mv -fT "$agent.prev.old.db" "$agent.prev.db"
    if [ -f "$agent.prev.old" ]; then
        mv -fT "$agent.prev.old" "$agent.prev"
    elif [ -f "$agent.prev" ] && [ "$(sum "$agent.prev")" = "$(sum "$agent")" ]; then
        rm -f "$agent.prev" "$agent.prev.db"
    fi
    if [ ! -f "$agent.prev" ] || [ ! -s "$agent.prev.db" ]; then rm -f "$agent.prev.db"; fi
    rm -f "$agent.prev.old" "$agent.prev.new"
}

# Seconds since boot, a clock that is never set.
uptime_seconds() {
    cut -d. -f1 /proc/uptime
}

verify() {
    began=$(uptime_seconds)
    if why=$(is_serving "$1"); then
        rm -f "$agent.prev.old" "$agent.prev.old.db"
        finish upgraded ''
    else
        roll_back
    fi
}

# Succeed if the agent serves as the expected version and keeps running; else print the reason.
is_serving() {
    if [ "$1" = restart ]; then
        systemctl reset-failed "$unit" 2>/dev/null
        timeout "$deadline" systemctl restart "$unit" >/dev/null 2>&1 9<&-
        case $? in
        0) ;;
        124) printf 'it did not serve within %s s' "$deadline" && return 1 ;;
        *) printf 'it did not start: %s' "$(last_log_line)" && return 1 ;;
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
        printf 'it exited soon after its start: %s' "$(last_log_line)"
        return 1
    }
    status=$(property StatusText "$unit")
    case $status in
    "serving $version") return 0 ;;
    *) printf 'it is %s instead of %s' "${status#serving }" "$version" && return 1 ;;
    esac
}

last_log_line() {
    journalctl --sync 2>/dev/null
    # By name instead of unit: journald does not know the unit of a process that is already gone.
    name=$(property SyslogIdentifier "$unit")
    # Not with --lines=1: older versions would print the first line since then.
    line=$(journalctl --quiet --output=cat --since="@$began" --identifier="${name:-python3}" 2>/dev/null | tail -n 1)
    printf '%s' "${line:-see journalctl -u $unit}" | tr '\n\r\t' '   ' | cut -c1-300
}

roll_back() {
    systemctl stop "$unit" >/dev/null 2>&1 9<&-
    copy=''
    put_back "$agent.prev" "$agent.prev.db" changed || put_back "$agent" "$agent.prev.db" changed || keep_copy
    mv -fT "$agent.prev" "$agent"
    restore_previous
    sync "$home"
    systemctl reset-failed "$unit" 2>/dev/null
    if timeout 90 systemctl restart "$unit" >/dev/null 2>&1 9<&-; then
        [ -z "$copy" ] || rm -f "$copy" # it was not needed
        finish rolled-back "$why"
    else
        why="$why; and the old agent does not start: $(last_log_line)"
        [ -z "$copy" ] || why="$why; its registry was not put back: $(printf '%s\n' "$output" | tail -n 1); \
mend that, then: systemctl stop mcp-agent; mcp-agent restore $copy; systemctl start mcp-agent"
        finish no-agent "$why"
    fi
}

# Keep a copy that cannot be put back, as on a full disk, under a name that no switch removes.
keep_copy() {
    copy=$agent.before.db
    mv -fT "$agent.prev.db" "$copy"
}

# finish STATE WHY: record the result and remove all other files. If it cannot be recorded, `resume` runs again.
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
Description=Finish an upgrade of mcp-agent interrupted by a reboot
After=$unit
ConditionPathExists=$state/switch.sh

[Service]
Type=oneshot
Environment=PATH=$PATH
ExecStart=/bin/sh $state/switch.sh resume
END
    mkdir -p "$wants" && ln -sf "$resume_file" "$wants/$resume_unit" && sync "$resume_file" "$wants"
}

# Verify the new agent as after a restart; before its rename nothing had been changed.
resume() {
    id=$(recorded id) sha=$(recorded sha256) version=$(recorded to) deadline=$(recorded deadline)
    case $(recorded state) in
    handed-over | switching) ;;
    *) finish "$(recorded state)" "$(recorded why)" && return ;; # only the cleanup was left
    esac
    if [ "$(sum "$agent")" = "$sha" ]; then
        resume_new
    else
        restore_previous
        discard
        systemctl start "$unit" >/dev/null 2>&1 9<&- # also if only the switch was killed
        finish rolled-back "the node was restarted before the new agent was installed"
    fi
}

resume_new() {
    if [ -s "$agent.prev.old.db" ] && [ "$(sum "$agent.prev.old")" = "$sha" ]; then
        systemctl stop "$unit" >/dev/null 2>&1 9<&-
        start_with_registry
    else
        verify running
    fi
}

# --- result ---

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
stopped) systemctl start --no-block "$unit" ;; # only an unfinished switch has left this file
*) fail "unknown mode $mode" ;;
esac
