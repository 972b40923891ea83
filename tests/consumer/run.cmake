# Installs a build of bitsmith into a folder of its own, builds the project of this folder against
# it, and runs what was built and what was installed.
#   cmake -DBUILD=<bitsmith's build> -DWORK=<folder, emptied> -DMODEL=<a model> [-DCXX=<compiler>
#         -DFLAGS=<compiler flags>] -P run.cmake
cmake_minimum_required(VERSION 3.24)
file(REMOVE_RECURSE ${WORK})
unset(ENV{DESTDIR})
unset(ENV{LD_LIBRARY_PATH})

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT status EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "${command}\nfailed: ${status}\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/installed)
run(${CMAKE_COMMAND} -S ${CMAKE_CURRENT_LIST_DIR} -B ${WORK}/build -DCMAKE_BUILD_TYPE=Release
    -DCMAKE_PREFIX_PATH=${WORK}/installed -DCMAKE_CXX_COMPILER=${CXX} -DCMAKE_CXX_FLAGS=${FLAGS})
run(${CMAKE_COMMAND} --build ${WORK}/build)
set(prompt "It was a dark night, and the captain")
run(${WORK}/build/consumer ${MODEL} ${prompt})
message(STATUS "${output}")
string(FIND "${output}" "${prompt}" at)
string(LENGTH "${prompt}" length)
string(LENGTH "${output}" written)
if(NOT at EQUAL 0 OR NOT written GREATER length)
  message(FATAL_ERROR "the consumer should continue '${prompt}'; it wrote '${output}'")
endif()

# The installed programs find their libraries and each other, wherever the prefix lies.
file(RENAME ${WORK}/installed ${WORK}/moved)
run(${WORK}/moved/bin/bitsmith inspect ${MODEL})
if(EXISTS ${WORK}/moved/libexec/bitsmith/bitsmith-compiler)
  run(${WORK}/moved/bin/bitsmith compress --help)
endif()
