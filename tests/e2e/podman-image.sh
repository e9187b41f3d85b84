# shellcheck shell=bash
# Runs in a guest with podman, before the script of a test: makes the image of HAProxy of
# Debian's program. No registry is asked.
set -euo pipefail
trap 'echo "line $LINENO failed: $BASH_COMMAND"' ERR

# The program, its libraries and a shell.
root=/srv/haproxy-image
mkdir -p $root/bin $root/etc $root/tmp $root/var/lib/haproxy $root/run/haproxy
# shellcheck disable=SC2046
cp -L --parents /usr/sbin/haproxy $(ldd /usr/sbin/haproxy | grep -o '/[^ ]*') $root
cp /usr/bin/busybox $root/bin/
for name in sh sleep cat pidof; do ln -s busybox $root/bin/$name; done
cp /etc/passwd /etc/group $root/etc/
tar -C $root -cf /srv/haproxy.tar .
podman import --quiet /srv/haproxy.tar localhost/haproxy:3.0

# tunnels_config [LINE]: prints a configuration for tunnels.py, with a line more for its
# global section.
tunnels_config() {
	cat <<END
global
	stats socket /run/haproxy/admin.sock mode 600 level admin expose-fd listeners
	nbthread 2
	maxconn 1000
	tune.ssl.cachesize 1000000
	${1:-}
defaults
	mode tcp
	timeout connect 30s
	timeout client 1h
	timeout server 1h
listen tunnels
	bind :8443 ssl crt /etc/haproxy/storm.pem
	server echo ${ECHO:-127.0.0.1}:9000
END
}
