/*
 * data_manager.h: reads the rings that data-manager keeps in shared memory. One C11 header, nothing but libc, Linux.
 *
 *     dm_ring ring;
 *     dm_error error;
 *     if (dm_ring_open(&ring, "/dev/shm/data_manager_binance", &error) != DM_OK) {
 *         fprintf(stderr, "%s\n", error.message);
 *         return 1;
 *     }
 *     for (;;) {
 *         dm_record record;
 *         dm_next next;
 *         switch (dm_ring_poll(&ring, &record, &next)) {
 *         case DM_RECORD:  use(&record);                          break;
 *         case DM_UNKNOWN: note_newer_kind(next.kind);            break;
 *         case DM_LAGGED:  note_loss(next.lost);                  break;
 *         case DM_EMPTY:   wait_or_spin();                        break;
 *         case DM_CLOSED:  dm_ring_close(&ring);                  return 0;
 *         case DM_REFUSED: dm_ring_close(&ring);                  return 1;
 *         }
 *     }
 *
 * The byte tables and the protocol: docs/trade-msg.md and docs/ipc-segment.md. Whole programs: examples/.
 *
 * WHAT A READER CAN RELY ON
 *   - Every record that it gets is whole, in the writer's order, each once. A declared gap stands in line among trades.
 *   - A reader that is overtaken is told how many records it lost, exactly: read + lost = its position, counted from
 *     where it began.
 *   - The writer does not know its readers. They map the segment read-only and can neither slow nor harm it.
 *   - The end is told: closed, silent (killed, stopped), replaced by another writer, removed, or cut off.
 *
 * WHAT IT CANNOT
 *   - A ring remembers its last `capacity` records and nothing longer. The stream in JetStream is the memory.
 *   - Someone who may write to the file can cut it off under a live mapping. An access beyond its end is a SIGBUS, until
 *     dm_ring_check() has noticed; from then on the handle refuses, and nothing here touches the mapping again.
 *     data-manager never shortens a segment, so keep group and others from writing (transport.ipc.mode).
 *
 * THREADS
 *   A dm_ring belongs to one thread at a time; nothing here locks. Several threads or processes that read the same ring
 *   each open their own. There is no global state, and no function here blocks, sleeps or starts a thread.
 *   dm_ring_poll() makes no system call and allocates nothing.
 *
 * BUILDING
 *   Any 64-bit little-endian Linux, gcc or clang, -std=c11 or later (gnu11 too). The header needs POSIX.1-2008. Under
 *   -std=c11 the C library hides POSIX unless it is asked for, so either include this header before any other one (it
 *   then asks by itself), or compile with -D_POSIX_C_SOURCE=200809L, -D_DEFAULT_SOURCE or -D_GNU_SOURCE. With one of the
 *   latter two the mapping is populated at once and the first lap of the ring costs no page faults.
 *   It may be included in any number of translation units. Names that end in an underscore are not for users.
 *
 * ERRORS
 *   Functions that can fail return a dm_code, DM_OK being 0, and fill a dm_error, whose message names the place and the
 *   cure. The dm_error may be NULL.
 *
 * UNITS
 *   Times in records are nanoseconds since the Unix epoch. Times that are given to dm_ring_check() are nanoseconds of any
 *   clock that only grows, such as dm_now_ns(). Positions are records since the writer's epoch began.
 */
#ifndef DATA_MANAGER_H
#define DATA_MANAGER_H

#ifdef __cplusplus
#error "data_manager.h is C11: compile what uses it as C, and call that from C++"
#endif

/* Only a strict mode hides POSIX. Elsewhere asking for it would hide what the user has by default. */
#if defined(__STRICT_ANSI__) && !defined(_POSIX_C_SOURCE) && !defined(_XOPEN_SOURCE) && !defined(_DEFAULT_SOURCE) \
    && !defined(_GNU_SOURCE)
#define _POSIX_C_SOURCE 200809L
#endif

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#if !defined(O_NOFOLLOW) || !defined(O_CLOEXEC) || !defined(CLOCK_MONOTONIC)
#error "data_manager.h needs POSIX.1-2008: include it first, or compile with -D_POSIX_C_SOURCE=200809L"
#endif
#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "data_manager.h: records and segments are little-endian and are read as they lie in memory"
#endif

_Static_assert(sizeof(void *) == 8, "a segment may have 64 GiB, and on 32 bits an atomic load of 64 may write");
_Static_assert(ATOMIC_LONG_LOCK_FREE == 2 && sizeof(long) == 8, "64-bit atomics must be lock-free");
_Static_assert(sizeof(_Atomic uint64_t) == 8 && sizeof(_Atomic uint32_t) == 4, "atomics as they lie in the segment");

/* ------------------------------------------------------------------------------------------------- records */

/* Bytes of every record. */
#define DM_RECORD_BYTES 48

/* Values of `kind`: what a record is, and its version. Others may come; pass them over. */
enum {
    DM_KIND_TRADE_V1 = 1,
    DM_KIND_GAP_V1 = 2
};

/* Aggressor side, bits 0 and 1 of a trade's flags. The reserved value 3 reads as none: dm_trade_side(). */
enum {
    DM_SIDE_MASK = 3,
    DM_SIDE_NONE = 0, /* the venue does not tell */
    DM_SIDE_BUY = 1,  /* the buyer took liquidity */
    DM_SIDE_SELL = 2  /* the seller took liquidity */
};

/* The other bits of flags. In a gap only DM_FLAG_BACKFILLED is used: it has been filled since. */
enum {
    DM_FLAG_HASHED_ID = 1 << 2,  /* trade_id is xxh3-64 of the venue's textual id */
    DM_FLAG_BACKFILLED = 1 << 3, /* came late: from the venue's history, or when its gap was declared already */
    DM_FLAG_SNAPSHOT = 1 << 4,   /* history that the venue sent at subscribe */
    DM_FLAG_AGGREGATED = 1 << 5, /* one row for several fills */
    DM_FLAG_AFTER_GAP = 1 << 6,  /* trades right before this one are missing, so far */
    DM_FLAG_SPECIAL = 1 << 7     /* block trade, liquidation, deleveraging, settlement: not an ordinary match */
};

/* How sure it is that trades are missing. */
enum {
    DM_STRENGTH_PROVED = 1,      /* by the venue's own ids, with an exact count */
    DM_STRENGTH_FRAMES_LOST = 2, /* frames were lost on a connection */
    DM_STRENGTH_POSSIBLE = 3     /* a disconnect on a venue that gives no signal */
};

/* Why trades are missing. */
enum {
    DM_REASON_VENUE_DISCONNECT = 1, /* the connection was lost, or the venue skipped ids */
    DM_REASON_STALL = 2,            /* the venue went silent */
    DM_REASON_OUTBOX_OVERFLOW = 3,  /* too much waited for the broker */
    DM_REASON_BROKER_LOST = 4,      /* the broker lost data that it had acknowledged */
    DM_REASON_UNDECODABLE_FRAME = 5 /* a frame could not be decoded */
};

/* Most decimal places that data-manager writes. */
#define DM_SCALE_MAX 18

