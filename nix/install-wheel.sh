. "$prelude"
modules=$out/usr/local/lib/python$python/dist-packages
mkdir -p "$modules"
unzip -q -d "$modules" "$wheel"
cd "$modules"

# The binary distribution format's five places (packaging.python.org, "the .data directory").
move() {
  [ -d "$1" ] || return 0
  mkdir -p "$2"
  cp -R "$1/." "$2/"
}
for data in *.data; do
  [ -d "$data" ] || continue
  project=$(echo "${data%%-*}" | tr 'A-Z' 'a-z' | sed 's/[-_.][-_.]*/-/g')
  move "$data/purelib" "$modules"
  move "$data/platlib" "$modules"
  move "$data/data" "$out/usr/local"
  move "$data/headers" "$out/usr/local/include/python$python/$project"
  if [ -d "$data/scripts" ]; then
    mkdir -p "$out/usr/local/bin"
    for file in "$data"/scripts/*; do
      target=$out/usr/local/bin/${file##*/}
      sed '1s|^#!python.*|#!/usr/bin/python3|' "$file" >"$target"
      chmod 755 "$target"
    done
  fi
  rm -r "$data"
done

# The programs that entry points stand for.
for points in *.dist-info/entry_points.txt; do
  [ -f "$points" ] || continue
  sed 's/[[:space:]]//g; s/#.*//' "$points" | while read -r line; do
    case $line in
      '['*) section=$line ;;
      *=*:*)
        case $section in '[console_scripts]' | '[gui_scripts]') ;; *) continue ;; esac
        call=${line#*=}
        call=${call%%\[*}
        mkdir -p "$out/usr/local/bin"
        target=$out/usr/local/bin/${line%%=*}
        name=${call#*:}
        cat >"$target" <<END
#!/usr/bin/python3
import sys

from ${call%%:*} import ${name%%.*}

if __name__ == "__main__":
    sys.exit($name())
END
        chmod 755 "$target"
        ;;
    esac
  done
done
