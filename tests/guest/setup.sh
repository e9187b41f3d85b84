#!/bin/bash
# setup.sh [ARCH]: installs what guests need on a Debian machine, of its own or another architecture, when run as root; else says what is
# missing. Silent and quick when nothing is.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin" LC_ALL=C

# QEMU 7.2 computes wrong flags for cmpxchg16b when it emulates: guests crash at random. 10 does not.
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

# archive prints the root of the Debian archive that apt is configured for, and this machine's release.
archive() {
	# shellcheck disable=SC2016 # apt fills these in
	apt-get indextargets --format '$(REPO_URI) $(CODENAME)' \
		'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 'Component: main' |
		awk '$2 !~ /-/' | head -n 1
}

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
	[[ $arch == "$native" || -e /usr/lib/binfmt.d/qemu-$foreign.conf ]] || missing+=(qemu-user-static) # runs its programs while the image is built
}

# runs_foreign has the kernel start programs of the architecture with qemu-user, where no systemd has done so.
runs_foreign() {
	local binfmt=/proc/sys/fs/binfmt_misc
	[[ $arch != "$native" && ! -e $binfmt/qemu-$foreign ]] || return 0
	if [[ ! -e $binfmt/register ]]; then
		mount -t binfmt_misc binfmt_misc "$binfmt"
	fi
	[[ -e $binfmt/qemu-$foreign ]] || cat "/usr/lib/binfmt.d/qemu-$foreign.conf" >"$binfmt/register"
}

quiet_apt() {
	local said
	said=$(apt-get -qq -o DPkg::Lock::Timeout=600 "$@" 2>&1) || { echo "$said" >&2 && return 1; }
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
export DEBIAN_FRONTEND=noninteractive
quiet_apt update || true # another archive's trouble need not be ours; the install tells
read -r uri release < <(archive) || { echo "apt is configured for no Debian archive" >&2 && exit 1; }

from=()
if [[ " ${missing[*]} " == *" $package "* ]]; then
	candidate=$(apt-cache policy "$package" | awk '$1 == "Candidate:" { print $2 }')
	if dpkg --compare-versions "$candidate" lt "1:$qemu"; then
		# Backports are never installed from unless asked for, so the source may stay, for QEMU's updates.
		cat >"/etc/apt/sources.list.d/$release-backports.sources" <<-END
			Types: deb
			URIs: $uri
			Suites: $release-backports
			Components: main
			Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
		END
		quiet_apt update || true
		from=(--target-release "$release-backports")
	fi
fi
quiet_apt install --yes --no-install-recommends "${from[@]}" "${missing[@]}"

find_missing
if ((${#missing[@]})); then
	echo "still missing after the installation: ${missing[*]} (QEMU $qemu or later)" >&2
	exit 1
fi
runs_foreign
