# The library that kbuild's rendered expressions are written over. It needs neither nixpkgs nor substituters and
# imports nothing that has to be built first; the only program that it starts things with is one static BusyBox.
# docs/nix.md describes every function, README.md beside this file shows them in use.
{
  # A folder that holds a static BusyBox for `system` under the name `busybox`.
  busybox
, # What builds: "x86_64-linux" or "aarch64-linux".
  system ? builtins.currentSystem
, # A folder that holds the files that `fetch` is asked for, by their names; null to download them.
  inputs ? null
, # Where to download from, by registry; see `fetch`.
  mirrors ? { }
}:
let
  # One word of a shell's command line.
  quote = text: "'" + builtins.replaceStrings [ "'" ] [ "'\\''" ] "${text}" + "'";
  words = list: builtins.concatStringsSep " " (map quote list);

  # A derivation that runs one of the scripts beside this file in BusyBox's shell.
  script = name: file: attributes: derivation (attributes // {
    inherit name system;
    busybox = "${busybox}";
    prelude = "${./prelude.sh}";
    builder = "${busybox}/busybox";
    args = [ "sh" "-eu" file ];
    # Nothing to be had from a cache, and nothing that another machine should be asked for.
    allowSubstitutes = false;
    preferLocalBuild = true;
  });

  # The first character of a word, for mirrors that sort their files by it.
  initial = builtins.substring 0 1;
in
rec {
  inherit system;

  # A file by its hash: out of the folder `inputs`, else of the Nix store, else downloaded.
  #
  #   name      its name in `inputs` and in the Nix store
  #   sha256    its hash, in hex
  #   registry  whose `mirrors` serve it, such as "debian"
  #   path      its path below them
  #   project   for the marks @project@ and @initial@
  #
  # A mirror is an address with the marks @path@, @name@, @project@ and @initial@ in it; one without a mark is a folder
  # of files by name.
  fetch = { name, sha256, registry ? "", path ? "", project ? "" }:
    let
      base = mirrors.${registry} or "";
      filled = builtins.replaceStrings
        [ "@path@" "@name@" "@project@" "@initial@" ]
        [ path name project (initial project) ]
        base;
      missing = "kbuild-input:no-mirror-of-${registry}/${name}"; # builtin:fetchurl says that it cannot get this
      url = if base == "" then missing else if filled == base then "${base}/${name}" else filled;
    in
    if inputs != null then
      builtins.path
        {
          inherit name sha256;
          path = inputs + "/${name}";
          recursive = false;
        }
    else
      derivation {
        inherit name url;
        urls = [ url ];
        system = "builtin";
        builder = "builtin:fetchurl";
        outputHashMode = "flat";
        outputHashAlgo = "sha256";
        outputHash = sha256;
        executable = false;
        unpack = false;
        preferLocalBuild = true;
        impureEnvVars = [ "http_proxy" "https_proxy" "ftp_proxy" "all_proxy" "no_proxy" ];
      };

  # The files of a Debian package as they are in it, without owners. Its scripts are not run.
  unpackDeb = { name, deb }: script name ./unpack-deb.sh { inherit deb; };

  # One program out of a Debian package: the first of `paths` that it holds, as a folder with the file `program`.
  programOf = { name, deb, paths }: script name ./program.sh { inherit deb; paths = words paths; };

  # The members of a wheel as they are in it.
  unpackWheel = { name, wheel }: script name ./unpack-wheel.sh { inherit wheel; };

  # A wheel as it stands below / once it is installed for Debian's Python (`python` is such as "3.13"): modules in
  # usr/local/lib/pythonX/dist-packages, programs, data and headers at their places. Of RECORD nothing is changed.
  installWheel = { name, wheel, python }: script name ./install-wheel.sh { inherit wheel python; };

  # Packages laid over each other in their order, below the links of a merged /usr: what `compile` runs in.
  # `additions` are tars that are unpacked before the packages, so that their links take effect, and again after them.
  # `names`, if given, is a file that lists every path that there has to be in the end, sorted, one on a line.
  root = { name ? "root", debs, additions ? [ ], names ? null }: script name ./root.sh {
    names = if names == null then "" else "${names}";
    # Hundreds of paths can be more than one variable of the environment may hold.
    passAsFile = [ "debs" "additions" ];
    debs = map (deb: "${deb}") debs;
    additions = map (tar: "${tar}") additions;
  };

  # What a command leaves in /out.
  #
  #   toolchain  becomes /: from `root`, or any other derivation that holds a root file system
  #   argv       the command, its program by absolute path
  #   env        its whole environment
  #   inputs     files that it sees, read-only: { path, file, executable ? false }, below no folder of the toolchain
  #   trees      folders that it sees, read-only: { path, tree }, likewise
  #   epoch      seconds since 1970: the time of every input
  #   emulator   from `programOf`, for a toolchain of another platform: starts the command
  #
  # It runs as user 0 of a namespace of its own inside of Nix's sandbox, without which it refuses to run. It sees
  # nothing but the above and fresh /dev, /proc and /tmp.
  compile = { name, toolchain, argv, env ? { }, inputs ? [ ], trees ? [ ], epoch ? 0, emulator ? null }:
    let
      placed = item: words [ item.path "${item.file}" (if item.executable or false then "755" else "644") ];
    in
    script name ./compile.sh {
      enter = "${./enter.sh}";
      toolchain = "${toolchain}";
      emulator = if emulator == null then "" else "${emulator}";
      epoch = toString epoch;
      passAsFile = [ "argv" "env" "inputs" "trees" ];
      argv = words argv;
      env = words (map (key: "${key}=${env.${key}}") (builtins.attrNames env));
      inputs = builtins.concatStringsSep " " (map placed inputs);
      trees = builtins.concatStringsSep " " (map (item: words [ item.path "${item.tree}" ]) trees);
    };

  # Files and folders under the names that are given, as links: `{ "a/b" = <path>; }` holds a/b.
  farm = { name, links }: script name ./farm.sh {
    passAsFile = [ "links" ];
    links = builtins.concatStringsSep " "
      (map (key: words [ key "${links.${key}}" ]) (builtins.attrNames links));
  };
}
