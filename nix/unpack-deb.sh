. "$prelude"
set -o pipefail
mkdir "$out"
data_tar "$deb" | tar -x -o --no-same-permissions -C "$out"
