#include "perf/veth.h"

#include "trireme/error.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

void tr_perf_veth_script(uint32_t count, FILE *out)
{
    fprintf(out, "link add segment type bridge mcast_snooping 0\nlink set segment up\n");
    for (uint32_t i = 1; i <= count; i++)
        fprintf(out,
                "link add v%u type veth peer name p%u\n"
                "link set p%u master segment up\n"
                "link set v%u up\n",
                i, i, i, i);
}

/* What the kernel would say by itself on new interfaces is no part of a measurement. */
static void silence(void)
{
    FILE *file = fopen("/proc/sys/net/ipv6/conf/default/disable_ipv6", "w");
    if (file == NULL)
        return; /* a kernel without IPv6 */
    fputs("1\n", file);
    fclose(file);
}

/* The namespace's own view of its interfaces, and where AF_XDP's loader keeps its programs. */
static bool mount_own(void)
{
    return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("sysfs", "/sys", "sysfs", 0, NULL) == 0 &&
           mount("bpf", "/sys/fs/bpf", "bpf", 0, NULL) == 0;
}

int tr_perf_veth_make(uint32_t count, char *error, size_t error_bytes)
{
    const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
    if (geteuid() != 0) {
        snprintf(error, error_bytes, "--veth: network namespaces need the rights of root");
        return TR_EPERM;
    }
    setrlimit(RLIMIT_MEMLOCK, &unlimited);
    if (unshare(CLONE_NEWNET | CLONE_NEWNS) != 0 || !mount_own()) {
        snprintf(error, error_bytes, "--veth: no network namespace with its sysfs and bpffs: %s",
                 strerror(errno));
        return errno == EPERM ? TR_EPERM : TR_ESYS;
    }
    silence();
    FILE *ip = popen("ip -batch - >/dev/null", "w");
    if (ip != NULL)
        tr_perf_veth_script(count, ip);
    if (ip == NULL || pclose(ip) != 0) {
        snprintf(error, error_bytes, "--veth: ip(8) cannot make a bridge and veth pairs here");
        return TR_ESYS;
    }
    return TR_OK;
}
