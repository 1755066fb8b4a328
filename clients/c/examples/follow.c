/* Follows one ring for ever, whatever its writer does. Copy it and put your own work where it prints. */
#include "data_manager.h"

#include <inttypes.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    const struct timespec nap = {0, 1000000}; /* 1 ms; leave the sleep out to spin, for a few hundred nanoseconds */
    char path[256], price[DM_DECIMAL_BYTES], size[DM_DECIMAL_BYTES];
    dm_ring ring;
    dm_error error;
    bool changed;
    if (dm_ring_path(path, sizeof path, NULL, NULL, argc > 1 ? argv[1] : "binance", &error) != DM_OK
        || dm_ring_open(&ring, path, &error) != DM_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    dm_ring_from_newest(&ring);
    for (;;) {
        dm_record record;
        dm_next next;
        switch (dm_ring_poll(&ring, &record, &next)) {
        case DM_RECORD:
            if (record.kind == DM_KIND_TRADE_V1) {
                const char *symbol = dm_ring_symbol(&ring, record.instrument_id);
                printf("%s %s %s x %s\n", symbol == NULL ? "?" : symbol, dm_side_text(dm_trade_side(&record.trade)),
                       dm_trade_price(price, &record.trade), dm_trade_size(size, &record.trade));
            } else {
                printf("gap: %" PRIu64 " trades missing (0: unknown)\n", record.gap.missing);
            }
            break;
        case DM_UNKNOWN: /* of a later version */
            break;
        case DM_LAGGED:
            fprintf(stderr, "too slow: %" PRIu64 " records lost\n", next.lost);
            break;
        case DM_EMPTY:
        case DM_CLOSED:
        case DM_REFUSED:
            nanosleep(&nap, NULL);
            if (dm_ring_check(&ring, dm_now_ns(), 3000000000) != DM_ALIVE
                && dm_ring_reopen(&ring, &changed, NULL) == DM_OK && changed) {
                fprintf(stderr, "a new writer has taken over\n");
            }
        }
    }
}
