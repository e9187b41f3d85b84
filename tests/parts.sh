#!/bin/bash
# parts.sh STAGE...: makes one stage after another. A stage is a list of lanes, which
# run beside each other; a lane is targets that are made in order, as in 'lint,vet e2e'.
# A part's output is printed when it ends. At the end the time of each part is printed;
# the exit status is 1 if a part has failed. The parts after it run all the same.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
trap 'trap - INT TERM HUP; kill 0' INT TERM HUP # with all that the lanes run

part() { # TARGET
	local began=$SECONDS result=ok
	${MAKE:-make} --no-print-directory "$1" >"$logs/$1" 2>&1 || result=FAILED
	{
		flock 9
		echo "== $1: $result"
		cat "$logs/$1"
		printf '%-14s %6d s  %s\n' "$1" $((SECONDS - began)) "$result" >>"$logs/.times"
	} 9>"$logs/.lock"
}

: >"$logs/.times"
for stage; do
	for lane in $stage; do
		for target in ${lane//,/ }; do part "$target"; done &
	done
	wait
done
echo "== time of each part"
cat "$logs/.times"
printf '%-14s %6d s\n' all $SECONDS
! grep --quiet FAILED "$logs/.times"