/* One trade as the venue reported it. Numbers are exact: price x 10^-price_scale, size x 10^-size_scale. */
typedef struct dm_trade {
    uint64_t ts_event;      /* the venue's time of the trade, ns since the Unix epoch; ts_recv where it has none */
    uint64_t ts_recv;       /* when the frame left the socket, ns since the Unix epoch */
    uint64_t trade_id;      /* the venue's numeric id, or a hash of its text: DM_FLAG_HASHED_ID */
    int64_t price;          /* mantissa; may be negative (spreads) */
    uint64_t size;          /* mantissa, in the venue's own unit (contracts where it trades contracts) */
    uint32_t instrument_id; /* of `exchange:SYMBOL`, never 0: dm_ring_symbol() */
    uint8_t price_scale;    /* 0..=18 */
    uint8_t size_scale;     /* 0..=18 */
    uint8_t flags;          /* side in bits 0 and 1, then DM_FLAG_* */
    uint8_t kind;           /* DM_KIND_TRADE_V1 */
} dm_trade;

/* A declared loss: trades of one instrument that are missing. */
typedef struct dm_gap {
    uint64_t ts_start;      /* start of the interval in which trades are missing, ns since the Unix epoch */
    uint64_t ts_end;        /* its end */
    uint64_t first_id;      /* first missing trade id, 0 unknown */
    uint64_t last_id;       /* last missing trade id, 0 unknown */
    uint64_t missing;       /* how many, 0 unknown */
    uint32_t instrument_id; /* as in dm_trade */
    uint8_t strength;       /* DM_STRENGTH_* */
    uint8_t reason;         /* DM_REASON_* */
    uint8_t flags;          /* DM_FLAG_BACKFILLED: filled since */
    uint8_t kind;           /* DM_KIND_GAP_V1 */
} dm_gap;

/* A record of any kind: look at `kind` first. `instrument_id` and `kind` stand at one place in all of them. */
typedef union dm_record {
    dm_trade trade;
    dm_gap gap;
    struct {
        uint8_t before_[40];
        uint32_t instrument_id;
        uint8_t between_[3];
        uint8_t kind;
    };
    uint8_t bytes[DM_RECORD_BYTES];
    uint64_t words[DM_RECORD_BYTES / 8];
} dm_record;

_Static_assert(sizeof(dm_trade) == 48, "layout of a trade");
_Static_assert(offsetof(dm_trade, ts_event) == 0, "layout of a trade");
_Static_assert(offsetof(dm_trade, ts_recv) == 8, "layout of a trade");
_Static_assert(offsetof(dm_trade, trade_id) == 16, "layout of a trade");
_Static_assert(offsetof(dm_trade, price) == 24, "layout of a trade");
_Static_assert(offsetof(dm_trade, size) == 32, "layout of a trade");
_Static_assert(offsetof(dm_trade, instrument_id) == 40, "layout of a trade");
_Static_assert(offsetof(dm_trade, price_scale) == 44, "layout of a trade");
_Static_assert(offsetof(dm_trade, size_scale) == 45, "layout of a trade");
_Static_assert(offsetof(dm_trade, flags) == 46, "layout of a trade");
_Static_assert(offsetof(dm_trade, kind) == 47, "layout of a trade");
_Static_assert(sizeof(dm_gap) == 48, "layout of a gap");
_Static_assert(offsetof(dm_gap, ts_start) == 0, "layout of a gap");
_Static_assert(offsetof(dm_gap, ts_end) == 8, "layout of a gap");
_Static_assert(offsetof(dm_gap, first_id) == 16, "layout of a gap");
_Static_assert(offsetof(dm_gap, last_id) == 24, "layout of a gap");
_Static_assert(offsetof(dm_gap, missing) == 32, "layout of a gap");
_Static_assert(offsetof(dm_gap, instrument_id) == 40, "layout of a gap");
_Static_assert(offsetof(dm_gap, strength) == 44, "layout of a gap");
_Static_assert(offsetof(dm_gap, reason) == 45, "layout of a gap");
_Static_assert(offsetof(dm_gap, flags) == 46, "layout of a gap");
_Static_assert(offsetof(dm_gap, kind) == 47, "layout of a gap");
_Static_assert(sizeof(dm_record) == 48, "layout of a record");
_Static_assert(offsetof(dm_record, instrument_id) == 40, "layout of a record");
_Static_assert(offsetof(dm_record, kind) == 47, "layout of a record");

/* ------------------------------------------------------------------------------------------------- segment */

/* The segment's layout version that this header reads, and its constants (docs/ipc-segment.md). */
#define DM_RING_VERSION 1
#define DM_HEADER_BYTES 4096
#define DM_SLOT_BYTES 64
#define DM_SYMBOL_ENTRY_BYTES 64
#define DM_RING_RECORD_KIND 1
#define DM_EXCHANGE_BYTES_MAX 32
#define DM_SYMBOL_BYTES_MAX 56
#define DM_CAPACITY_MIN (UINT64_C(1) << 6)
#define DM_CAPACITY_MAX (UINT64_C(1) << 30)
#define DM_SYMBOLS_MAX (UINT32_C(1) << 20)
#define DM_SLOTS_OFFSET_MAX (UINT64_C(1) << 32)

/* Offsets in the header. */
enum {
    DM_AT_MAGIC = 0,
    DM_AT_VERSION = 8,
    DM_AT_HEADER_BYTES = 12,
    DM_AT_SLOT_BYTES = 16,
    DM_AT_RECORD_BYTES = 20,
    DM_AT_CAPACITY = 24,
    DM_AT_EPOCH = 32,
    DM_AT_PID = 40,
    DM_AT_RECORD_KIND = 44,
    DM_AT_EXCHANGE = 48,
    DM_AT_SYMBOL_TABLE = 80,
    DM_AT_SYMBOLS_MAX = 88,
    DM_AT_SLOTS = 96,
    DM_AT_HEAD = 128,
    DM_AT_HEARTBEAT = 192,
    DM_AT_STATE = 200,
    DM_AT_SYMBOLS = 256,
    DM_AT_WAKE = 320,
    DM_AT_WAITING = 324
};

/* What a writer says of itself. Other values are of a later version. */
enum {
    DM_STATE_FILLING = 0, /* the segment has just been put in place */
    DM_STATE_LIVE = 1,    /* a writer publishes, or died without a word: dm_ring_check() tells */
    DM_STATE_CLOSED = 2   /* the writer has closed the segment; no record follows */
};

/* Where data-manager keeps its segments, and the first part of their names, unless it is configured otherwise. */
#define DM_DIRECTORY "/dev/shm"
#define DM_PREFIX "/data_manager_"

/* ------------------------------------------------------------------------------------------------- results */

/* Why something failed. */
typedef enum dm_code {
    DM_OK = 0,
    DM_ERROR_NAME,       /* prefix and exchange make no segment's name, or the buffer is too small */
    DM_ERROR_MISSING,    /* nothing there */
    DM_ERROR_PERMISSION, /* not allowed */
    DM_ERROR_NOT_A_FILE, /* a pipe, a directory, a device */
    DM_ERROR_SHORT,      /* fewer bytes than a header has */
    DM_ERROR_MAGIC,      /* something else than a segment */
    DM_ERROR_VERSION,    /* a segment of another layout version */
    DM_ERROR_FIELD,      /* a header field that no writer of this version writes */
    DM_ERROR_EXCHANGE,   /* the exchange name in the header is no text */
    DM_ERROR_TRUNCATED,  /* the file ends before the segment does */
    DM_ERROR_SYSTEM,     /* the system refused: dm_error.system */
    DM_ERROR_MEMORY      /* no memory for the reader's own tables */
} dm_code;

