#!/bin/bash
# package.sh [ARCH...] builds a .deb and an .rpm for each architecture (amd64 and arm64)
# in $DIST. The same commit gives the same bytes on every machine. docs/packaging.md
# describes the variables.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:/usr/local/go/bin" LC_ALL=C TZ=UTC GOFLAGS=-mod=readonly CGO_ENABLED=0
umask 022

GO=${GO:-go}
nfpm=github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
# The tag v1.2.0 gives 1.2.0, and five commits later 1.2.0+5.g0123456.
# Without a tag the version is older than any release.
if [[ -z ${VERSION:-} ]]; then
	if VERSION=$(git describe --tags --match 'v[0-9]*' 2>/dev/null); then
		VERSION=$(sed 's/^v//; s/-/+/; s/-/./' <<<"$VERSION")
	else
		VERSION=0~$(date -d "@$SOURCE_DATE_EPOCH" +%Y%m%d).$(git rev-parse --short=7 HEAD)
	fi
fi
DIST=${DIST:-dist}
export MAINTAINER=${MAINTAINER:-hapressure maintainers <maintainers@hapressure.example>}
export HOMEPAGE=${HOMEPAGE:-}
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
export SOURCE_DATE_EPOCH
STAMP="-X main.version=$VERSION -X main.built=$(date -ud "@$SOURCE_DATE_EPOCH" +%FT%TZ)"
STAMP+=" -X main.commit=$(git rev-parse HEAD 2>/dev/null || true)"

put() { # TREE FOLDER FILE...
	install -d "$WORK/$1$2"
	install -m 644 -t "$WORK/$1$2" "${@:3}"
}

mkdir -p "$DIST" "$WORK/generated" "$WORK/stage/usr/bin"
$GO run -tags manpages ./cmd/hapressure "$WORK/generated"
gzip -9n "$WORK"/generated/*.8
put documentation /usr/share/man/man8 "$WORK"/generated/*.8.gz
put stage /usr/share/bash-completion/completions "$WORK/generated/hapressure.bash"
mv "$WORK/stage/usr/share/bash-completion/completions/hapressure"{.bash,}
put stage /usr/share/fish/vendor_completions.d "$WORK/generated/hapressure.fish"
put stage /usr/lib/systemd/system packaging/hapressure{.service,.socket,-metrics.socket} packaging/{hapressure,haproxy}.slice
put stage /usr/lib/systemd/catalog packaging/hapressure.catalog
install -D -m 644 packaging/hapressure.sysusers "$WORK/stage/usr/lib/sysusers.d/hapressure.conf"
put stage /usr/share/dbus-1/system.d packaging/org.hapressure1.conf
put stage /usr/share/hapressure packaging/{policy,policy-test,scenario}.schema.json
put stage /usr/share/hapressure/policies packaging/policies/*.yaml
put stage /usr/share/hapressure/policies/tests packaging/policies/tests/*.yaml
put stage /usr/share/hapressure/policies/cookbook packaging/policies/cookbook/*.yaml
put stage /usr/share/hapressure/scenarios packaging/scenarios/*.yaml
put stage /usr/share/hapressure/prometheus packaging/prometheus/*.yaml
put stage /usr/share/hapressure/grafana packaging/grafana/hapressure.json
put documentation /usr/share/doc/hapressure {README,CHANGELOG,CONTRIBUTING,SECURITY}.md docs/*.md docs/*.svg
put documentation /usr/share/doc/hapressure/examples packaging/haproxy-slice.conf packaging/examples/*
put documentation /usr/share/doc/hapressure/examples/kubernetes packaging/kubernetes/*
# The installed pages lie in one folder.
sed -i 's|](docs/|](|g; s|](\.\./\([A-Z]*\.md\)|](\1|g
	s|](\.\./packaging/kubernetes/|](examples/kubernetes/|g
	s|](\.\./packaging/policies)|](/usr/share/hapressure/policies)|g' \
	"$WORK"/documentation/usr/share/doc/hapressure/*.md
cat >"$WORK/changelog.yaml" <<END
- semver: $VERSION-1
  date: $(date -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
  packager: $MAINTAINER
  deb: {urgency: medium, distributions: [unstable]}
  changes:
    - note: See /usr/share/doc/hapressure/CHANGELOG.md.
END

(($#)) || set -- amd64 arm64
for ARCH; do
	GOARCH=$ARCH $GO build -trimpath -buildvcs=false -ldflags "-s -w -buildid= $STAMP" -o "$WORK/stage/usr/bin/hapressure" ./cmd/hapressure
	sed "s|\${ARCH}|$ARCH|; s|\${VERSION}|$VERSION|; s|\${WORK}|$WORK|" packaging/nfpm.yaml >"$WORK/nfpm.yaml"
	{
		find "$WORK/stage" -type f -printf '  - {src: "%p", dst: "/%P"}\n'
		find "$WORK/documentation" -type f \
			-printf '  - {src: "%p", dst: "/%P", type: doc, packager: rpm}\n'
		for tree in stage documentation; do
			(cd "$WORK/$tree" && find . -type d -path '*/hapressure*' \
				-printf '  - {dst: "/%P", type: dir, packager: rpm}\n')
		done
	} | sort >>"$WORK/nfpm.yaml"
	for format in deb rpm; do
		$GO run -buildvcs=false "$nfpm" package --config "$WORK/nfpm.yaml" --packager $format --target "$DIST"
	done
done
