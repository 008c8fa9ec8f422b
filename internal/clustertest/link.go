package clustertest

import (
	"net/netip"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Link stands for a connection: it has an address, and closes at once. The number tells it from others.
type Link uint64

// Address implements usermgr.Link.
func (l Link) Address() usermgr.Address {
	return usermgr.Address{Conn: uint64(l), Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), uint16(l)), Via: "tcp"}
}

// Quiesce implements usermgr.Link.
func (l Link) Quiesce(done func()) { done() }

// Close implements usermgr.Link.
func (l Link) Close(_ *protocol.CloseError, done func(protocol.CloseOutcome)) {
	if done != nil {
		done(0)
	}
}
