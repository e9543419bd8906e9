/* Linewarden reject board, protocol serial-board version 1: the whole decision in portable C99.
 *
 * Licence: as Linewarden's, permissive; use it in your own firmware. No heap, no operating system, no library but
 * string.h and stdint.h. All memory is one `struct lwb`.
 *
 * The board owns unit numbers, epochs and counts. It spares a unit only in that unit's own window, only for a valid
 * permit that names it and came in time from the one expected device that is alive now. Everything else is ejected:
 * `spare` is low at rest, and low means eject (docs/interfaces/serial-board-v1.md says how that is wired).
 *
 * Use: lwb_init once, lwb_start at every start. Interrupts: lwb_latch (eyes, fired triggers). Main loop, 2 ms or less:
 * lwb_rx for every byte received, lwb_tick, apply lwb_outputs, kick the hardware watchdog, lwb_tx for bytes to send.
 */
#ifndef LW_BOARD_CORE_H
#define LW_BOARD_CORE_H

#include <stdint.h>

enum {
    LWB_VERSION = 1,
    LWB_LANES = 4,     /* lanes of one board */
    LWB_UNITS = 64,    /* units in flight in a lane; the device admits 48 */
    LWB_TRIGGERS = 32, /* camera shots of one unit, all lanes */
    LWB_STATIONS = 8,  /* trigger outputs */
    LWB_EVENTS = 256,  /* events kept for the device, newest last */
    LWB_LATCHES = 64,  /* edges between two ticks */
    LWB_ORDERS = 64,   /* trigger orders of one tick */
    LWB_STEPS = 128,   /* steps told in one tick */
    LWB_RX = 64,
    LWB_TX = 256
};

/* One camera shot: output `station` rises `counts` behind the infeed eye for every unit of `lane`. */
struct lwb_trigger {
    uint32_t counts;
    uint8_t station, lane, shot, reserved;
};

/* Distances in encoder counts from the infeed eye, as in FB_LinewardenGate: `decide` is the ejector less its lead,
 * `release` where the window of a spared unit ends, `clear` the least gap behind an ejected unit. `must` are the bits
 * of the inputs (air pressure, guard ...) without which the belt may not run. */
struct lwb_config {
    uint32_t identity, device;
    uint32_t decide, release, chute_eye, pass_eye, window, clear, phantom;
    uint16_t must;
    uint8_t lanes, trigger_count;
    struct lwb_trigger trigger[LWB_TRIGGERS];
};

enum lwb_kind { LWB_INFEED, LWB_CHUTE, LWB_PASS, LWB_FIRED };

/* An order to pulse trigger output `station`: at `encoder`, or (timed) at `at_us`. number 0 is a sync shot. */
struct lwb_order {
    uint32_t encoder, at_us, epoch, number;
    uint8_t station, lane, shot, timed;
};

/* Levels read just before a tick. authority: 0 LEGACY, 1 BOTH, 2 LINEWARDEN. */
struct lwb_levels {
    uint16_t inputs;
    uint8_t authority, legacy_accept, guard_closed;
};

enum lwb_step_kind { LWB_CREATED, LWB_PERMIT_SEEN, LWB_DECIDED, LWB_CLOSED };

/* What happened to a unit, for a display or a simulator; firmware may ignore it. */
struct lwb_step {
    uint32_t epoch, number;
    uint16_t flags;
    uint8_t step, lane, cause;
};

/* Levels after a tick, all 0 at rest. `channel` is where a body that is ejected now belongs. */
struct lwb_outputs {
    uint8_t spare[LWB_LANES], channel[LWB_LANES];
    uint8_t run, infeed;
    uint16_t lamps, order_count, step_count;
    struct lwb_order order[LWB_ORDERS];
    struct lwb_step step[LWB_STEPS];
};

struct lwb_unit {
    uint32_t epoch, number, encoder, permit;
    uint16_t flags;
    uint8_t cause, refusal, told, channel, decided, armed;
};

/* What a restart keeps stands first. */
struct lwb_lane {
    struct lwb_unit unit[LWB_UNITS];
    uint32_t next;
    uint8_t count;
    uint8_t last_cause, closed_pos, open, ejecting, ejected_any, eject_channel, closed_seen[8];
    uint16_t stray_pass, stray_chute;
    uint32_t passed, diverted, created, created_seq, closed_seq, refused;
    uint32_t open_at, eject_at, last_ejected, closed_at[8];
};

struct lwb_event {
    uint32_t ring_seq, epoch, number, encoder, time_us;
    uint16_t a, b;
    uint8_t type, index;
};

struct lwb_latched {
    struct lwb_order order;
    uint32_t time_us, encoder;
    uint8_t kind, lane;
};

/* All of it. Config, lanes, epoch and starts survive a restart that retains. */
struct lwb {
    struct lwb_config config;
    struct lwb_lane lane[LWB_LANES];
    uint32_t epoch;
    uint16_t starts;
    struct lwb_levels levels;
    struct lwb_outputs out;
    struct lwb_event event[LWB_EVENTS];
    struct lwb_latched latched[LWB_LATCHES];
    volatile uint8_t latch_in, latch_out, latch_lost;
    uint32_t now_us, encoder, start_encoder, beat_us, heard_us, event_us, fresh_us, sync_us;
    uint32_t nonce, control, stamp;
    uint32_t head, held, acked, next, edge_seq[LWB_STATIONS];
    uint32_t chute_encoder, pass_encoder, gate_encoder;
    uint16_t beat, device_beat, command, obeyed, mode, lamps, foreign_writes, bad_frames, refused_frames;
    uint8_t alive, fresh, foreign, heard, asked, tripped, settled, sync_left, beating;
    uint8_t rx[LWB_RX], rx_len, rx_skip;
    uint8_t tx[LWB_TX];
    uint16_t tx_in, tx_out;
};

/* Once, before anything else. Nothing is retained. */
void lwb_init(struct lwb *b, const struct lwb_config *config);

/* The board starts. retained = 1: numbers, epoch, units in flight and starts were kept. */
void lwb_start(struct lwb *b, uint32_t encoder, int retained);

/* An eye saw the middle of a body, or a trigger output rose (then with its order). May be called from one interrupt
 * level; time and encoder as the hardware latched them. */
void lwb_latch(struct lwb *b, enum lwb_kind kind, uint8_t lane, uint32_t time_us, uint32_t encoder,
               const struct lwb_order *order);

/* One byte from the device. */
void lwb_rx(struct lwb *b, uint8_t byte);

/* Everything that is due; at least every 2 ms. The clock wraps at 2^32 us, the encoder at 2^32 counts. */
void lwb_tick(struct lwb *b, uint32_t now_us, uint32_t encoder, const struct lwb_levels *levels);

/* The next byte for the device, -1 when there is none. */
int lwb_tx(struct lwb *b);

/* The same for many bytes at once; lwb_send returns how many it gave, at most `most`. */
void lwb_receive(struct lwb *b, const uint8_t *data, uint32_t count);
uint32_t lwb_send(struct lwb *b, uint8_t *data, uint32_t most);

/* Outputs of the last tick; order and step belong to that tick alone. */
const struct lwb_outputs *lwb_outputs(const struct lwb *b);

/* Units created and not closed. */
uint32_t lwb_in_flight(const struct lwb *b);

/* Bodies that no unit accounts for, seen by the eyes of that kind (LWB_PASS or LWB_CHUTE), all lanes. */
uint32_t lwb_strays(const struct lwb *b, enum lwb_kind kind);

/* For callers that cannot see this header's types. */
uint32_t lwb_size(void);

#endif
