#!/bin/bash
# What needs a shell: becoming a host's init, and entering a running host.
#
#   host.sh boot  CGROUPS NAME DIRECTORY PROJECT    enter the host's cgroups, unshare, run `init` as PID 1
#   host.sh init  NAME DIRECTORY PROJECT            (internal) build the host's root and stay as its init
#   host.sh enter CGROUPS PID COMMAND [ARG...]      run a command inside the host whose init is PID
#
# CGROUPS is a colon-separated list of cgroup folders. `boot` writes "PID\n" (as seen from the machine) to
# descriptor 3 when the host is up.
set -eu

join_cgroups() {
  local folder
  local IFS=:
  for folder in $1; do echo $$ > "$folder/cgroup.procs"; done
}

# These must not lie on the overlay (Docker's overlay2 and fallocated pools need a real file system), or would
# show the machine's own content.
PRIVATE_FOLDERS="var/lib/docker var/lib/containerd var/lib/supercargo etc/docker etc/supercargo var/log var/tmp tmp mnt"

mount_root() {
  local directory=$1 project=$2 root=$1/mount folder
  mount --make-rprivate /
  # The bind below the overlay is not recursive: mounts of the machine are not pinned by the host.
  mount -t overlay overlay -o "lowerdir=/,upperdir=$directory/disk/root,workdir=$directory/disk/work,index=off,metacopy=off,redirect_dir=off" "$root"
  mount -t proc proc "$root/proc"
  mount -t sysfs sysfs "$root/sys"
  mount --rbind /dev "$root/dev"
  mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
  mount -t tmpfs -o mode=755,size=256m tmpfs "$root/run"
  mkdir -p "$root/run/lock" "$root/run/docker/plugins" "$root/run/machine"
  for folder in $PRIVATE_FOLDERS; do
    mkdir -p "$directory/disk/private/$folder" "$root/$folder"
    mount --bind "$directory/disk/private/$folder" "$root/$folder"
  done
  chmod 1777 "$root/tmp" "$root/var/tmp"
  # After the private /tmp, which may hide the checkout.
  mkdir -p "$root$project"
  mount --bind "$project" "$root$project"
  mount -o remount,bind,ro "$root$project"
}

mount_cgroups() {
  local folder=$1/sys/fs/cgroup controller
  if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    mount -t cgroup2 cgroup2 "$folder"
    # A cgroup that hands controllers to children may hold no process itself.
    mkdir -p "$folder/init"
    echo 1 > "$folder/init/cgroup.procs"
    sed 's/[^ ]*/+&/g' "$folder/cgroup.controllers" > "$folder/cgroup.subtree_control"
    return
  fi
  mount -t tmpfs -o mode=755 tmpfs "$folder"
  for controller in $(awk '!/^#/ && $4 == 1 { print $1 }' /proc/cgroups); do
    [ -d "/sys/fs/cgroup/$controller" ] || continue
    mkdir "$folder/$controller"
    mount -t cgroup -o "$controller" cgroup "$folder/$controller"
  done
  mkdir "$folder/systemd"
  mount -t cgroup -o none,name=systemd cgroup "$folder/systemd"
}

init() {
  local name=$1 directory=$2 project=$3 pid
  # /proc is still the machine's here, so this is the PID by which the machine knows us.
  read -r pid _ < /proc/self/stat
  mount_root "$directory" "$project"
  mount_cgroups "$directory/mount"
  cd "$directory/mount"
  pivot_root . run/machine
  umount -l /run/machine
  rmdir /run/machine
  # As under systemd; a new peer group, so nothing leaks to the machine.
  mount --make-rshared /
  hostname "$name"
  ip link set lo up
  echo "$pid" >&3
  exec 3>&-
  exec tini -s -- sleep infinity
}

verb=$1
shift
case $verb in
  boot)
    join_cgroups "$1"
    shift
    exec unshare --mount --uts --ipc --net --pid --cgroup --fork --kill-child --propagation private \
      /bin/bash "$0" init "$@"
    ;;
  init) init "$@" ;;
  enter)
    join_cgroups "$1"
    pid=$2
    shift 2
    exec nsenter --target "$pid" --mount --uts --ipc --net --pid --cgroup -- "$@"
    ;;
  *)
    echo "host.sh: unknown verb $verb" >&2
    exit 64
    ;;
esac
