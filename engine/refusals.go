package engine

import "github.com/rollcall-go/rollcall/protocol"

// refusal is why a connection is not let in.
type refusal uint8

const (
	letIn refusal = iota
	refusedFull
	refusedAddress
	refusedSubnet
	refusedBanned
	refusedProxy
	refusedByHook
	refusedHandshake
	refusedFailed
	refusedStopping // is not counted
	refusals
)

// Refusals are counters of connections that were not let in, by reason.
type Refusals struct {
	Full      uint64 // MaxConnections were open
	Address   uint64 // MaxPerAddress were open from its address
	Subnet    uint64 // MaxPerSubnet were open from its subnet
	Banned    uint64 // its address was banned
	Proxy     uint64 // no valid PROXY header came in time, or it came from an address that is not trusted
	Hook      uint64 // OnAccept returned an error or panicked
	Handshake uint64 // it waited too long for its handshake, or the handshake took too long (Timeouts.Handshake) or failed
	Failed    uint64 // the server failed, for example because no descriptor was left
}

func (c *counters) refusalsByReason() Refusals {
	n := func(r refusal) uint64 { return c.refused[r].Load() }
	return Refusals{Full: n(refusedFull), Address: n(refusedAddress), Subnet: n(refusedSubnet), Banned: n(refusedBanned),
		Proxy: n(refusedProxy), Hook: n(refusedByHook), Handshake: n(refusedHandshake),
		Failed: n(refusedFailed)}
}

// notice returns the notice for a connection that the engine refuses at this entrance; nil means that it is closed
// without one. In TLS a notice needs a handshake. An address over its limit gets none, to save that cost. Nor does a
// connection whose PROXY header was not read.
func (r refusal) notice(at *entrance) *protocol.CloseError {
	if at.tls != nil && (at.proxies != nil || r == refusedAddress || r == refusedSubnet) {
		return nil
	}
	switch r {
	case refusedFull, refusedAddress, refusedSubnet:
		return &protocol.CloseError{Code: protocol.TooManyConnections, Text: r.String()}
	case refusedHandshake:
		return &protocol.CloseError{Code: protocol.TooManyConnections, Text: "the server is busy"}
	}
	return nil
}

// String returns the reason in words.
func (r refusal) String() string {
	switch r {
	case refusedFull:
		return "the server is full"
	case refusedAddress:
		return "too many connections from this address"
	case refusedSubnet:
		return "too many connections from this network"
	case refusedBanned:
		return "the address is banned"
	case refusedByHook:
		return "OnAccept said no"
	case refusedHandshake:
		return "its handshake failed, or was not done in time"
	}
	return "the server could not take it on"
}
