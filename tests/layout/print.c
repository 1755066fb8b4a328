/* Prints what the header says of layouts and values, a name a line. */
#include "data_manager.h"

#define VALUE(name) printf(#name "=%llu\n", (unsigned long long)(name))
#define SIZE(type) printf("sizeof " #type "=%zu\n", sizeof(type))
#define FIELD(type, field) printf(#type "." #field "=%zu\n", offsetof(type, field))
#define NAMED(name, text) printf(#name "=%d %s\n", (name), text(name))

static void print_records(void)
{
    SIZE(dm_trade);
    FIELD(dm_trade, ts_event);
    FIELD(dm_trade, ts_recv);
    FIELD(dm_trade, trade_id);
    FIELD(dm_trade, price);
    FIELD(dm_trade, size);
    FIELD(dm_trade, instrument_id);
    FIELD(dm_trade, price_scale);
    FIELD(dm_trade, size_scale);
    FIELD(dm_trade, flags);
    FIELD(dm_trade, kind);
    SIZE(dm_gap);
    FIELD(dm_gap, ts_start);
    FIELD(dm_gap, ts_end);
    FIELD(dm_gap, first_id);
    FIELD(dm_gap, last_id);
    FIELD(dm_gap, missing);
    FIELD(dm_gap, instrument_id);
    FIELD(dm_gap, strength);
    FIELD(dm_gap, reason);
    FIELD(dm_gap, flags);
    FIELD(dm_gap, kind);
    SIZE(dm_record);
    FIELD(dm_record, instrument_id);
    FIELD(dm_record, kind);
}

static void print_values(void)
{
    VALUE(DM_RECORD_BYTES);
    VALUE(DM_KIND_TRADE_V1);
    VALUE(DM_KIND_GAP_V1);
    VALUE(DM_SIDE_NONE);
    VALUE(DM_SIDE_BUY);
    VALUE(DM_SIDE_SELL);
    VALUE(DM_SCALE_MAX);
    NAMED(DM_FLAG_HASHED_ID, dm_flag_text);
    NAMED(DM_FLAG_BACKFILLED, dm_flag_text);
    NAMED(DM_FLAG_SNAPSHOT, dm_flag_text);
    NAMED(DM_FLAG_AGGREGATED, dm_flag_text);
    NAMED(DM_FLAG_AFTER_GAP, dm_flag_text);
    NAMED(DM_FLAG_SPECIAL, dm_flag_text);
    NAMED(DM_STRENGTH_PROVED, dm_strength_text);
    NAMED(DM_STRENGTH_FRAMES_LOST, dm_strength_text);
    NAMED(DM_STRENGTH_POSSIBLE, dm_strength_text);
    NAMED(DM_REASON_VENUE_DISCONNECT, dm_reason_text);
    NAMED(DM_REASON_STALL, dm_reason_text);
    NAMED(DM_REASON_OUTBOX_OVERFLOW, dm_reason_text);
    NAMED(DM_REASON_BROKER_LOST, dm_reason_text);
    NAMED(DM_REASON_UNDECODABLE_FRAME, dm_reason_text);
}

static void print_segment(void)
{
    VALUE(DM_RING_VERSION);
    VALUE(DM_HEADER_BYTES);
    VALUE(DM_SLOT_BYTES);
    VALUE(DM_SYMBOL_ENTRY_BYTES);
    VALUE(DM_RING_RECORD_KIND);
    VALUE(DM_EXCHANGE_BYTES_MAX);
    VALUE(DM_SYMBOL_BYTES_MAX);
    VALUE(DM_CAPACITY_MIN);
    VALUE(DM_CAPACITY_MAX);
    VALUE(DM_SYMBOLS_MAX);
    VALUE(DM_STATE_FILLING);
    VALUE(DM_STATE_LIVE);
    VALUE(DM_STATE_CLOSED);
    VALUE(DM_AT_MAGIC);
    VALUE(DM_AT_VERSION);
    VALUE(DM_AT_HEADER_BYTES);
    VALUE(DM_AT_SLOT_BYTES);
    VALUE(DM_AT_RECORD_BYTES);
    VALUE(DM_AT_CAPACITY);
    VALUE(DM_AT_EPOCH);
    VALUE(DM_AT_PID);
    VALUE(DM_AT_RECORD_KIND);
    VALUE(DM_AT_EXCHANGE);
    VALUE(DM_AT_SYMBOL_TABLE);
    VALUE(DM_AT_SYMBOLS_MAX);
    VALUE(DM_AT_SLOTS);
    VALUE(DM_AT_HEAD);
    VALUE(DM_AT_HEARTBEAT);
    VALUE(DM_AT_STATE);
    VALUE(DM_AT_SYMBOLS);
    VALUE(DM_AT_WAKE);
    VALUE(DM_AT_WAITING);
    printf("DM_DIRECTORY=%s\nDM_PREFIX=%s\n", DM_DIRECTORY, DM_PREFIX);
}

int main(void)
{
    print_records();
    print_values();
    print_segment();
    return 0;
}
