#!/bin/bash
# fresh.sh SUITE TARGET...: clones HEAD into a bare root of that Debian release,
# installs git and make there, and makes the targets in it as root. So a step that setup
# lacks shows, also on a host that has everything.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin" LC_ALL=C
here=$(dirname "$(realpath "$0")")
source=$(git -C "$here" rev-parse --show-toplevel)
# shellcheck source-path=SCRIPTDIR/../../packaging
source "$source/packaging/debian.sh"

suite=$1
shift
if ((EUID != 0)); then
	echo "$0 builds a Debian root and enters it, which needs root; run: sudo make fresh" >&2
	exit 1
fi

debian_path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
cache=${XDG_CACHE_HOME:-$HOME/.cache}/hapressure
root=$cache/fresh-$suite
mkdir -p "$cache"
exec {lock}>"$root.lock"
flock "$lock"

# remove_root also removes what a killed run left. The host has no mounts below: those
# of enter.sh are private.
remove_root() {
	rm -rf --one-file-system "$root"
}

# apt_options prints the proxies of the host's apt, and whether it checks the dates of
# archives.
apt_options() {
	apt-config dump | grep -E '^Acquire::((https?|ftp)::.*Proxy|Check-)' || true
}

bootstrap() {
	local uri options include=()
	read -r uri _ < <(archive)
	[[ $uri != https:* ]] || include=(--include=ca-certificates)
	options=$(mktemp)
	apt_options >"$options"
	mmdebstrap --quiet --variant=minbase "${include[@]}" --aptopt="$options" --dpkgopt=force-unsafe-io "$suite" "$root" "$uri"
	rm "$options"
	cp /etc/hosts "$root/etc/hosts"
	# The installation of ca-certificates adds these local certificates to its own.
	if [[ -d /usr/local/share/ca-certificates ]]; then
		cp -r /usr/local/share/ca-certificates "$root/usr/local/share"
	fi
	git clone --quiet --depth 1 "file://$source" "$root/root/hapressure"
}

# environment prints the variables for the root: how the host reaches the network, and
# that no result of a test is reused.
environment() {
	local name
	echo GOFLAGS=-count=1
	for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
		[[ -z ${!name:-} ]] || printf '%s=%s\n' "$name" "${!name}"
	done
	for name in GOPROXY GONOPROXY GOPRIVATE GOSUMDB GONOSUMDB GOINSECURE; do
		printf '%s=%s\n' "$name" "$(go env "$name")"
	done
}

# run_inside runs a command in the root. The kernel kills it when this script ends,
# whatever ends it.
run_inside() {
	local variables
	mapfile -t variables < <(environment)
	setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child \
		env -i HOME=/root TERM=dumb LANG=C.UTF-8 PATH="$debian_path" "${variables[@]}" \
		bash "$root/root/hapressure/tests/fresh/enter.sh" "$root" "$(go env GOCACHE)" "$@" &
	inside=$!
	wait "$inside"
}

stop() {
	[[ -z ${inside:-} ]] || kill -KILL "$inside" 2>/dev/null || true
	echo "fresh $suite: stopped" >&2
	exit 1
}
trap stop INT TERM HUP
trap remove_root EXIT

timed() {
	local start=$SECONDS
	"$@"
	echo "fresh $suite: $((SECONDS - start)) s for $*"
}

remove_root
timed bootstrap
# README.md asks the user for these two.
timed run_inside bash -c '. /root/hapressure/packaging/debian.sh && update_apt && install_packages git make'
for target; do
	timed run_inside make -C /root/hapressure "$target"
done
