#!/bin/sh
# Installs what the tests need beside npm's packages: the engines and tools that windlass is compared with.
# Does nothing where all of it is there. Debian and root only; elsewhere it says what to install.
set -eu

# program:package
wanted='dockerd:docker.io docker:docker.io containerd:containerd podman:podman skopeo:skopeo umoci:umoci docker-registry:docker-registry
runc:runc crun:crun pigz:pigz igzip:isal bsdtar:libarchive-tools debootstrap:debootstrap strace:strace zstd:zstd
xz:xz-utils bzip2:bzip2 setfattr:attr setcap:libcap2-bin newuidmap:uidmap mkfs.ext4:e2fsprogs jq:jq curl:curl
busybox:busybox chromium:chromium sshd:openssh-server openssl:openssl ip:iproute2 qemu-aarch64-static:qemu-user-static
systemctl:systemd'

PATH=$PATH:/usr/sbin:/sbin
missing=
for pair in $wanted; do
  command -v "${pair%%:*}" >/dev/null 2>&1 && continue
  case "$missing " in *" ${pair#*:} "*) ;; *) missing="$missing ${pair#*:}" ;; esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
  echo "test/setup.sh: Cannot install what the tests need: not root on Debian; install these packages first:$missing" >&2
  exit 1
fi

# The daemons are started by the tests themselves, each with directories of its own: keep the packages from starting them.
policy=/usr/sbin/policy-rc.d
made=
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  made=1
fi
trap '[ -z "$made" ] || rm -f "$policy"' EXIT
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # one word for each package
apt-get install -qq -y --no-install-recommends $missing >&2
# Since Debian 13 the client is a package of its own.
command -v docker >/dev/null 2>&1 || apt-get install -qq -y --no-install-recommends docker-cli >&2
