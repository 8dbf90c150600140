"""How numba compiles velcodec's loops: when first used, then kept on disk, and without Python's lock."""

from numba import njit

compiled = njit(cache=True, nogil=True)

# Becomes part of what calls it. numba counts references to arrays, atomically, in every function that has some and
# calls others, which takes as long as what a small one does.
inlined = njit(cache=True, nogil=True, inline="always")
