/* See board_core.h for the use and docs/interfaces/serial-board-v1.md for the bytes. */
#include "board_core.h"

#include <stddef.h>
#include <string.h>

enum {
    BEAT_US = 20000, TIMEOUT_US = 80000, LATE_BEATS = TIMEOUT_US / BEAT_US, RESEND_US = 40000,
    SYNC_SHOTS = 4, SYNC_GAP_US = 100000,
    HEADER = 11, CRC = 4, FRAME = 192, EVENT_WINDOW = 32, EVENTS_A_TICK = 4,
    BEAT = 1, PING = 2, PERMIT = 3, REVOKE = 4, SORT = 5, STATUS = 0x81, EVENT = 0x82, NAK = 1,
    UNIT_EVENT = 1, EDGE_EVENT = 2, CLOSED_EVENT = 3,
    LEGACY = 0, BOTH = 1, LINEWARDEN = 2, AUTOMATIC = 2,
    RUN = 1, HOLD = 2, ABORT = 4, SYNC = 8, RESET = 16,
    PERMITTED = 1, DIVERTED = 2, CHUTE_SEEN = 4, PASS_SEEN = 8, PHANTOM = 16, SURVIVED = 32,
    SEEN = CHUTE_SEEN | PASS_SEEN, CHANNELS = 4, CHANNEL_MARK = 0x8000, CHANNEL_SHIFT = 8, SLOTS = 64
};
#define LAST_EPOCH 0xffffffffu /* all epochs are used up; it names no single agreement and permits nothing */
enum { NONE, NO_PERMIT, STALE, WRONG_EPOCH, BAD_CHECK, FOREIGN, AUTHORITY, RESTART, MODE, TOO_CLOSE };

/* ---- bytes ---- */

static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static uint32_t get32(const uint8_t *p) { return (uint32_t)get16(p) << 16 | get16(p + 2); }
static uint8_t *put16(uint8_t *p, uint32_t v) { p[0] = (uint8_t)(v >> 8); p[1] = (uint8_t)v; return p + 2; }
static uint8_t *put32(uint8_t *p, uint32_t v) { return put16(put16(p, v >> 16), v); }
static int ahead(uint32_t a, uint32_t b) { return a != b && a - b < 0x80000000u; }

