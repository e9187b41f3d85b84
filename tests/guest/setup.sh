#!/bin/bash
# setup.sh [ARCH]: installs what guests need on a Debian machine, of its own or another
# architecture, when run as root; else says what is missing. Silent and quick when
# nothing is.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin" LC_ALL=C
# shellcheck source-path=SCRIPTDIR/../../packaging
source "$(dirname "$(realpath "$0")")/../../packaging/debian.sh"

# QEMU 7.2 computes wrong flags for cmpxchg16b when it emulates: guests crash at random.
# 10 does not.
qemu=10

if ! command -v apt-get >/dev/null; then
	echo "guests are built with apt and mmdebstrap: they need a Debian machine" >&2
	exit 1
fi
native=$(dpkg --print-architecture) arch=${1:-}
arch=${arch:-$native}
case $arch in
amd64) emulator=qemu-system-x86_64 package=qemu-system-x86 foreign=x86_64 ;;
arm64) emulator=qemu-system-aarch64 package=qemu-system-arm foreign=aarch64 ;;
*) echo "no guests of $arch" >&2 && exit 2 ;;
esac

qemu_is_new() {
	[[ $($emulator --version 2>/dev/null) =~ version\ ([0-9]+) ]] && ((BASH_REMATCH[1] >= qemu))
}

find_missing() {
	missing=()
	command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
	command -v mke2fs >/dev/null || missing+=(e2fsprogs)
	command -v newuidmap >/dev/null || missing+=(uidmap)
	[[ -e /usr/share/keyrings/debian-archive-trixie-automatic.gpg ]] || missing+=(debian-archive-keyring)
	qemu_is_new || missing+=("$package")
	command -v qemu-img >/dev/null || missing+=(qemu-utils)
	[[ $arch == "$native" || -e /usr/lib/binfmt.d/qemu-$foreign.conf ]] || missing+=(qemu-user-static) # runs its programs while the image is built
}

# runs_foreign has the kernel start programs of the architecture with qemu-user, where
# no systemd has done so.
runs_foreign() {
	local binfmt=/proc/sys/fs/binfmt_misc
	[[ $arch != "$native" && ! -e $binfmt/qemu-$foreign ]] || return 0
	if [[ ! -e $binfmt/register ]]; then
		mount -t binfmt_misc binfmt_misc "$binfmt"
	fi
	[[ -e $binfmt/qemu-$foreign ]] || cat "/usr/lib/binfmt.d/qemu-$foreign.conf" >"$binfmt/register"
}

find_missing
if ((${#missing[@]} == 0)) && [[ -n $(archive) ]]; then
	runs_foreign
	exit 0
fi
if ((EUID != 0)); then
	echo "guests need ${missing[*]:-apt-get update} (QEMU $qemu or later); run: sudo $(realpath "$0")" >&2
	exit 1
fi

echo "guests need ${missing[*]:-apt-get update}: installing" >&2
update_apt
for name in "${missing[@]}"; do
	case $name in
	qemu-system-*) install_since "$name" "1:$qemu" ;;
	*) install_packages "$name" ;;
	esac
done
if [[ -z $(archive) ]]; then
	echo "apt is configured for no Debian archive, which guests are built from" >&2
	exit 1
fi

find_missing
if ((${#missing[@]})); then
	echo "still missing after the installation: ${missing[*]} (QEMU $qemu or later)" >&2
	exit 1
fi
runs_foreign
