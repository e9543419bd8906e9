/* What the box (drivers/sim/camera_feed.py) and the camera head (this producer) agree on.
 *
 * Optics: one memfd = header page, scene table, pool of pictures.  The box writes what stands before the lens and
 * from when to when; the camera looks there at the instant of its exposure.
 * Wires: a SOCK_SEQPACKET socket with 64-byte messages; an EDGE says that a line rises at `when_ns`.
 * All times are CLOCK_MONOTONIC nanoseconds, all fields little-endian.  Change SL_VERSION with any field. */
#pragma once
#include <stdint.h>

#define SL_MAGIC 0x4E494C53u
#define SL_VERSION 1u
#define SL_NAME 32
#define SL_SCENES 64

typedef struct {
  uint32_t magic, version;
  uint32_t width, height, pixel_format;
  uint32_t pictures, background; /* pool size; picture shown where no scene is valid */
  uint32_t acquisitions;         /* written by the camera: ordinal of the newest AcquisitionStart */
  uint64_t scene_offset, pool_offset;
  int64_t boot_ns;               /* the device clock reads 0 at this instant */
  int64_t drift_ppb;
  uint64_t jitter_ns;            /* each time stamp is off by up to +- this much */
  uint64_t exposure_ns, readout_ns;
  uint64_t busy_ns;              /* a trigger sooner than this after an exposure start is missed; 0: exposure+readout */
  uint32_t truth_lost;           /* written by the camera: EXPOSED messages that the box was too slow to take */
  uint32_t options;              /* sl_option; the high half is how many frame ids an acquisition skips at its start */
  char serial[SL_NAME], model[SL_NAME], user_id[SL_NAME];
} sl_header;

/* `generation` is 0 while the entry is being written and rises with every entry; the newest valid entry counts. */
typedef struct { uint64_t generation; int64_t from_ns, to_ns; uint64_t picture; } sl_scene;

/* GEV16: block ids as GigE Vision 1.x sends them, 1 to 65535 and then 1 again.  WAIT: a frame without a free buffer
 * waits for one instead of being dropped, as producers without a camera behind them do. */
enum sl_option { SL_O_GEV16 = 1, SL_O_WAIT = 2 };

enum sl_type { SL_HELLO = 1, SL_WELCOME = 2, SL_EDGE = 3, SL_FAULT = 4, SL_EXPOSED = 5, SL_ACQUISITION = 6,
               SL_RESET = 7 };
enum sl_fault { SL_BUSY = 1, SL_DROP_FRAME, SL_DUP_FRAME, SL_REORDER, SL_INCOMPLETE, SL_STALE,
                SL_CORRUPT };
enum sl_flag { SL_F_DELIVERED = 1, SL_F_UNDERRUN = 2, SL_F_DROPPED = 4, SL_F_DUPLICATED = 8, SL_F_REORDERED = 16,
               SL_F_INCOMPLETE = 32, SL_F_STALE = 64, SL_F_CORRUPT = 128 };

typedef struct {
  uint32_t type, code;    /* code: line of an edge, kind of a fault, 1/0 = acquisition started/stopped */
  int64_t when_ns;        /* due time of an edge, first instant a fault may strike, exposure start */
  int64_t value;          /* encoder counts, argument of a fault */
  uint64_t frame_id, device_ts;
  uint32_t picture, ordinal, flags, line_status;
  uint64_t reserved;
} sl_message;

_Static_assert(sizeof(sl_message) == 64, "camera_feed.py packs 64-byte messages");
_Static_assert(sizeof(sl_header) == 200, "camera_feed.py packs a 200-byte header");
_Static_assert(sizeof(sl_scene) == 32, "camera_feed.py packs 32-byte scenes");
