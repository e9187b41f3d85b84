#!/bin/bash
# enter.sh ROOT GOCACHE COMMAND...: runs a command with ROOT as its / and the host's
# network, devices and cgroups. Run it as the first process of new mount and PID
# namespaces (unshare --mount --pid --fork). Its mounts end with them.
set -euo pipefail

# share_build_cache mounts a writable layer over the host's build cache, to save
# compiling Go's library. This hides no missing step: Go asks every compiler for its
# version before it uses what that compiler made.
share_build_cache() { # GOCACHE
	local layer=$PWD/var/cache/go-build
	mkdir -p "$layer"/{upper,work} root/.cache/go-build
	mount -t overlay -o "lowerdir=$1,upperdir=$layer/upper,workdir=$layer/work" overlay root/.cache/go-build ||
		echo "cannot mount a layer over $1: compiling everything" >&2
}

main() {
	local root=$1 gocache=$2
	shift 2
	mount --bind "$root" "$root"
	cd "$root"
	mount -t proc proc proc
	mount --rbind /sys sys
	mount --rbind /dev dev
	mount -t tmpfs -o mode=755 tmpfs run
	share_build_cache "$gocache"
	# pivot_root, because a process in a chroot may not make user namespaces.
	pivot_root . .
	umount --lazy .
	cd /
	"$@" # not exec: the first process of a PID namespace must reap orphans
	exit
}

main "$@"
