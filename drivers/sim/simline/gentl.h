/* Constants and records of the GenTL 1.6 C interface that simline.cti implements.
 * Written from the published standard (EMVA GenTL 1.6); no vendor header is included. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define GC_API __attribute__((visibility("default"))) int32_t

typedef void *gc_handle;
typedef int8_t gc_bool8;

enum gc_error {
  GC_OK = 0,
  GC_ERR_ERROR = -1001,
  GC_ERR_NOT_INITIALIZED = -1002,
  GC_ERR_NOT_IMPLEMENTED = -1003,
  GC_ERR_RESOURCE_IN_USE = -1004,
  GC_ERR_ACCESS_DENIED = -1005,
  GC_ERR_INVALID_HANDLE = -1006,
  GC_ERR_INVALID_ID = -1007,
  GC_ERR_NO_DATA = -1008,
  GC_ERR_INVALID_PARAMETER = -1009,
  GC_ERR_IO = -1010,
  GC_ERR_TIMEOUT = -1011,
  GC_ERR_ABORT = -1012,
  GC_ERR_NOT_AVAILABLE = -1014,
  GC_ERR_INVALID_ADDRESS = -1015,
  GC_ERR_BUFFER_TOO_SMALL = -1016,
  GC_ERR_INVALID_INDEX = -1017,
  GC_ERR_BUSY = -1022,
};

enum gc_info_type {
  GC_TYPE_STRING = 1,
  GC_TYPE_INT32 = 5,
  GC_TYPE_UINT32 = 6,
  GC_TYPE_UINT64 = 8,
  GC_TYPE_PTR = 10,
  GC_TYPE_BOOL8 = 11,
  GC_TYPE_SIZET = 12,
};

enum gc_tl_info { TL_ID, TL_VENDOR, TL_MODEL, TL_VERSION, TL_TLTYPE, TL_NAME, TL_PATHNAME, TL_DISPLAYNAME,
                  TL_CHAR_ENCODING, TL_GENTL_MAJOR, TL_GENTL_MINOR };
enum gc_if_info { IF_ID, IF_DISPLAYNAME, IF_TLTYPE };
enum gc_dev_info { DEV_ID, DEV_VENDOR, DEV_MODEL, DEV_TLTYPE, DEV_DISPLAYNAME, DEV_ACCESS_STATUS, DEV_USER_NAME,
                   DEV_SERIAL, DEV_VERSION, DEV_TIMESTAMP_FREQUENCY };
enum gc_dev_status { DEV_STATUS_READWRITE = 1, DEV_STATUS_OPEN_READWRITE = 5 };
enum gc_port_info { PORT_ID, PORT_VENDOR, PORT_MODEL, PORT_TLTYPE, PORT_MODULE, PORT_LITTLE_ENDIAN, PORT_BIG_ENDIAN,
                    PORT_ACCESS_READ, PORT_ACCESS_WRITE, PORT_ACCESS_NA, PORT_ACCESS_NI, PORT_VERSION,
                    PORT_PORTNAME };
enum gc_url_info { URL_URL, URL_SCHEMA_MAJOR, URL_SCHEMA_MINOR, URL_FILE_MAJOR, URL_FILE_MINOR, URL_FILE_SUBMINOR,
                   URL_SHA1, URL_ADDRESS, URL_SIZE, URL_SCHEME, URL_FILENAME };
enum gc_event_type { EVENT_ERROR, EVENT_NEW_BUFFER };
enum gc_event_info { EVENT_INFO_TYPE, EVENT_INFO_IN_QUEUE, EVENT_INFO_FIRED, EVENT_INFO_SIZE_MAX,
                     EVENT_INFO_DATA_SIZE_MAX };
enum gc_queue_op { QUEUE_INPUT_TO_OUTPUT, QUEUE_OUTPUT_DISCARD, QUEUE_ALL_TO_INPUT, QUEUE_UNQUEUED_TO_INPUT,
                   QUEUE_ALL_DISCARD };
enum gc_stream_info { STREAM_ID, STREAM_DELIVERED, STREAM_UNDERRUN, STREAM_ANNOUNCED, STREAM_QUEUED,
                      STREAM_AWAIT_DELIVERY, STREAM_STARTED, STREAM_PAYLOAD_SIZE, STREAM_GRABBING,
                      STREAM_DEFINES_PAYLOAD, STREAM_TLTYPE, STREAM_CHUNKS_MAX, STREAM_ANNOUNCE_MIN,
                      STREAM_ALIGNMENT };
enum gc_buffer_info {
  BUFFER_BASE = 0, BUFFER_SIZE = 1, BUFFER_USER_PTR = 2, BUFFER_TIMESTAMP = 3, BUFFER_NEW_DATA = 4,
  BUFFER_IS_QUEUED = 5, BUFFER_IS_ACQUIRING = 6, BUFFER_IS_INCOMPLETE = 7, BUFFER_TLTYPE = 8,
  BUFFER_SIZE_FILLED = 9, BUFFER_WIDTH = 10, BUFFER_HEIGHT = 11, BUFFER_XOFFSET = 12, BUFFER_YOFFSET = 13,
  BUFFER_XPADDING = 14, BUFFER_YPADDING = 15, BUFFER_FRAMEID = 16, BUFFER_IMAGEPRESENT = 17,
  BUFFER_IMAGEOFFSET = 18, BUFFER_PAYLOADTYPE = 19, BUFFER_PIXELFORMAT = 20, BUFFER_PIXELFORMAT_NAMESPACE = 21,
  BUFFER_DELIVERED_HEIGHT = 22, BUFFER_DELIVERED_CHUNK = 23, BUFFER_CHUNKLAYOUT = 24, BUFFER_PIXEL_ENDIANNESS = 26,
  BUFFER_DATA_SIZE = 27, BUFFER_TIMESTAMP_NS = 28, BUFFER_LARGER_THAN_BUFFER = 29, BUFFER_CONTAINS_CHUNKDATA = 30,
  BUFFER_IS_COMPOSITE = 31,
};

#define GC_PFNC_MONO8 0x01080001u
#define GC_PAYLOAD_IMAGE 1u
#define GC_NAMESPACE_PFNC_32BIT 4u

typedef struct __attribute__((packed)) { gc_handle buffer; void *user; } gc_new_buffer_event;
typedef struct __attribute__((packed)) { uint64_t id; ptrdiff_t offset; size_t length; } gc_chunk;
typedef struct __attribute__((packed)) { uint64_t address; void *buffer; size_t size; } gc_register_access;
typedef struct __attribute__((packed)) {
  int32_t command, type; void *buffer; size_t size; int32_t result;
} gc_buffer_info_request;
