#!/bin/sh
# The packages of a list on standard input that are for $ARCH: "NAME", or "NAME [ARCH]" for one only;
# @ARCH@ in a name is the architecture.
sed "/^#/d; s/@ARCH@/$ARCH/; / \\[$ARCH\\]$/s/ .*//; / /d"
