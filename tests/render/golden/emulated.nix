# small 1.0.0 for linux/arm64: from locked inputs to a file system that equals kbuild's byte for byte.
#
#     nix-build
#
# builds it on linux/amd64, without kbuild and without nixpkgs. What it uses is fixed by its hash: the file in
# inputs/ where there is one, else what a mirror serves. README.md says what comes out and what the other files are.
{
  system ? "x86_64-linux"
, # Where Debian's packages are, as a folder of files; its permanent archive unless another is named.
  debian ? builtins.getEnv "KBUILD_DEBIAN_MIRROR"
, debian-security ? builtins.getEnv "KBUILD_DEBIAN_SECURITY_MIRROR"
, # A package index for the wheels (PEP 503), where they are not in inputs/.
  pypi ? builtins.getEnv "KBUILD_PYPI_INDEX"
, # What compilers run in instead of the locked packages: a root file system, such as one made of a pinned nixpkgs. What
  # it compiles has other bytes then: for `-A steps.NAME`, not for the layers, which are held to their hashes.
  toolchain ? null
}:
let
  chosen = text: fallback: if text == "" then fallback else text;
  kbuild = import ./nix {
    inherit system;
    busybox = ./bootstrap;
    inputs = ./inputs;
    mirrors = {
      debian = chosen debian "http://snapshot.debian.org/archive/debian/20261121T021046Z";
      debian-security = chosen debian-security "";
      inherit pypi;
    };
  };
  files = name: builtins.path { path = ./files + "/${name}"; name = "files"; };

  # The inputs.
  input = {
    "base-files_1%3a13~x_amd64.deb" = kbuild.fetch {
      name = "base-files_1-3a13-x_amd64.deb";
      file = "base-files_1%3a13~x_amd64.deb";
      sha256 = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
      registry = "debian";
      path = "pool/b/base-files_1%3a13~x_amd64.deb";
    };
    "jax.whl" = kbuild.fetch {
      name = "jax.whl";
      sha256 = "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd";
      registry = "pypi";
      path = "jax/jax.whl";
    };
    "table.bin" = kbuild.fetch {
      name = "table.bin";
      sha256 = "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee";
      registry = "local";
      path = "table.bin";
    };
    "qemu.deb" = kbuild.fetch {
      name = "qemu.deb";
      sha256 = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";
      registry = "debian";
      path = "pool/q/qemu.deb";
    };
  };

  # Those that are archives, as they are inside.
  unpacked = {
    "base-files_1%3a13~x_amd64.deb" = kbuild.unpackDeb { name = "unpacked-base-files_1-3a13-x_amd64.deb"; deb = input."base-files_1%3a13~x_amd64.deb"; };
    "qemu.deb" = kbuild.unpackDeb { name = "unpacked-qemu.deb"; deb = input."qemu.deb"; };
    "jax.whl" = kbuild.unpackWheel { name = "unpacked-jax.whl"; wheel = input."jax.whl"; };
  };

  # linux/amd64 does not run every program of this build by itself.
  emulator = kbuild.programOf {
    name = "emulator";
    deb = input."qemu.deb";
    paths = [ "usr/bin/qemu-aarch64" ];
  };

  # The image's own Python, unpacked as it comes, lays out trees: every file from where its line in an mtree file says,
  # held to its size and hash, and the whole to its SHA-256.
  pack = verb: name: mtree: expect: from: kbuild.pack {
    inherit verb name mtree expect from python;
    program = ./lay.py;
    inherit emulator;
  };
  python = kbuild.root {
    name = "python";
    debs = [
      input."base-files_1%3a13~x_amd64.deb"
    ];
  };

  # Root of native fold: see roots/root-of-native-fold.mtree.
  tree-root-of-native-fold = pack "tree" "root-of-native-fold" ./roots/root-of-native-fold.mtree "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" [
    { path = "unpacked/base-files_1%3a13~x_amd64.deb"; tree = unpacked."base-files_1%3a13~x_amd64.deb"; }
  ];

  # Native fold: what it writes to /out goes into the image.
  tree-native-fold-x = pack "tar" "native-fold-x" ./steps/native-fold-x.mtree "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" [
    { path = "unpacked/jax.whl"; tree = unpacked."jax.whl"; }
  ];
  tree-native-fold = pack "tree" "inputs-of-native-fold" ./steps/native-fold.mtree "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" [
    { path = "tars/native-fold-x.tar"; tree = "${tree-native-fold-x}/tree.tar"; }
  ];
  step-native-fold = kbuild.compile {
    name = "native-fold";
    toolchain = if toolchain == null then "${tree-root-of-native-fold}/tree" else toolchain;
    closure = toolchain != null;
    overlay = "${tree-native-fold}/tree";
    epoch = 7;
    inherit emulator;
    argv = [
      "/.kbuild/emulator"
      "/usr/bin/g++"
      "-D\"\${x}\""
    ];
    env = {
      "SOURCE_DATE_EPOCH" = "7";
    };
  };

  # The image's layers, bottom first, each with kbuild's own diff ID.
  tree-01-base = pack "tar" "01-base" ./layers/01-base.mtree "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" [
    { path = "files/01-base"; tree = files "01-base"; }
    { path = "inputs/table.bin"; tree = input."table.bin"; }
    { path = "unpacked/base-files_1%3a13~x_amd64.deb"; tree = unpacked."base-files_1%3a13~x_amd64.deb"; }
  ];
  tree-02-native = pack "tar" "02-native" ./layers/02-native.mtree "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" [
    { path = "outputs/native-fold"; tree = step-native-fold; }
  ];

  # All of them over each other.
  image = pack "tree" "image" ./image.mtree null [
    { path = "inputs/table.bin"; tree = input."table.bin"; }
  ];
in
kbuild.farm {
  name = "small-1.0.0";
  links = {
    "layers/01-base.tar" = "${tree-01-base}/tree.tar";
    "layers/02-native.tar" = "${tree-02-native}/tree.tar";
    "tree" = "${image}/tree";
    "image.mtree" = ./image.mtree;
  };
} // {
  # What compilers made, one by one: `nix-build -A steps.NAME`.
  steps = {
    "native-fold" = step-native-fold;
  };
}