/* A failure in words. */
typedef struct dm_error {
    dm_code code;
    int system;         /* errno, or 0 */
    char message[1024]; /* one line, no newline: the place, what is wrong, and the cure */
} dm_error;

/* What dm_ring_poll() finds. */
typedef enum dm_poll {
    DM_RECORD,  /* a trade or a gap, whole */
    DM_UNKNOWN, /* a record of a kind that this version does not know; it is passed over, its bytes are given */
    DM_EMPTY,   /* nothing new */
    DM_LAGGED,  /* the writer has overtaken this reader: dm_next.lost */
    DM_CLOSED,  /* the writer has closed the segment, and all of it is read; a successor: dm_ring_check() */
    DM_REFUSED  /* the handle is closed, or its file was found cut off: reopen or close it */
} dm_poll;

/* What dm_ring_poll() tells besides the record. Fields that a result does not name are 0. */
typedef struct dm_next {
    uint64_t position; /* DM_RECORD, DM_UNKNOWN: the record's number since the epoch began; else that of the next one */
    uint64_t lost;     /* DM_LAGGED: records between the last one read and the next one, exactly; never 0 */
    uint8_t kind;      /* DM_RECORD, DM_UNKNOWN: the record's kind */
} dm_next;

/* What dm_ring_check() finds. */
typedef enum dm_gone {
    DM_ALIVE = 0,
    DM_GONE_CLOSED,   /* the writer has closed the segment: poll until DM_CLOSED, nothing follows */
    DM_GONE_SILENT,   /* the heartbeat stands still: killed, or stopped and may come back; polling on is allowed */
    DM_GONE_REPLACED, /* another segment stands under the name: poll until DM_EMPTY or DM_CLOSED, dm_ring_reopen() */
    DM_GONE_REMOVED,  /* nothing stands under the name any more; what is left can still be read */
    DM_GONE_TRUNCATED /* the file was cut off: the handle refuses until dm_ring_reopen() finds another */
} dm_gone;

/* Plain counts of a reader, over all segments that it has followed by dm_ring_reopen(). */
typedef struct dm_stats {
    uint64_t read;    /* records read, unknown kinds included */
    uint64_t unknown; /* of these, records of a kind that this version does not know */
    uint64_t lost;    /* records lost to the writer overtaking */
    uint64_t lags;    /* how many times it has overtaken */
} dm_stats;

/* A cell of the symbol cache: open addressing, empty where text is NULL. */
typedef struct dm_symbol_cell_ {
    uint32_t id;
    char *text;
} dm_symbol_cell_;

/* An open segment: the file is kept to watch its length. */
typedef struct dm_source_ {
    int fd;
    unsigned char *map; /* mapped read-only; never written through */
    uint64_t bytes;
    dev_t device;
    ino_t inode;
    uint64_t capacity;
    uint64_t epoch;
    uint64_t symbol_table;
    uint64_t slots;
    uint32_t symbols_max;
    uint32_t pid;
    char exchange[DM_EXCHANGE_BYTES_MAX + 1];
} dm_source_;

/* A reader of one segment. Its fields are not for users; ask the functions below. All zero, it is a closed one. */
typedef struct dm_ring {
    unsigned char *slots_; /* NULL: the handle refuses */
    uint64_t mask_;
    uint64_t position_;
    dm_stats stats_;
    dm_source_ source_;
    char *path_; /* NULL: closed */
    dm_symbol_cell_ *cells_;
    uint32_t cells_size_; /* a power of two, or 0 */
    uint32_t cells_used_;
    uint32_t entries_; /* of the symbol table, read so far */
    bool beat_seen_;
    uint64_t beat_;
    uint64_t beat_since_;
    uint64_t silent_ns_;
} dm_ring;

/* ------------------------------------------------------------------------------------------ text and numbers */

/* Bytes that hold any decimal and its NUL, whatever scale a damaged record may carry. */
#define DM_DECIMAL_BYTES 264

/* +-magnitude x 10^-scale in plain notation into `text`. Returns `text`. */
static inline char *dm_decimal_(char text[DM_DECIMAL_BYTES], bool negative, uint64_t magnitude, uint8_t scale)
{
    char reversed[DM_DECIMAL_BYTES];
    size_t length = 0, out = 0;
    unsigned digits = 0;
    while (magnitude != 0 || digits <= scale) {
        if (digits == scale && scale != 0) {
            reversed[length++] = '.';
        }
        reversed[length++] = (char)('0' + (int)(magnitude % 10));
        magnitude /= 10;
        digits++;
    }
    if (negative) {
        text[out++] = '-';
    }
    while (length > 0) {
        text[out++] = reversed[--length];
    }
    text[out] = '\0';
    return text;
}

/*
 * An exact decimal as text, as data-manager prints it: plain notation, never an exponent, no digit more or less than the
 * mantissa has ("0.00000092", "-12.5", "30236"). No float is involved. `text` has DM_DECIMAL_BYTES bytes; it is returned.
 */
static inline char *dm_decimal(char text[DM_DECIMAL_BYTES], int64_t mantissa, uint8_t scale)
{
    bool negative = mantissa < 0;
    uint64_t magnitude = negative ? UINT64_C(0) - (uint64_t)mantissa : (uint64_t)mantissa;
    return dm_decimal_(text, negative, magnitude, scale);
}

/* As dm_decimal(), of an unsigned mantissa. */
static inline char *dm_decimal_unsigned(char text[DM_DECIMAL_BYTES], uint64_t mantissa, uint8_t scale)
{
    return dm_decimal_(text, false, mantissa, scale);
}

/* A trade's price as text. */
static inline char *dm_trade_price(char text[DM_DECIMAL_BYTES], const dm_trade *trade)
{
    return dm_decimal(text, trade->price, trade->price_scale);
}

/* A trade's size as text. */
static inline char *dm_trade_size(char text[DM_DECIMAL_BYTES], const dm_trade *trade)
{
    return dm_decimal_unsigned(text, trade->size, trade->size_scale);
}

/* A trade's aggressor side: DM_SIDE_NONE, DM_SIDE_BUY or DM_SIDE_SELL. */
static inline int dm_trade_side(const dm_trade *trade)
{
    int side = trade->flags & DM_SIDE_MASK;
    return side == DM_SIDE_MASK ? DM_SIDE_NONE : side;
}

/* "none", "buy" or "sell", as data-manager's text formats spell it. */
static inline const char *dm_side_text(int side)
{
    return side == DM_SIDE_BUY ? "buy" : side == DM_SIDE_SELL ? "sell" : "none";
}

/* The name of a single DM_FLAG_*, as data-manager's text formats spell it; NULL for anything else. */
static inline const char *dm_flag_text(int flag)
{
    switch (flag) {
    case DM_FLAG_HASHED_ID: return "hashed_id";
    case DM_FLAG_BACKFILLED: return "backfilled";
    case DM_FLAG_SNAPSHOT: return "snapshot";
    case DM_FLAG_AGGREGATED: return "aggregated";
    case DM_FLAG_AFTER_GAP: return "after_gap";
    case DM_FLAG_SPECIAL: return "special";
    default: return NULL;
    }
}

