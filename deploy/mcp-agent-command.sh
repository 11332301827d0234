#!/bin/sh
# Written by `mcp node provision`: run mcp-agent as the user mcp, who owns its files, for root as well.
set -eu
run="/usr/bin/python3 -I /srv/mcp/mcp-agent"
session="HOME=/srv/mcp XDG_RUNTIME_DIR=/run/user/$(id -u mcp)"
# shellcheck disable=SC2086  # several words
case $(id -un) in
mcp) exec env $session $run "$@" ;;
root) exec runuser -u mcp -- env -i "PATH=$PATH" LC_ALL=C.UTF-8 $session $run "$@" ;;
esac
echo "mcp-agent: only root and mcp can run it" >&2
exit 1
