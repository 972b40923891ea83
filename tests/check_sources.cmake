# Fails if a source file lies where no build list sees it:  cmake -DROOT=... -P check_sources.cmake
#   src/**/*_test.cc    its room must be named in bitsmith_room_tests() of tests/CMakeLists.txt
#   src/**/*.cc         its room must be named in bitsmith_library() of CMakeLists.txt
#   src/**/*_bench.cc   bench/CMakeLists.txt finds them all
#   other folders       the nearest CMakeLists.txt names the file or globs its like; a file whose opening
#                       says how to build it by hand ("g++ ...") may stay outside
cmake_minimum_required(VERSION 3.24)
set(faults "")

# Sets `out` to the arguments, but the first, of all calls of `function` in `file`.
function(rooms_of function file out)
  file(READ ${file} text)
  string(REGEX REPLACE "#[^\n]*" "" text "${text}")
  string(REGEX MATCHALL "${function}\\([^)]*\\)" calls "${text}")
  set(rooms "")
  foreach(call ${calls})
    string(REGEX REPLACE "^[^(]*\\(|\\)$" "" arguments "${call}")
    string(REGEX REPLACE "[ \t\r\n]+" ";" arguments "${arguments}")
    list(POP_FRONT arguments)
    list(APPEND rooms ${arguments})
  endforeach()
  if(NOT rooms)
    message(FATAL_ERROR "${file} has no call of ${function}()")
  endif()
  set(${out} "${rooms}" PARENT_SCOPE)
endfunction()

rooms_of(bitsmith_library ${ROOT}/CMakeLists.txt library_rooms)
rooms_of(bitsmith_room_tests ${ROOT}/tests/CMakeLists.txt test_rooms)

file(GLOB_RECURSE sources RELATIVE ${ROOT}/src ${ROOT}/src/*.cc)
foreach(source ${sources})
  get_filename_component(room ${source} DIRECTORY)
  if(source MATCHES "_bench\\.cc$")
    continue()
  elseif(source MATCHES "_test\\.cc$")
    if(NOT room IN_LIST test_rooms)
      string(APPEND faults "  src/${source}: name '${room}' in tests/CMakeLists.txt\n")
    endif()
  elseif(NOT room IN_LIST library_rooms)
    string(APPEND faults "  src/${source}: name '${room}' in CMakeLists.txt\n")
  endif()
endforeach()
list(LENGTH sources count)
if(count EQUAL 0)
  message(FATAL_ERROR "${ROOT}/src has no sources")
endif()

foreach(folder apps bench examples fuzz tests)
  file(GLOB_RECURSE others RELATIVE ${ROOT} ${ROOT}/${folder}/*.cc)
  list(FILTER others EXCLUDE REGEX "/node_modules/")  # make clients
  foreach(source ${others})
    get_filename_component(name ${source} NAME)
    string(REGEX REPLACE "^.*_" "*_" pattern ${name})  # what a list may glob: *_fuzz.cc
    # The nearest CMakeLists.txt above the file.
    get_filename_component(directory ${source} DIRECTORY)
    while(directory AND NOT EXISTS ${ROOT}/${directory}/CMakeLists.txt)
      get_filename_component(directory ${directory} DIRECTORY)
    endwhile()
    file(READ ${ROOT}/${directory}/CMakeLists.txt text)
    string(FIND "${text}" "${name}" named)
    string(FIND "${text}" "${pattern}" globbed)
    file(READ ${ROOT}/${source} opening LIMIT 400)
    if(named EQUAL -1 AND globbed EQUAL -1 AND NOT opening MATCHES "g\\+\\+ ")
      string(APPEND faults "  ${source}: ${directory}/CMakeLists.txt does not build it\n")
    endif()
    math(EXPR count "${count} + 1")
  endforeach()
endforeach()

if(faults)
  message(FATAL_ERROR "files that nothing builds:\n${faults}")
endif()
message(STATUS "${count} source files, all of them built")
