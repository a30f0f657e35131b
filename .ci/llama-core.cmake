# Included by CMake right after llama-cpp-python's project() line (CMAKE_PROJECT_INCLUDE): its build forces llama.cpp's
# "common" library on, which Python never loads and which is half of the compile time. A normal variable beats that
# cache entry (policy CMP0126), so the library is left out.
set(LLAMA_BUILD_COMMON OFF)
