#!/bin/bash
# Installs what the testbed needs and the machine lacks (Debian 12 and its relatives). Says nothing when nothing is missing.
set -eu

# command that must exist : package that brings it
NEEDED="
dockerd:docker.io           mkfs.btrfs:btrfs-progs       tini:tini
busybox:busybox-static      ip:iproute2                  tc:iproute2                  rsync:rsync
setfattr:attr               setfacl:acl                  mkfs.ext4:e2fsprogs          unshare:util-linux
nsenter:util-linux          setpriv:util-linux           losetup:mount                mkfs.xfs:xfsprogs
curl:curl                   ps:procps                    iptables:iptables            fio:fio
openssl:openssl             tar:tar                      find:findutils              tcpdump:tcpdump
qemu-storage-daemon:qemu-system-common                    docker-compose:docker-compose
"

# Not `command -v`: another program of the name may come first on the caller's PATH.
installed() {
  local folder
  for folder in /usr/sbin /usr/bin /sbin /bin; do [ -x "$folder/$1" ] && return 0; done
  return 1
}

missing=
for pair in $NEEDED; do
  command=${pair%%:*}
  package=${pair##*:}
  installed "$command" && continue
  case " $missing " in *" $package "*) ;; *) missing="$missing $package" ;; esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
  echo "prepare.sh: these packages are missing, run it as root to install them:$missing" >&2
  exit 1
fi
if ! installed apt-get; then
  echo "prepare.sh: no apt-get here; install what brings these Debian packages:$missing" >&2
  exit 1
fi

echo "prepare.sh: installing$missing"
# Packages must not start services here: the hosts of a lab run their own Docker.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' > "$policy"
  chmod 755 "$policy"
  trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
quietly() {
  if ! "$@" > "$log" 2>&1; then
    tail -n 30 "$log" >&2
    echo "prepare.sh: failed: $* (log: $log)" >&2
    exit 1
  fi
}
quietly apt-get -q update
# shellcheck disable=SC2086 # a list of words
quietly apt-get -q install --yes --no-install-recommends $missing
rm -f "$log"
