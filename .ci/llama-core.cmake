# The part of llama.cpp that Python loads, and nothing else; a third of the compile time.
# CMake reads this right after each project() line (CMAKE_PROJECT_INCLUDE). llama-cpp-python's build forces llama.cpp's
# "common" library on, which is never loaded from Python; a normal variable beats that cache entry (policy CMP0126), and
# the same goes for the multimodal part (CMP0077).
set(LLAMA_BUILD_COMMON OFF)
set(LLAVA_BUILD OFF)
