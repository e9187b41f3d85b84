#!/bin/bash
# image.sh SUITE ARCH DIR [PACKAGES]: builds a guest of a Debian release, with further
# packages (separated by commas), as DIR/root.img, DIR/vmlinuz and DIR/initrd.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin" LC_ALL=C

# Not root: a user namespace will do; mmdebstrap then says that it may not mount /proc
# and /sys, and goes on.
((EUID == 0)) || exec unshare --map-root-user --map-auto --mount "$0" "$@"

suite=$1 arch=$2 dir=$3 extra=${4:-}
here=$(dirname "$(realpath "$0")")

packages=systemd,systemd-sysv,dbus,kmod,zstd,initramfs-tools,linux-image-cloud-$arch,busybox-static
packages+=,haproxy,openssl,socat,procps,iproute2,python3,strace${extra:+,$extra}

# In the order in which they can be loaded; their dependencies are found below.
modules=(virtio_pci virtio_blk virtio_console ext4)

# What only a machine with hardware, a network, users or a future needs: each costs time
# at every boot.
masked=(
	apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
	systemd-tmpfiles-clean.timer e2scrub_reap.service
	systemd-networkd.service systemd-timesyncd.service systemd-logind.service systemd-user-sessions.service
	systemd-ask-password-console.path systemd-ask-password-wall.path
	getty.target getty@.service serial-getty@.service console-getty.service
	systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket
	systemd-udev-trigger.service systemd-udev-settle.service systemd-udev-load-credentials.service
	kmod-static-nodes.service modprobe@.service systemd-modules-load.service
	systemd-binfmt.service proc-sys-fs-binfmt_misc.automount systemd-random-seed.service systemd-pstore.service
	dev-hugepages.mount dev-mqueue.mount sys-kernel-config.mount sys-kernel-debug.mount
	sys-kernel-tracing.mount sys-fs-fuse-connections.mount
)

# The archive this machine installs from has every release.
# shellcheck disable=SC2016 # apt fills this in
archive=$(apt-get indextargets --format '$(REPO_URI)' \
	'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 'Component: main' | head -n 1)
if [[ -z $archive ]]; then
	echo "apt knows no Debian archive: is one configured, and has apt-get update been run?" >&2
	exit 1
fi

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

# A frozen copy of an archive has an expired Release file; that does a guest without a
# network no harm.
INITRD=No mmdebstrap --quiet --arch="$arch" --variant=minbase --include="$packages" \
	--aptopt='Acquire::Check-Valid-Until "false"' \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' \
	"$suite" "$tree" "$archive"

cp -r "$here/image/etc" "$here/image/usr" "$tree"
systemctl --root="$tree" --quiet mask "${masked[@]}"
systemctl --root="$tree" --quiet disable haproxy.service
systemctl --root="$tree" --quiet enable guest.service
systemctl --root="$tree" --quiet set-default multi-user.target
mkdir -p "$tree/etc/systemd/system-generators"
for generator in "$tree"/usr/lib/systemd/system-generators/*; do
	ln -s /dev/null "$tree/etc/systemd/system-generators/${generator##*/}"
done
echo guest >"$tree/etc/hostname"
echo '127.0.0.1 localhost guest' >"$tree/etc/hosts"
systemd-machine-id-setup --root="$tree" 2>/dev/null
# Or systemd sets about updating after a first boot.
touch "$tree/etc/.updated" "$tree/var/.updated"

kernel=$(basename "$tree"/usr/lib/modules/*)
mkdir -p "$tree/initrd/bin" "$tree/initrd/modules"
cp "$tree/bin/busybox" "$tree/initrd/bin"
install -m 755 "$here/image/init" "$tree/initrd/init"
number=10
chroot "$tree" modprobe --set-version="$kernel" --show-depends --all "${modules[@]}" |
	awk '$1 == "insmod" && !seen[$2]++ { print $2 }' |
	while read -r file; do
		case $file in
		*.xz) chroot "$tree" busybox xzcat "$file" ;;
		*.zst) chroot "$tree" zstdcat "$file" ;;
		*) cat "$tree$file" ;;
		esac >"$tree/initrd/modules/$((number++)).ko"
	done
chroot "$tree" sh -c 'cd /initrd && find . | busybox cpio -o -H newc 2>/dev/null' >"$dir/initrd"
rm -r "$tree/initrd"

cp "$tree"/boot/vmlinuz-* "$dir/vmlinuz"
size=$(($(du -sm --apparent-size "$tree" | cut -f1) + 1100))
mke2fs -q -t ext4 -d "$tree" "$dir/root.img" ${size}M >&2
