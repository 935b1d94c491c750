. "$prelude"
mkdir "$out"
eval "set -- $(cat "$linksPath")"
while [ $# -gt 0 ]; do
  mkdir -p "$out/$(dirname "$1")"
  ln -s "$2" "$out/$1"
  shift 2
done