/* The name of a DM_STRENGTH_*; "unknown" for a value of a later version. */
static inline const char *dm_strength_text(int strength)
{
    switch (strength) {
    case DM_STRENGTH_PROVED: return "proved";
    case DM_STRENGTH_FRAMES_LOST: return "frames_lost";
    case DM_STRENGTH_POSSIBLE: return "possible";
    default: return "unknown";
    }
}

/* The name of a DM_REASON_*; "unknown" for a value of a later version. */
static inline const char *dm_reason_text(int reason)
{
    switch (reason) {
    case DM_REASON_VENUE_DISCONNECT: return "venue_disconnect";
    case DM_REASON_STALL: return "stall";
    case DM_REASON_OUTBOX_OVERFLOW: return "outbox_overflow";
    case DM_REASON_BROKER_LOST: return "broker_lost";
    case DM_REASON_UNDECODABLE_FRAME: return "undecodable_frame";
    default: return "unknown";
    }
}

/*
 * Reads a record from 48 bytes that lie anywhere, such as those of a JetStream message, whose payload is any number of
 * records behind each other. Returns whether its kind is known to this version.
 */
static inline bool dm_record_read(dm_record *record, const void *bytes)
{
    memcpy(record, bytes, DM_RECORD_BYTES);
    return record->kind == DM_KIND_TRADE_V1 || record->kind == DM_KIND_GAP_V1;
}

/* ---------------------------------------------------------------------------------------------------- errors */

/* What a code means, without a place. */
static inline const char *dm_strerror(dm_code code)
{
    switch (code) {
    case DM_OK: return "no error";
    case DM_ERROR_NAME: return "no segment can have this name";
    case DM_ERROR_MISSING: return "no ring there; is data-manager serving with --ipc?";
    case DM_ERROR_PERMISSION: return "no permission to read the ring";
    case DM_ERROR_NOT_A_FILE: return "not a regular file, so no ring";
    case DM_ERROR_SHORT: return "too short for a ring";
    case DM_ERROR_MAGIC: return "not a data-manager ring";
    case DM_ERROR_VERSION: return "a ring of another layout version";
    case DM_ERROR_FIELD: return "a ring with a header that no writer writes";
    case DM_ERROR_EXCHANGE: return "a ring whose exchange name is no text";
    case DM_ERROR_TRUNCATED: return "a ring that has been cut off";
    case DM_ERROR_SYSTEM: return "the system refused";
    case DM_ERROR_MEMORY: return "out of memory";
    }
    return "unknown error";
}

/* What became of a writer, in words. */
static inline const char *dm_gone_text(dm_gone gone)
{
    switch (gone) {
    case DM_ALIVE: return "the writer lives";
    case DM_GONE_CLOSED: return "the writer has closed the ring";
    case DM_GONE_SILENT: return "the writer shows no life: killed, or stopped";
    case DM_GONE_REPLACED: return "another writer has replaced the ring";
    case DM_GONE_REMOVED: return "the ring's file has been removed";
    case DM_GONE_TRUNCATED: return "the ring's file has been cut off";
    }
    return "unknown";
}

/* Fills an error, if there is one to fill, and returns its code. */
#if defined(__GNUC__)
__attribute__((format(printf, 4, 5)))
#endif
static inline dm_code dm_fail_(dm_error *error, dm_code code, int system, const char *format, ...)
{
    if (error != NULL) {
        va_list arguments;
        va_start(arguments, format);
        error->code = code;
        error->system = system;
        if (vsnprintf(error->message, sizeof error->message, format, arguments) < 0) {
            error->message[0] = '\0';
        }
        va_end(arguments);
    }
    return code;
}

static inline dm_code dm_fail_system_(dm_error *error, const char *path, int number)
{
    return dm_fail_(error, DM_ERROR_SYSTEM, number, "cannot open %s: %s (os error %d)", path, strerror(number), number);
}

static inline dm_code dm_fail_field_(dm_error *error, const char *path, const char *field, uint64_t found,
                                     const char *expected)
{
    return dm_fail_(error, DM_ERROR_FIELD, 0, "%s: header field %s is %" PRIu64 ", expected %s", path, field, found,
                    expected);
}

/* ------------------------------------------------------------------------------------------------------ names */

/*
 * The path of an exchange's segment, `{directory}{prefix}{exchange}`, into the `size` bytes at `path`. NULL stands for
 * DM_DIRECTORY and DM_PREFIX.
 *
 * DM_ERROR_NAME unless the prefix starts with "/" and names no further directory, the exchange has 1 to 32 bytes and no
 * "/", and the path fits.
 */
static inline dm_code dm_ring_path(char *path, size_t size, const char *directory, const char *prefix,
                                   const char *exchange, dm_error *error)
{
    const char *why = NULL;
    size_t length = strlen(exchange);
    directory = directory == NULL ? DM_DIRECTORY : directory;
    prefix = prefix == NULL ? DM_PREFIX : prefix;
    if (prefix[0] != '/') {
        why = "the prefix must start with \"/\", as in \"/data_manager_\"";
    } else if (strchr(prefix + 1, '/') != NULL) {
        why = "the prefix may hold one \"/\" only, at its start: shared memory has no directories";
    } else if (length == 0 || length > DM_EXCHANGE_BYTES_MAX || strchr(exchange, '/') != NULL) {
        why = "the exchange must have 1 to 32 bytes and no \"/\"";
    } else if (strlen(prefix + 1) > 200) {
        why = "the prefix is longer than 200 bytes";
    } else {
        size_t end = strlen(directory);
        const char *between = end == 0 || directory[end - 1] == '/' ? "" : "/";
        int written = snprintf(path, size, "%s%s%s%s", directory, between, prefix + 1, exchange);
        if (written >= 0 && (size_t)written < size) {
            return DM_OK;
        }
        why = "the path does not fit into the buffer";
    }
    return dm_fail_(error, DM_ERROR_NAME, 0,
                    "transport.ipc.shm_path_prefix \"%s\" with exchange \"%s\" is no segment name: %s", prefix, exchange,
                    why);
}

/* ------------------------------------------------------------------------------------------- bytes of a header */

static inline uint32_t dm_u32_(const unsigned char *bytes, size_t at)
{
    uint32_t value;
    memcpy(&value, bytes + at, sizeof value);
    return value;
}

static inline uint64_t dm_u64_(const unsigned char *bytes, size_t at)
{
    uint64_t value;
    memcpy(&value, bytes + at, sizeof value);
    return value;
}

/* Bytes of the code point at `text`, which has `length` bytes, and its value; 0 where it is no UTF-8. */
static inline size_t dm_utf8_(const unsigned char *text, size_t length, uint32_t *point)
{
    uint32_t first, value, smallest;
    size_t more, i;
    if (length == 0) {
        return 0;
    }
    first = text[0];
    if (first < 0x80) {
        *point = first;
        return 1;
    }
    if (first >= 0xc2 && first < 0xe0) {
        more = 1, value = first & 0x1f, smallest = 0x80;
    } else if (first >= 0xe0 && first < 0xf0) {
        more = 2, value = first & 0x0f, smallest = 0x800;
    } else if (first >= 0xf0 && first < 0xf5) {
        more = 3, value = first & 0x07, smallest = 0x10000;
    } else {
        return 0;
    }
    if (length <= more) {
        return 0;
    }
    for (i = 1; i <= more; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
        value = value << 6 | (text[i] & 0x3fU);
    }
    if (value < smallest || value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) {
        return 0;
    }
    *point = value;
    return more + 1;
}

