//go:build linux

package soak

import (
	"math/rand/v2"
	"net"
	"net/netip"

	"github.com/rollcall-go/rollcall/internal/udpwire"
)

// datagramFloods are those of forged datagrams. The healthy users are over TCP, at the same engine.
func datagramFloods() map[string]flood {
	return map[string]flood{
		"forged datagrams": {8, 4, 50_000, overUDP, false, []string{left}, (*attacker).forges},
	}
}

// forges sends a datagram of each kind that a server takes, over and over: Hellos, whose cookies it does not use, Logons with cookies of its
// own making, and Data and Responses of sessions that are not there.
func (a *attacker) forges() {
	nc, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a.from, 0)), net.UDPAddrFromAddrPort(a.at))
	if err != nil {
		a.ended(notReached)
		return
	}
	defer nc.Close()
	frame := logonFrame("nobody")
	var b []byte
	for a.goesOn() {
		id := rand.Uint64()
		switch a.done % 4 {
		case 0:
			b = udpwire.AppendHello(b[:0], id)
		case 1:
			b = udpwire.AppendLogon(b[:0], id, [udpwire.ProofSize]byte{1, 2, 3, byte(id)}, frame)
		case 2:
			b = append(udpwire.AppendData(b[:0], id>>12, uint32(id)), frame...) // of the first loops
		case 3:
			b = udpwire.AppendResponse(b[:0], id>>12, [udpwire.MACSize]byte{byte(id)})
		}
		_, _ = nc.Write(b)
		a.ended(left)
	}
}
