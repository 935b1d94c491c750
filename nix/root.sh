. "$prelude"
set -o pipefail
mkdir "$out" tars

# Debian's merged /usr: what packages ship below the old names lands in the new ones.
for name in bin lib lib32 lib64 libo32 libx32 sbin; do
  mkdir -p "$out/usr/$name"
  ln -s "usr/$name" "$out/$name"
done

# Decompressing takes the time, so it is done side by side; unpacking is done one after the other, in order.
number=0
for deb in $(cat "$debsPath"); do
  number=$((number + 1))
  echo "$number $deb"
done >numbered
xargs -P "$(cores)" -n 2 sh -euc '
  set -o pipefail
  . "$prelude"
  data_tar "$2" >"tars/$1"
' sh <numbered

add() {
  for tar in $(cat "$additionsPath"); do
    tar -x -o --no-same-permissions -f "$tar" -C "$out"
  done
}
add
while read -r number deb; do
  tar -x -o --no-same-permissions -f "tars/$number" -C "$out"
  rm "tars/$number"
done <numbered

# Of the folders that were made above only those are left that something is in, and of the links for word sizes too.
for name in bin lib sbin; do
  rmdir "$out/usr/$name" 2>/dev/null || true
done
for name in lib32 lib64 libo32 libx32; do
  if rmdir "$out/usr/$name" 2>/dev/null; then rm "$out/$name"; fi
done
add

if [ -n "$names" ]; then
  (cd "$out" && find . -mindepth 1) | sed 's|^\./||' | sort >found
  cmp -s found "$names" || fail "the packages unpack to other names: $(diff found "$names" | sed -n 4p)"
fi
