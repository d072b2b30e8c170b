// The compilers of both plugins leak a few interned objects. Only what is allocated inside the call that
// compiles is left out, so that buffers, events and loaded programs that we forget still show.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() {
  return "leak:PJRT_Client_Compile_Args\nleak:PJRT_Compile_Args\nleak:xla::cpu::ThunkEmitter\n";
}
