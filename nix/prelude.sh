# What every script of this library begins with: BusyBox's programs and nothing else.
PATH=$NIX_BUILD_TOP/.busybox
export PATH
if [ ! -d "$PATH" ]; then
  "$busybox/busybox" mkdir "$PATH"
  "$busybox/busybox" --install -s "$PATH"
fi
umask 022

# fail TEXT: end, and say why in a way that the one who started it can tell from what a command said.
fail() {
  echo "kbuild: $1" >&2
  exit 1
}

# How many processes to run side by side.
cores() {
  if [ "${NIX_BUILD_CORES:-0}" -gt 0 ]; then echo "$NIX_BUILD_CORES"; else nproc; fi
}

# data_tar DEB: the tar of a Debian package's files, on stdout.
data_tar() {
  case $(ar t "$1" | grep '^data\.tar') in
    data.tar.xz) ar p "$1" data.tar.xz | xz -dc ;;
    data.tar.gz) ar p "$1" data.tar.gz | gzip -dc ;;
    data.tar.bz2) ar p "$1" data.tar.bz2 | bzip2 -dc ;;
    data.tar) ar p "$1" data.tar ;;
    *) fail "$1 is no Debian package that BusyBox can unpack" ;;
  esac
}
