/* Prints the records of a ring, as JSON or as they are, and follows its writer from one life to the next. */
#include "data_manager.h"

#include <signal.h>

#define SECOND UINT64_C(1000000000)
/* A writer that shows no life for this long is told. */
#define SILENCE (3 * SECOND)
/* So many records are read without a look at the file behind them. */
#define BURST 1024

static const char HELP[] =
    "Usage: dump [OPTIONS] EXCHANGE_OR_PATH\n"
    "\n"
    "Prints the records of a ring that data-manager keeps in shared memory: trades, and declared gaps among them.\n"
    "A name without \"/\" is an exchange: its ring is /dev/shm{PREFIX}{EXCHANGE}. When the writer ends, dump waits for\n"
    "the next one and goes on at its oldest record. What it cannot read is told on stderr, with how many were lost.\n"
    "\n"
    "  --json             one object a line, as `data-manager tail --format json` (the default)\n"
    "  --raw              48 bytes a record, little-endian: docs/trade-msg.md\n"
    "  --newest           begin with what comes from now on (the default)\n"
    "  --oldest           begin with the oldest record that the ring remembers\n"
    "  --count N          end after N records; without it, go on until nothing comes\n"
    "  --timeout SECONDS  give up when nothing comes for so long; default 30\n"
    "  --prefix PREFIX    transport.ipc.shm_path_prefix of the writer; default /data_manager_\n"
    "  --help             this text\n"
    "\n"
    "Exit codes: 0 after N records, or when the reader of the output has gone; 1 when nothing came for the timeout, or\n"
    "on an error; 2 on wrong usage.\n"
    "\n"
    "Examples:\n"
    "  dump binance\n"
    "  dump --oldest --count 10 okx\n"
    "  dump --raw --oldest --count 100000 coinbase > coinbase.bin\n"
    "  dump --timeout 5 /dev/shm/data_manager_binance | head -n 3\n";

typedef struct options {
    bool raw;
    bool oldest;
    uint64_t count;
    uint64_t timeout_ns;
    const char *prefix;
    const char *name;
} options;

/* Exits with 2, and says where to find help. */
static _Noreturn void usage(const char *what, const char *argument)
{
    fprintf(stderr, "dump: %s%s; `dump --help` tells more\n", what, argument);
    exit(2);
}

/* The value behind a flag. */
static const char *value_of(int argc, char **argv, int *at)
{
    if (*at + 1 >= argc) {
        usage("a value is missing behind ", argv[*at]);
    }
    *at += 1;
    return argv[*at];
}

static uint64_t read_count(const char *text)
{
    char *end;
    unsigned long long count;
    errno = 0;
    count = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || count == 0) {
        usage("--count takes a number of at least 1, not ", text);
    }
    return count;
}

static uint64_t read_timeout(const char *text)
{
    char *end;
    double seconds = strtod(text, &end);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || !(seconds > 0 && seconds <= 1e9)) {
        usage("--timeout takes seconds, above 0 and up to 1e9, not ", text);
    }
    return (uint64_t)(seconds * 1e9);
}

static options read_options(int argc, char **argv)
{
    options given = {false, false, UINT64_MAX, 30 * SECOND, DM_PREFIX, NULL};
    int i;
    for (i = 1; i < argc; i++) {
        const char *argument = argv[i];
        if (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0) {
            fputs(HELP, stdout);
            exit(0);
        } else if (strcmp(argument, "--raw") == 0) {
            given.raw = true;
        } else if (strcmp(argument, "--json") == 0) {
            given.raw = false;
        } else if (strcmp(argument, "--oldest") == 0) {
            given.oldest = true;
        } else if (strcmp(argument, "--newest") == 0) {
            given.oldest = false;
        } else if (strcmp(argument, "--count") == 0) {
            given.count = read_count(value_of(argc, argv, &i));
        } else if (strcmp(argument, "--timeout") == 0) {
            given.timeout_ns = read_timeout(value_of(argc, argv, &i));
        } else if (strcmp(argument, "--prefix") == 0) {
            given.prefix = value_of(argc, argv, &i);
        } else if (argument[0] == '-') {
            usage("unknown flag ", argument);
        } else if (given.name != NULL) {
            usage("one exchange or path only, not also ", argument);
        } else {
            given.name = argument;
        }
    }
    if (given.name == NULL || given.name[0] == '\0') {
        usage("name an exchange or a path", "");
    }
    return given;
}

/* A text as a JSON string. It is UTF-8 already. */
static void put_text(const char *text)
{
    putchar('"');
    for (; *text != '\0'; text++) {
        unsigned char byte = (unsigned char)*text;
        switch (byte) {
        case '"': fputs("\\\"", stdout); break;
        case '\\': fputs("\\\\", stdout); break;
        case '\b': fputs("\\b", stdout); break;
        case '\f': fputs("\\f", stdout); break;
        case '\n': fputs("\\n", stdout); break;
        case '\r': fputs("\\r", stdout); break;
        case '\t': fputs("\\t", stdout); break;
        default:
            if (byte < 0x20) {
                printf("\\u%04x", (unsigned)byte);
            } else {
                putchar(byte);
            }
        }
    }
    putchar('"');
}

/* `"flags":["after_gap"]`, lowest bit first. */
static void put_flags(uint8_t flags)
{
    const char *between = "";
    int bit;
    fputs("\"flags\":[", stdout);
    for (bit = DM_FLAG_HASHED_ID; bit <= DM_FLAG_SPECIAL; bit <<= 1) {
        if ((flags & bit) != 0) {
            printf("%s\"%s\"", between, dm_flag_text(bit));
            between = ",";
        }
    }
    putchar(']');
}

