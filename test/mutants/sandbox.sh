#!/bin/sh
# Runs a program in a copy of this machine's files that is gone afterwards: a guard that was taken out may let an evil layer write, and remove, anywhere.
# Its root is an overlay of /, and so is the tree that is tested; /dev, /tmp and /run are its own. Run by: unshare -m -p -f -n -i --kill-child
# Usage: sandbox.sh BASE TREE FILE CHANGED PROGRAM…   (FILE of TREE becomes CHANGED, beside which its disk lies; BASE is an empty directory)
set -eu
base=$1 tree=$2 file=$3 changed=$4
shift 4
mount --make-rprivate /
# ext4, since tests count on what an ordinary disk can and cannot
truncate -s 4G "$changed.disk"
mkfs.ext4 -q -F -E lazy_itable_init=1,lazy_journal_init=1 "$changed.disk"
mount -o loop "$changed.disk" "$base"
root=$base/root
mkdir "$root" "$base/upper" "$base/work" "$base/tree" "$base/tree-work" "$base/tmp"
mount -t overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" overlay "$root"
mount -t overlay -o "lowerdir=$tree,upperdir=$base/tree,workdir=$base/tree-work" overlay "$root$tree"
cp "$changed" "$root$tree/$file"
mount -t proc proc "$root/proc"
for directory in dev run; do mount -t tmpfs -o mode=755 tmpfs "$root/$directory"; done
mount --bind "$base/tmp" "$root/tmp"
chmod 1777 "$root/tmp"
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
while read -r name numbers; do
  # shellcheck disable=SC2086 # two numbers
  mknod -m 666 "$root/dev/$name" $numbers
done <<END
null c 1 3
zero c 1 5
full c 1 7
random c 1 8
urandom c 1 9
fuse c 10 229
loop-control c 10 237
END
n=0
while [ "$n" -lt 128 ]; do
  mknod -m 660 "$root/dev/loop$n" b 7 "$n"
  n=$((n + 1))
done
ip link set lo up
exec chroot "$root" /bin/sh -c 'cd "$1" && shift && exec "$@"' sh "$tree" "$@"
