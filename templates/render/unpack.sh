# Check every input against inputs.txt, then unpack those that are archives, each into unpacked/NAME.
#
# usage: busybox sh unpack.sh BUSYBOX [ROOT]
#
# BUSYBOX is BusyBox's own path. Packages of the kind `python` are put together in ROOT, too.
set -eu
box=$1
root=${2:-}
tab=$("$box" printf '\t')

fail() {
  echo "unpack.sh: $1" >&2
  exit 1
}

while IFS=$tab read -r sha256 size kind name; do
  case $sha256 in '#'*) continue ;; esac
  [ -f "inputs/$name" ] || fail "inputs/$name is missing; fetch.py gets it"
  [ "$("$box" stat -L -c %s "inputs/$name")" = "$size" ] || fail "inputs/$name is not $size bytes long"
  found=$("$box" sha256sum "inputs/$name")
  [ "${found%% *}" = "$sha256" ] || fail "inputs/$name has the SHA-256 ${found%% *}, not $sha256"
done < inputs.txt

"$box" mkdir unpacked
while IFS=$tab read -r sha256 size kind name; do
  case $sha256 in '#'*) continue ;; esac
  case $kind in
    python | deb)
      "$box" mkdir "unpacked/$name"
      "$box" dpkg-deb -x "inputs/$name" "unpacked/$name" || fail "inputs/$name cannot be unpacked"
      if [ "$kind" = python ] && [ -n "$root" ]; then
        for path in "unpacked/$name"/*; do
          case ${path##*/} in dev | proc | sys) continue ;; esac # an engine's own
          "$box" cp -a "$path" "$root" || fail "$path cannot be copied to $root"
        done
      fi
      ;;
    zip) "$box" unzip -q "inputs/$name" -d "unpacked/$name" || fail "inputs/$name cannot be unpacked" ;;
    file) ;;
    *) fail "inputs.txt has the unknown kind $kind" ;;
  esac
done < inputs.txt
