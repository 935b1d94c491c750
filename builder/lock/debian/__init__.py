"""Debian packages, from a signed archive to a closed set of exact versions.

========================  ============================================================================
`keyring`, `release`      which index files are Debian's, and what they promise
`packages`, `universe`    what a suite holds, parsed only where it is looked at
`versions`, `relations`   Debian's order of versions and language of dependencies
`solver`, `explain`       roots to a closed set, or the reason why there is none
`toolchain`               the roots that a compiler and kbuild's own tools stand for
`mirror`, `archive`       the only two that touch the network
========================  ============================================================================
"""
