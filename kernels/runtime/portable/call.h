// How XLA calls an operation: its C interface (xla/ffi/api/c_api.h), as the types that operations take. XLA's own C++
// header does this too, but takes a second of compiling per source and one or two more per handler.
//
// Only this plumbing is common to native/ and referee/; nothing here computes.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "xla/ffi/api/c_api.h"

// CALL_EXPORT(dot, Dot, "one", "two") makes the handler `dot` of the function Dot. Its parameters are in order: perhaps
// the ThreadPool, the AnyBuffers or RemainingArgs, the Results or RemainingRets, then these attributes. Everything
// else of a library is hidden (-fvisibility=hidden), so that two levels loaded into one process share nothing.
#define CALL_EXPORT(name, function, ...)                                                                  \
  extern "C" __attribute__((visibility("default"))) XLA_FFI_Error* name(XLA_FFI_CallFrame* frame);        \
  extern "C" XLA_FFI_Error* name(XLA_FFI_CallFrame* frame) {                                              \
    return call::handle(frame, function, {__VA_ARGS__});                                                  \
  }

namespace call {

enum DataType : int {
  PRED = XLA_FFI_DataType_PRED,
  S8 = XLA_FFI_DataType_S8,
  S16 = XLA_FFI_DataType_S16,
  S32 = XLA_FFI_DataType_S32,
  S64 = XLA_FFI_DataType_S64,
  U8 = XLA_FFI_DataType_U8,
  U16 = XLA_FFI_DataType_U16,
  U32 = XLA_FFI_DataType_U32,
  U64 = XLA_FFI_DataType_U64,
  F16 = XLA_FFI_DataType_F16,
  BF16 = XLA_FFI_DataType_BF16,
  F32 = XLA_FFI_DataType_F32,
  F64 = XLA_FFI_DataType_F64,
  C64 = XLA_FFI_DataType_C64,
  C128 = XLA_FFI_DataType_C128,
};

// 0 for a type that no operation takes.
inline size_t ByteWidth(DataType type) {
  switch (type) {
    case PRED:
    case S8:
    case U8: return 1;
    case S16:
    case U16:
    case F16:
    case BF16: return 2;
    case S32:
    case U32:
    case F32: return 4;
    case S64:
    case U64:
    case F64:
    case C64: return 8;
    case C128: return 16;
  }
  return 0;
}

template <typename T>
class Span {
 public:
  Span() = default;
  Span(T* data, size_t size) : data_(data), size_(size) {}
  T* begin() const { return data_; }
  T* end() const { return data_ + size_; }
  size_t size() const { return size_; }
  T& operator[](size_t i) const { return data_[i]; }
  T& back() const { return data_[size_ - 1]; }

 private:
  T* data_ = nullptr;
  size_t size_ = 0;
};

// A dense row-major array; a view that may be copied.
class AnyBuffer {
 public:
  explicit AnyBuffer(const void* buffer) : buffer_(static_cast<const XLA_FFI_Buffer*>(buffer)) {}
  DataType element_type() const { return static_cast<DataType>(buffer_->dtype); }
  Span<const int64_t> dimensions() const { return {buffer_->dims, static_cast<size_t>(buffer_->rank)}; }
  void* untyped_data() const { return buffer_->data; }
  template <typename T>
  T* typed_data() const {
    return static_cast<T*>(buffer_->data);
  }
  size_t element_count() const {
    size_t count = 1;
    for (const int64_t dimension : dimensions()) count *= static_cast<size_t>(dimension);
    return count;
  }
  size_t size_bytes() const { return ByteWidth(element_type()) * element_count(); }

 private:
  const XLA_FFI_Buffer* buffer_;
};

template <typename T>
class Result {
 public:
  explicit Result(T value) : value_(value) {}
  T* operator->() { return &value_; }
  T& operator*() { return value_; }

 private:
  T value_;
};

// All the arguments, or all the results.
class Buffers {
 public:
  Buffers(void* const* buffers, int64_t size) : buffers_(buffers), size_(static_cast<size_t>(size)) {}
  size_t size() const { return size_; }
  AnyBuffer operator[](size_t i) const { return AnyBuffer(buffers_[i]); }

 private:
  void* const* buffers_;
  size_t size_;
};
struct RemainingArgs : Buffers {
  using Buffers::Buffers;
};
struct RemainingRets : Buffers {
  using Buffers::Buffers;
};

// Null, or a text that lives as long as the library.
class Error {
 public:
  static Error Success() { return Error(nullptr); }
  static Error InvalidArgument(const char* message) { return Error(message); }
  const char* message() const { return message_; }

