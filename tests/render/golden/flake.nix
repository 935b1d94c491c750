# small 1.0.0 for linux/arm64, as a flake without inputs: default.nix fixes all that it uses by hash.
#
#     nix build path:.
#
# Flakes see no environment: what is not in inputs/ comes from Debian's permanent archive, and wheels have to be in
# inputs/, where fetch.py puts them.
{
  description = "small 1.0.0 for linux/arm64";

  outputs = { self }: {
    packages.x86_64-linux.default = import ./default.nix { system = "x86_64-linux"; };
  };
}
