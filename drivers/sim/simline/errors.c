/* Error text of the last failed call, and the "size query, then copy" answers that every GenTL info call gives. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "simline.h"

static _Thread_local int32_t last_code;
static _Thread_local char last_text[256];

int32_t fail(enum gc_error code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(last_text, sizeof last_text, format, arguments);
  va_end(arguments);
  return last_code = code;
}

GC_API GCGetLastError(int32_t *code, char *text, size_t *size) {
  if (code) *code = last_code;
  return give(NULL, text, size, GC_TYPE_STRING, last_text, strlen(last_text) + 1);
}

int32_t give(int32_t *type, void *out, size_t *size, enum gc_info_type kind, const void *value, size_t length) {
  if (!size) return GC_ERR_INVALID_PARAMETER;
  if (type) *type = kind;
  if (out) {
    if (*size < length) return fail(GC_ERR_BUFFER_TOO_SMALL, "the answer needs %zu bytes", length);
    memcpy(out, value, length);
  }
  *size = length;
  return GC_OK;
}

int32_t give_string(int32_t *type, void *out, size_t *size, const char *value) {
  return give(type, out, size, GC_TYPE_STRING, value, strlen(value) + 1);
}

int32_t give_bool(int32_t *type, void *out, size_t *size, bool value) {
  gc_bool8 answer = value;
  return give(type, out, size, GC_TYPE_BOOL8, &answer, sizeof answer);
}

int32_t give_i32(int32_t *type, void *out, size_t *size, int32_t value) {
  return give(type, out, size, GC_TYPE_INT32, &value, sizeof value);
}

int32_t give_u32(int32_t *type, void *out, size_t *size, uint32_t value) {
  return give(type, out, size, GC_TYPE_UINT32, &value, sizeof value);
}

int32_t give_u64(int32_t *type, void *out, size_t *size, uint64_t value) {
  return give(type, out, size, GC_TYPE_UINT64, &value, sizeof value);
}

int32_t give_size(int32_t *type, void *out, size_t *size, size_t value) {
  return give(type, out, size, GC_TYPE_SIZET, &value, sizeof value);
}

int32_t give_pointer(int32_t *type, void *out, size_t *size, const void *value) {
  return give(type, out, size, GC_TYPE_PTR, &value, sizeof value);
}