 private:
  explicit Error(const char* message) : message_(message) {}
  const char* message_;
};

inline bool dropped(const XLA_FFI_Api* api, XLA_FFI_Error* error) {
  if (error == nullptr) return false;
  XLA_FFI_Error_Destroy_Args args{XLA_FFI_Error_Destroy_Args_STRUCT_SIZE, nullptr, error};
  api->XLA_FFI_Error_Destroy(&args);
  return true;
}

// XLA's threads.
class ThreadPool {
 public:
  ThreadPool(const XLA_FFI_Api* api, XLA_FFI_ExecutionContext* context) : api_(api), context_(context) {}

  int64_t num_threads() const {
    int64_t threads = 0;
    XLA_FFI_ThreadPool_NumThreads_Args args{XLA_FFI_ThreadPool_NumThreads_Args_STRUCT_SIZE, nullptr, context_,
                                            &threads};
    return dropped(api_, api_->XLA_FFI_ThreadPool_NumThreads(&args)) ? 0 : threads;
  }

  // task(data) once, on any of them; here if there are none.
  void schedule(void (*task)(void*), void* data) const {
    XLA_FFI_ThreadPool_Schedule_Args args{XLA_FFI_ThreadPool_Schedule_Args_STRUCT_SIZE, nullptr, context_, task, data};
    if (dropped(api_, api_->XLA_FFI_ThreadPool_Schedule(&args))) task(data);
  }

 private:
  const XLA_FFI_Api* api_;
  XLA_FFI_ExecutionContext* context_;
};

// Takes a call apart, one parameter after the other; the first that isn't there is the error.
class Reader {
 public:
  Reader(const XLA_FFI_CallFrame* frame, std::initializer_list<const char*> names) : frame_(frame), names_(names) {
    if (frame->stage != XLA_FFI_ExecutionStage_EXECUTE) fail("a stage that no operation has");
    if (frame->attrs.size != static_cast<int64_t>(names.size())) fail("other attributes than the operation's");
  }

  const void* argument() {
    if (arguments_ < frame_->args.size) return frame_->args.args[arguments_++];
    fail("fewer arguments than the operation's");
    return nullptr;
  }
  const void* result() {
    if (results_ < frame_->rets.size) return frame_->rets.rets[results_++];
    fail("fewer results than the operation's");
    return nullptr;
  }
  RemainingArgs arguments() {
    RemainingArgs all(frame_->args.args + arguments_, frame_->args.size - arguments_);
    arguments_ = frame_->args.size;
    return all;
  }
  RemainingRets results() {
    RemainingRets all(frame_->rets.rets + results_, frame_->rets.size - results_);
    results_ = frame_->rets.size;
    return all;
  }
  ThreadPool pool() const { return {frame_->api, frame_->ctx}; }

  // The next attribute's value, which must be of this type; null and an error if it is not.
  const void* scalar(DataType type) {
    const auto* value = static_cast<const XLA_FFI_Scalar*>(attribute(XLA_FFI_AttrType_SCALAR));
    if (value != nullptr && static_cast<int>(value->dtype) == type) return value->value;
    fail("an attribute of another type");
    return nullptr;
  }
  Span<const int64_t> numbers() {
    const auto* value = static_cast<const XLA_FFI_Array*>(attribute(XLA_FFI_AttrType_ARRAY));
    if (value != nullptr && static_cast<int>(value->dtype) == S64) {
      return {static_cast<const int64_t*>(value->data), value->size};
    }
    fail("an attribute of another type");
    return {};
  }

  // Whether the call has all that was read, and no more.
  bool done() {
    if (arguments_ != frame_->args.size) fail("more arguments than the operation's");
    if (results_ != frame_->rets.size) fail("more results than the operation's");
    return error_ == nullptr;
  }
  Error error() const { return Error::InvalidArgument(error_); }

 private:
  void fail(const char* message) {
    if (error_ == nullptr) error_ = message;
  }
  const void* attribute(XLA_FFI_AttrType type) {
    const char* name = names_.begin()[attributes_++];
    for (int64_t i = 0; i < frame_->attrs.size; ++i) {
      const XLA_FFI_ByteSpan& given = *frame_->attrs.names[i];
      if (given.len != __builtin_strlen(name) || __builtin_memcmp(given.ptr, name, given.len) != 0) continue;
      return frame_->attrs.types[i] == type ? frame_->attrs.attrs[i] : nullptr;
    }
    return nullptr;
  }

