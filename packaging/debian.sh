# debian.sh: functions of the setup scripts that install Debian packages.
# shellcheck shell=bash

export DEBIAN_FRONTEND=noninteractive

quiet_apt() {
	local said
	said=$(apt-get -qq -o DPkg::Lock::Timeout=600 "$@" 2>&1) || { echo "$said" >&2 && return 1; }
}

# update_apt ignores failures, because an archive that is not needed can cause them. The
# installation reports those that matter.
update_apt() {
	quiet_apt update || true
}

install_packages() {
	quiet_apt install --yes --no-install-recommends "$@"
}

# archive prints the root of the Debian archive that apt is configured for, and this
# machine's release.
archive() {
	# shellcheck disable=SC2016 # apt fills these in
	apt-get indextargets --format '$(REPO_URI) $(CODENAME)' \
		'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 'Component: main' |
		awk '$2 !~ /-/' | head -n 1
}

candidate() { # PACKAGE
	apt-cache policy "$1" | awk '$1 == "Candidate:" { print $2 }'
}

# install_since installs VERSION or later of PACKAGE, from backports if the release has
# an older one. apt installs from backports only on request, so the source stays, for
# updates of the package.
install_since() { # PACKAGE VERSION
	local uri release
	if dpkg --compare-versions "$(candidate "$1")" ge "$2"; then
		install_packages "$1"
		return
	fi
	read -r uri release < <(archive) || { echo "apt is configured for no Debian archive" >&2 && return 1; }
	cat >"/etc/apt/sources.list.d/$release-backports.sources" <<-END
		Types: deb
		URIs: $uri
		Suites: $release-backports
		Components: main
		Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
	END
	update_apt
	install_packages --target-release "$release-backports" "$1"
}
