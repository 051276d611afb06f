#!/usr/bin/env python3
"""Runs a command in a throw-away virtual machine that has software RDMA devices, and PCI NICs for DPDK.

Debian's stock kernel is booted in QEMU (emulated: no KVM, no root, nothing installed) from an initramfs made on the
spot, which holds the command with its shared libraries and the kernel's RDMA modules. The command runs as root, finds
rxe0, rxe1, ... on one Ethernet segment with the addresses 10.77.0.1, 10.77.0.2, ... (GID index 1: RoCE v2 over IPv4),
has its own paths and working directory, and busybox for everything else.

With --nics the machine has virtio NICs on one Ethernet segment, bound to uio_pci_generic or vfio-pci; TRIREME_NICS lists
them as PCI-ADDRESS/ETHERNET-ADDRESS, apart by blanks, TRIREME_NIC_OPTIONS what the driver dpdk needs for them besides,
TRIREME_NIC_QUEUES how many pairs of queues each has, and TRIREME_NIC_STEERING how several can be steered: hash or
software. Another NIC on that segment is the kernel's, eth0. NICs of one queue are on a hub in the emulator; those of
several on a bridge of taps, or, with --nic-vhost, behind testpmd by vhost-user.

Exit status: the command's; 77 when such a machine cannot be had here (with the reason); 124 when the time limit ended
the run; 125 when the machine died."""

import argparse
import glob
import lzma
import os
import re
import shlex
import shutil
import signal
import stat
import struct
import subprocess
import sys
import sysconfig
import tempfile
import threading

SKIP, TIMEOUT, DIED = 77, 124, 125

# In this order; each after those that it names as what it depends on. The kernel would ask for crc32_generic by
# itself, and the user's side needs ib_uverbs, rdma_ucm and ib_umad.
MODULES = ["virtio_pci", "virtio_console"]
RDMA_MODULES = [
    "crc32_generic", "dummy", "macvlan", "ib_core", "ib_uverbs", "rdma_ucm", "ib_umad", "rdma_rxe",
]  # fmt: skip
NIC_MODULES = {
    "uio_pci_generic": ["uio_pci_generic", "virtio_net"],
    "vfio-pci": ["vfio_iommu_type1", "vfio_pci", "virtio_net"],
}

# The driver's options with each: without an IOMMU devices see physical memory.
NIC_OPTIONS = {"uio_pci_generic": "iova_pa=on,hugepages=on", "vfio-pci": "hugepages=on"}

# The slot of the NIC that is the kernel's.
NIC_OF_KERNEL = 0x1E

# What of DPDK's loadable parts such NICs take.
NIC_PMDS = ["bus_pci", "bus_vdev", "mempool_ring", "mempool_stack", "net_virtio"]

# What of the kernel's package a machine without hardware can use.
KEPT = [
    "./boot/vmlinuz-*", "./lib/modules/*/kernel/arch/x86/crypto", "./lib/modules/*/kernel/crypto",
    "./lib/modules/*/kernel/lib", "./lib/modules/*/kernel/net/802", "./lib/modules/*/kernel/net/llc",
    "./lib/modules/*/kernel/net/core", "./lib/modules/*/kernel/net/ipv4", "./lib/modules/*/kernel/net/ipv6",
    "./lib/modules/*/kernel/fs/configfs", "./lib/modules/*/kernel/drivers/infiniband/core",
    "./lib/modules/*/kernel/drivers/infiniband/sw", "./lib/modules/*/kernel/drivers/iommu",
    "./lib/modules/*/kernel/drivers/uio", "./lib/modules/*/kernel/drivers/vfio",
    "./lib/modules/*/kernel/drivers/irqchip", "./lib/modules/*/kernel/virt",
    "./lib/modules/*/kernel/drivers/virtio", "./lib/modules/*/kernel/drivers/char/virtio_console.ko*",
    "./lib/modules/*/kernel/drivers/net/*.ko*",
]  # fmt: skip


class Impossible(Exception):
    """There can be no such machine here."""


