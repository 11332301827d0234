# A stand-in for what NixOS gives a module: just enough of `lib` and `pkgs` to evaluate deploy/nixos without nixpkgs.
# Types check their values as those of nixpkgs do; packages are only names. It is not NixOS: no other module is here.
{ module, settings }:

let
  type = check: { inherit check; };
  lib = {
    mkEnableOption = description: { type = lib.types.bool; default = false; inherit description; };
    mkOption = option: option;
    mkIf = condition: content: { inherit condition content; _type = "if"; };
    makeLibraryPath = packages: builtins.concatStringsSep ":" (map (package: "${package}/lib") packages);
    types = {
      bool = type builtins.isBool;
      port = type (value: builtins.isInt value && value >= 0 && value <= 65535);
      package = type builtins.isString;
      ints.positive = type (value: builtins.isInt value && value > 0);
      ints.between = low: high: type (value: builtins.isInt value && value >= low && value <= high);
    };
  };
  pkgs = {
    python3 = "/nix/store/python3";
    podman = "/nix/store/podman";
    systemd = "/nix/store/systemd";
    util-linux = "/nix/store/util-linux";
    bashInteractive = "/nix/store/bash";
    stdenv.cc.cc.lib = "/nix/store/gcc-lib";
  };

  made = module { inherit lib pkgs; config.services.mcp-agent = values; };
  options = made.options.services.mcp-agent;
  unknown = removeAttrs settings (builtins.attrNames options);
  value = name: option:
    let found = settings.${name} or option.default; in
    if option.type.check found then found else throw "${name} has a value of the wrong type";
  values =
    if unknown == { } then builtins.mapAttrs value options
    else throw "unknown option ${builtins.head (builtins.attrNames unknown)}";

  resolved = part:
    if !(builtins.isAttrs part) then part
    else if part._type or "" != "if" then builtins.mapAttrs (_: resolved) part
    else if part.condition then resolved part.content
    else null;
in
resolved made.config
