/* The "key=value,..." text of a driver's own options, read by a table: the same rows are the parser
 * and the documentation. Unknown keys, bad values and values out of range are errors that name the
 * key, the value and the remedy. */
#ifndef TR_DRIVERS_EXTRA_H
#define TR_DRIVERS_EXTRA_H

#include "base/types.h"

TR_BEGIN_C

/* How a value is written, and the type of the field that takes it. */
enum tr_extra_kind {
    TR_EXTRA_COUNT = 1, /* 12; uint64_t */
    TR_EXTRA_BYTES,     /* 4096, 64K, 4M, 1G; uint64_t */
    TR_EXTRA_TIME,  /* 50us, 2ms, 1s, 100ns, or a span of them: 10us-50us; struct tr_extra_span */
    TR_EXTRA_PPM,   /* 1000ppm, 0.1%, 0; uint32_t, parts in a million */
    TR_EXTRA_FLAG,  /* on, off; bool */
    TR_EXTRA_WORD,  /* text without commas; char[TR_EXTRA_WORD_BYTES] */
    TR_EXTRA_TEXT,  /* a longer one; char[TR_EXTRA_BELOW_BYTES] */
    TR_EXTRA_NODES, /* 2+3+7; struct tr_extra_nodes */
};

#define TR_EXTRA_WORD_BYTES 64
#define TR_EXTRA_NODES_MAX  16

/* Two durations, low <= high; a single one is both. */
struct tr_extra_span {
    uint64_t low_ns, high_ns;
};

/* A list of nodes, each 1 to 65535. */
struct tr_extra_nodes {
    uint32_t count;
    uint16_t node[TR_EXTRA_NODES_MAX];
};

/* One key that a driver knows. */
struct tr_extra_key {
    const char *name;
    enum tr_extra_kind kind;
    size_t offset;        /* of its field in the struct that is filled */
    uint64_t least, most; /* inclusive; of COUNT and BYTES, in ns of TIME; not used by the others */
    const char *doc;
};

/* A table of keys. A key that ends in '.' is a prefix: whatever begins with it goes, without the
 * prefix and joined by commas, to its field, a char[TR_EXTRA_BELOW_BYTES] (for a driver below). */
struct tr_extra_table {
    const char *driver; /* whose they are, for messages */
    const struct tr_extra_key *keys;
    uint32_t key_count;
};

#define TR_EXTRA_BELOW_BYTES 256

/* Reads text (NULL: nothing) into the struct at `into`; fields whose key is absent stay as they
 * are. Returns: TR_OK, or TR_EINVAL with a sentence in `error` (may be NULL); then some fields may
 * have been set. Thread: any. */
int tr_extra_parse(const struct tr_extra_table *table, const char *text, void *into, char *error,
                   size_t error_bytes);

/* Puts a sentence for a person where open's caller wants it; nowhere if error is NULL. Thread: any.
 */
void tr_explain(char *error, size_t error_bytes, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

TR_END_C

#endif
