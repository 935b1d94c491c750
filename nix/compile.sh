. "$prelude"
# Nix builds without its sandbox wherever that is switched off, and nothing in the result would tell.
if [ -e /nix/var ] || [ -e "$NIX_STORE/.links" ] || sed 1,2d /proc/net/dev | grep -qv '^ *lo:'; then
  fail "not in a sandbox"
fi
mkdir "$out" root in trees
top=$PWD

# Inputs get one time for all: compilers can put a file's time into what they make.
eval "set -- $(cat "$inputsPath")"
while [ $# -gt 0 ]; do
  case $1 in /*/*) ;; *) fail "an input at $1, which is below no folder" ;; esac
  mkdir -p "in$(dirname "$1")"
  cp "$2" "in$1"
  chmod "$3" "in$1"
  shift 3
done
if [ -n "$overlay" ]; then
  cp -R "$overlay/." in/
  chmod -R u+w in
fi
find in -exec touch -h -d "@$epoch" '{}' +

# A shell says on its stderr what signal has ended a command, which is not to get among what the command printed.
status=0
(
  top=$top unshare -U -r -m -u sh -eu "$enter" || exit $?
) 8>&2 2>said || status=$?
[ -s entered ] || fail "cannot enter: $(tail -n 1 said)"
if [ "$status" -ne 0 ]; then
  fail "the command ended with status $status"
fi
find "$out" ! -type f ! -type d | while read -r stray; do
  if [ -z "$links" ] || [ ! -h "$stray" ]; then echo "$stray"; fi
done >strays
if [ -s strays ]; then
  read -r stray <strays
  fail "left ${stray#"$out/"} behind"
fi
