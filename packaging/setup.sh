#!/bin/bash
# Installs what building (setup.sh go) and testing on this machine (setup.sh host) need,
# when run as root on Debian; else says what is missing. Silent and quick when nothing
# is.
set -euo pipefail
export PATH="$PATH:/usr/local/go/bin:/usr/sbin:/sbin" LC_ALL=C
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$(realpath "$0")")/debian.sh"

# Go 1.21 and later download the toolchain that go.mod names. Debian 12 has 1.19.
go=1.21

go_is_new() {
	[[ $(go version 2>/dev/null) =~ go1\.([0-9]+) ]] && ((BASH_REMATCH[1] >= ${go#1.}))
}

# has_certificates reports whether Go finds certificates, which it needs to download
# modules.
has_certificates() {
	local file
	for file in "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem; do
		[[ ! -s $file ]] || return 0
	done
	return 1
}

missing=()
case ${1:-} in
go)
	go_is_new || missing+=(golang-go)
	has_certificates || missing+=(ca-certificates)
	;;
host)
	command -v haproxy >/dev/null || missing+=(haproxy)
	command -v gcc >/dev/null || missing+=(gcc libc6-dev) # the race detector
	command -v strace >/dev/null || missing+=(strace)
	command -v python3 >/dev/null || missing+=(python3)
	[[ -e /lib/systemd/systemd-journald ]] || missing+=(systemd) # journald
	command -v dbus-daemon >/dev/null || missing+=(dbus-daemon)
	command -v lintian >/dev/null || missing+=(lintian)
	command -v rpmlint >/dev/null || missing+=(rpmlint)
	command -v rpm >/dev/null || missing+=(rpm)
	command -v busybox >/dev/null || missing+=(busybox-static)
	command -v tini >/dev/null || missing+=(tini)
	command -v dumb-init >/dev/null || missing+=(dumb-init)
	command -v s6-svscan >/dev/null || missing+=(s6)
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
update_apt
# The packages of HAProxy and Prometheus would start services; the tests start their own.
if [[ " ${missing[*]} " =~ " haproxy "|" prometheus " && ! -e /usr/sbin/policy-rc.d ]]; then
	printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
	chmod +x /usr/sbin/policy-rc.d
	trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
if [[ " ${missing[*]} " == *" golang-go "* ]]; then
	install_since golang-go "2:$go"
fi
install_packages "${missing[@]}"
if [[ $1 == go ]] && ! go_is_new; then
	echo "$(go version) is too old: Go $go or later is needed, to download the toolchain that go.mod names" >&2
	exit 1
fi
