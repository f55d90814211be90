# Shared by the scripts of this folder: places, messages, and processes by recorded identity.
# Sourced only; it starts nothing and changes nothing by itself.
# shellcheck shell=bash disable=SC2034

CACHE=${EVENKEEL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/evenkeel}
BIN=$CACHE/bin/current
STATE=$CACHE/cluster                # ephemeral: a new one with each start
RUN=/run/evenkeel                   # sockets: their paths must be short
NETNS=/run/netns/evenkeel
CGROUP=evenkeel-pods                # pods' cgroups are below it
NODE=evenkeel
NODE_IP=10.244.0.1
DNS_IP=10.96.0.10
API=127.0.0.1:${EVENKEEL_CLUSTER_PORT:-36443}  # of the forwarder, in the machine's own namespace
CONTAINERD_SOCKET=$RUN/containerd.sock
PAUSE_IMAGE=evenkeel.dev/pause:1

PATH=$PATH:/usr/sbin:/sbin
export PATH

say() { echo "cluster: $*"; }
die() { echo "cluster: $*" >&2; exit 1; }

# step NAME … done_step: one line of progress with the time it took.
step() { STEP_SINCE=$EPOCHREALTIME; printf 'cluster: %s …' "$*"; }
done_step() {
    local now=$EPOCHREALTIME tenths
    tenths=$(((${now/[.,]/} - ${STEP_SINCE/[.,]/}) / 100000))
    printf ' %d.%d s\n' $((tenths / 10)) $((tenths % 10))
}

inside() { nsenter --net="$NETNS" "$@"; }
kubectl() { "$BIN/kubectl" --kubeconfig "$STATE/kubeconfig" "$@"; }
ctr() { command ctr --address "$CONTAINERD_SOCKET" --namespace k8s.io "$@"; }

# wait_for SECONDS WHAT COMMAND…: polls; gives up when the time is over or one of our processes has ended.
wait_for() {
    local deadline=$((SECONDS + $1)) allowed=$1 what=$2 ended
    shift 2
    until "$@" &>/dev/null; do
        ended=$(first_ended)
        [[ -z $ended ]] || die "$ended has ended; the end of $STATE/logs/$ended.log: $(tail -n 5 "$STATE/logs/$ended.log")"
        ((SECONDS < deadline)) || die "$what: not within $allowed s; see $STATE/logs"
        sleep 0.1
    done
}

# --- processes: a pid counts only together with its start time and the machine's boot -------------------------------

# The identity of a live process, nothing if there is none. Field 22 of stat is the start time; the name in
# parentheses before it may hold spaces.
identity() {
    local stat
    { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 0
    # shellcheck disable=SC2086
    set -- ${stat##*) }
    [[ $1 == Z ]] || echo "${20} $(</proc/sys/kernel/random/boot_id)"
}

# start NAME COMMAND…: in the background, in a session and with an environment of its own (a proxy setting of the caller's
# must not reach the API server); log and identity are recorded.
start() {
    local name=$1
    shift
    setsid env -i PATH="$PATH" HOME="$STATE" "$@" </dev/null >"$STATE/logs/$name.log" 2>&1 9>&- &
    echo "$! $(identity $!)" >"$STATE/pids/$name"
}

start_inside() {
    local name=$1
    shift
    start "$name" nsenter --net="$NETNS" "$@"
}

# The pid of a recorded process that is still the same one.
running() {
    local pid recorded
    read -r pid recorded 2>/dev/null <"$STATE/pids/$1" || return 1
    [[ -n $recorded && $(identity "$pid") == "$recorded" ]] && echo "$pid"
}

# end_process NAME: SIGTERM, and SIGKILL after 5 s.
end_process() {
    local pid deadline=$((SECONDS + 5))
    while pid=$(running "$1"); do
        if ((SECONDS < deadline)); then kill -TERM "$pid"; else kill -KILL "$pid"; fi 2>/dev/null || true
        sleep 0.1
    done
    rm -f "$STATE/pids/$1"
}

# The first recorded process that is no longer running, nothing if all are.
first_ended() {
    local file
    for file in "$STATE"/pids/*; do
        [[ -e $file ]] || continue
        running "${file##*/}" >/dev/null || { echo "${file##*/}"; return; }
    done
}

# --- health ----------------------------------------------------------------------------------------------------------

api_ready() {
    curl --silent --fail --max-time 2 --noproxy '*' --output /dev/null --cacert "$STATE/pki/ca.crt" \
        --cert "$STATE/pki/admin.crt" --key "$STATE/pki/admin.key" "https://$API/readyz"
}

node_ready() {
    [[ $(kubectl get node "$NODE" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}') == True ]]
}

# Asks the cluster's DNS Service (so kube-proxy takes part) for kubernetes.default.svc.cluster.local: 10.96.0.1.
dns_answers() {
    local query='\0\1\1\0\0\1\0\0\0\0\0\0\012kubernetes\007default\003svc\007cluster\005local\0\0\1\0\1'
    # shellcheck disable=SC2059
    [[ $(printf "$query" | inside socat -t 1 - "UDP4:$DNS_IP:53" | tail -c 4 | od -An -tu1 | xargs) == "10 96 0 1" ]]
}

healthy() {
    [[ -e $STATE/complete && -z $(first_ended) ]] && api_ready && node_ready && dns_answers
} &>/dev/null
