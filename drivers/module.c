/* Loading drivers that are modules. */
#include "drivers/module.h"

#include "base/types.h"
#include "drivers/extra.h"
#include "drivers/module_directory.h"
#include "drivers/registry.h"
#include "trireme/error.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME_BYTES_MAX 32

/* Debian packages without which a module cannot be built or run. */
static const struct {
    const char *driver, *build, *run;
} packages[] = {
    {"dpdk", "libdpdk-dev", "dpdk"},
    {"verbs", "libibverbs-dev librdmacm-dev", "ibverbs-providers librdmacm1"},
};

/* The row above of a driver; NULL for others. */
static const char *package_of(const char *driver, bool is_to_run)
{
    for (size_t i = 0; i < TR_ARRAY_COUNT(packages); i++) {
        if (strcmp(packages[i].driver, driver) == 0)
            return is_to_run ? packages[i].run : packages[i].build;
    }
    return NULL;
}

/* Lower-case letters, digits and '_': nothing that leads out of the directory. */
static bool is_name(const char *name)
{
    size_t bytes = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");
    return bytes > 0 && bytes < NAME_BYTES_MAX && name[bytes] == '\0';
}

static int explain_absence(const char *name, const char *path, bool is_chosen_directory,
                           char *error, size_t error_bytes)
{
    const char *package = package_of(name, false);
    if (package == NULL)
        tr_explain(error, error_bytes,
                   "no driver \"%s\": it is not built into this library, and there is no %s", name,
                   path);
    else
        tr_explain(
            error, error_bytes,
            "no driver \"%s\": it is not built into this library, and there is no %s%s; "
            "build it (meson configure -D%s=enabled, which needs the packages %s) and "
            "install it%s",
            name, path, is_chosen_directory ? " (" TR_MODULES_VARIABLE ")" : "", name, package,
            is_chosen_directory ? ""
                                : ", or set " TR_MODULES_VARIABLE " to the directory that has it");
    return TR_ENOTSUP;
}

static int explain_refusal(const char *name, const char *path, char *error, size_t error_bytes)
{
    const char *package = package_of(name, true);
    const char *why = dlerror();
    tr_explain(error, error_bytes, "driver %s: cannot load %s: %s%s%s", name, path,
               why != NULL ? why : "unknown reason",
               package != NULL ? "; it needs the libraries of the packages " : "",
               package != NULL ? package : "");
    return TR_ENOTSUP;
}

/* Holds what a module exports against this library. */
static int check_module(const struct tr_driver_module *module, const char *name, const char *path,
                        char *error, size_t error_bytes)
{
    if (module == NULL || module->mark != TR_DRIVER_MODULE_MARK) {
        tr_explain(error, error_bytes, "driver %s: %s is no module of Trireme", name, path);
        return TR_EINVAL;
    }
    if (module->version != TR_DRIVER_MODULE_VERSION ||
        module->driver_bytes != sizeof(struct tr_driver) ||
        module->options_bytes != sizeof(struct tr_port_options) ||
        module->stats_bytes != sizeof(struct tr_port_stats)) {
        tr_explain(error, error_bytes,
                   "driver %s: %s was built for another version of the library (interface %u with "
                   "tables of %u bytes, this one is %u with %zu): install both from one build",
                   name, path, module->version, module->driver_bytes, TR_DRIVER_MODULE_VERSION,
                   sizeof(struct tr_driver));
        return TR_EVERSION;
    }
    if (module->driver == NULL || module->driver->name == NULL ||
        strcmp(module->driver->name, name) != 0) {
        tr_explain(error, error_bytes, "driver %s: %s has another driver in it", name, path);
        return TR_EINVAL;
    }
    return TR_OK;
}

static int load_module(const char *name, const struct tr_driver **out, char *error,
                       size_t error_bytes)
{
    const char *chosen = secure_getenv(TR_MODULES_VARIABLE);
    bool is_chosen = chosen != NULL && chosen[0] != '\0';
    const struct tr_driver_module *module;
    char path[PATH_MAX];
    void *handle;
    int result;
    if ((size_t)snprintf(path, sizeof(path), "%s/trireme-%s.so",
                         is_chosen ? chosen : TR_MODULE_DIRECTORY, name) >= sizeof(path))
        path[0] = '\0';
    /* A path without a slash would be looked for elsewhere. */
    if (strchr(path, '/') == NULL || access(path, F_OK) != 0)
        return explain_absence(name, path, is_chosen, error, error_bytes);
    handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (handle == NULL)
        return explain_refusal(name, path, error, error_bytes);
    module = dlsym(handle, "tr_driver_module");
    result = check_module(module, name, path, error, error_bytes);
    if (result == TR_OK)
        *out = module->driver;
    return result;
}

int tr_driver_load(const char *name, const struct tr_driver **out, char *error, size_t error_bytes)
{
    const struct tr_driver *found = tr_driver_find(name);
    char why[160] = "";
    int result = TR_OK;
    if (found == NULL) {
        if (!is_name(name)) {
            tr_explain(error, error_bytes, "\"%s\" is no name of a driver", name);
            return TR_EINVAL;
        }
        result = load_module(name, &found, error, error_bytes);
        if (result != TR_OK)
            return result;
    }
    result = tr_driver_check(found, why, sizeof(why));
    if (result != TR_OK) {
        tr_explain(error, error_bytes, "%s", why);
        return result;
    }
    *out = found;
    return TR_OK;
}