def say(text):
    print("vm: " + text, file=sys.stderr, flush=True)


def program(name, package):
    """The path of a program of the host."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        raise Impossible(f"{name} is not installed (package {package})")
    return found


# ---- the kernel


def apt(*words, folder="."):
    try:
        run = subprocess.run(
            words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
    except FileNotFoundError as error:
        raise Impossible(f"no {words[0]} to fetch a kernel with") from error
    return run.returncode, run.stdout


def download(folder):
    """Downloads the package of the current kernel into a folder. Returns its name and its file."""
    _, said = apt("apt-cache", "depends", "linux-image-amd64")
    match = re.search(r"Depends: (linux-image-[0-9]\S*-amd64)", said)
    if match is None:
        raise Impossible("apt knows no package linux-image-amd64 (apt-get update?)")
    status, said = apt("apt-get", "-q", "download", match[1], folder=folder)
    debs = glob.glob(os.path.join(folder, "*.deb"))
    if status != 0 or not debs:
        raise Impossible(f"apt-get could not download {match[1]}: {said.strip().splitlines()[-1:]}")
    return match[1], debs[0]


def fetch_kernel(cache):
    """Downloads the current kernel's package and unpacks what is needed of it."""
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        try:
            package, deb = download(folder)
        except Impossible:
            # The lists of packages may be missing, or older than what the mirror has.
            apt("apt-get", "-q", "update")
            package, deb = download(folder)
        tree = os.path.join(folder, "tree")
        os.mkdir(tree)
        with subprocess.Popen(["dpkg", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as source:
            # tar complains of patterns that match nothing; what counts is looked at below.
            subprocess.run(
                ["tar", "-x", "-C", tree, "--wildcards", "--no-wildcards-match-slash", *KEPT],
                stdin=source.stdout, stderr=subprocess.DEVNULL, check=False,
            )  # fmt: skip
        if not glob.glob(tree + "/lib/modules/*/kernel/drivers/infiniband/sw/rxe/rdma_rxe.ko*"):
            raise Impossible(f"{package} has no rdma_rxe")
        try:
            os.rename(tree, os.path.join(cache, package))
        except OSError:
            pass  # another run was first


def kernel_tree(cache):
    """The folder of an unpacked kernel, fetched if there is none."""
    os.makedirs(cache, exist_ok=True)
    pattern = os.path.join(cache, "linux-image-*")
    if not glob.glob(pattern):
        say("fetching a kernel, once")
        fetch_kernel(cache)
    return sorted(glob.glob(pattern))[-1]


def vmlinux(tree, cache):
    """The kernel's ELF image, which QEMU starts by its PVH entry: to unpack itself would take it ten seconds here.
    Source: the kernel's Documentation/arch/x86/boot.rst, for the offsets."""
    compressed = glob.glob(tree + "/boot/vmlinuz-*")[0]
    out = os.path.join(cache, "vmlinux-" + os.path.basename(tree))
    if os.path.exists(out):
        return out
    with open(compressed, "rb") as file:
        image = file.read()
    start = (image[0x1F1] + 1) * 512 + struct.unpack_from("<I", image, 0x248)[0]
    payload = image[start : start + struct.unpack_from("<I", image, 0x24C)[0]]
    if payload[:6] != b"\xfd7zXZ\0":
        say("the kernel is packed in a way unknown here: booting it as it is, slower")
        return compressed
    # The payload ends with its size, which is no part of the stream.
    elf = lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(payload)
    with open(f"{out}.{os.getpid()}", "wb") as file:
        file.write(elf)
    os.rename(f"{out}.{os.getpid()}", out)
    return out


def modules(tree, wanted):
    """Names and bytes of the modules, in an order in which they can be loaded."""
    files = {}
    for path in glob.glob(tree + "/lib/modules/*/kernel/**/*.ko*", recursive=True):
        files[os.path.basename(path).split(".ko")[0].replace("-", "_")] = path
    found = {}

    def add(name):
        if name in found or name not in files:
            return  # what is not there is built in
        with (lzma.open if files[name].endswith(".xz") else open)(files[name], "rb") as file:
            data = file.read()
        match = re.search(rb"\0depends=([^\0]*)\0", b"\0" + data)
        for below in match[1].decode().split(",") if match else []:
            add(below.replace("-", "_"))
        found[name] = data

    for name in wanted:
        add(name)
    return found


# ---- the initramfs


class Tree:
    """The machine's files, as a cpio archive (format newc) in memory."""

    def __init__(self):
        self.parts = []
        self.names = set()
        self.inode = 0

    def put(self, path, mode, data=b""):
        path = path.strip("/")
        if path in self.names:
            return False
        if "/" in path:
            self.put(os.path.dirname(path), stat.S_IFDIR | 0o755)
        self.names.add(path)
        self.append(path, mode, data)
        return True

    def append(self, path, mode, data):
        self.inode += 1
        name = path.encode() + b"\0"
        fields = (self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + name
        self.parts += [head + b"\0" * (-len(head) % 4), data + b"\0" * (-len(data) % 4)]

    def file(self, path, data, mode=0o644):
        self.put(path, stat.S_IFREG | mode, data.encode() if isinstance(data, str) else data)

    def folder(self, path, mode=0o755):
        self.put(path, stat.S_IFDIR | mode)

    def link(self, path, to):
        self.put(path, stat.S_IFLNK | 0o777, to.encode())

    def archive(self):
        self.append("TRAILER!!!", 0, b"")
        return b"".join(self.parts)

    def host_path(self, path):
        """Where a path of the host is here: /bin, /lib, /lib64 and /sbin are links into /usr."""
        return re.sub(r"^/(bin|sbin|lib|lib64)/", r"/usr/\1/", path)

    def copy(self, source, dest=None, alone=False):
        """A file with its shared libraries, unless alone. Links stay links: a library that two names load must be one."""
        source = os.path.abspath(source)
        dest = self.host_path(os.path.abspath(dest or source))
        if dest.strip("/") in self.names:
            return
        if os.path.islink(source):
            real = os.path.realpath(source)
            if self.host_path(real) != dest:
                self.link(dest, self.host_path(real))
            self.copy(real, alone=alone)
            return
        with open(source, "rb") as file:
            data = file.read()
        self.file(dest, data, os.stat(source).st_mode & 0o777)
        if data[:4] == b"\x7fELF" and not alone:
            self.copy_libraries([source])

    def copy_libraries(self, sources):
        run = subprocess.run(["ldd", *sources], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
        for line in run.stdout.splitlines():
            if "not found" in line:
                raise Impossible(f"{sources[0]} needs a library that is not here: {line.strip()}")
            match = re.search(r"(?:=> )?(/\S+) \(0x", line)
            if match:
                self.copy(match[1], alone=True)  # what it needs itself is listed too

    def copy_all(self, source, dest):
        """A file, or a folder with all that is in it."""
        if not os.path.isdir(source):
            self.copy(source, dest)
            return
        for folder, _, names in os.walk(source):
            for name in names:
                path = os.path.join(folder, name)
                self.copy(path, os.path.join(dest, os.path.relpath(path, source)))


def put_python(tree):
    """The interpreter of this script, with the part of its library that a test may need."""
    library = sysconfig.get_path("stdlib")
    skipped = {"test", "idlelib", "lib2to3", "tkinter", "ensurepip", "distutils", "pydoc_data", "dist-packages", "site-packages"}
    tree.copy(os.path.realpath(sys.executable))
    tree.link("/usr/bin/python3", os.path.realpath(sys.executable))
    for folder, folders, names in os.walk(library):
        folders[:] = [name for name in folders if name not in skipped and not name.startswith("config-")]
        for name in names:
            if ".opt-" not in name:
                tree.copy(os.path.join(folder, name), alone=True)
    tree.copy_libraries(glob.glob(library + "/lib-dynload/*.so"))


def put_pmds(tree):
    """DPDK's drivers for the NICs, where it looks for them."""
    for name in NIC_PMDS:
        found = glob.glob(f"/usr/lib/x86_64-linux-gnu/dpdk/pmds-*/librte_{name}.so.*")
        if not found:
            raise Impossible(f"DPDK's {name} is not installed (package libdpdk-dev)")
        for path in found:
            tree.copy(path)


def system_files(tree, options):
    for name in ("dev", "proc", "sys", "run", "root", "var", "etc"):
        tree.folder(name)
    tree.folder("tmp", 0o1777)
    for name in ("bin", "sbin", "lib", "lib64"):
        tree.folder("usr/" + name)
        tree.link(name, "usr/" + name)
    busybox = program("busybox", "busybox-static")
    if subprocess.run(["ldd", busybox], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0:
        raise Impossible("busybox is not static (package busybox-static)")
    with open(busybox, "rb") as file:
        tree.file("usr/bin/busybox", file.read(), 0o755)
    for name in ("ip", "rdma"):
        tree.copy(program(name, "iproute2"), "/usr/sbin/" + name)
    providers = glob.glob("/usr/lib/x86_64-linux-gnu/libibverbs/librxe-*.so")
    if not providers:
        raise Impossible("the verbs provider librxe is not installed (package ibverbs-providers)")
    for path in providers + ["/etc/libibverbs.d/rxe.driver", "/lib/x86_64-linux-gnu/libgcc_s.so.1"]:
        if os.path.exists(path):
            tree.copy(path)
    if options.nics:
        put_pmds(tree)
    tree.file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
    tree.file("etc/group", "root:x:0:\n")
    tree.file("etc/nsswitch.conf", "hosts: files\n")
    hosts = [f"10.77.0.{i + 1} rxe{i}" for i in range(options.devices)]
    tree.file("etc/hosts", "\n".join(["127.0.0.1 localhost", *hosts, ""]))


def initramfs(options, kernel):
    tree = Tree()
    system_files(tree, options)
    wanted = MODULES + (RDMA_MODULES if options.devices else []) + (NIC_MODULES[options.nic_driver] if options.nics else [])
    loaded = modules(kernel, wanted + options.module)
    for name, data in loaded.items():
        tree.file(f"vm/modules/{name}.ko", data)
    tree.file("vm/modules/order", "".join(f"{name}.ko\n" for name in loaded))
    command = shutil.which(options.command[0])
    if command is None:
        raise SystemExit(f"vm: no such command: {options.command[0]}")
    tree.copy(command)
    if options.python:
        put_python(tree)
    for spec in options.file:
        source, _, dest = spec.partition(":")
        tree.copy_all(source, os.path.abspath(dest or source))
    lines = ["export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb"]
    lines += ["export " + shlex.quote(setting) for setting in nic_settings(options) + options.env]
    lines += ["mkdir -p " + shlex.quote(os.getcwd()), "cd " + shlex.quote(os.getcwd())]
    lines += ["exec " + " ".join(shlex.quote(word) for word in [os.path.abspath(command)] + options.command[1:])]
    tree.file("vm/command", "\n".join(lines) + "\n")
    settings = f"devices={options.devices} hugepages={options.hugepages}"
    settings += f" nics={options.nics} nic_driver={options.nic_driver}"
    tree.file("vm/settings", settings + "\n")
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "init.sh"), "rb") as file:
        tree.file("init", file.read(), 0o755)
    return tree.archive()


# ---- the run


def nic_places(count):
    """Slots on the PCI bus, and Ethernet addresses, of the NICs."""
    return [(0x10 + i, f"02:00:00:78:00:{i + 1:02x}") for i in range(count)]


def has_iommu(options):
    return options.nics > 0 and options.nic_driver == "vfio-pci"


def nic_settings(options):
    """What the command is told of its NICs, in its environment."""
    if options.nics == 0:
        return []
    nics = [f"0000:00:{slot:x}.0/{mac}" for slot, mac in nic_places(options.nics)]
    steering = "hash" if options.nic_rss == "on" and not options.nic_vhost else "software"
    return [
        f"TRIREME_NICS={' '.join(nics)}", f"TRIREME_NIC_OPTIONS={NIC_OPTIONS[options.nic_driver]}",
        f"TRIREME_NIC_QUEUES={options.nic_queues}", f"TRIREME_NIC_STEERING={steering}",
    ]  # fmt: skip


def hub_arguments(places):
    """QEMU's arguments for NICs of one queue on a hub in the machine's emulator."""
    arguments = []
    for slot, mac, _ in places:
        arguments += ["-netdev", f"hubport,id=port{slot},hubid=0", "-device", nic_argument(slot, mac)]
    return arguments


def tap_arguments(places, rss):
    """QEMU's arguments for NICs of several queues on a bridge of the host. The device steers by the Toeplitz hash,
    or, without RSS, the tap by a hash of its own."""
    arguments = []
    for slot, mac, queues in places:
        several = f",mq=on,rss={rss},vectors={2 * queues + 2}" if queues > 1 else ""
        tap = f"tap,id=port{slot},ifname=tap{slot},queues={queues},vhost=off,script=no,downscript=no"
        arguments += ["-netdev", tap, "-device", nic_argument(slot, mac) + several]
    return arguments


def vhost_arguments(places, folder):
    """QEMU's arguments for NICs of several queues whose device is another process (switch_command), which reads and
    writes the machine's memory. QEMU 7.2 without KVM ends by a fault where such a NIC has MSI-X vectors."""
    arguments = []
    for slot, mac, queues in places:
        arguments += ["-chardev", f"socket,id=vhost{slot},path={folder}/vhost{slot}"]
        arguments += ["-netdev", f"vhost-user,id=port{slot},chardev=vhost{slot},queues={queues}"]
        arguments += ["-device", nic_argument(slot, mac) + ",mq=on,vectors=0"]
    return arguments


def switch_command(options, folder):
    """The other end of the NICs' vhost-user: testpmd, which brings what comes from a queue to the same queue of a tap,
    and back."""
    command = [program("setpriv", "util-linux"), "--pdeathsig", "KILL", program("dpdk-testpmd", "dpdk-dev")]
    command += ["-l", "0,1", "--no-pci", "--no-shconf", "--no-huge", "-m", "512", "--no-telemetry"]
    for index, (slot, _) in enumerate(nic_places(options.nics)):
        command += ["--vdev", f"net_vhost{index},iface={folder}/vhost{slot},queues={options.nic_queues}"]
        command += ["--vdev", f"net_tap{index},iface=tap{slot}"]
    queues = [f"--rxq={options.nic_queues}", f"--txq={options.nic_queues}", "--total-num-mbufs=16384"]
    return command + ["--", *queues, "--nb-cores=1", "--no-mlockall", "--auto-start", "--stats-period=3600"]


def nic_argument(slot, mac):
    # Without the firmware's driver for it, which is in a package of its own.
    return f"virtio-net-pci,netdev=port{slot},addr={slot:#x},mac={mac},romfile=,rx_queue_size=1024"


def nic_arguments(options, folder):
    """QEMU's arguments for the NICs, the last of them the kernel's."""
    places = [(slot, mac, options.nic_queues) for slot, mac in nic_places(options.nics)]
    of_kernel = [(NIC_OF_KERNEL, "02:00:00:78:00:ff", 1)]
    if options.nic_queues == 1:
        arguments = hub_arguments(places + of_kernel)
    elif options.nic_vhost:
        arguments = vhost_arguments(places, folder) + tap_arguments(of_kernel, "off")
    else:
        arguments = tap_arguments(places + of_kernel, options.nic_rss)
    iommu = ["-global", "virtio-net-pci.iommu_platform=on", "-global", "virtio-net-pci.disable-legacy=on"]
    return (iommu if has_iommu(options) else []) + arguments


def switch_lines(options, folder):
    """Shell commands that start what is behind vhost-user, and wait for it."""
    lines = [f"{shlex.join(switch_command(options, folder))} >{folder}/switch 2>&1 &"]
    for slot, _ in nic_places(options.nics):
        lines += [
            f"for i in $(seq 300); do [ -S {folder}/vhost{slot} ] && ip link show tap{slot} >/dev/null 2>&1 && break; sleep 0.1; done",
            f"ip link set tap{slot} master br0 up || {{ cat {folder}/switch >&2; exit 1; }}",
        ]
    return lines


def behind_bridge(options, folder):
    """What comes before QEMU's command, so that it finds a bridge with taps: a network namespace of its own, of a user
    namespace where there are no rights of root."""
    lines = ["PATH=$PATH:/usr/sbin:/sbin", "ip link add br0 type bridge", "ip link set br0 up"]
    taps = [] if options.nic_vhost else [(slot, "multi_queue") for slot, _ in nic_places(options.nics)]
    for slot, kind in [*taps, (NIC_OF_KERNEL, "")]:
        lines += [f"ip tuntap add tap{slot} mode tap {kind}", f"ip link set tap{slot} master br0 up"]
    make = "\n".join(lines)
    more = "\n".join(switch_lines(options, folder)) if options.nic_vhost else ""
    why = ""
    for kind in (["--net"], ["--user", "--map-root-user", "--net"]):
        namespace = [program("unshare", "util-linux"), *kind, "sh", "-ec"]
        probe = subprocess.run([*namespace, make], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if probe.returncode == 0:
            return [*namespace, "\n".join([make, more, 'exec "$0" "$@"'])]
        why = probe.stdout.strip()
    raise Impossible(f"no bridge with taps can be made in a network namespace: {why}")


def qemu_command(options, image, folder):
    def port(name):
        path = os.path.join(folder, name)
        return ["-chardev", f"file,id={name},path={path}", "-device", f"virtserialport,chardev={name},name={name}"]

    # tsc=reliable: time without a trap. No complaints of stalls when the emulator is not given the processor.
    kernel = (
        "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off nokaslr tsc=reliable nowatchdog "
        "cryptomgr.notests rcupdate.rcu_cpu_stall_suppress=1 random.trust_cpu=on"
    ) + (" intel_iommu=on" if has_iommu(options) else "")
    command = behind_bridge(options, folder) if options.nics and options.nic_queues > 1 else []
    command += [program("qemu-system-x86_64", "qemu-system-x86"), "-nodefaults", "-no-user-config"]
    command += ["-display", "none", "-no-reboot", "-accel", "tcg,thread=multi,tb-size=256"]
    command += ["-machine", "q35", "-device", "intel-iommu"] if has_iommu(options) else ["-machine", "pc"]
    if options.nic_vhost:
        command += ["-object", f"memory-backend-memfd,id=shared,size={options.mem}M,share=on", "-machine", "memory-backend=shared"]
    command += ["-cpu", "max", "-smp", str(options.smp), "-m", str(options.mem)]
    command += ["-kernel", image, "-initrd", os.path.join(folder, "initramfs"), "-append", kernel]
    command += ["-chardev", f"file,id=console,path={folder}/console", "-device", "isa-serial,chardev=console"]
    command += ["-device", "virtio-serial-pci"] + (nic_arguments(options, folder) if options.nics else [])
    return command + port("report") + port("stdout") + port("stderr") + shlex.split(options.qemu)


def pump(path, to):
    """Passes on what comes through a pipe until its other end is closed."""
    with open(path, "rb", buffering=0) as source:
        while data := source.read(1 << 16):
            to.write(data)
            to.flush()


def boot(options, folder, command):
    """Runs the machine. Returns QEMU's status, or None when the time was over."""
    pumps = []
    for name, to in (("stdout", sys.stdout.buffer), ("stderr", sys.stderr.buffer)):
        os.mkfifo(os.path.join(folder, name))
        pumps.append(threading.Thread(target=pump, args=(os.path.join(folder, name), to), daemon=True))
        pumps[-1].start()
    with open(os.path.join(folder, "qemu"), "wb") as log:
        qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        status = qemu.wait(options.timeout)
    except subprocess.TimeoutExpired:
        status = None
    finally:
        qemu.kill()
        qemu.wait()
    # QEMU may have died before it opened the pipes: then nobody else ever will.
    for name in ("stdout", "stderr"):
        os.close(os.open(os.path.join(folder, name), os.O_RDWR))
    for thread in pumps:
        thread.join(10)
    return status


def read(folder, name):
    with open(os.path.join(folder, name), errors="replace") as file:
        return file.read()


def run(options):
    tree = kernel_tree(options.cache)
    image = vmlinux(tree, options.cache)
    with tempfile.TemporaryDirectory(prefix="vm-", dir=options.cache) as folder:
        for name in ("report", "console"):
            open(os.path.join(folder, name), "w").close()
        with open(os.path.join(folder, "initramfs"), "wb") as file:
            file.write(initramfs(options, tree))
        status = boot(options, folder, qemu_command(options, image, folder))
        for line in read(folder, "console").splitlines():
            if re.search(r"BUG:|Oops|WARNING:|^init: ", line):
                say("from the kernel's console: " + line)
        match = re.search(r"^exit ([0-9]+)$", read(folder, "report"), re.MULTILINE)
        if match:
            return int(match[1])
        if status is None:
            say(f"over the limit of {options.timeout} s")
            return TIMEOUT
        say(f"the machine ended without a result (QEMU's status {status})\n" + read(folder, "qemu"))
        say("\n".join(read(folder, "console").splitlines()[-30:]))
        return DIED


def check(options):
    """Whether there can be such a machine here; its kernel is fetched."""
    program("qemu-system-x86_64", "qemu-system-x86")
    system_files(Tree(), options)
    vmlinux(kernel_tree(options.cache), options.cache)
    return 0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", default="build/vm", help="folder for the kernel (build/vm)")
    parser.add_argument("--check", action="store_true", help="run nothing; 77 when there can be no such machine here")
    parser.add_argument("--file", action="append", default=[], metavar="SRC[:DEST]", help="a file with its libraries, or a folder")
    parser.add_argument("--python", action="store_true", help="Python, too")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="set for the command")
    parser.add_argument("--module", action="append", default=[], help="load this kernel module too")
    parser.add_argument("--devices", type=int, default=3, help="Soft-RoCE devices (3; at most 9)")
    parser.add_argument("--nics", type=int, default=0, help="PCI NICs for DPDK (0; at most 9)")
    parser.add_argument("--nic-driver", choices=list(NIC_MODULES), default="uio_pci_generic", help="whose they are in the kernel; vfio-pci: behind an IOMMU")
    parser.add_argument("--nic-queues", type=int, default=1, help="pairs of queues a NIC (1); several take a bridge")
    parser.add_argument("--nic-rss", choices=["on", "off"], default="on", help="whether NICs of several can steer by RSS (on)")
    parser.add_argument("--nic-vhost", action="store_true", help="NICs of several queues are testpmd's, by vhost-user, and do not steer")
    parser.add_argument("--hugepages", type=int, default=0, help="huge pages of 2 MiB (0)")
    parser.add_argument("--mem", type=int, default=640, help="memory in MiB (640)")
    parser.add_argument("--smp", type=int, default=2, help="processors (2)")
    parser.add_argument("--timeout", type=int, default=600, help="seconds for the whole run (600)")
    parser.add_argument("--qemu", default="", help="more arguments of QEMU")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- COMMAND [ARGUMENT]...")
    options = parser.parse_args()
    options.command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not options.command and not options.check:
        parser.error("a command is needed")
    options.cache = os.path.abspath(options.cache)
    return options


if __name__ == "__main__":
    try:
        chosen = arguments()
        sys.exit(check(chosen) if chosen.check else run(chosen))
    except Impossible as reason:
        say(f"cannot run: {reason}")
        sys.exit(SKIP)
