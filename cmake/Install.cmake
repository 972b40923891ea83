# Install and export rules: find_package(bitsmith) gives bitsmith::runtime and bitsmith::bitsmith.
include(CMakePackageConfigHelpers)

set_target_properties(bitsmith_runtime PROPERTIES EXPORT_NAME runtime)
set_target_properties(bitsmith_methods PROPERTIES EXPORT_NAME methods)
set(libraries bitsmith_runtime bitsmith_methods)
if(BITSMITH_TORCH)
  list(APPEND libraries bitsmith torch_headers)
endif()
install(TARGETS ${libraries} EXPORT bitsmith-targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT bitsmith-targets NAMESPACE bitsmith:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/bitsmith)
install(DIRECTORY src/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/bitsmith FILES_MATCHING PATTERN "*.h")
install(DIRECTORY recipes DESTINATION ${CMAKE_INSTALL_DATADIR}/bitsmith)
configure_package_config_file(cmake/bitsmith-config.cmake.in bitsmith-config.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/bitsmith)
write_basic_package_version_file(bitsmith-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/bitsmith-config.cmake
              ${PROJECT_BINARY_DIR}/bitsmith-config-version.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/bitsmith)
