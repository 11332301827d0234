# A NixOS node of MCP, without the agent, its configuration and its certificate, which are installed in /srv/mcp
# according to docs/provisioning.md; `mcp agent upgrade` replaces the agent.
#
#     imports = [ ./mcp-agent.nix ];
#     services.mcp-agent.enable = true;
#
# The unit is deploy/mcp-agent.service in Nix, which explains every line; a test compares the two.
{ config, lib, pkgs, ... }:

let
  cfg = config.services.mcp-agent;
  uid = toString cfg.uid;
in
{
  options.services.mcp-agent = {
    enable = lib.mkEnableOption "the agent of MCP, which runs services as rootless podman containers";

    uid = lib.mkOption {
      type = lib.types.ints.between 1 65533;
      default = 850;
      description = "UID and GID of the user mcp. They must not be changed later.";
    };

    subidStart = lib.mkOption {
      type = lib.types.ints.positive;
      default = 8500000;
      description = "First of the 65536 subordinate UIDs and GIDs of mcp; must not overlap other users' ranges.";
    };

    python = lib.mkOption {
      type = lib.types.package;
      default = pkgs.python3;
      description = "CPython 3.11 to 3.14 to run the agent with.";
    };

    port = lib.mkOption {
      type = lib.types.port;
      default = 9444;
      description = "The port of grpc_addr in mcp-agent.toml, for the firewall.";
    };

    openFirewall = lib.mkOption {
      type = lib.types.bool;
      default = false;
      description = "Whether to open the port in the firewall.";
    };
  };

  config = lib.mkIf cfg.enable {
    virtualisation.podman.enable = true;

    users.groups.mcp.gid = cfg.uid;
    users.users.mcp = {
      isSystemUser = true;
      uid = cfg.uid;
      group = "mcp";
      home = "/srv/mcp";
      description = "MCP agent";
      shell = pkgs.bashInteractive;
      linger = true; # before the first podman: containers run in this user's session
      extraGroups = [ "systemd-journal" ];
      subUidRanges = [ { startUid = cfg.subidStart; count = 65536; } ];
      subGidRanges = [ { startGid = cfg.subidStart; count = 65536; } ];
    };

    systemd.tmpfiles.rules = [
      "d /srv 1775 root mcp -" # for the folders of services
      "d /srv/mcp 0750 mcp mcp -"
      "d /srv/mcp/certs 0750 mcp mcp -"
    ];

    systemd.services.mcp-agent = {
      description = "MCP agent: runs services as rootless podman containers";
      wants = [ "network-online.target" "user@${uid}.service" ];
      after = [ "network-online.target" "user@${uid}.service" ];
      wantedBy = [ "multi-user.target" ];
      unitConfig.RequiresMountsFor = "/srv/mcp";
      # newuidmap is setuid, so it is a wrapper; setpriv is util-linux's
      path = [ "/run/wrappers" pkgs.podman pkgs.util-linux pkgs.systemd ];
      environment = {
        XDG_RUNTIME_DIR = "/run/user/${uid}";
        # for the bundled native modules of gRPC and protobuf, which need libstdc++, and for reading journald with
        # libsystemd
        LD_LIBRARY_PATH = lib.makeLibraryPath [ pkgs.stdenv.cc.cc.lib pkgs.systemd ];
      };
      serviceConfig = {
        Type = "notify";
        NotifyAccess = "main";
        ExecStart = "${cfg.python}/bin/python3 -I /srv/mcp/mcp-agent server --config /srv/mcp/mcp-agent.toml";
        User = "mcp";
        Group = "mcp";
        SupplementaryGroups = "systemd-journal";
        WorkingDirectory = "/srv/mcp";
        SyslogIdentifier = "mcp-agent";
        KillMode = "mixed";
        TimeoutStartSec = 60;
        TimeoutStopSec = 20;
        Restart = "on-failure";
        RestartSec = 5;
        RestartPreventExitStatus = 2;
        LimitNOFILE = "16384:524288";
        LimitCORE = "0:infinity";
        MemoryHigh = "1G";
        MemoryMax = "2G";
        WatchdogSec = 30;
        TimeoutAbortSec = 5;
        CapabilityBoundingSet = "CAP_SETUID CAP_SETGID CAP_DAC_OVERRIDE CAP_SYS_ADMIN";
        ProtectSystem = "full";
        PrivateIPC = "yes";
        DevicePolicy = "closed";
        KeyringMode = "private";
        UMask = "0077";
      };
    };

    networking.firewall.allowedTCPPorts = lib.mkIf cfg.openFirewall [ cfg.port ];
  };
}
