#!/bin/sh
# The README's two commands on a bare Debian 12: once with python3 alone, once with python3-venv.
#
#   sh bench/container.sh [WORK [bare|venv]]   # as root, with debootstrap; 5 GB and some minutes
#   TEST=1 sh bench/container.sh               # and `make test` in each
#
# Each machine is a chroot that holds Debian's python3 and nothing else. pip is configured in it as
# it is here: pip.conf and the folders that it names are bound into it, read-only. Prints the time of
# each command; the last line says whether the demo took < 300 s after the installation, and < 20 s
# when it was run again.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
work=${1:-/tmp/swift-container}
suite=bookworm
mirror=${MIRROR:-http://deb.debian.org/debian}
export LC_ALL=C.UTF-8
mkdir -p "$work"

base=$work/base
if [ ! -f "$base/.ready" ]; then
    rm -rf "$base"
    debootstrap --variant=minbase --include=python3,make "$suite" "$base" "$mirror" >"$work/base.log"
    touch "$base/.ready"
fi

# What pip reads here: its files, its variables, and the folders and certificates these name; of an
# index, `simple`, the folder around it, which holds the wheels.
configured() {
    for file in /etc/pip.conf "$HOME/.pip/pip.conf" "$HOME/.config/pip/pip.conf" \
        "${PIP_CONFIG_FILE:-/dev/null}"; do
        if [ -f "$file" ]; then
            echo "$file"
            tr ' =' '\n\n' <"$file" | sed 's|^file://||; s|/simple/*$||' | grep '^/' || true
        fi
    done
    env | sed -n 's/^PIP_[A-Z_]*=//p' | tr ' ' '\n' | sed 's|^file://||; s|/simple/*$||' \
        | grep '^/' || true
}

mounted=
bind() { # bind SOURCE ROOT: read-only, at the same place
    [ -e "$1" ] || return 0
    if [ -d "$1" ]; then mkdir -p "$2$1"; else mkdir -p "$(dirname "$2$1")"; : >>"$2$1"; fi
    mount --bind "$1" "$2$1"
    mount -o remount,bind,ro "$2$1"
    mounted="$2$1 $mounted"
}

leave() {
    for place in $mounted; do umount "$place" 2>/dev/null || umount -l "$place"; done
    mounted=
}
trap leave EXIT
trap 'exit 130' INT TERM

inside() { # inside ROOT COMMAND: in a chroot, with pip's variables of this machine and no others
    root=$1
    shift
    env -i HOME=/root PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 OMP_NUM_THREADS=2 \
        $(env | grep -E '^(PIP_|https?_proxy|no_proxy|HTTPS?_PROXY|NO_PROXY)' | tr '\n' ' ') \
        chroot "$root" /bin/sh -c "$*"
}

timed() { # timed NAME COMMAND...: its seconds in $took
    name=$1
    shift
    begin=$(date +%s)
    "$@" || { echo "container: $name failed (exit $?)"; exit 1; }
    took=$(($(date +%s) - begin))
    echo "container: $name: $took s"
}

machine() { # machine NAME PACKAGES
    root=$work/$1
    echo "container: == $1"
    rm -rf --one-file-system "$root"
    cp -a "$base" "$root"
    [ -z "$2" ] || chroot "$root" sh -c "apt-get update -qq && apt-get install -qq -y $2" >/dev/null
    mkdir -p "$root/root/swift" "$root/proc" "$root/dev"
    git -C "$here" archive HEAD | tar -x -C "$root/root/swift"
    mount -t proc proc "$root/proc" && mounted="$root/proc $mounted"
    mount --rbind /dev "$root/dev" && mount --make-rslave "$root/dev" && mounted="$root/dev $mounted"
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    cp /etc/hosts "$root/etc/hosts"
    configured | sort -u | while read -r path; do echo "$path"; done >"$work/bound"
    while read -r path; do bind "$path" "$root"; done <"$work/bound"
    ln -sf /root/swift/yichuidingyin.sh "$root/root/hammer"

    timed "$1, install" inside "$root" "cd / && sh /root/swift/tools/setup.sh run"
    timed "$1, demo" inside "$root" "cd /root && ./hammer --demo"
    [ "$took" -lt 300 ] || slow=yes
    timed "$1, demo again" inside "$root" "cd /root && ./hammer --demo"
    [ "$took" -lt 20 ] || slow=yes
    [ -z "${TEST:-}" ] || timed "$1, make test" inside "$root" "cd /root/swift && make test"
    leave
}

slow=no
for name in ${2:-bare venv}; do
    case $name in
        bare) machine bare "" ;;
        *) machine "$name" python3-venv ;;
    esac
done
if [ "$slow" = yes ]; then echo "container: too slow"; exit 1; fi
echo "container: in time"
