# Install and export rules: find_package(bitsmith) gives bitsmith::runtime (no torch), and with it
# bitsmith::methods and bitsmith::bitsmith. tests/consumer proves them.
include(CMakePackageConfigHelpers)

set_target_properties(bitsmith_runtime PROPERTIES EXPORT_NAME runtime)
set_target_properties(bitsmith_methods PROPERTIES EXPORT_NAME methods)
set(libraries bitsmith_runtime bitsmith_methods)
if(BITSMITH_TORCH)
  list(APPEND libraries bitsmith torch_headers)
endif()

# Programs and libraries find each other wherever the prefix is moved. bitsmith-compiler lies where
# apps/compiler.cc looks for it.
set(compiler_folder ${CMAKE_INSTALL_LIBEXECDIR}/bitsmith)
file(RELATIVE_PATH from_bin /${CMAKE_INSTALL_BINDIR} /${CMAKE_INSTALL_LIBDIR})
file(RELATIVE_PATH from_compiler /${compiler_folder} /${CMAKE_INSTALL_LIBDIR})
foreach(library ${libraries})
  if(NOT library STREQUAL "torch_headers")
    set_property(TARGET ${library} APPEND PROPERTY INSTALL_RPATH "$ORIGIN")
  endif()
endforeach()
set_property(TARGET bitsmith_cli PROPERTY INSTALL_RPATH "$ORIGIN/${from_bin}")
install(TARGETS bitsmith_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
if(BITSMITH_TORCH)
  set_property(TARGET bitsmith_compiler PROPERTY INSTALL_RPATH "$ORIGIN/${from_compiler}")
  install(TARGETS bitsmith_compiler RUNTIME DESTINATION ${compiler_folder})
  # A libtorch or OpenBLAS outside the system's folders stays where it is.
  set_target_properties(bitsmith bitsmith_compiler PROPERTIES INSTALL_RPATH_USE_LINK_PATH ON)
endif()
set_target_properties(bitsmith_methods PROPERTIES INSTALL_RPATH_USE_LINK_PATH ON)

install(TARGETS ${libraries} EXPORT bitsmith-targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT bitsmith-targets NAMESPACE bitsmith:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/bitsmith)
install(DIRECTORY src/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/bitsmith
        FILES_MATCHING PATTERN "*.h" PATTERN "*test*.h" EXCLUDE)
install(DIRECTORY recipes DESTINATION ${CMAKE_INSTALL_DATADIR}/bitsmith)
configure_package_config_file(cmake/bitsmith-config.cmake.in bitsmith-config.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/bitsmith)
write_basic_package_version_file(bitsmith-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/bitsmith-config.cmake
              ${PROJECT_BINARY_DIR}/bitsmith-config-version.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/bitsmith)
