# A room is a folder of src/. Its sources are globbed, so adding a method is adding a file.

add_library(bitsmith_flags INTERFACE)
target_compile_options(bitsmith_flags INTERFACE
  $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>  # lets ccache cache what uses precompiled headers
  -Wall -Wextra -Wpedantic -Wshadow $<$<BOOL:${BITSMITH_WERROR}>:-Werror>
  # GCC 12 at -O3 sees overlaps and overflows in std::string and fmt that are not there (GCC bug 105651).
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict -Wno-stringop-overflow>)
target_compile_definitions(bitsmith_flags INTERFACE BITSMITH_VERSION="${PROJECT_VERSION}")

# bitsmith_library(name room...): a shared library, so that methods that register themselves are
# never dropped by the linker; with "no as needed", since g++ drops whole libraries of which a program
# names no symbol (`bitsmith list` names none of the methods).
function(bitsmith_library name)
  set(sources)
  foreach(room ${ARGN})
    file(GLOB files CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${room}/*.cc)
    list(FILTER files EXCLUDE REGEX "_(test|bench)\\.cc$")
    list(APPEND sources ${files})
  endforeach()
  add_library(${name} SHARED ${sources})
  set_target_properties(${name} PROPERTIES VERSION ${PROJECT_VERSION})
  target_include_directories(${name} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/bitsmith>)
  target_link_libraries(${name} PRIVATE $<BUILD_INTERFACE:bitsmith_flags>)
  target_link_options(${name} INTERFACE $<$<PLATFORM_ID:Linux>:LINKER:--no-as-needed>)
  target_precompile_headers(${name} PRIVATE ${PROJECT_SOURCE_DIR}/cmake/pch.h)
endfunction()

# bitsmith_room_tests(library room...): one test program per room, of all its *_test.cc files.
function(bitsmith_room_tests library)
  foreach(room ${ARGN})
    string(REPLACE "/" "_" program "test_${room}")
    file(GLOB files CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${room}/*_test.cc)
    if(files)
      add_executable(${program} ${files})
      target_link_libraries(${program} PRIVATE ${library} bitsmith_flags GTest::gmock GTest::gtest_main)
      # Only tests know where the source lies: another folder then finds the library's objects in ccache.
      target_compile_definitions(${program} PRIVATE BITSMITH_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
      gtest_discover_tests(${program} TEST_PREFIX "${room}: " PROPERTIES TIMEOUT 900
                           DISCOVERY_TIMEOUT 60)
    endif()
  endforeach()
endfunction()
