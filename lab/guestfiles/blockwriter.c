/* blockwriter FILE SLOTS [check] [pause=US] [every=MS]: writes numbered blocks of 4 KiB to FILE without pause, each one
 * durable (O_DIRECT | O_DSYNC) before the next begins. Block n goes to slot (n - 1) % SLOTS, so that FILE always holds
 * the last SLOTS numbers, and old blocks are overwritten as a database would. It goes on after the highest number that
 * it finds.
 *
 * With "check" it reads a slot before it overwrites it, and complains when it does not hold what was written there:
 * a lost write. Once a second (or every so many milliseconds) it prints the last number, the longest write since the
 * line before and since the start, and a histogram of the write times (bucket:count; bucket b holds times below
 * 2^((b+1)/4) microseconds).
 *
 * A block: "SFBLOCK1", u64 number, u64 checksum (FNV-1a, 64 bits at a time, of all other words), then words that are
 * number * 2654435761 + index. Little endian. lab/blocks.py reads them. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 4096, WORDS = BLOCK / 8, BUCKETS = 128 };

static uint64_t microseconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static uint64_t checksum(const uint64_t *block)
{
    uint64_t hash = 14695981039346656037ULL;
    for (int i = 0; i < WORDS; i++)
        if (i != 2)
            hash = (hash ^ block[i]) * 1099511628211ULL;
    return hash;
}

static void fill(uint64_t *block, uint64_t number)
{
    memcpy(block, "SFBLOCK1", 8);
    block[1] = number;
    for (int i = 3; i < WORDS; i++)
        block[i] = number * 2654435761ULL + i;
    block[2] = checksum(block);
}

/* The number of a whole block, 0 for anything else. */
static uint64_t number_of(const uint64_t *block)
{
    if (memcmp(block, "SFBLOCK1", 8) || block[2] != checksum(block))
        return 0;
    return block[1];
}

static uint64_t highest(int fd, uint64_t slots, uint64_t *block)
{
    uint64_t last = 0;
    for (uint64_t slot = 0; slot < slots; slot++) {
        if (pread(fd, block, BLOCK, slot * BLOCK) != BLOCK)
            break;
        uint64_t number = number_of(block);
        if (number > last)
            last = number;
    }
    return last;
}

static void report(uint64_t number, uint64_t longest, uint64_t ever, unsigned *histogram)
{
    char line[2048];
    int used = snprintf(line, sizeof line, "LAB writer n=%llu longest_us=%llu ever_us=%llu at_ms=%llu hist=",
                        (unsigned long long)number, (unsigned long long)longest, (unsigned long long)ever,
                        (unsigned long long)microseconds() / 1000);
    for (int b = 0; b < BUCKETS && used < (int)sizeof line - 32; b++)
        if (histogram[b])
            used += snprintf(line + used, sizeof line - used, "%d:%u,", b, histogram[b]);
    line[used++] = '\n';
    if (write(1, line, used) != used)
        exit(4);
    memset(histogram, 0, BUCKETS * sizeof *histogram);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: blockwriter FILE SLOTS [check] [pause=US] [every=MS]\n");
        return 2;
    }
    uint64_t slots = strtoull(argv[2], NULL, 10), pause = 0, every = 1000000;
    int check = 0;
    for (int i = 3; i < argc; i++) {
        check |= !strcmp(argv[i], "check");
        if (!strncmp(argv[i], "pause=", 6))
            pause = strtoull(argv[i] + 6, NULL, 10);
        if (!strncmp(argv[i], "every=", 6))
            every = strtoull(argv[i] + 6, NULL, 10) * 1000;
    }
    void *memory[2];
    if (posix_memalign(&memory[0], BLOCK, BLOCK) || posix_memalign(&memory[1], BLOCK, BLOCK))
        return 3;
    uint64_t *block = memory[0], *old = memory[1];
    int fd = open(argv[1], O_RDWR | O_CREAT | O_DIRECT | O_DSYNC, 0644);
    if (fd < 0) {
        printf("LAB writer error=%d open\n", errno);
        return 3;
    }
    uint64_t number = highest(fd, slots, block), longest = 0, ever = 0, line_due = microseconds() + every;
    unsigned histogram[BUCKETS] = {0};
    printf("LAB writer found=%llu\n", (unsigned long long)number);
    fflush(stdout);

    for (;;) {
        number++;
        off_t place = (off_t)((number - 1) % slots) * BLOCK;
        if (check && number > slots) {
            if (pread(fd, old, BLOCK, place) != BLOCK || number_of(old) != number - slots) {
                printf("LAB writer lost=%llu\n", (unsigned long long)(number - slots));
                fflush(stdout);
            }
        }
        fill(block, number);
        uint64_t begun = microseconds();
        if (pwrite(fd, block, BLOCK, place) != BLOCK) {
            printf("LAB writer error=%d n=%llu\n", errno, (unsigned long long)number);
            fflush(stdout);
            return 1;
        }
        uint64_t ended = microseconds(), took = ended - begun;
        int bucket = took ? (int)(4 * log2((double)took)) : 0;
        histogram[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
        if (took > longest)
            longest = took;
        if (took > ever)
            ever = took;
        if (ended >= line_due) {
            report(number, longest, ever, histogram);
            longest = 0;
            line_due = ended + every;
        }
        if (pause)
            usleep(pause);
    }
}