/* CRC-32 of IEEE 802.3 (zlib's), four bits at a time. */
static uint32_t crc32(const uint8_t *p, uint32_t n) {
    static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
                                       0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                       0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    uint32_t crc = 0xffffffffu;
    while (n--) {
        crc ^= *p++;
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

/* The check word of a permit: CRC-16/MODBUS over number, epoch, lane, slot, device. */
static uint16_t permit_check(uint32_t number, uint32_t epoch, uint16_t lane, uint16_t slot, uint32_t device) {
    uint8_t text[16];
    uint16_t crc = 0xffff;
    put32(put16(put16(put32(put32(text, number), epoch), lane), slot), device);
    for (unsigned i = 0; i < sizeof text; i++) {
        crc ^= text[i];
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? (uint16_t)(crc >> 1 ^ 0xa001) : (uint16_t)(crc >> 1);
    }
    return crc;
}

/* ---- events for the device ---- */

static void push_event(struct lwb *b, uint8_t type, uint8_t index, uint32_t ring_seq, const struct lwb_unit *u,
                       uint16_t a, uint16_t c, uint32_t encoder, uint32_t time_us) {
    struct lwb_event *e = &b->event[++b->head % LWB_EVENTS];
    e->type = type, e->index = index, e->ring_seq = ring_seq, e->a = a, e->b = c;
    e->epoch = u->epoch, e->number = u->number, e->encoder = encoder, e->time_us = time_us;
    if (b->held < LWB_EVENTS) { b->held++; return; }
    if (ahead(b->head - LWB_EVENTS, b->acked)) b->acked = b->head - LWB_EVENTS;
    if (!ahead(b->next, b->acked)) b->next = b->acked + 1;
}

static void tell(struct lwb *b, uint8_t step, uint8_t lane, const struct lwb_unit *u) {
    if (b->out.step_count >= LWB_STEPS) return;
    struct lwb_step *s = &b->out.step[b->out.step_count++];
    s->step = step, s->lane = lane, s->epoch = u->epoch, s->number = u->number, s->cause = u->cause;
    s->flags = (uint16_t)(u->flags | u->channel << CHANNEL_SHIFT);
}

/* ---- the gate ---- */

static uint32_t travelled(uint32_t from, uint32_t encoder) {
    return encoder - from < 0x80000000u ? encoder - from : 0; /* a belt that stepped back has not moved on */
}

static uint32_t apart(uint32_t a, uint32_t b) { return ahead(a, b) ? a - b : b - a; }

static void forget_permits(struct lwb *b) {
    for (int l = 0; l < b->config.lanes; l++)
        for (int i = 0; i < b->lane[l].count; i++) b->lane[l].unit[i].permit = 0, b->lane[l].unit[i].channel = 0;
}

static struct lwb_unit *find(struct lwb *b, uint16_t lane, uint32_t number) {
    if (lane >= b->config.lanes || !number) return 0;
    for (int i = 0; i < b->lane[lane].count; i++) {
        struct lwb_unit *u = &b->lane[lane].unit[i];
        if (u->number == number && !u->decided) return u;
    }
    return 0;
}

/* NONE if the unit may be spared. Under LEGACY the old inspection alone decides; under BOTH it takes two accepts. */
static uint8_t judge(const struct lwb *b, const struct lwb_unit *u) {
    const struct lwb_levels *in = &b->levels;
    if (in->authority == LEGACY) return in->legacy_accept ? NONE : AUTHORITY;
    if (b->foreign) return FOREIGN;
    if (!b->alive) return STALE;
    if (in->authority != LINEWARDEN && !(in->authority == BOTH && in->legacy_accept)) return AUTHORITY;
    if (b->mode != AUTOMATIC) return MODE;
    if (u->epoch != b->epoch || !b->nonce || u->epoch == LAST_EPOCH) return u->flags & SURVIVED ? RESTART : WRONG_EPOCH;
    if (u->permit != u->number) return u->refusal ? u->refusal : NO_PERMIT;
    return NONE;
}

static void create(struct lwb *b, uint8_t l, uint32_t time_us, uint32_t encoder) {
    struct lwb_lane *lane = &b->lane[l];
    if (lane->count >= LWB_UNITS) { b->tripped = 1; return; }
    struct lwb_unit *u = &lane->unit[lane->count++];
    memset(u, 0, sizeof *u);
    u->epoch = b->epoch, u->number = lane->next, u->encoder = encoder;
    lane->next = lane->next == 0xffffffffu ? 1 : lane->next + 1;
    lane->created++;
    push_event(b, UNIT_EVENT, l, ++lane->created_seq, u, 0, 0, encoder, time_us);
    tell(b, LWB_CREATED, l, u);
}

static void arm(struct lwb *b, uint8_t l, struct lwb_unit *u) {
    for (; u->armed < b->config.trigger_count; u->armed++) {
        const struct lwb_trigger *t = &b->config.trigger[u->armed];
        if (t->lane != l || travelled(u->encoder, b->encoder) >= t->counts) continue;
        if (b->out.order_count >= LWB_ORDERS) return;
        struct lwb_order *o = &b->out.order[b->out.order_count++];
        memset(o, 0, sizeof *o);
        o->station = t->station, o->shot = t->shot, o->lane = l;
        o->encoder = u->encoder + t->counts, o->epoch = u->epoch, o->number = u->number;
    }
}

static void decide(struct lwb *b, uint8_t l, struct lwb_unit *u) {
    struct lwb_lane *lane = &b->lane[l];
    int close = lane->ejected_any && apart(u->encoder, lane->last_ejected) < b->config.clear;
    u->decided = 1, u->cause = judge(b, u), u->permit = 0;
    if (!u->cause && close) u->cause = TOO_CLOSE;
    lane->open = !u->cause, lane->ejecting = !!u->cause;
    if (u->cause) {
        u->flags |= DIVERTED;
        if (close) u->channel = 0;
        lane->last_ejected = lane->eject_at = u->encoder, lane->ejected_any = 1;
        lane->eject_channel = u->channel, lane->last_cause = u->cause, lane->refused++;
    } else {
        u->flags |= b->levels.authority == LEGACY ? 0 : PERMITTED;
        u->channel = 0, lane->open_at = u->encoder;
    }
    if (u->epoch == b->epoch) u->cause ? lane->diverted++ : lane->passed++;
    tell(b, LWB_DECIDED, l, u);
}

/* A body at an eye behind the gate belongs to the decided unit that is nearest and due. */
static struct lwb_unit *credit(struct lwb *b, uint8_t l, uint32_t encoder, uint32_t eye, uint16_t flag) {
    struct lwb_unit *best = 0;
    for (int i = 0; i < b->lane[l].count; i++) {
        struct lwb_unit *u = &b->lane[l].unit[i];
        uint32_t off = apart(encoder - u->encoder, eye);
        if (u->decided && off <= b->config.window && (!best || off < apart(encoder - best->encoder, eye))) best = u;
    }
    if (best) best->flags |= flag;
    return best;
}

static void seen(struct lwb *b, enum lwb_kind kind, uint8_t l, uint32_t encoder) {
    if (kind == LWB_CHUTE) {
        if (!credit(b, l, encoder, b->config.chute_eye, CHUTE_SEEN)) b->lane[l].stray_chute++;
        if (!l) b->chute_encoder = encoder;
        return;
    }
    struct lwb_unit *u = credit(b, l, encoder, b->config.pass_eye, PASS_SEEN);
    if (!u) b->lane[l].stray_pass++;
    if (!l) b->pass_encoder = encoder;
    if (b->settled && (!u || u->flags & DIVERTED)) b->tripped = 1; /* the ejector did not eject: stop the belt */
}

static void close_unit(struct lwb *b, uint8_t l, int i) {
    struct lwb_lane *lane = &b->lane[l];
    struct lwb_unit *u = &lane->unit[i];
    if (!(u->flags & SEEN)) {
        for (int k = 0; k < 8; k++)
            if (lane->closed_seen[k] && apart(lane->closed_at[k], u->encoder) < b->config.phantom) u->flags |= PHANTOM;
        for (int k = 0; k < lane->count; k++)
            if (lane->unit[k].flags & SEEN && apart(lane->unit[k].encoder, u->encoder) < b->config.phantom)
                u->flags |= PHANTOM;
    }
    lane->closed_at[lane->closed_pos & 7] = u->encoder, lane->closed_seen[lane->closed_pos & 7] = !!(u->flags & SEEN);
    lane->closed_pos++;
    push_event(b, CLOSED_EVENT, l, ++lane->closed_seq, u, (uint16_t)(u->flags | u->channel << CHANNEL_SHIFT), u->cause,
               b->encoder, b->now_us);
    tell(b, LWB_CLOSED, l, u);
    memmove(u, u + 1, (size_t)(--lane->count - i) * sizeof *u);
}

static void track(struct lwb *b, uint8_t l) {
    struct lwb_lane *lane = &b->lane[l];
    const struct lwb_config *c = &b->config;
    uint32_t end = (c->chute_eye > c->pass_eye ? c->chute_eye : c->pass_eye) + c->window;
    for (int i = 0; i < lane->count; i++) {
        struct lwb_unit *u = &lane->unit[i];
        arm(b, l, u);
        if (!u->decided && !u->told && b->alive && u->permit == u->number && u->epoch == b->epoch) {
            u->told = 1;
            tell(b, LWB_PERMIT_SEEN, l, u);
        }
        if (!u->decided && travelled(u->encoder, b->encoder) >= c->decide) decide(b, l, u);
    }
    for (int i = 0; i < lane->count;) {
        struct lwb_unit *u = &lane->unit[i];
        if (u->decided && (u->flags & SEEN || travelled(u->encoder, b->encoder) > end)) close_unit(b, l, i);
        else i++;
    }
    if (lane->open && travelled(lane->open_at, b->encoder) >= c->release) lane->open = 0;
    if (lane->ejecting && travelled(lane->eject_at, b->encoder) >= c->release) lane->ejecting = 0;
}

/* ---- what the device says ---- */

static int late(const struct lwb *b, uint16_t echo) { return (uint16_t)(b->beat - echo) > LATE_BEATS; }

static void grant(struct lwb *b, uint32_t nonce, uint32_t proposal) {
    uint32_t next = b->epoch == LAST_EPOCH ? LAST_EPOCH : b->epoch + 1;
    b->nonce = nonce, b->epoch = proposal > next ? proposal : next, b->control = 0;
    forget_permits(b);
    for (int l = 0; l < b->config.lanes; l++) b->lane[l].passed = b->lane[l].diverted = b->lane[l].created = 0;
}

static void on_beat(struct lwb *b, const uint8_t *p) {
    uint16_t beat = get16(p + 4), command = get16(p + 16);
    uint32_t nonce = get32(p + 8);
    int same = !nonce || nonce == b->nonce;
    if (command & ABORT) b->tripped = 1; /* whoever says so: stopping is always safe */
    if (get32(p) != b->config.device) {
        b->foreign = 1, b->fresh = 0, b->foreign_writes++;
        return;
    }
    if (late(b, get16(p + 6)) || (same && (uint16_t)(beat - b->device_beat - 1) >= 0x7fff)) { b->refused_frames++; return; }
    b->foreign = 0, b->fresh = 1, b->fresh_us = b->now_us, b->device_beat = beat;
    b->command = command, b->mode = get16(p + 18), b->lamps = get16(p + 22);
    if (!same) grant(b, nonce, get32(p + 12));
}

static void on_control(struct lwb *b, uint8_t kind, uint32_t seq, const uint8_t *p) {
    uint32_t device = get32(p), epoch = get32(p + 4), number = get32(p + 8);
    uint16_t lane = get16(p + 12), place = kind == REVOKE ? 0 : get16(p + 14);
    struct lwb_unit *u = find(b, lane, number);
    uint8_t cause = device != b->config.device ? FOREIGN : !b->nonce || epoch != b->epoch ? WRONG_EPOCH : NONE;
    if (kind == REVOKE && u) u->permit = 0; /* at once, whatever else is wrong: taking back is always safe */
    if (!cause && seq != b->control + 1) return;
    if (!cause) b->control = seq;
    if (kind == REVOKE && !cause) return;
    if (!cause && get16(p + 16) != permit_check(number, epoch, lane, place, device)) cause = BAD_CHECK;
    if (!cause && place != (kind == SORT ? CHANNEL_MARK | (place & 7) : number % SLOTS)) cause = BAD_CHECK;
    if (!cause && (!b->alive || late(b, get16(p + 18)))) cause = STALE;
    if (!u || cause || u->epoch != epoch) {
        b->refused_frames++;
        if (u && kind == PERMIT) u->refusal = cause ? cause : WRONG_EPOCH;
    } else if (kind == PERMIT) u->permit = number, u->refusal = NONE;
    else u->channel = (uint8_t)((place & 7) < CHANNELS ? place & 7 : 0);
}

static void on_ack(struct lwb *b, uint32_t ack, int again) {
    if (b->head - ack > b->held) return;
    if (ack != b->acked) b->event_us = b->now_us;
    if (again || ahead(b->acked, ack) || !ahead(b->next, ack)) b->next = ack + 1;
    b->acked = ack;
}

static void on_frame(struct lwb *b, const uint8_t *f, uint32_t n) {
    static const uint8_t size[] = {0, 24, 6, 20, 14, 20};
    if (n < HEADER + CRC || crc32(f, n - CRC) != get32(f + n - CRC) || f[0] != LWB_VERSION || f[1] < BEAT ||
        f[1] > SORT || f[2] != size[f[1]] || n != (uint32_t)HEADER + f[2] + CRC) {
        b->bad_frames++;
        return;
    }
    const uint8_t *p = f + HEADER;
    b->heard = 1, b->heard_us = b->now_us;
    on_ack(b, get32(f + 7), f[1] == PING && get16(p + 4) & NAK);
    if (f[1] == BEAT) on_beat(b, p);
    else if (f[1] == PING) b->asked = 1, b->stamp = get32(p);
    else on_control(b, f[1], get32(f + 3), p);
}

void lwb_rx(struct lwb *b, uint8_t byte) {
    if (byte) {
        if (b->rx_len < LWB_RX) b->rx[b->rx_len++] = byte;
        else b->rx_skip = 1;
        return;
    }
    uint32_t n = 0, at = 0, len = b->rx_len, bad = b->rx_skip;
    b->rx_len = b->rx_skip = 0;
    while (!bad && at < len) { /* COBS, in place: n never overtakes at */
        uint8_t code = b->rx[at++];
        if (at + code - 1 > len) bad = 1;
        else for (uint8_t i = 1; i < code; i++) b->rx[n++] = b->rx[at++];
        if (!bad && code < 0xff && at < len) b->rx[n++] = 0;
    }
    if (bad) b->bad_frames++;
    else if (len) on_frame(b, b->rx, n);
}

/* ---- what the board says ---- */

static uint16_t room(const struct lwb *b) { return (uint16_t)(LWB_TX - (uint16_t)(b->tx_in - b->tx_out)); }

static void emit(struct lwb *b, uint8_t byte) { b->tx[b->tx_in++ % LWB_TX] = byte; }

static int frame_fits(const struct lwb *b, uint32_t payload) { return room(b) >= HEADER + payload + CRC + 3; }

/* Header before and CRC behind the payload that stands at f + HEADER; then COBS between two delimiters. */
static void send(struct lwb *b, uint8_t *f, uint8_t kind, uint8_t payload, uint32_t seq) {
    uint32_t n = (uint32_t)HEADER + payload, end;
    f[0] = LWB_VERSION, f[1] = kind, f[2] = payload;
    put32(put32(f + 3, seq), b->control);
    put32(f + n, crc32(f, n));
    n += CRC;
    emit(b, 0);
    for (uint32_t at = 0; at <= n; at = end + 1) { /* frames are shorter than 254: no code 0xff */
        for (end = at; end < n && f[end]; end++) {}
        emit(b, (uint8_t)(end - at + 1));
        for (uint32_t i = at; i < end; i++) emit(b, f[i]);
    }
    emit(b, 0);
}

static void send_event(struct lwb *b, uint32_t seq) {
    uint8_t f[FRAME], *p = f + HEADER;
    const struct lwb_event *e = &b->event[seq % LWB_EVENTS];
    *p++ = e->type, *p++ = e->index;
    p = put32(put32(put32(p, e->ring_seq), e->epoch), e->number);
    p = put32(put32(put16(put16(p, e->a), e->b), e->encoder), e->time_us);
    send(b, f, EVENT, (uint8_t)(p - f - HEADER), seq);
    b->event_us = b->now_us;
}

static void send_status(struct lwb *b) {
    uint8_t f[FRAME], *p = f + HEADER, cause = NONE;
    uint32_t refused = 0;
    int infeed = b->out.infeed << 1, guard = !!b->levels.guard_closed << 5;
    for (int l = b->config.lanes - 1; l >= 0; l--) {
        refused += b->lane[l].refused;
        if (b->lane[l].last_cause) cause = b->lane[l].last_cause;
    }
    p = put32(put32(put32(put16(put16(put32(p, b->stamp), b->beat), b->device_beat), b->now_us), b->encoder),
              b->head - b->held + 1);
    p = put16(p, (uint32_t)(b->out.run | infeed | b->alive << 2 | !!b->nonce << 3 | b->tripped << 4 | guard));
    p = put32(put32(put32(put32(p, b->config.identity), b->config.device), b->epoch), b->nonce);
    p = put32(put16(put16(p, b->levels.authority), cause), refused);
    p = put16(put16(put16(p, b->foreign_writes), b->starts), b->levels.inputs);
    p = put32(put32(put32(p, b->chute_encoder), b->pass_encoder), b->gate_encoder);
    p = put16(put16(put16(p, b->bad_frames), b->refused_frames), b->config.lanes);
    for (int l = 0; l < b->config.lanes; l++) {
        const struct lwb_lane *lane = &b->lane[l];
        p = put32(put32(put32(p, lane->passed), lane->diverted), lane->created);
        p = put16(put16(p, lane->stray_pass), lane->stray_chute);
    }
    send(b, f, STATUS, (uint8_t)(p - f - HEADER), b->head);
    b->asked = 0;
}

static void speak(struct lwb *b) {
    if (!b->heard) return;
    if (b->next != b->acked + 1 && b->now_us - b->event_us > RESEND_US) b->next = b->acked + 1;
    for (int i = 0; i < EVENTS_A_TICK && frame_fits(b, 26); i++) {
        if (ahead(b->next, b->head) || b->next - b->acked > EVENT_WINDOW) break;
        send_event(b, b->next++);
    }
    if (b->asked && frame_fits(b, 70u + 16u * b->config.lanes)) send_status(b);
}

int lwb_tx(struct lwb *b) { return b->tx_out == b->tx_in ? -1 : b->tx[b->tx_out++ % LWB_TX]; }

void lwb_receive(struct lwb *b, const uint8_t *data, uint32_t count) {
    while (count--) lwb_rx(b, *data++);
}

uint32_t lwb_send(struct lwb *b, uint8_t *data, uint32_t most) {
    uint32_t n = 0;
    for (int byte; n < most && (byte = lwb_tx(b)) >= 0; n++) data[n] = (uint8_t)byte;
    return n;
}

/* ---- time ---- */

static void ages(struct lwb *b) {
    if (!b->beating) b->beating = 1, b->beat_us = b->now_us;
    uint32_t beats = (b->now_us - b->beat_us) / BEAT_US;
    b->beat = (uint16_t)(b->beat + beats), b->beat_us += beats * BEAT_US;
    if (b->heard && b->now_us - b->heard_us > TIMEOUT_US) b->heard = 0;
    if (b->fresh && b->now_us - b->fresh_us > TIMEOUT_US) b->fresh = 0;
    b->alive = b->fresh && !b->foreign;
    if (!b->alive) forget_permits(b);
    if (travelled(b->start_encoder, b->encoder) > b->config.pass_eye + b->config.window) b->settled = 1;
}

static void sync_shots(struct lwb *b) {
    uint32_t used = 0;
    for (int i = 0; i < b->config.trigger_count; i++) used |= 1u << b->config.trigger[i].station;
    for (int i = 0; i < LWB_STATIONS * SYNC_SHOTS; i++) {
        if (!(used >> i / SYNC_SHOTS & 1) || b->out.order_count >= LWB_ORDERS) continue;
        struct lwb_order *o = &b->out.order[b->out.order_count++];
        memset(o, 0, sizeof *o);
        o->station = (uint8_t)(i / SYNC_SHOTS), o->shot = (uint8_t)(i % SYNC_SHOTS), o->timed = 1;
        o->at_us = b->now_us + (o->shot + 1u) * SYNC_GAP_US;
    }
}

/* Obey the device while it is alive; while it is not, belt and infeed stay as they are. */
static void obey(struct lwb *b) {
    if (b->alive) {
        uint16_t rising = b->command & (uint16_t)~b->obeyed;
        b->obeyed = b->command;
        if (rising & RESET && !(b->command & ABORT)) b->tripped = 0;
        if (rising & SYNC && !lwb_in_flight(b)) sync_shots(b);
        b->out.run = !!(b->command & RUN);
        b->out.infeed = b->out.run && !(b->command & HOLD);
    }
    b->out.lamps = b->alive ? b->lamps : 0;
    if (b->latch_lost || (b->levels.inputs & b->config.must) != b->config.must) b->latch_lost = 0, b->tripped = 1;
}

static void take_latches(struct lwb *b) {
    while (b->latch_out != b->latch_in) {
        const struct lwb_latched *e = &b->latched[b->latch_out % LWB_LATCHES];
        const struct lwb_order *o = &e->order;
        if (e->kind == LWB_FIRED && o->station < LWB_STATIONS) {
            struct lwb_unit u = {0};
            u.epoch = o->epoch, u.number = o->number;
            push_event(b, EDGE_EVENT, o->station, ++b->edge_seq[o->station], &u, o->lane, o->shot, e->encoder, e->time_us);
        } else if (e->kind != LWB_FIRED && e->lane < b->config.lanes) {
            if (e->kind == LWB_INFEED) create(b, e->lane, e->time_us, e->encoder);
            else seen(b, (enum lwb_kind)e->kind, e->lane, e->encoder);
        }
        b->latch_out++;
    }
}

void lwb_latch(struct lwb *b, enum lwb_kind kind, uint8_t lane, uint32_t time_us, uint32_t encoder,
               const struct lwb_order *order) {
    if ((uint8_t)(b->latch_in - b->latch_out) >= LWB_LATCHES) { b->latch_lost = 1; return; }
    struct lwb_latched *e = &b->latched[b->latch_in % LWB_LATCHES];
    memset(e, 0, sizeof *e);
    e->kind = (uint8_t)kind, e->lane = lane, e->time_us = time_us, e->encoder = encoder;
    if (order) e->order = *order;
    b->latch_in++;
}

void lwb_tick(struct lwb *b, uint32_t now_us, uint32_t encoder, const struct lwb_levels *levels) {
    uint8_t before = b->out.spare[0];
    b->now_us = now_us, b->encoder = encoder, b->levels = *levels;
    b->out.order_count = b->out.step_count = 0;
    ages(b);
    obey(b);
    take_latches(b);
    for (uint8_t l = 0; l < b->config.lanes; l++) track(b, l);
    if (b->tripped) b->out.run = b->out.infeed = 0;
    for (uint8_t l = 0; l < b->config.lanes; l++) {
        if (b->tripped) b->lane[l].open = 0;
        b->out.spare[l] = b->lane[l].open;
        b->out.channel[l] = b->lane[l].ejecting ? b->lane[l].eject_channel : 0;
    }
    if (b->out.spare[0] != before) b->gate_encoder = encoder;
    speak(b);
}

/* ---- life ---- */

void lwb_init(struct lwb *b, const struct lwb_config *config) {
    memset(b, 0, sizeof *b);
    b->config = *config;
    if (b->config.lanes > LWB_LANES) b->config.lanes = LWB_LANES;
    if (b->config.trigger_count > LWB_TRIGGERS) b->config.trigger_count = LWB_TRIGGERS;
}

void lwb_start(struct lwb *b, uint32_t encoder, int retained) {
    const size_t kept = offsetof(struct lwb, levels), lane_kept = offsetof(struct lwb_lane, last_cause);
    if (!retained) memset(b->lane, 0, sizeof b->lane), b->epoch = 0, b->starts = 0;
    memset((uint8_t *)b + kept, 0, sizeof *b - kept);
    if (b->epoch != LAST_EPOCH) b->epoch++;
    b->starts = b->starts == 0xffff ? 1 : (uint16_t)(b->starts + 1);
    b->encoder = b->start_encoder = encoder, b->next = 1;
    for (int l = 0; l < LWB_LANES; l++) {
        struct lwb_lane *lane = &b->lane[l];
        memset((uint8_t *)lane + lane_kept, 0, sizeof *lane - lane_kept);
        if (!lane->next) lane->next = 1;
        for (int i = 0; i < lane->count; i++) {
            struct lwb_unit *u = &lane->unit[i];
            u->flags |= SURVIVED, u->permit = 0, u->channel = 0, u->armed = 0;
        }
    }
}

const struct lwb_outputs *lwb_outputs(const struct lwb *b) { return &b->out; }

uint32_t lwb_in_flight(const struct lwb *b) {
    uint32_t n = 0;
    for (int l = 0; l < b->config.lanes; l++) n += b->lane[l].count;
    return n;
}

uint32_t lwb_strays(const struct lwb *b, enum lwb_kind kind) {
    uint32_t n = 0;
    for (int l = 0; l < b->config.lanes; l++) n += kind == LWB_PASS ? b->lane[l].stray_pass : b->lane[l].stray_chute;
    return n;
}

uint32_t lwb_size(void) { return sizeof(struct lwb); }
