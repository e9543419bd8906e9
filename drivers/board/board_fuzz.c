/* board_fuzz SEED ROUNDS: random bytes, random well-formed frames, edges and clocks against the core.
 *
 * The peer does not know the device's identity, so whatever it sends, no unit may ever be spared, and the sanitisers
 * must find nothing. Exit status 1 with one line otherwise. */
#include "board_core.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state;

static uint32_t dice(uint32_t sides) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % sides;
}

static uint32_t crc32(const uint8_t *p, uint32_t n) {
    uint32_t crc = 0xffffffffu;
    while (n--) {
        crc ^= *p++;
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
    }
    return ~crc;
}

/* A frame of a true kind and length with a true CRC and any content. */
static void frame(struct lwb *b) {
    static const uint8_t size[] = {0, 24, 6, 20, 14, 20};
    uint8_t f[64];
    uint32_t kind = 1 + dice(5), n = 11u + size[kind], end;
    for (uint32_t i = 0; i < n; i++) f[i] = (uint8_t)dice(dice(2) ? 4 : 256);
    f[0] = LWB_VERSION, f[1] = (uint8_t)kind, f[2] = size[kind];
    uint32_t crc = crc32(f, n);
    for (int i = 0; i < 4; i++) f[n++] = (uint8_t)(crc >> (24 - 8 * i));
    for (uint32_t at = 0; at <= n; at = end + 1) {
        for (end = at; end < n && f[end]; end++) {}
        lwb_rx(b, (uint8_t)(end - at + 1));
        for (uint32_t i = at; i < end; i++) lwb_rx(b, f[i]);
    }
    lwb_rx(b, 0);
}

int main(int argc, char **argv) {
    static struct lwb b;
    struct lwb_config config;
    struct lwb_order order;
    struct lwb_levels levels = {0xffff, 2, 0, 1};
    uint32_t now = 0xfffffff0u, encoder = 0xffffff00u;
    long rounds = argc > 2 ? atol(argv[2]) : 100000;
    state = argc > 1 ? (uint64_t)atoll(argv[1]) : 1;
    memset(&config, 0, sizeof config);
    config.identity = 2001, config.device = 0x4c571001, config.lanes = LWB_LANES, config.trigger_count = 4;
    config.decide = 300, config.release = 340, config.chute_eye = config.pass_eye = 400, config.window = 20;
    config.clear = 20, config.phantom = 10;
    for (int i = 0; i < 4; i++) config.trigger[i].station = (uint8_t)i, config.trigger[i].counts = 50u + 20u * (uint32_t)i;
    lwb_init(&b, &config);
    lwb_start(&b, encoder, 0);
    for (long i = 0; i < rounds; i++) {
        switch (dice(8)) {
        case 0: case 1: frame(&b); break;
        case 2: for (uint32_t n = dice(100); n; n--) lwb_rx(&b, (uint8_t)dice(256)); break;
        case 3: memset(&order, (int)dice(256), sizeof order);
                lwb_latch(&b, (enum lwb_kind)dice(4), (uint8_t)dice(8), now, encoder + dice(3), &order); break;
        case 4: for (uint32_t n = dice(80); n; n--) lwb_latch(&b, LWB_INFEED, (uint8_t)dice(4), now, encoder, 0); break;
        case 5: for (uint32_t n = dice(300); n && lwb_tx(&b) >= 0; n--) {} break;
        case 6: if (!dice(50)) lwb_start(&b, encoder, (int)dice(2)); break;
        default: now += dice(100) ? dice(20000) : dice(0x7fffffff); encoder += dice(100) ? dice(60) : dice(1000000);
        }
        lwb_tick(&b, now, encoder, &levels);
        for (int l = 0; l < LWB_LANES; l++)
            if (lwb_outputs(&b)->spare[l]) {
                printf("a unit of lane %d was spared in round %ld\n", l, i);
                return 1;
            }
    }
    printf("%ld rounds, nothing was spared\n", rounds);
    return 0;
}
