# Placement on a machine of two NUMA nodes, in the virtual machine: a network card on a bus of node 1, where CPUs
# 2 and 3 are. Argument: trireme.
trireme=$1
out=/run/placement

fail() {
    echo "FAILED: $*"
    cat $out
    exit 1
}

card=$(ls -d /sys/class/net/*/device) && card=${card%/device} && card=${card##*/}
[ "$(cat /sys/devices/system/node/node1/cpulist)" = 2-3 ] || { echo "this machine has no NUMA node 1"; exit 1; }
ip link set "$card" up && ip addr add 10.9.0.1/24 dev "$card" || { echo "no network card"; exit 1; }

# start THREADS CPU: a node, which takes its own memory and waits for nobody.
start() {
    : >$out
    "$trireme" kv --node 1 --peers 1=10.9.0.1:7999 --listen 127.0.0.1:7000 --threads "$1" --cpu "$2" \
        --log-bytes 16MiB --store-bytes 8MiB >>$out 2>&1 &
    node=$!
    until grep -q '^ready' $out; do
        kill -0 $node 2>/dev/null || fail "the node ended"
        sleep 0.2
    done
}

stop() {
    kill $node
    wait $node || fail "the node ended with $?"
}

# cpus THREAD-NAME: the CPUs that a thread of the node may run on.
cpus() {
    for task in /proc/$node/task/*; do
        [ "$(cat $task/comm)" = "$1" ] && sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' $task/status
    done
}

# pages NODE: how many pages of the memory that has a policy are of a NUMA node.
pages() {
    awk -v node="N$1" '/ prefer/ { for (i = 3; i <= NF; i++) { split($i, part, "="); if (part[1] == node) sum += part[2] } }
        END { print sum + 0 }' /proc/$node/numa_maps
}

start two near
grep -q "placement: $card is near NUMA node 1 of 2: CPUs there, the best first: 2,3 (0 isolated); memory from there" $out ||
    fail "the card was not found near node 1"
grep -q "polling core 0: CPU 2, near the device" $out || fail "no word of the CPU"
[ "$(cpus tr-1.0)" = 2 ] || fail "the polling thread may run on $(cpus tr-1.0)"
[ "$(pages 1)" -gt 4096 ] || fail "$(pages 1) pages near the card"
[ "$(pages 0)" = 0 ] || fail "$(pages 0) pages far from it"
echo "two threads: CPU $(cpus tr-1.0), $(pages 1) pages near"
stop

start one near
[ "$(cpus trireme)" = 2 ] || fail "the only thread may run on $(cpus trireme)"
echo "one thread: CPU $(cpus trireme)"
stop

start two 1
[ "$(cpus tr-1.0)" = 1 ] || fail "a named CPU was not obeyed: $(cpus tr-1.0)"
grep -q "CPU 1, as it was asked for, is not near the device" $out || fail "no word of that"
stop

start two none
[ "$(cpus tr-1.0)" = 0-3 ] || fail "the polling thread may run on $(cpus tr-1.0)"
stop
echo "named, and none: obeyed"
