# Inside of new user and mount namespaces: put a root together out of mounts, and run the command in it.
exec 2>&8 8>&-
hostname kbuild
mount -t tmpfs -o mode=755 tmpfs "$top/root"
cd "$top/root"

# show SOURCE TARGET: a file or folder, read-only.
show() {
  if [ -d "$1" ]; then mkdir -p ".$2"; else mkdir -p ".$(dirname "$2")" && touch ".$2"; fi
  mount -o bind "$1" ".$2"
  mount -o remount,bind,ro ".$2"
}

# link SOURCE TARGET or show it: what stands directly below the toolchain's root.
for path in "$toolchain"/* "$toolchain"/.[!.]*; do
  name=${path##*/}
  case $name in dev | proc | sys | tmp | out | .kbuild) continue ;; esac
  if [ -h "$path" ]; then
    ln -s "$(readlink "$path")" "$name"
  elif [ -e "$path" ]; then
    show "$path" "/$name"
  fi
done
for path in "$top"/in/*; do
  [ -e "$path" ] || continue
  [ "${path##*/}" != out ] || continue
  [ ! -e "${path##*/}" ] || { echo "inputs in /${path##*/}, where the toolchain has a folder" >&2; exit 1; }
  show "$path" "/${path##*/}"
done
show "$busybox/busybox" /.kbuild/busybox
[ -z "$emulator" ] || show "$emulator/program" /.kbuild/emulator
mkdir -m 755 dev out proc
mkdir -m 1777 tmp
for name in full null random tty urandom zero; do
  touch "dev/$name"
  mount -o bind "/dev/$name" "dev/$name"
done
for name in fd:fd stdin:fd/0 stdout:fd/1 stderr:fd/2; do
  ln -s "/proc/self/${name#*:}" "dev/${name%:*}"
done
mkdir -m 1777 dev/shm
mount -o rbind /proc proc
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -o bind "$out" out

eval "set -- $(cat "$treesPath")"
while [ $# -gt 0 ]; do
  show "$2" "$1"
  shift 2
done
if [ -n "$closure" ]; then
  # Nix's sandbox shows what this build depends on, and nothing else of the store.
  mkdir -p ".$NIX_STORE"
  mount -o rbind "$NIX_STORE" ".$NIX_STORE"
  mount -o remount,bind,ro ".$NIX_STORE"
fi

words="$(cat "$envPath") $(cat "$argvPath")"
exec 9>"$top/entered"
mkdir .old
pivot_root . .old
cd /
/.kbuild/busybox umount -l .old
/.kbuild/busybox rmdir .old
# Builders of one-user installations are root: they must not be handed the kernel's settings to write to.
/.kbuild/busybox mount -o remount,bind,ro /proc
/.kbuild/busybox mount -o remount,bind,ro /
eval "set -- $words"
echo yes >&9
exec 9>&-
exec /.kbuild/busybox env -i PWD=/ "$@"
