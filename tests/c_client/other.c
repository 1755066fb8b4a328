/* A second translation unit of the same program: the header comes behind others here, as it may where POSIX is asked for. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <string.h>

#include "data_manager.h"

uint64_t other_capacity(const dm_ring *ring);

uint64_t other_capacity(const dm_ring *ring)
{
    return dm_ring_capacity(ring);
}
