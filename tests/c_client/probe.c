/* A reader that a test drives: one command a line on stdin, one answer a line on stdout. Argument: the ring's path. */
#include "data_manager.h"

static const char *const POLLS[] = {"record", "unknown", "empty", "lagged", "closed", "refused"};
static const char *const GONES[] = {"alive", "closed", "silent", "replaced", "removed", "truncated"};

/* In other.c: a second translation unit that includes the header. */
uint64_t other_capacity(const dm_ring *ring);

/* Reads until there is nothing: how many, and how it ended. */
static void drain(dm_ring *ring)
{
    uint64_t read = 0, lost = 0;
    for (;;) {
        dm_record record;
        dm_next next;
        dm_poll found = dm_ring_poll(ring, &record, &next);
        if (found == DM_RECORD) {
            read++;
        } else if (found == DM_LAGGED) {
            lost += next.lost;
        } else if (found != DM_UNKNOWN) {
            printf("%" PRIu64 " read %" PRIu64 " lost %s\n", read, lost, POLLS[found]);
            return;
        }
    }
}

/* Is overtaken so many times by a writer that writes meanwhile, then asks for its end and reads to it. */
static void lap(dm_ring *ring, uint64_t times)
{
    uint64_t read = 0, lost = 0, laps = 0, wrong = 0, last = 0;
    bool told = false;
    for (;;) {
        dm_record record;
        dm_next next;
        dm_poll found = dm_ring_poll(ring, &record, &next);
        if (found == DM_RECORD) {
            read++;
            last = next.position;
            wrong += record.trade.trade_id != next.position || record.trade.size != ~next.position;
        } else if (found == DM_LAGGED) {
            lost += next.lost;
            laps++;
        } else if (found == DM_CLOSED) {
            break;
        }
        if (laps >= times && !told) {
            told = true;
            puts("overtaken");
            fflush(stdout);
        }
        /* No clock: it stands still until the writer is more than a whole ring ahead. */
        while (!told && found == DM_RECORD && dm_ring_behind(ring) <= 2 * dm_ring_capacity(ring)) {
        }
    }
    printf("read %" PRIu64 " lost %" PRIu64 " laps %" PRIu64 " position %" PRIu64 " wrong %" PRIu64 " last %" PRIu64
           " stats %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
           read, lost, laps, dm_ring_position(ring), wrong, last, dm_ring_stats(ring).read, dm_ring_stats(ring).lost,
           dm_ring_stats(ring).lags);
}

/* Opens a path with a reader of its own. */
static void open_only(const char *path)
{
    dm_ring ring;
    dm_error error = {DM_OK, 0, "ok"};
    dm_code code = dm_ring_open(&ring, path, &error);
    printf("%s\n", error.message);
    if (code != error.code || (code == DM_OK) != (dm_ring_file(&ring) != NULL)) {
        puts("code and handle disagree");
    }
    dm_ring_close(&ring);
    dm_ring_close(&ring);
}

static void reopen(dm_ring *ring)
{
    dm_error error;
    bool changed;
    if (dm_ring_reopen(ring, &changed, &error) == DM_OK) {
        printf("%s\n", changed ? "new" : "same");
    } else {
        printf("%s\n", error.message);
    }
}

static void name(const char *directory, const char *prefix, const char *exchange)
{
    char path[300];
    dm_error error;
    dm_code code = dm_ring_path(path, sizeof path, directory, prefix, exchange, &error);
    printf("%s\n", code == DM_OK ? path : error.message);
}

static void run(dm_ring *ring, char *line)
{
    char first[300] = "", second[300] = "", third[300] = "", text[DM_DECIMAL_BYTES];
    int words = sscanf(line, "%*s %299s %299s %299s", first, second, third);
    dm_record record;
    dm_next next;
    (void)words;
    if (strncmp(line, "open ", 5) == 0) {
        open_only(first);
    } else if (strncmp(line, "poll", 4) == 0) {
        dm_poll found = dm_ring_poll(ring, &record, &next);
        printf("%s %" PRIu64 " %u\n", POLLS[found], next.position, (unsigned)next.kind);
    } else if (strncmp(line, "drain", 5) == 0) {
        drain(ring);
    } else if (strncmp(line, "lap ", 4) == 0) {
        lap(ring, strtoull(first, NULL, 10));
    } else if (strncmp(line, "check ", 6) == 0) {
        printf("%s\n", GONES[dm_ring_check(ring, strtoull(first, NULL, 10), strtoull(second, NULL, 10))]);
    } else if (strncmp(line, "reopen", 6) == 0) {
        reopen(ring);
    } else if (strncmp(line, "oldest", 6) == 0) {
        dm_ring_from_oldest(ring);
        printf("%" PRIu64 "\n", dm_ring_position(ring));
    } else if (strncmp(line, "newest", 6) == 0) {
        dm_ring_from_newest(ring);
        printf("%" PRIu64 "\n", dm_ring_position(ring));
    } else if (strncmp(line, "symbol ", 7) == 0) {
        const char *symbol = dm_ring_symbol(ring, (uint32_t)strtoul(first, NULL, 10));
        printf("%s\n", symbol == NULL ? "-" : symbol);
    } else if (strncmp(line, "id ", 3) == 0) {
        printf("%" PRIu32 "\n", dm_ring_instrument_id(ring, first));
    } else if (strncmp(line, "decimal ", 8) == 0) {
        printf("%s\n", dm_decimal(text, strtoll(first, NULL, 10), (uint8_t)strtoul(second, NULL, 10)));
    } else if (strncmp(line, "unsigned ", 9) == 0) {
        printf("%s\n", dm_decimal_unsigned(text, strtoull(first, NULL, 10), (uint8_t)strtoul(second, NULL, 10)));
    } else if (strncmp(line, "name ", 5) == 0) {
        name(first, second, strcmp(third, "-") == 0 ? "" : third);
    } else if (strncmp(line, "about", 5) == 0) {
        printf("%s %" PRIu64 " %" PRIu32 " %" PRIu64 " %" PRIu64 " %" PRIu32 "\n", dm_ring_exchange(ring),
               dm_ring_epoch(ring), dm_ring_writer_pid(ring), other_capacity(ring), dm_ring_heartbeat_ns(ring),
               dm_ring_state(ring));
    } else {
        printf("unknown command %s", line);
    }
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static char line[8192];
    dm_ring ring = {0};
    dm_error error;
    if (argc > 1 && dm_ring_open(&ring, argv[1], &error) != DM_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    while (fgets(line, sizeof line, stdin) != NULL) {
        run(&ring, line);
    }
    dm_ring_close(&ring);
    return 0;
}
