// The compilers of both plugins leak a few interned objects. Only what is allocated inside the calls that
// compile is left out, so that buffers, events and loaded programs that we forget still show.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() {
  return "leak:PJRT_Client_Compile_Args\nleak:PJRT_Compile_Args\n";
}

// The compilers nest deeper than the 30 frames kept by default.
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() {
  return "malloc_context_size=100";
}