  const XLA_FFI_CallFrame* frame_;
  std::initializer_list<const char*> names_;
  int64_t arguments_ = 0, results_ = 0, attributes_ = 0;
  const char* error_ = nullptr;
};

template <typename Parameter>
struct Read;
template <>
struct Read<ThreadPool> {
  static ThreadPool from(Reader& call) { return call.pool(); }
};
template <>
struct Read<AnyBuffer> {
  static AnyBuffer from(Reader& call) { return AnyBuffer(call.argument()); }
};
template <>
struct Read<Result<AnyBuffer>> {
  static Result<AnyBuffer> from(Reader& call) { return Result<AnyBuffer>(AnyBuffer(call.result())); }
};
template <>
struct Read<RemainingArgs> {
  static RemainingArgs from(Reader& call) { return call.arguments(); }
};
template <>
struct Read<RemainingRets> {
  static RemainingRets from(Reader& call) { return call.results(); }
};
template <>
struct Read<bool> {
  static bool from(Reader& call) {
    const void* value = call.scalar(PRED);
    return value != nullptr && *static_cast<const bool*>(value);
  }
};
template <>
struct Read<int32_t> {
  static int32_t from(Reader& call) {
    const void* value = call.scalar(S32);
    return value == nullptr ? 0 : *static_cast<const int32_t*>(value);
  }
};
template <>
struct Read<int64_t> {
  static int64_t from(Reader& call) {
    const void* value = call.scalar(S64);
    return value == nullptr ? 0 : *static_cast<const int64_t*>(value);
  }
};
template <>
struct Read<Span<const int64_t>> {
  static Span<const int64_t> from(Reader& call) { return call.numbers(); }
};

// The function's error, once it was called; a constructor, for only in braces are arguments evaluated in order.
template <typename... Parameters>
struct Called {
  Error error;
  Called(Reader& call, Error (*function)(Parameters...), Parameters... parameters)
      : error(call.done() ? function(parameters...) : call.error()) {}
};

// True if XLA only asked which interface this was compiled for, as it does once for each handler.
inline bool described(XLA_FFI_CallFrame* frame) {
  XLA_FFI_Extension_Base* extension = frame->extension_start;
  if (extension == nullptr || extension->type != XLA_FFI_Extension_Metadata) return false;
  XLA_FFI_Metadata* metadata = reinterpret_cast<XLA_FFI_Metadata_Extension*>(extension)->metadata;
  metadata->api_version = {XLA_FFI_Api_Version_STRUCT_SIZE, nullptr, XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR};
  metadata->traits = 0;
  metadata->state_type_id = XLA_FFI_UNKNOWN_TYPE_ID;
  return true;
}

// Asks for the system's large pages where a result has room for some. XLA takes fresh memory for each large result, and
// a fault for every 4 KiB of it costs more than most operations that fill it (32 MiB: 13 ms of faults, 2 ms of exp).
inline void ask_for_large_pages(const XLA_FFI_Buffer& result) {
  constexpr uintptr_t kPage = 2 << 20;
  const AnyBuffer view(&result);
  const size_t bytes = view.size_bytes();
  if (bytes < 2 * kPage) return;
  const uintptr_t data = reinterpret_cast<uintptr_t>(result.data);
  const uintptr_t begin = (data + kPage - 1) & ~(kPage - 1), end = (data + bytes) & ~(kPage - 1);
  (void)madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);  // a system without them refuses: no harm
}

template <typename... Parameters>
XLA_FFI_Error* handle(XLA_FFI_CallFrame* frame, Error (*function)(Parameters...),
                      std::initializer_list<const char*> names) {
  if (described(frame)) return nullptr;
  for (int64_t i = 0; i < frame->rets.size; ++i) {
    ask_for_large_pages(*static_cast<const XLA_FFI_Buffer*>(frame->rets.rets[i]));
  }
  Reader reader(frame, names);
  const Error error = Called<Parameters...>{reader, function, Read<Parameters>::from(reader)...}.error;
  if (error.message() == nullptr) return nullptr;
  XLA_FFI_Error_Create_Args args{XLA_FFI_Error_Create_Args_STRUCT_SIZE, nullptr, error.message(),
                                 XLA_FFI_Error_Code_INVALID_ARGUMENT};
  return frame->api->XLA_FFI_Error_Create(&args);
}

}  // namespace call
