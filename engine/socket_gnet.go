package engine

import (
	"net"
	"slices"
)

// shrinkAddrs prepares the addresses of an accepted connection for gnet, which keeps them for as long as the connection lives.
//
// The zone of an IPv6 address is taken away: when the connection ends, gnet puts the zone's bytes into its pool of buffers,
// and would then write a client's message over a string of package net's. Conn.RemoteAddr and Incoming have the zone: they
// were made before, from copies.
//
// What the kernel said hangs on each IP; without it a connection is smaller by 47 bytes. local is the last local IP, which
// connections share.
//
// net forbids changes to the addresses since it shares them among all who ask, but only the engine has asked so far.
func shrinkAddrs(nc net.Conn, local *net.IP) {
	to, ok := nc.LocalAddr().(*net.TCPAddr)
	from, okToo := nc.RemoteAddr().(*net.TCPAddr)
	if !ok || !okToo {
		return
	}
	to.Zone, from.Zone = "", ""
	if !to.IP.Equal(*local) {
		*local = slices.Clone(to.IP)
	}
	to.IP = *local
	if ip := from.IP.To4(); ip != nil {
		from.IP = ip
	}
	from.IP = slices.Clone(from.IP)
}