static inline bool dm_is_utf8_(const unsigned char *text, size_t length)
{
    size_t at = 0;
    while (at < length) {
        uint32_t point;
        size_t step = dm_utf8_(text + at, length - at, &point);
        if (step == 0) {
            return false;
        }
        at += step;
    }
    return true;
}

/* White space and control characters of Unicode: they stand in no symbol. */
static inline bool dm_is_blank_(uint32_t point)
{
    return point <= 0x20 || (point >= 0x7f && point <= 0xa0) || point == 0x1680 || (point >= 0x2000 && point <= 0x200a)
           || point == 0x2028 || point == 0x2029 || point == 0x202f || point == 0x205f || point == 0x3000;
}

/* The fields that no other reader may see before they are bounded; `source` is filled only as far as they are right. */
static inline dm_code dm_header_check_(dm_source_ *source, const char *path, dm_error *error)
{
    uint64_t capacity = source->capacity, table = source->symbol_table, slots = source->slots;
    uint64_t table_bytes = (uint64_t)source->symbols_max * DM_SYMBOL_ENTRY_BYTES;
    if (capacity < DM_CAPACITY_MIN || capacity > DM_CAPACITY_MAX || (capacity & (capacity - 1)) != 0) {
        return dm_fail_field_(error, path, "capacity", capacity, "a power of two, 64..=2^30");
    }
    if (source->symbols_max == 0 || source->symbols_max > DM_SYMBOLS_MAX) {
        return dm_fail_field_(error, path, "symbols_max", source->symbols_max, "1..=2^20");
    }
    if (source->exchange[0] == '\0') {
        return dm_fail_field_(error, path, "exchange length", 0, "1..=32 bytes");
    }
    if (table < DM_HEADER_BYTES || table % DM_SYMBOL_ENTRY_BYTES != 0) {
        return dm_fail_field_(error, path, "symbol_table", table, "a multiple of 64 behind the header");
    }
    /* In this order nothing can overflow. */
    if (slots > DM_SLOTS_OFFSET_MAX || slots % DM_SLOT_BYTES != 0 || table > slots || slots - table < table_bytes) {
        return dm_fail_field_(error, path, "slots", slots, "a multiple of 64 behind the symbol table, at most 2^32");
    }
    source->bytes = slots + capacity * DM_SLOT_BYTES;
    return DM_OK;
}

/* Reads a header and holds it against the length of its file: after DM_OK every offset lies inside of `bytes`. */
static inline dm_code dm_header_decode_(dm_source_ *source, const unsigned char *bytes, uint64_t length,
                                        const char *path, dm_error *error)
{
    static const unsigned char magic[8] = {'D', 'M', 'R', 'I', 'N', 'G', 0, 1};
    static const struct {
        const char *name;
        size_t at;
        uint32_t value;
        const char *text;
    } fixed[] = {
        {"header_bytes", DM_AT_HEADER_BYTES, DM_HEADER_BYTES, "4096"},
        {"slot_bytes", DM_AT_SLOT_BYTES, DM_SLOT_BYTES, "64"},
        {"record_bytes", DM_AT_RECORD_BYTES, DM_RECORD_BYTES, "48"},
        {"record_kind", DM_AT_RECORD_KIND, DM_RING_RECORD_KIND, "1"},
    };
    size_t i;
    dm_code code;
    if (memcmp(bytes + DM_AT_MAGIC, magic, sizeof magic) != 0) {
        return dm_fail_(error, DM_ERROR_MAGIC, 0,
                        "%s: not a data-manager ring: the first 8 bytes are "
                        "[%02x, %02x, %02x, %02x, %02x, %02x, %02x, %02x]",
                        path, bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]);
    }
    if (dm_u32_(bytes, DM_AT_VERSION) != DM_RING_VERSION) {
        return dm_fail_(error, DM_ERROR_VERSION, 0,
                        "%s: layout version %" PRIu32 ", this build reads version %d; "
                        "run reader and writer of the same release",
                        path, dm_u32_(bytes, DM_AT_VERSION), DM_RING_VERSION);
    }
    for (i = 0; i < sizeof fixed / sizeof fixed[0]; i++) {
        uint32_t found = dm_u32_(bytes, fixed[i].at);
        if (found != fixed[i].value) {
            return dm_fail_field_(error, path, fixed[i].name, found, fixed[i].text);
        }
    }
    source->capacity = dm_u64_(bytes, DM_AT_CAPACITY);
    source->epoch = dm_u64_(bytes, DM_AT_EPOCH);
    source->pid = dm_u32_(bytes, DM_AT_PID);
    source->symbol_table = dm_u64_(bytes, DM_AT_SYMBOL_TABLE);
    source->symbols_max = dm_u32_(bytes, DM_AT_SYMBOLS_MAX);
    source->slots = dm_u64_(bytes, DM_AT_SLOTS);
    /* Padded with NUL, but a name of 32 bytes has none. */
    memcpy(source->exchange, bytes + DM_AT_EXCHANGE, DM_EXCHANGE_BYTES_MAX);
    source->exchange[DM_EXCHANGE_BYTES_MAX] = '\0';
    if (!dm_is_utf8_((const unsigned char *)source->exchange, strlen(source->exchange))) {
        return dm_fail_(error, DM_ERROR_EXCHANGE, 0, "%s: the exchange name in the header is no UTF-8 text", path);
    }
    code = dm_header_check_(source, path, error);
    if (code == DM_OK && length < source->bytes) {
        code = dm_fail_(error, DM_ERROR_TRUNCATED, 0,
                        "%s: truncated: the header declares %" PRIu64 " bytes, the file has %" PRIu64, path,
                        source->bytes, length);
    }
    return code;
}

/* --------------------------------------------------------------------------------------------- opening a file */

static inline void dm_source_close_(dm_source_ *source)
{
    if (source->map != NULL) {
        munmap(source->map, (size_t)source->bytes);
    }
    close(source->fd);
}

