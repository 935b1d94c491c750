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

# Decompressing takes the time, so it is done side by side, on every core.
"$box" mkdir unpacked
while IFS=$tab read -r sha256 size kind name; do
  case $sha256 in '#'*) continue ;; esac
  case $kind in
    python | deb | zip) "$box" printf '%s\0%s\0' "$kind" "$name" ;;
    file) ;;
    *) fail "inputs.txt has the unknown kind $kind" ;;
  esac
done < inputs.txt > archives
# shellcheck disable=SC2016
"$box" xargs -0 -r -n 2 -P "$("$box" nproc)" "$box" sh -euc '
  box=$1 kind=$2 name=$3
  if [ "$kind" = zip ]; then
    "$box" unzip -q "inputs/$name" -d "unpacked/$name"
  else
    "$box" mkdir "unpacked/$name" && "$box" dpkg-deb -x "inputs/$name" "unpacked/$name"
  fi || { echo "unpack.sh: inputs/$name cannot be unpacked" >&2; exit 1; }
' unpack.sh "$box" < archives || exit 1
"$box" rm archives

# Packages of the kind `python` are laid over each other in their order.
[ -n "$root" ] || exit 0
while IFS=$tab read -r sha256 size kind name; do
  [ "$kind" = python ] || continue
  for path in "unpacked/$name"/*; do
    case ${path##*/} in dev | proc | sys) continue ;; esac # an engine's own
    "$box" cp -a "$path" "$root" || fail "$path cannot be copied to $root"
  done
done < inputs.txt
