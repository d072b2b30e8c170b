# What `cmake --install` puts under a prefix; src/base/own_files.h looks for it there. tools/make_dist.py adds the libraries
# that the program needs, and packs it.
install(TARGETS gavel RUNTIME DESTINATION bin)
# An old-style run path serves libraries' own libraries too, and the environment can't put others before them.
target_link_options(gavel PRIVATE -Wl,--disable-new-dtags)
# In the build folder too: else CMake keeps room for it there by empty names, which stand for the current folder.
set_target_properties(gavel PROPERTIES INSTALL_RPATH "$ORIGIN/../lib/gavel" BUILD_WITH_INSTALL_RPATH ON)
foreach(module gavel_pmix gavel_parquet)
  if(TARGET ${module})
    install(TARGETS ${module} LIBRARY DESTINATION lib/gavel)
  endif()
endforeach()
install(FILES "${GAVEL_PACKAGES}/lammps-jax-pjrt-cpu/lammps_jax_pjrt_cpu/pjrt_c_api_cpu_plugin.so"
        DESTINATION lib/gavel/plugins)
install(DIRECTORY recipes DESTINATION share/gavel)
install(FILES tools/fetch_packages.py tools/packages.lock DESTINATION share/gavel/tools)
install(FILES LICENSE DESTINATION share/doc/gavel)
