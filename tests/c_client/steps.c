/*
 * Every interleaving of one poll with the writer overwriting the very slot that is read: loads are hooked, and the
 * writer's stores happen in front of a chosen load. What comes out must be the old record, whole, or a counted loss.
 *
 * Argument: a writable ring of 64 slots that holds the records 0 to 63.
 */
#define _POSIX_C_SOURCE 200809L
#include <stdatomic.h>
#include <stdint.h>

static void before_load(void);
#undef atomic_load_explicit
#define atomic_load_explicit(pointer, order) (before_load(), *(pointer))
#include "data_manager.h"

#define CAPACITY 64
#define STORES 8
#define LOADS_MAX 14

static _Atomic uint64_t *slot, *head;
static uint64_t n;
static unsigned load, done, first_at, first_count, rest_at;
static bool with_head, told;

/* The writer's store number `step` for record n + 64, which takes the place of record n. */
static void store(unsigned step)
{
    if (step == 0) {
        slot[0] = 2 * (n + CAPACITY) + 1;
    } else if (step < STORES - 1) {
        slot[step] = ~(uint64_t)step;
    } else {
        slot[0] = 2 * (n + CAPACITY) + 2;
        if (with_head) {
            *head = n + CAPACITY + 1;
        }
    }
}

static void before_load(void)
{
    while ((load >= first_at && done < first_count) || (load >= rest_at && done < STORES)) {
        store(done++);
    }
    load++;
}

/* One poll at record n with the schedule that is set. False: what came out is wrong. */
static bool one(dm_ring *ring, const uint64_t old[STORES])
{
    dm_record record;
    dm_next next;
    dm_poll found;
    unsigned i;
    bool right = true;
    for (i = 0; i < STORES; i++) {
        slot[i] = old[i];
    }
    *head = CAPACITY;
    load = done = 0;
    ring->position_ = n;
    found = dm_ring_poll(ring, &record, &next);
    if (found == DM_RECORD) {
        for (i = 0; i < 6; i++) {
            right = right && record.words[i] == old[i + 1];
        }
        right = right && dm_ring_position(ring) == n + 1;
    } else {
        right = found == DM_LAGGED && next.lost >= 1 && next.lost <= CAPACITY && next.position == n + next.lost
                && dm_ring_position(ring) == next.position;
    }
    if (!right && !told) {
        told = true;
        printf("record %" PRIu64 ", %u stores before load %u, the rest before load %u: %d, lost %" PRIu64 "\n", n,
               first_count, first_at, rest_at, (int)found, next.lost);
    }
    return right;
}

int main(int argc, char **argv)
{
    dm_ring ring;
    dm_error error = {DM_OK, 0, ""};
    unsigned long schedules = 0, wrong = 0;
    unsigned char *map;
    int fd;
    first_at = rest_at = UINT32_MAX;
    if (argc != 2 || dm_ring_open(&ring, argv[1], &error) != DM_OK || dm_ring_capacity(&ring) != CAPACITY) {
        printf("no ring of %d slots: %s\n", CAPACITY, error.message);
        return 1;
    }
    fd = open(argv[1], O_RDWR | O_CLOEXEC);
    map = (unsigned char *)mmap(NULL, (size_t)ring.source_.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd < 0 || (void *)map == MAP_FAILED) {
        printf("not writable\n");
        return 1;
    }
    head = (_Atomic uint64_t *)(void *)(map + DM_AT_HEAD);
    for (n = 0; n < CAPACITY; n += 21) {
        uint64_t old[STORES];
        slot = (_Atomic uint64_t *)(void *)(map + ring.source_.slots + n * DM_SLOT_BYTES);
        memcpy(old, map + ring.source_.slots + n * DM_SLOT_BYTES, sizeof old);
        for (with_head = false;; with_head = true) {
            for (first_at = 0; first_at < LOADS_MAX; first_at++) {
                for (rest_at = first_at; rest_at < LOADS_MAX; rest_at++) {
                    for (first_count = 0; first_count <= STORES; first_count++) {
                        schedules++;
                        wrong += one(&ring, old) ? 0 : 1;
                    }
                }
            }
            if (with_head) {
                break;
            }
        }
    }
    first_at = rest_at = UINT32_MAX;
    munmap(map, (size_t)ring.source_.bytes);
    close(fd);
    dm_ring_close(&ring);
    printf("%lu schedules, %lu wrong\n", schedules, wrong);
    return wrong == 0 ? 0 : 1;
}
