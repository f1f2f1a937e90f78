#!/usr/bin/env python3
"""tun.py A B COMMAND...: makes the network interfaces A and B and runs COMMAND, for whom they are standard input and
output: packets that the kernel sends to an interface are read there, and packets written there arrive."""
import fcntl
import os
import struct
import sys

# linux/if_tun.h
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000


def interface(name, number):
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    os.dup2(device, number)


interface(sys.argv[1], 0)
interface(sys.argv[2], 1)
os.execvp(sys.argv[3], sys.argv[3:])
