#!/bin/busybox sh
# Process 1 of the machine: loads the modules, makes the RDMA devices, gives NICs to DPDK, runs the command. What it says itself
# goes to the kernel's console.
export PATH=/usr/sbin:/usr/bin
/bin/busybox --install -s /usr/bin 2>/dev/null
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /run
mkdir -p /dev/shm /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t devpts pts /dev/pts
ln -s /proc/self/fd /dev/fd
ln -s /run /var/run
chmod 755 / # EAL trusts no folder that everybody may write to
. /vm/settings
hostname vm

while read -r module; do
    insmod "/vm/modules/$module" || echo "init: module $module did not load"
done </vm/modules/order

# The virtio ports that the host reads: report, stdout, stderr.
for port in /sys/class/virtio-ports/vport*; do
    ln -s "/dev/${port##*/}" "/run/$(cat "$port/name")"
done
exec 9>/run/report
finish() { echo "exit $1" >&9; reboot -f; }
fail() { echo "init: $*"; echo "fail $*" >&9; reboot -f; }

ip link set lo up
if [ "$hugepages" -gt 0 ]; then
    echo "$hugepages" >/proc/sys/vm/nr_hugepages
    mkdir -p /dev/hugepages
    mount -t hugetlbfs huge /dev/hugepages
fi

# The kernel lets go of the NICs that are DPDK's, and keeps the last.
if [ "$nics" -gt 0 ]; then
    i=0
    while [ $i -lt "$nics" ]; do
        nic=/sys/bus/pci/devices/0000:00:1$i.0
        echo "$nic_driver" >$nic/driver_override
        echo 0000:00:1$i.0 >$nic/driver/unbind
        echo 0000:00:1$i.0 >/sys/bus/pci/drivers_probe
        [ "$(basename "$(readlink $nic/driver)")" = "$nic_driver" ] || fail "a NIC is not DPDK's"
        i=$((i + 1))
    done
    last=$(basename /sys/bus/pci/devices/0000:00:1e.0/virtio*/net/*)
    [ "$last" = eth0 ] || ip link set "$last" name eth0
    echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6
    ip link set eth0 up || fail "there is no eth0"
fi

# Soft-RoCE takes packets only where they come in on its own network device, but those for another address of
# the same machine would go through the loopback. So macvlan devices over one dummy make an Ethernet segment,
# and a rule ahead of the "local" table sends what is bound to such a device out there. Sockets that are bound
# to no device (TCP to 10.77.0.2, say) use the loopback as always.
if [ "$devices" -gt 0 ]; then
    echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
    echo 1 >/proc/sys/net/ipv4/conf/all/accept_local
    echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter
    echo 0 >/proc/sys/net/ipv4/conf/default/rp_filter
    echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore
    echo 2 >/proc/sys/net/ipv4/conf/all/arp_announce
    {
        echo link add segment type dummy
        echo link set segment mtu 4200 up
        echo rule add pref 100 lookup local
        echo rule del pref 0
        i=0
        while [ $i -lt "$devices" ]; do
            n=$((i + 1))
            echo link add link segment name rn$i address 02:00:00:77:00:0$n type macvlan mode bridge
            echo link set rn$i up
            echo addr add 10.77.0.$n/24 dev rn$i
            echo rule add pref $((10 + i)) oif rn$i lookup $((1000 + i))
            echo route add local 10.77.0.$n dev rn$i table $((1000 + i))
            echo route add 10.77.0.0/24 dev rn$i src 10.77.0.$n table $((1000 + i))
            # Neighbours are known: no ARP that could time out on a slow machine.
            j=0
            while [ $j -lt "$devices" ]; do
                m=$((j + 1))
                [ $j = $i ] ||
                    echo neigh add 10.77.0.$m lladdr 02:00:00:77:00:0$m dev rn$i nud permanent
                j=$m
            done
            echo link add rxe$i type rxe netdev rn$i >&3
            i=$n
        done
    } >/run/ip.batch 3>/run/rdma.batch
    # By full path: in busybox's sh its own, smaller, ip comes first.
    /usr/sbin/ip -batch /run/ip.batch || fail "cannot set the network up"
    /usr/sbin/rdma -b /run/rdma.batch || fail "cannot make the Soft-RoCE devices"
    # The kernel fills the tables of GIDs in the background.
    i=0
    while [ $i -lt "$devices" ]; do
        tries=0
        until grep -q ':ffff:0a4d:' /sys/class/infiniband/rxe$i/ports/1/gids/1; do
            tries=$((tries + 1))
            [ $tries -lt 200 ] || fail "rxe$i has no IPv4 GID"
            sleep 0.05
        done
        i=$((i + 1))
    done
fi

ulimit -l unlimited
ulimit -c 0
# The command writes to pipes: a port can be opened once only, so /dev/stderr would not work.
mkfifo /run/out /run/err
cat /run/out >/run/stdout &
out=$!
cat /run/err >/run/stderr &
err=$!
echo start >&9
setsid sh /vm/command </dev/null >/run/out 2>/run/err 9>&-
status=$?
# What the command left running would keep the pipes open.
for process in /proc/[0-9]*; do
    process=${process#/proc/}
    case $process in 1 | "$out" | "$err") ;; *) kill -KILL "$process" 2>/dev/null ;; esac
done
wait $out $err
finish $status