static void put_json(dm_ring *ring, const dm_record *record)
{
    char price[DM_DECIMAL_BYTES], size[DM_DECIMAL_BYTES], number[16];
    const char *symbol = dm_ring_symbol(ring, record->instrument_id);
    if (symbol == NULL) {
        snprintf(number, sizeof number, "#%" PRIu32, record->instrument_id);
        symbol = number;
    }
    fputs("{\"exchange\":", stdout);
    put_text(dm_ring_exchange(ring));
    fputs(",\"symbol\":", stdout);
    put_text(symbol);
    if (record->kind == DM_KIND_TRADE_V1) {
        const dm_trade *trade = &record->trade;
        printf(",\"price\":\"%s\",\"size\":\"%s\",\"side\":\"%s\",\"ts_event\":%" PRIu64 ",\"ts_recv\":%" PRIu64
               ",\"trade_id\":\"%" PRIu64 "\",",
               dm_trade_price(price, trade), dm_trade_size(size, trade), dm_side_text(dm_trade_side(trade)),
               trade->ts_event, trade->ts_recv, trade->trade_id);
        put_flags(trade->flags);
        fputs("}\n", stdout);
    } else {
        const dm_gap *gap = &record->gap;
        printf(",\"gap\":{\"ts_start\":%" PRIu64 ",\"ts_end\":%" PRIu64 ",\"first_id\":\"%" PRIu64
               "\",\"last_id\":\"%" PRIu64 "\",\"missing\":%" PRIu64 ",\"strength\":\"%s\",\"reason\":\"%s\",",
               gap->ts_start, gap->ts_end, gap->first_id, gap->last_id, gap->missing,
               dm_strength_text(gap->strength), dm_reason_text(gap->reason));
        put_flags(gap->flags);
        fputs("}}\n", stdout);
    }
}

/* Whether the output still takes what is written; who has gone away has had enough, and anything else is an error. */
static void check_output(bool flush)
{
    if ((flush && fflush(stdout) != 0) || ferror(stdout)) {
        int number = errno;
        if (number != EPIPE) {
            fprintf(stderr, "dump: cannot write: %s\n", strerror(number));
        }
        _exit(number == EPIPE ? 0 : 1);
    }
}

/* Reads what is there, up to a burst. Whether there was anything. */
static bool read_burst(dm_ring *ring, const options *given, uint64_t *left)
{
    bool any = false;
    int i;
    for (i = 0; i < BURST && *left > 0; i++) {
        dm_record record;
        dm_next next;
        switch (dm_ring_poll(ring, &record, &next)) {
        case DM_RECORD:
            if (given->raw) {
                fwrite(record.bytes, sizeof record.bytes, 1, stdout);
            } else {
                put_json(ring, &record);
            }
            *left -= 1;
            break;
        case DM_UNKNOWN:
            fprintf(stderr, "dump: record %" PRIu64 " is of the unknown kind %u\n", next.position, (unsigned)next.kind);
            break;
        case DM_LAGGED:
            fprintf(stderr, "dump: too slow, %" PRIu64 " records lost\n", next.lost);
            break;
        case DM_EMPTY:
        case DM_CLOSED:
        case DM_REFUSED:
            return any;
        }
        any = true;
    }
    return any;
}

/* Looks after the writer while there is nothing to read, and tells once what became of it. */
static dm_gone look(dm_ring *ring, dm_gone told)
{
    dm_error error = {DM_OK, 0, ""};
    bool changed = false;
    dm_gone gone = dm_ring_check(ring, dm_now_ns(), SILENCE);
    if (gone == DM_GONE_REPLACED || gone == DM_GONE_REMOVED || gone == DM_GONE_TRUNCATED) {
        (void)dm_ring_reopen(ring, &changed, &error);
    }
    if (changed) {
        fprintf(stderr, "dump: a new writer has taken over\n");
        return DM_ALIVE;
    }
    if (gone != told && gone != DM_ALIVE) {
        fprintf(stderr, "dump: %s; waiting for it\n", dm_gone_text(gone));
    }
    return gone;
}

/* Someone cuts the file off while it is read: an access that no look at the file's length can come before. */
static void on_bus_error(int signal_number)
{
    static const char text[] = "dump: the ring's file has been cut off while it was read\n";
    ssize_t written = write(STDERR_FILENO, text, sizeof text - 1);
    (void)signal_number;
    (void)written;
    _exit(1);
}

int main(int argc, char **argv)
{
    const options given = read_options(argc, argv);
    const struct timespec nap = {0, 1000000};
    char buffer[4096];
    const char *path = given.name;
    uint64_t left = given.count, since;
    dm_gone told = DM_ALIVE;
    dm_ring ring;
    dm_error error;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGBUS, on_bus_error);
    if (strchr(given.name, '/') == NULL) {
        if (dm_ring_path(buffer, sizeof buffer, DM_DIRECTORY, given.prefix, given.name, &error) != DM_OK) {
            usage(error.message, "");
        }
        path = buffer;
    }
    if (dm_ring_open(&ring, path, &error) != DM_OK) {
        fprintf(stderr, "dump: %s\n", error.message);
        return 1;
    }
    if (!given.oldest) {
        dm_ring_from_newest(&ring);
    }
    since = dm_now_ns();
    while (left > 0) {
        if (read_burst(&ring, &given, &left)) {
            since = dm_now_ns();
            check_output(false);
            continue;
        }
        check_output(true);
        if (dm_now_ns() - since >= given.timeout_ns) {
            fprintf(stderr, "dump: %s: nothing came for %g s: %s\n", path, (double)given.timeout_ns / 1e9,
                    dm_gone_text(told));
            break;
        }
        nanosleep(&nap, NULL);
        told = look(&ring, told);
    }
    check_output(true);
    dm_ring_close(&ring);
    return left > 0 ? 1 : 0;
}
