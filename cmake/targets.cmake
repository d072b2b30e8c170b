# One static library per folder of src/. It names the folders whose headers its files include, no more and no fewer, as the
# table of docs/architecture.md does: tests/structure compares all three.
add_library(gavel_options INTERFACE)
target_compile_options(gavel_options INTERFACE -Wall -Wextra -Wpedantic -Werror -Wno-missing-field-initializers
  # GCC 12's own std::stable_sort uses what the standard has deprecated, which clang says of our code.
  $<$<CXX_COMPILER_ID:Clang>:-Wno-deprecated-declarations>)
target_include_directories(gavel_options INTERFACE ${CMAKE_SOURCE_DIR}/src)
target_link_libraries(gavel_options INTERFACE fmt::fmt)
if(GAVEL_SANITIZE)
  # GCC 12 takes the standard library's own moves for reads of what was never written, once they are instrumented.
  target_compile_options(gavel_options INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  target_compile_options(gavel_options INTERFACE -fsanitize=${GAVEL_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(gavel_options INTERFACE -fsanitize=${GAVEL_SANITIZE})
endif()

# Each folder is compiled as one file: most of what a file takes goes into the headers that all of a folder share. It costs
# time when one file changes, so `-DGAVEL_UNITY=OFF` is there for those who work on Gavel.
option(GAVEL_UNITY "compile each folder as one file" ON)
function(gavel_as_one_file target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${GAVEL_UNITY} UNITY_BUILD_BATCH_SIZE 0)
endfunction()

# gavel_library(NAME dep...): all *.cpp of the current folder and of those in it, but main.cpp.
function(gavel_library name)
  file(GLOB sources CONFIGURE_DEPENDS *.cpp */*.cpp)
  list(FILTER sources EXCLUDE REGEX "/main\\.cpp$")
  add_library(gavel_${name} STATIC ${sources})
  target_link_libraries(gavel_${name} PUBLIC gavel_options PRIVATE ${ARGN})
  gavel_as_one_file(gavel_${name})
endfunction()

# gavel_compiles_fast(TARGET): for code that is run once or seldom. Half of what -O3 takes to compile goes into inlining that
# such code does not need.
function(gavel_compiles_fast target)
  if(CMAKE_BUILD_TYPE STREQUAL "Release")
    target_compile_options(${target} PRIVATE -O1)
  endif()
endfunction()

# gavel_test(NAME dep...): all *_test.cpp of tests/NAME as one program.
function(gavel_test name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cpp)
  add_executable(test_${name} ${sources})
  gavel_as_one_file(test_${name})
  target_link_libraries(test_${name} PRIVATE gavel_options GTest::gtest GTest::gmock GTest::gtest_main ${ARGN})
  target_include_directories(test_${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_compile_definitions(test_${name} PRIVATE GAVEL_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
                             GAVEL_BINARY_DIR="${CMAKE_BINARY_DIR}")
  gavel_compiles_fast(test_${name})
  gtest_discover_tests(test_${name} DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 600)
endfunction()
