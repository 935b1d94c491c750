. "$prelude"
mkdir "$out"
unzip -q -d "$out" "$wheel"