/* All of a file's first bytes; 0, or an errno. */
static inline int dm_read_(int fd, unsigned char *bytes, size_t length)
{
    size_t done = 0;
    while (done < length) {
        ssize_t got = pread(fd, bytes + done, length - done, (off_t)done);
        if (got > 0) {
            done += (size_t)got;
        } else if (got == 0) {
            return EIO; /* shortened since its length was asked for */
        } else if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

/* What stands behind an open file descriptor, checked and mapped. The caller closes the descriptor on failure. */
static inline dm_code dm_source_map_(dm_source_ *source, const char *path, dm_error *error)
{
    unsigned char header[DM_HEADER_BYTES];
    struct stat status;
    int flags = MAP_SHARED, number;
    void *map;
    dm_code code;
    if (fstat(source->fd, &status) != 0) {
        return dm_fail_system_(error, path, errno);
    }
    if (!S_ISREG(status.st_mode)) {
        return dm_fail_(error, DM_ERROR_NOT_A_FILE, 0, "%s is not a regular file, so no ring", path);
    }
    if (status.st_size < DM_HEADER_BYTES) {
        return dm_fail_(error, DM_ERROR_SHORT, 0, "%s: only %" PRIu64 " bytes long, where a header alone has %d", path,
                        (uint64_t)status.st_size, DM_HEADER_BYTES);
    }
    number = dm_read_(source->fd, header, sizeof header);
    if (number != 0) {
        return dm_fail_system_(error, path, number);
    }
    code = dm_header_decode_(source, header, (uint64_t)status.st_size, path, error);
    if (code != DM_OK) {
        return code;
    }
#ifdef MAP_POPULATE
    flags |= MAP_POPULATE;
#endif
    map = mmap(NULL, (size_t)source->bytes, PROT_READ, flags, source->fd, 0);
    if (map == MAP_FAILED) {
        return dm_fail_system_(error, path, errno);
    }
    source->map = (unsigned char *)map;
    source->device = status.st_dev;
    source->inode = status.st_ino;
    return DM_OK;
}

static inline dm_code dm_source_open_(dm_source_ *source, const char *path, dm_error *error)
{
    dm_code code;
    memset(source, 0, sizeof *source);
    do {
        /* Without O_NONBLOCK, a named pipe of this name would hold us up for ever. */
        source->fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    } while (source->fd < 0 && errno == EINTR);
    if (source->fd < 0) {
        int number = errno;
        if (number == ENOENT) {
            return dm_fail_(error, DM_ERROR_MISSING, number,
                            "no ring at %s; is `data-manager serve --ipc` running?", path);
        }
        if (number == EACCES || number == EPERM) {
            return dm_fail_(error, DM_ERROR_PERMISSION, number,
                            "no permission to read %s; join its group, or change transport.ipc.mode of the writer",
                            path);
        }
        return dm_fail_system_(error, path, number);
    }
    code = dm_source_map_(source, path, error);
    if (code != DM_OK) {
        dm_source_close_(source);
        memset(source, 0, sizeof *source);
    }
    return code;
}

/* -------------------------------------------------------------------------------------------- the shared words */

/* Every access to the mapping goes through these two: atomic, because the writer writes meanwhile. */
static inline uint64_t dm_word_(const unsigned char *at)
{
    return atomic_load_explicit((_Atomic uint64_t *)(uintptr_t)at, memory_order_relaxed);
}

static inline uint32_t dm_half_(const unsigned char *at)
{
    return atomic_load_explicit((_Atomic uint32_t *)(uintptr_t)at, memory_order_relaxed);
}

/* The number of published records. No writer gets to 2^62; a hostile one must not make a position overflow. */
static inline uint64_t dm_head_(const dm_ring *ring)
{
    uint64_t head = dm_word_(ring->source_.map + DM_AT_HEAD);
    atomic_thread_fence(memory_order_acquire);
    return head < UINT64_C(1) << 62 ? head : UINT64_C(1) << 62;
}

/* The oldest record that the writer will not overwrite within its next capacity / 8 records. */
static inline uint64_t dm_oldest_safe_(const dm_ring *ring)
{
    uint64_t head = dm_head_(ring), capacity = ring->mask_ + 1;
    return head < capacity ? 0 : head - capacity + capacity / 8;
}

/* What stands at a position. */
typedef enum dm_found_ {
    DM_FOUND_RECORD_,
    DM_FOUND_NOTHING_, /* not written yet, or being written right now */
    DM_FOUND_LAPPED_   /* overwritten */
} dm_found_;

/* Looks for record `n`. Where it is overwritten, `next` is where to read on, always beyond `n`. */
static inline dm_found_ dm_look_(const dm_ring *ring, uint64_t n, dm_record *record, uint64_t *next)
{
    const unsigned char *slot = ring->slots_ + (n & ring->mask_) * DM_SLOT_BYTES;
    uint64_t whole = 2 * n + 2, seen = dm_word_(slot), safe;
    size_t i;
    if (seen < whole) {
        return DM_FOUND_NOTHING_;
    }
    /* Together with the load before it this is an acquire load; the words below are not read before the sequence. */
    atomic_thread_fence(memory_order_acquire);
    if (seen == whole) {
        for (i = 0; i < DM_RECORD_BYTES / 8; i++) {
            record->words[i] = dm_word_(slot + 8 + 8 * i);
        }
        /* The copy must not sink below the second look at the sequence. */
        atomic_thread_fence(memory_order_acquire);
        if (dm_word_(slot) == seen) {
            return DM_FOUND_RECORD_;
        }
    }
    safe = dm_oldest_safe_(ring);
    *next = safe > n ? safe : n + 1;
    return DM_FOUND_LAPPED_;
}

/* --------------------------------------------------------------------------------------------- symbols, cached */

static inline void dm_symbols_free_(dm_ring *ring)
{
    uint32_t i;
    for (i = 0; i < ring->cells_size_; i++) {
        free(ring->cells_[i].text);
    }
    free(ring->cells_);
    ring->cells_ = NULL;
    ring->cells_size_ = 0;
    ring->cells_used_ = 0;
    ring->entries_ = 0;
}

/* The cell of an id, or the empty one where it belongs. At least one cell is always empty. */
static inline dm_symbol_cell_ *dm_symbol_cell_of_(dm_symbol_cell_ *cells, uint32_t size, uint32_t id)
{
    uint32_t at = (id * UINT32_C(0x9e3779b9)) & (size - 1);
    while (cells[at].text != NULL && cells[at].id != id) {
        at = (at + 1) & (size - 1);
    }
    return &cells[at];
}

/* Makes room for one more symbol: never more than half of the cells are taken. */
static inline bool dm_symbols_room_(dm_ring *ring)
{
    uint32_t i, size = ring->cells_size_ == 0 ? 64 : 2 * ring->cells_size_;
    dm_symbol_cell_ *cells;
    if (2 * (ring->cells_used_ + 1) <= ring->cells_size_) {
        return true;
    }
    cells = (dm_symbol_cell_ *)calloc(size, sizeof *cells);
    if (cells == NULL) {
        return false;
    }
    for (i = 0; i < ring->cells_size_; i++) {
        if (ring->cells_[i].text != NULL) {
            *dm_symbol_cell_of_(cells, size, ring->cells_[i].id) = ring->cells_[i];
        }
    }
    free(ring->cells_);
    ring->cells_ = cells;
    ring->cells_size_ = size;
    return true;
}

/* Takes an entry's 64 bytes into the cache; one that is no symbol is passed over. False: no memory. */
static inline bool dm_symbols_take_(dm_ring *ring, const unsigned char entry[DM_SYMBOL_ENTRY_BYTES])
{
    uint32_t id = dm_u32_(entry, 0), point;
    size_t length = entry[4], at = 0, step;
    dm_symbol_cell_ *cell;
    if (length == 0 || length > DM_SYMBOL_BYTES_MAX) {
        return true;
    }
    for (; at < length; at += step) {
        step = dm_utf8_(entry + 8 + at, length - at, &point);
        if (step == 0 || dm_is_blank_(point)) {
            return true;
        }
    }
    if (!dm_symbols_room_(ring)) {
        return false;
    }
    cell = dm_symbol_cell_of_(ring->cells_, ring->cells_size_, id);
    if (cell->text != NULL) {
        return true; /* no writer names an id twice, and texts that were given out stay */
    }
    cell->text = (char *)malloc(length + 1);
    if (cell->text == NULL) {
        return false;
    }
    for (at = 0; at < length; at++) {
        unsigned char byte = entry[8 + at];
        cell->text[at] = (char)(byte >= 'a' && byte <= 'z' ? byte - 'a' + 'A' : byte);
    }
    cell->text[length] = '\0';
    cell->id = id;
    ring->cells_used_++;
    return true;
}

/* Reads what the writer has added since the last time. False: no memory, and the next call goes on there. */
static inline bool dm_symbols_grow_(dm_ring *ring)
{
    uint32_t count = dm_half_(ring->source_.map + DM_AT_SYMBOLS);
    atomic_thread_fence(memory_order_acquire);
    /* A count beyond the table is a lie; what the table holds is read all the same. */
    if (count > ring->source_.symbols_max) {
        count = ring->source_.symbols_max;
    }
    while (ring->entries_ < count) {
        const unsigned char *from =
            ring->source_.map + ring->source_.symbol_table + (uint64_t)ring->entries_ * DM_SYMBOL_ENTRY_BYTES;
        unsigned char entry[DM_SYMBOL_ENTRY_BYTES];
        size_t i;
        for (i = 0; i < DM_SYMBOL_ENTRY_BYTES; i += 8) {
            uint64_t word = dm_word_(from + i);
            memcpy(entry + i, &word, sizeof word);
        }
        if (!dm_symbols_take_(ring, entry)) {
            return false;
        }
        ring->entries_++;
    }
    return true;
}

/*
 * The canonical symbol of an instrument id, such as "BTCUSDT": UTF-8, 1 to 56 bytes, NUL-terminated, valid until the ring
 * is reopened on a new segment or closed. NULL: not named by this segment (so far), no memory, or a handle that refuses.
 *
 * A hash look-up; symbols that the writer has added since the last look are found too, and an id that is in no table
 * costs one load more.
 */
static inline const char *dm_ring_symbol(dm_ring *ring, uint32_t instrument_id)
{
    if (ring->cells_size_ != 0) {
        const char *text = dm_symbol_cell_of_(ring->cells_, ring->cells_size_, instrument_id)->text;
        if (text != NULL) {
            return text;
        }
    }
    if (ring->slots_ == NULL || !dm_symbols_grow_(ring) || ring->cells_size_ == 0) {
        return NULL;
    }
    return dm_symbol_cell_of_(ring->cells_, ring->cells_size_, instrument_id)->text;
}

/*
 * The instrument id of a canonical symbol, 0 when this segment does not name it (so far). It looks at every symbol: ask
 * once and compare ids from then on. An id is the same on every machine and in every epoch.
 */
static inline uint32_t dm_ring_instrument_id(dm_ring *ring, const char *symbol)
{
    uint32_t i;
    if (ring->slots_ != NULL) {
        (void)dm_symbols_grow_(ring);
    }
    for (i = 0; i < ring->cells_size_; i++) {
        if (ring->cells_[i].text != NULL && strcmp(ring->cells_[i].text, symbol) == 0) {
            return ring->cells_[i].id;
        }
    }
    return 0;
}

/* --------------------------------------------------------------------------------------------- a reader's life */

/*
 * Goes to the oldest record that will stay for a while: record 0, or on a ring that has wrapped an eighth of the ring
 * behind the oldest one, which a live writer is about to overwrite. This is where a reader stands after opening.
 */
static inline void dm_ring_from_oldest(dm_ring *ring)
{
    bool closed;
    if (ring->slots_ == NULL) {
        return;
    }
    closed = dm_half_(ring->source_.map + DM_AT_STATE) == DM_STATE_CLOSED;
    atomic_thread_fence(memory_order_acquire);
    if (closed) {
        /* Nothing is overwritten any more: all of it can be read. */
        uint64_t head = dm_head_(ring), capacity = ring->mask_ + 1;
        ring->position_ = head < capacity ? 0 : head - capacity;
    } else {
        ring->position_ = dm_oldest_safe_(ring);
    }
}

/* Goes to the end: what is published from now on. */
static inline void dm_ring_from_newest(dm_ring *ring)
{
    if (ring->slots_ != NULL) {
        ring->position_ = dm_head_(ring);
    }
}

/* Moves a reader to an open segment, with nothing of the one before. */
static inline void dm_ring_enter_(dm_ring *ring, const dm_source_ *source)
{
    dm_symbols_free_(ring);
    ring->source_ = *source;
    ring->slots_ = source->map + source->slots;
    ring->mask_ = source->capacity - 1;
    ring->beat_seen_ = false;
    ring->silent_ns_ = 0;
    dm_ring_from_oldest(ring);
}

/* Ends a reader and frees what it holds; on a closed or all-zero handle nothing happens. */
static inline void dm_ring_close(dm_ring *ring)
{
    if (ring->path_ != NULL) {
        dm_symbols_free_(ring);
        dm_source_close_(&ring->source_);
        free(ring->path_);
    }
    memset(ring, 0, sizeof *ring);
}

/*
 * Opens a segment by its path (dm_ring_path() makes it of a name) and stands at its oldest record. What `ring` held
 * before is not looked at. On failure the handle is a closed one: it refuses, and closing it is allowed.
 *
 * Any DM_ERROR_* but DM_ERROR_NAME. Nothing is mapped that the file does not hold, and a symbolic link is not followed.
 */
static inline dm_code dm_ring_open(dm_ring *ring, const char *path, dm_error *error)
{
    dm_source_ source;
    size_t bytes = strlen(path) + 1;
    dm_code code;
    memset(ring, 0, sizeof *ring);
    code = dm_source_open_(&source, path, error);
    if (code != DM_OK) {
        return code;
    }
    ring->path_ = (char *)malloc(bytes);
    if (ring->path_ == NULL) {
        dm_source_close_(&source);
        return dm_fail_(error, DM_ERROR_MEMORY, ENOMEM, "%s: no memory for a reader", path);
    }
    memcpy(ring->path_, path, bytes);
    dm_ring_enter_(ring, &source);
    if (!dm_symbols_grow_(ring)) {
        code = dm_fail_(error, DM_ERROR_MEMORY, ENOMEM, "%s: no memory for its symbols", path);
        dm_ring_close(ring);
    }
    return code;
}

/*
 * Opens what stands under the name now. If that is another writer's segment, the reader moves to its oldest record and
 * `*changed` is true; what it has not read of the old one it gives up, so poll until DM_EMPTY or DM_CLOSED first. Counts
 * go on; texts of symbols that were given out before are gone. `changed` may be NULL.
 *
 * As dm_ring_open(), for instance DM_ERROR_MISSING while there is no new writer yet; the reader is then as before. A
 * closed handle fails with DM_ERROR_SYSTEM and EBADF.
 */
static inline dm_code dm_ring_reopen(dm_ring *ring, bool *changed, dm_error *error)
{
    dm_source_ source;
    dm_code code;
    if (changed != NULL) {
        *changed = false;
    }
    if (ring->path_ == NULL) {
        return dm_fail_(error, DM_ERROR_SYSTEM, EBADF, "cannot reopen a ring that is closed");
    }
    code = dm_source_open_(&source, ring->path_, error);
    if (code != DM_OK) {
        return code;
    }
    if (ring->slots_ != NULL && source.device == ring->source_.device && source.inode == ring->source_.inode
        && source.epoch == ring->source_.epoch) {
        dm_source_close_(&source);
        return DM_OK;
    }
    dm_source_close_(&ring->source_);
    dm_ring_enter_(ring, &source);
    if (changed != NULL) {
        *changed = true;
    }
    return DM_OK;
}

/* ---------------------------------------------------------------------------------------------------- reading */

static inline dm_poll dm_taken_(dm_ring *ring, const dm_record *record, dm_next *next)
{
    next->position = ring->position_++;
    next->kind = record->kind;
    ring->stats_.read++;
    if (record->kind == DM_KIND_TRADE_V1 || record->kind == DM_KIND_GAP_V1) {
        return DM_RECORD;
    }
    ring->stats_.unknown++;
    return DM_UNKNOWN;
}

static inline dm_poll dm_lagged_(dm_ring *ring, uint64_t to, dm_next *next)
{
    next->lost = to - ring->position_;
    next->position = to;
    ring->position_ = to;
    ring->stats_.lost += next->lost;
    ring->stats_.lags++;
    return DM_LAGGED;
}

/*
 * Looks for the next record. It neither waits nor calls the system; 48 bytes are copied out, so `record` stays valid.
 * `record` is to be looked at after DM_RECORD and DM_UNKNOWN only. Neither pointer may be NULL.
 *
 * When it finds nothing for a while, ask dm_ring_check() whether a record can still come, every 100 ms say.
 */
static inline dm_poll dm_ring_poll(dm_ring *ring, dm_record *record, dm_next *next)
{
    uint64_t to = 0;
    next->position = ring->position_;
    next->lost = 0;
    next->kind = 0;
    if (ring->slots_ == NULL) {
        return DM_REFUSED;
    }
    switch (dm_look_(ring, ring->position_, record, &to)) {
    case DM_FOUND_RECORD_: return dm_taken_(ring, record, next);
    case DM_FOUND_LAPPED_: return dm_lagged_(ring, to, next);
    case DM_FOUND_NOTHING_: break;
    }
    if (dm_half_(ring->source_.map + DM_AT_STATE) != DM_STATE_CLOSED) {
        return DM_EMPTY;
    }
    /* The last record may have been stored between the two looks; behind the mark it cannot hide. */
    atomic_thread_fence(memory_order_acquire);
    switch (dm_look_(ring, ring->position_, record, &to)) {
    case DM_FOUND_RECORD_: return dm_taken_(ring, record, next);
    case DM_FOUND_LAPPED_: return dm_lagged_(ring, to, next);
    case DM_FOUND_NOTHING_: break;
    }
    return DM_CLOSED;
}

/* --------------------------------------------------------------------------------------------------- liveness */

/* Nanoseconds of the monotonic clock, for dm_ring_check(). */
static inline uint64_t dm_now_ns(void)
{
    struct timespec now = {0, 0};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/*
 * Looks whether records can still come, for when dm_ring_poll() has found nothing for a while. It asks the system for the
 * file's length and for what stands under the name: two system calls.
 *
 * `silence_ns` is how long the heartbeat may stand still, at least 2 s: writers beat at least once a second. `now_ns`
 * must never go back. Only the heartbeat's change counts, never its age: wall time may step, and must not kill a writer.
 * So the first call can find no silence. A handle that refuses is DM_GONE_TRUNCATED, a closed one DM_GONE_CLOSED.
 */
static inline dm_gone dm_ring_check(dm_ring *ring, uint64_t now_ns, uint64_t silence_ns)
{
    struct stat status;
    uint64_t beat;
    if (ring->path_ == NULL) {
        return DM_GONE_CLOSED;
    }
    if (ring->slots_ == NULL) {
        return DM_GONE_TRUNCATED;
    }
    if (fstat(ring->source_.fd, &status) != 0 || (uint64_t)status.st_size < ring->source_.bytes) {
        /* The mapping goes, so that nothing can touch it by mistake. */
        munmap(ring->source_.map, (size_t)ring->source_.bytes);
        ring->source_.map = NULL;
        ring->slots_ = NULL;
        return DM_GONE_TRUNCATED;
    }
    if (lstat(ring->path_, &status) == 0) {
        if (status.st_dev != ring->source_.device || status.st_ino != ring->source_.inode) {
            return DM_GONE_REPLACED;
        }
    } else if (errno == ENOENT) {
        return DM_GONE_REMOVED;
    }
    beat = dm_word_(ring->source_.map + DM_AT_HEARTBEAT);
    if (!ring->beat_seen_ || beat != ring->beat_) {
        ring->beat_seen_ = true;
        ring->beat_ = beat;
        ring->beat_since_ = now_ns;
    }
    ring->silent_ns_ = now_ns > ring->beat_since_ ? now_ns - ring->beat_since_ : 0;
    if (dm_half_(ring->source_.map + DM_AT_STATE) == DM_STATE_CLOSED) {
        return DM_GONE_CLOSED;
    }
    return ring->silent_ns_ > silence_ns ? DM_GONE_SILENT : DM_ALIVE;
}

/* For how long the last dm_ring_check() has seen the heartbeat stand still, in nanoseconds. */
static inline uint64_t dm_ring_silent_ns(const dm_ring *ring)
{
    return ring->silent_ns_;
}

/* --------------------------------------------------------------------------------------------- what it knows */

/* The segment's file; NULL for a closed handle. */
static inline const char *dm_ring_file(const dm_ring *ring)
{
    return ring->path_;
}

/* The exchange's token as the header names it, such as "binance": UTF-8, 1 to 32 bytes. */
static inline const char *dm_ring_exchange(const dm_ring *ring)
{
    return ring->source_.exchange;
}

/* When the writer began, ns since the Unix epoch; another number means another writer. Positions count from there. */
static inline uint64_t dm_ring_epoch(const dm_ring *ring)
{
    return ring->source_.epoch;
}

/* The writer's process id, as its own pid namespace counts. */
static inline uint32_t dm_ring_writer_pid(const dm_ring *ring)
{
    return ring->source_.pid;
}

/* Records that the ring remembers, a power of two. */
static inline uint64_t dm_ring_capacity(const dm_ring *ring)
{
    return ring->source_.capacity;
}

/* Number of the record that the next poll looks for. */
static inline uint64_t dm_ring_position(const dm_ring *ring)
{
    return ring->position_;
}

/* Records that are published and not read yet; above the capacity, some of them are lost already. */
static inline uint64_t dm_ring_behind(const dm_ring *ring)
{
    uint64_t head = ring->slots_ == NULL ? 0 : dm_head_(ring);
    return head > ring->position_ ? head - ring->position_ : 0;
}

/* The writer's last sign of life, ns since the Unix epoch by its clock: to be shown, not to decide by. */
static inline uint64_t dm_ring_heartbeat_ns(const dm_ring *ring)
{
    return ring->slots_ == NULL ? 0 : dm_word_(ring->source_.map + DM_AT_HEARTBEAT);
}

/* What the writer says of itself, a DM_STATE_*. */
static inline uint32_t dm_ring_state(const dm_ring *ring)
{
    return ring->slots_ == NULL ? DM_STATE_CLOSED : dm_half_(ring->source_.map + DM_AT_STATE);
}

/* What the reader has done so far. */
static inline dm_stats dm_ring_stats(const dm_ring *ring)
{
    return ring->stats_;
}

#endif
