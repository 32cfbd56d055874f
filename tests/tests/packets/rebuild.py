"""Builds every frame of a capture again: lengths and checksums are taken away, and what scapy puts there is compared."""

import logging
import sys

logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.config import conf
from scapy.layers.inet import ICMP, IP, TCP, UDP, ICMPerror, IPerror, TCPerror, UDPerror
from scapy.layers.inet6 import IPv6, IPerror6, IPv6ExtHdrFragment, _ICMPv6
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP
from scapy.packet import NoPayload, Raw, bind_layers
from scapy.utils import RawPcapReader

capture, gue_port = sys.argv[1], int(sys.argv[2])
conf.debug_dissector = False


class Inner(Raw):
    """What follows the header of a UDP tunnel: a packet of the version that its first half byte says."""

    @classmethod
    def dispatch_hook(cls, _pkt=None, *args, **kargs):
        if _pkt and _pkt[0] >> 4 == 4:
            return IP
        if _pkt and _pkt[0] >> 4 == 6:
            return IPv6
        return Raw


bind_layers(UDP, Inner, dport=gue_port)


def forget(packet):
    """Takes lengths and checksums away, up to where a fragment's data or a quoted packet begins."""
    layer, fragment = packet, False
    while not isinstance(layer, NoPayload):
        if isinstance(layer, (IPerror, IPerror6, ICMPerror, TCPerror, UDPerror)):
            return
        if isinstance(layer, IP):
            del layer.chksum, layer.len, layer.ihl
            fragment = layer.frag != 0 or layer.flags.MF
        elif isinstance(layer, IPv6):
            del layer.plen
        elif isinstance(layer, IPv6ExtHdrFragment):
            fragment = layer.offset != 0 or layer.m
        elif fragment:
            return
        elif isinstance(layer, UDP):
            if layer.chksum:
                del layer.chksum
            del layer.len
        elif isinstance(layer, TCP):
            del layer.chksum, layer.dataofs
        elif isinstance(layer, SCTP):
            del layer.chksum
        elif isinstance(layer, ICMP):
            del layer.chksum
        elif isinstance(layer, _ICMPv6):
            del layer.cksum
        layer = layer.payload


frames = [bytes(frame) for frame, _ in RawPcapReader(capture)]
print(f"{len(frames)} frames")
for number, frame in enumerate(frames):
    packet = Ether(frame)
    forget(packet)
    rebuilt = bytes(packet)
    if rebuilt != frame:
        print(f"{number} scapy has {rebuilt.hex()}, the table {frame.hex()}")
