#!/bin/sh
# Unpacks DIR/in/* with GNU tar into DIR/gnu and with bsdtar into DIR/bsd, each archive with its own directory as root.
# Runs in a mount namespace of its own. They are asked to do as they are told (-P): what that may reach is the directory alone.
# Usage: unshare -m sh tars.sh DIR LOADER LIBRARIES GNU BSD   (paths below /usr)
set -u
base=$1 loader=/.tool/${2#/usr/} libraries=$3 gnu=/.tool/${4#/usr/} bsd=/.tool/${5#/usr/}
libraries=$(echo "$libraries" | sed 's|/usr/|/.tool/|g')
mount --make-rprivate /
mkdir "$base/usr"
mount --bind /usr "$base/usr" && mount -o remount,bind,ro "$base/usr" || exit 1
# No file beyond 10 MiB and no memory beyond 2 GiB, whatever an archive says.
ulimit -f 20480
ulimit -v 2097152

unpack() {
  tool=$1 name=$2
  shift 2
  mkdir -p "$base/$tool/$name/.tool"
  mount --bind "$base/usr" "$base/$tool/$name/.tool" || exit 1
  timeout -k 1 20 chroot "$base/$tool/$name" "$loader" --library-path "$libraries" "$@" <"$base/in/$name" >/dev/null 2>&1
  echo "$tool $name $?" >>"$base/tars.log"
  umount "$base/$tool/$name/.tool" || exit 1
  rmdir "$base/$tool/$name/.tool"
}

for path in "$base"/in/*; do
  name=${path##*/}
  unpack gnu "$name" "$gnu" -C / -xpP --numeric-owner --delay-directory-restore --xattrs '--xattrs-include=*' -f -
  unpack bsd "$name" "$bsd" -C / -xpP --numeric-owner --xattrs --acls -f -
done
