# The library that kbuild's rendered expressions are written over. It needs neither nixpkgs nor substituters and
# imports nothing that has to be built first; the only program that it starts things with is one static BusyBox.
# docs/nix.md describes every function, README.md beside this file shows them in use.
{
  # A folder that holds a static BusyBox for `system` under the name `busybox`.
  busybox
, # What builds: "x86_64-linux" or "aarch64-linux".
  system ? builtins.currentSystem
, # A folder in which `fetch` looks for files first, or null.
  inputs ? null
, # Where `fetch` downloads from, by registry; null if all files are in the Nix store already.
  mirrors ? null
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

  # A file by hash, from an address.
  download = { name, sha256, url }: derivation {
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

  # Where a package index (PEP 503) has a file of a project. Only the address is taken from its page: what is there
  # has to have the hash, whoever serves it.
  indexed = { index, project, file }:
    let
      page = builtins.readFile (builtins.fetchurl "${index}/${project}/");
      plain = builtins.replaceStrings [ "+" "." ] [ "[+]" "[.]" ] file;
      escaped = builtins.replaceStrings [ "+" ] [ "%2B" ] plain;
      found = builtins.filter builtins.isList
        (builtins.split "href=\"([^\"#]*/)?(${plain}|${escaped})[\"#]" page);
      link = builtins.head found;
      folder = if builtins.head link == null then "" else builtins.head link;
      address = folder + builtins.elemAt link 1;
      site = builtins.head (builtins.match "([a-z]+://[^/]*).*" index);
    in
    if found == [ ] then throw "${index}/${project}/ has no ${file}"
    else if builtins.match "[a-z]+://.*" address != null then address
    else if builtins.substring 0 1 address == "/" then site + address
    else "${index}/${project}/${address}";
in
rec {
  inherit system;

  # A file by its hash: out of the folder `inputs` if it is there, else out of the Nix store, else downloaded.
  #
  #   name      its name in the Nix store
  #   file      its name in the folder `inputs`
  #   sha256    its hash, in hex
  #   registry  which of the `mirrors` serves it: "pypi" is a package index (PEP 503), any other a folder of files
  #   path      its path below the mirror; of a package index, <project>/<file>
  #   url       its whole address, where it has no mirror
  fetch = { name, sha256, file ? name, registry ? "", path ? "", url ? "" }:
    let
      local = inputs + "/${file}";
      mirror = mirrors.${registry} or "";
      parts = builtins.match "([^/]*)/(.*)" path;
      address =
        if url != "" then url
        else if mirrors == null then "kbuild:${name}" # known by its hash alone, and never asked for
        else if mirror == "" then throw "inputs/${file} is not there, and no mirror of ${registry} is named"
        else if registry == "pypi" then
          indexed
            {
              index = mirror;
              project = builtins.head parts;
              file = builtins.elemAt parts 1;
            }
        else "${mirror}/${builtins.replaceStrings [ "%" " " ] [ "%25" "%20" ] path}";
    in
    if inputs != null && builtins.pathExists local then
      builtins.path
        {
          inherit name sha256;
          path = local;
          recursive = false;
        }
    else
      download { inherit name sha256; url = address; };

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

  # The source of nixpkgs at a revision, by the hash of its tree: out of the Nix store, or else a tarball at `url`.
  nixpkgs = { narHash, url }: builtins.fetchTarball { name = "source"; sha256 = narHash; inherit url; };

  # A compiler of such a source as a `toolchain`: its programs in /usr/bin, as links to where they stand in the Nix
  # store, so that `compile` has to have `closure`. `version` is what the package's own has to begin with.
  toolchainOf = { source, attribute, version }:
    let
      steps = builtins.filter builtins.isString (builtins.split "[.]" attribute);
      packages = import source { inherit system; config = { }; overlays = [ ]; };
      package = builtins.foldl'
        (set: name: set.${name} or (throw "this nixpkgs has no ${attribute}"))
        packages
        steps;
      stated = package.version or null;
      found = if stated != null then stated else (builtins.parseDrvName package.name).version;
      begins = builtins.substring 0 (builtins.stringLength version + 1) "${found}." == "${version}.";
    in
    if begins then script "toolchain" ./toolchain.sh { package = "${package}"; }
    else throw "${attribute} of this nixpkgs is of version ${found}, not ${version}";

  # What a command leaves in /out.
  #
  #   toolchain  becomes /: from `root`, or any other derivation that holds a root file system
  #   argv       the command, its program by absolute path
  #   env        its whole environment
  #   inputs     files that it sees, read-only: { path, file, executable ? false }, below no folder of the toolchain
  #   overlay    a folder of more such files, or null
  #   trees      files and folders that it sees as they are, read-only: { path, tree }
  #   epoch      seconds since 1970: the time of every input
  #   emulator   from `programOf`, or null: is at /.kbuild/emulator, for `argv` to begin with
  #   links      whether it may leave symbolic links in /out; other things than files and folders it may not
  #   closure    whether it sees the toolchain's closure in the Nix store, which programs from nixpkgs need; what it
  #              leaves may name no path there, since no image has them
  #
  # It runs as user 0 of a namespace of its own inside of Nix's sandbox, without which it refuses to run. It sees
  # nothing but the above, /.kbuild/busybox, and fresh /dev, /proc and /tmp.
  compile =
    { name
    , toolchain
    , argv
    , env ? { }
    , inputs ? [ ]
    , overlay ? null
    , trees ? [ ]
    , epoch ? 0
    , emulator ? null
    , links ? false
    , closure ? false
    }:
    let
      placed = item: words [ item.path "${item.file}" (if item.executable or false then "755" else "644") ];
    in
    script name ./compile.sh ((if closure then { allowedReferences = [ ]; } else { }) // {
      enter = "${./enter.sh}";
      toolchain = "${toolchain}";
      overlay = if overlay == null then "" else "${overlay}";
      emulator = if emulator == null then "" else "${emulator}";
      links = if links then "yes" else "";
      closure = if closure then "yes" else "";
      epoch = toString epoch;
      passAsFile = [ "argv" "env" "inputs" "trees" ];
      argv = words argv;
      env = words (map (key: "${key}=${env.${key}}") (builtins.attrNames env));
      inputs = builtins.concatStringsSep " " (map placed inputs);
      trees = builtins.concatStringsSep " " (map (item: words [ item.path "${item.tree}" ]) trees);
    });

  # A tree that an mtree file describes, by the program lay.py of a rendered directory: as a canonical tar (`verb` is
  # "tar") in the file `tree.tar`, or as a folder (`verb` is "tree") of the name `tree`.
  #
  #   program  lay.py
  #   python   a toolchain that holds /usr/bin/python3
  #   mtree    the file
  #   from     where its `contents=` are: { path, tree }, by paths relative to the rendered directory
  #   expect   the SHA-256 that its canonical tar has to have, as `sha256:<hex>`; null to accept any
  #   emulator for a Python of another platform
  pack = { name, verb, program, python, mtree, from ? [ ], expect ? null, emulator ? null }: compile {
    inherit name emulator;
    toolchain = python;
    links = true;
    argv = (if emulator == null then [ ] else [ "/.kbuild/emulator" ])
      ++ [ "/usr/bin/python3" "-I" "-S" "-B" "/lay/lay.py" verb "/lay/tree.mtree" ]
      ++ (if verb == "tar" then [ "/out/tree.tar" ] else [ "/out/tree" "--no-owner" ])
      ++ [ "--from" "/from" ]
      ++ (if expect == null then [ ] else [ "--expect" expect ]);
    env = { LC_ALL = "C.UTF-8"; };
    trees = [
      { path = "/lay/lay.py"; tree = program; }
      { path = "/lay/tree.mtree"; tree = mtree; }
    ] ++ map (item: { path = "/from/${item.path}"; inherit (item) tree; }) from;
  };

  # Files and folders under the names that are given, as links: `{ "a/b" = <path>; }` holds a/b.
  farm = { name, links }: script name ./farm.sh {
    passAsFile = [ "links" ];
    links = builtins.concatStringsSep " "
      (map (key: words [ key "${links.${key}}" ]) (builtins.attrNames links));
  };
}
