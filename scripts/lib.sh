# Shared by the scripts that make calls: messages, and long steps with progress and a log.

HEDGEROW_CACHE=${HEDGEROW_CACHE:-/var/cache/hedgerow}
LOGS=$HEDGEROW_CACHE/logs
mkdir -p "$LOGS"

say() { printf '%s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# step NAME LABEL COUNT COMMAND…: runs COMMAND with its output in $LOGS/NAME.log and shows how it
# goes. COUNT is a shell expression that prints progress ("312 of 1890 packages"), or empty.
# On a terminal one line is redrawn each second; elsewhere a line is written every 30 seconds.
step() {
	local name=$1 label=$2 count=$3 log=$LOGS/$1.log start=$SECONDS pid rc=0 tick=0 text
	shift 3
	"$@" >"$log" 2>&1 &
	pid=$!
	while kill -0 "$pid" 2>/dev/null; do
		sleep 0.2
		tick=$((tick + 1))
		text="$label: $((SECONDS - start)) s"
		if [ -t 1 ] && [ $((tick % 5)) = 0 ]; then
			printf '\r\033[K%s %s' "$text" "$(eval "$count")"
		elif [ $((tick % 150)) = 0 ]; then
			printf '%s %s\n' "$text" "$(eval "$count")"
		fi
	done
	wait "$pid" || rc=$?
	[ -t 1 ] && printf '\r\033[K'
	if [ $rc != 0 ]; then
		tail -n 25 "$log" >&2
		die "$label failed (status $rc). The whole output is in $log"
	fi
	say "$label: done in $((SECONDS - start)) s"
}
