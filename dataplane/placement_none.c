/* Placement of a build without libhwloc: no preference. */
#include "dataplane/placement.h"

#include "trireme/error.h"

#include <stdio.h>
#include <string.h>

bool tr_placement_open(struct tr_placement *p, const struct tr_placement_options *o)
{
    memset(p, 0, sizeof(*p));
    snprintf(p->why, sizeof(p->why), "%s, and a build without libhwloc",
             o->device->kind == TR_DEVICE_NONE ? "no device of the machine" : o->device->name);
    return false;
}

void tr_placement_close(struct tr_placement *p)
{
    (void)p;
}

int tr_placement_memory(void *context, void *base, size_t bytes)
{
    (void)context;
    (void)base;
    (void)bytes;
    return TR_OK;
}

void tr_placement_lean(const struct tr_placement *p)
{
    (void)p;
}

void tr_placement_straighten(const struct tr_placement *p)
{
    (void)p;
}
