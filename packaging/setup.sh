#!/bin/bash
# Installs what building (setup.sh go) and testing on this machine (setup.sh host) need, when run as root on Debian; else says what is
# missing. Silent and quick when nothing is.
set -euo pipefail
export PATH="$PATH:/usr/local/go/bin:/usr/sbin:/sbin" LC_ALL=C

go_is_new() { # 1.21 and later fetch the toolchain that go.mod asks for by themselves
	[[ $(go version 2>/dev/null) =~ go1\.([0-9]+) ]] && ((BASH_REMATCH[1] >= 21))
}

missing=()
case ${1:-} in
go)
	go_is_new || missing+=(golang-go)
	;;
host)
	command -v haproxy >/dev/null || missing+=(haproxy)
	command -v gcc >/dev/null || missing+=(gcc libc6-dev) # the race detector
	command -v strace >/dev/null || missing+=(strace)
	command -v python3 >/dev/null || missing+=(python3)
	command -v dbus-daemon >/dev/null || missing+=(dbus-daemon)
	command -v lintian >/dev/null || missing+=(lintian)
	command -v rpmlint >/dev/null || missing+=(rpmlint)
	command -v rpm >/dev/null || missing+=(rpm)
	command -v busybox >/dev/null || missing+=(busybox-static)
	command -v promtool >/dev/null || missing+=(prometheus)
	;;
*)
	echo "usage: setup.sh go|host" >&2
	exit 2
	;;
esac
((${#missing[@]})) || exit 0

if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
	echo "missing: ${missing[*]}; install them (on Debian: sudo apt-get install ${missing[*]}), or run this as root" >&2
	exit 1
fi
echo "installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update >/dev/null || true # another archive's trouble need not be ours; the install tells
# The packages of HAProxy and Prometheus would start services; the tests start their own.
if [[ " ${missing[*]} " =~ " haproxy "|" prometheus " && ! -e /usr/sbin/policy-rc.d ]]; then
	printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
	chmod +x /usr/sbin/policy-rc.d
	trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
apt-get -qq install --yes --no-install-recommends "${missing[@]}" >/dev/null
if [[ $1 == go ]] && ! go_is_new; then
	echo "this release's Go is too old (want 1.21 or later, with the network to fetch the one that go.mod names)" >&2
	exit 1
fi
