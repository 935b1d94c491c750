. "$prelude"
set -o pipefail
mkdir "$out" unpacked
eval "set -- $paths"
members=$(for path; do printf './%s\n' "$path"; done)
# shellcheck disable=SC2086 # a word for each
data_tar "$deb" | { tar -x -o -C unpacked $members 2>missing || true; } # it minds names that are not there
for path; do
  if [ -f "unpacked/$path" ]; then
    mv "unpacked/$path" "$out/program"
    chmod 755 "$out/program"
    exit 0
  fi
done
fail "$deb holds none of $paths"
