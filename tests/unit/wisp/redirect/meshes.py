"""Rules of service meshes, which send all outgoing TCP connections of a pod to the mesh's proxy."""

from typing import NamedTuple

IPTABLES = ("iptables-nft", "iptables-legacy")


class Mesh(NamedTuple):
    """A mesh: its rules, the port and user of its proxy, and the tools that install the rules."""

    name: str
    rules: str
    port: int
    uid: int
    tools: tuple[str, ...] = IPTABLES


_ISTIO = """\
*nat
:ISTIO_INBOUND - [0:0]
:ISTIO_IN_REDIRECT - [0:0]
:ISTIO_OUTPUT - [0:0]
:ISTIO_REDIRECT - [0:0]
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A OUTPUT -p tcp -j ISTIO_OUTPUT
-A ISTIO_INBOUND -p tcp -m tcp --dport 15008 -j RETURN
-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A ISTIO_OUTPUT -s 127.0.0.6/32 -o lo -j RETURN
-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -p tcp -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
-A ISTIO_OUTPUT -j ISTIO_REDIRECT
COMMIT
"""
_AMBIENT = """\
*mangle
:ISTIO_OUTPUT - [0:0]
:ISTIO_PRERT - [0:0]
-A PREROUTING -j ISTIO_PRERT
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_OUTPUT -m connmark --mark 0x111/0xfff -j CONNMARK --restore-mark
-A ISTIO_PRERT -m mark --mark 0x539/0xfff -j CONNMARK --set-xmark 0x111/0xfff
COMMIT
*nat
:ISTIO_OUTPUT - [0:0]
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_OUTPUT -d 169.254.7.127/32 -p tcp -j ACCEPT
-A ISTIO_OUTPUT -p tcp -m mark --mark 0x111/0xfff -j ACCEPT
-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -j ACCEPT
-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -p tcp -m mark ! --mark 0x539/0xfff -j REDIRECT --to-ports 15001
COMMIT
"""
_LINKERD = """\
*nat
:PROXY_INIT_OUTPUT - [0:0]
:PROXY_INIT_REDIRECT - [0:0]
-A PREROUTING -j PROXY_INIT_REDIRECT
-A OUTPUT -j PROXY_INIT_OUTPUT
-A PROXY_INIT_OUTPUT -m owner --uid-owner 2102 -j RETURN
-A PROXY_INIT_OUTPUT -o lo -j RETURN
-A PROXY_INIT_OUTPUT -p tcp -j REDIRECT --to-ports 4140
-A PROXY_INIT_REDIRECT -p tcp -j REDIRECT --to-ports 4143
COMMIT
"""
_CONSUL = """\
*nat
:CONSUL_PROXY_OUTPUT - [0:0]
:CONSUL_PROXY_REDIRECT - [0:0]
-A OUTPUT -p tcp -j CONSUL_PROXY_OUTPUT
-A CONSUL_PROXY_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A CONSUL_PROXY_OUTPUT -m owner --uid-owner 5995 -j RETURN
-A CONSUL_PROXY_OUTPUT -d 127.0.0.1/32 -j RETURN
-A CONSUL_PROXY_OUTPUT -j CONSUL_PROXY_REDIRECT
COMMIT
"""
# Inserts its rule first in the chain, before existing rules.
_INSERTED = """\
*nat
:MESH_OUTBOUND - [0:0]
-I OUTPUT 1 -p tcp -j MESH_OUTBOUND
-A MESH_OUTBOUND -m owner --uid-owner 5678 -j RETURN
-A MESH_OUTBOUND -d 127.0.0.1/32 -j RETURN
-A MESH_OUTBOUND -p tcp -j REDIRECT --to-ports 15001
COMMIT
"""
_NFT = """\
table inet mesh {{
	chain output {{
		type nat hook output priority {priority}; policy accept;
		meta skuid 1337 return
		ip daddr 127.0.0.1 return
		meta l4proto tcp redirect to :15001
	}}
}}
"""
ISTIO = Mesh("Istio", _ISTIO, 15001, 1337)
MESHES = (
    ISTIO,
    Mesh("Istio ambient", _AMBIENT, 15001, 1337),
    Mesh("Linkerd", _LINKERD, 4140, 2102),
    Mesh("Consul", _CONSUL, 15001, 5995),
    Mesh("a mesh that inserts its rule first", _INSERTED, 15001, 5678),
    Mesh("a mesh with nft", _NFT.format(priority=-100), 15001, 1337, ("nft",)),
    Mesh("a mesh with nft and a lower priority", _NFT.format(priority=-150), 15001, 1337, ("nft",)),
)
