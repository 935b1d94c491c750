. "$prelude"
mkdir -p "$out/usr/bin"
for program in "$package"/bin/*; do
  [ -e "$program" ] || fail "$package has no programs"
  ln -s "$program" "$out/usr/bin/"
done
ln -s usr/bin "$out/bin"
