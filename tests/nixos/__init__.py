"""The NixOS module, evaluated by Debian's nix without nixpkgs and without a network."""
