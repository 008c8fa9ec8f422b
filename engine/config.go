package engine

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/layout"
	"github.com/rollcall-go/rollcall/protocol"
)

// Listener is one address to listen on.
type Listener struct {
	// Network is "tcp" or "unix". "" means "tcp".
	Network string
	// Addr is a TCP address, as in net.Listen, but not empty; port 0 takes a free one, which Addrs tells. For "unix" it is the path
	// of a socket, which must not exist yet, and is removed when the engine stops. The permissions of its directory say who may
	// connect. Its peers have no address, so MaxPerAddress, MaxPerSubnet and bans do not hold for them.
	Addr string
	// Codec is the wire format of connections that come in here. Nil means protocol.Binary.
	Codec protocol.Codec
	// NewCodec, in the place of Codec, makes a codec for each connection, which may have state: a serial number, a cipher, what
	// the peer has said of itself. It is called on a goroutine of the engine's before the connection's first byte is read, and
	// once more for a connection that is only told why it may not come in; nil, or a panic, closes the connection.
	//
	// The methods of such a codec are never called two at a time, and must not block. Append is called in the order in which
	// frames go out, the answer to the Logon first, and its message has the bound user in DestUserID where the message names
	// none; Decode's has the bound user in UserID. What Append has encoded is sent, or the connection ends: an error must leave
	// the codec as it was, and a panic ends the connection with InternalError. So limits and policies are asked before, with
	// the size that the message has in protocol.Binary; SlowDropOldest and SlowLatest drop the newest message instead.
	NewCodec func() protocol.Codec
	// ProxyProtocol are the addresses of the load balancers in front of this listener. When there are any, every connection
	// must come from one of them, or from any peer of a Unix socket, and begin with a PROXY header, version 1 or 2, within
	// Timeouts.ProxyHeader; others are closed. The address in the header is then the client's, for limits, bans, OnAccept and Conn.RemoteAddr. A load
	// balancer that connects on its own account (LOCAL), or does not tell for whom (UNKNOWN, UNSPEC), is let in under its own address, which is neither
	// limited nor banned. Empty means that clients connect directly.
	ProxyProtocol []netip.Prefix
	// TLS, when set, has connections that come in here speak TLS; nil means plain TCP. It needs a certificate, and must not
	// be changed any more: for certificates that are replaced while the engine runs there is tls.Config.GetCertificate.
	// What its functions do is a part of the handshake, and counts towards Timeouts.Handshake.
	TLS *tls.Config
}

// Config holds the settings of an Engine. Zero means the default, negative
// means none, for every number. New takes a copy, and returns an error for what makes no sense.
type Config struct {
	// Listeners are the addresses to listen on, each with its wire format. Without any, Listen and Run return an error.
	Listeners []Listener

	// Loops is the number of event loops. 0 or less means one a processor: GOMAXPROCS, but no more than there are. With
	// GOMAXPROCS two above that, what is not on a loop (accepting, TLS handshakes, authenticators, Workers) does not wait
	// for one to sleep for a while: see docs/performance.md.
	Loops int
	// Workers is the number of goroutines that run message handlers. 0 means that handlers run on the event loops,
	// which is fastest, and must not block: a loop that is stuck serves none of its connections, and holds up accepting.
	// Handlers that may block need Workers; each connection's order is kept, and what a client sent before it ended the
	// connection is still handled. More than 65,536 are an error of New's.
	Workers int

	// Accept says how many connections come in, and how fast.
	Accept Accept
	// Bans shut out addresses that fail to log on, or come and go, too often. The zero value bans none.
	Bans Bans
	// Limits bound what connections may send, ask and keep waiting.
	Limits Limits
	// Timeouts say how long the parts of a connection's life may take.
	Timeouts Timeouts
	// SlowPolicy is what happens to messages for a client that does not keep up. 0 means SlowClose. With SlowLatest the key
	// of a message that is sent without one is its type.
	SlowPolicy SlowPolicy
	// OnAccept, when set, is asked about each connection before anything of the client's is read; limits on addresses and
	// bans come first. An error turns the connection away: a *protocol.CloseError is what it is told, by any other error
	// it is closed untold. It may block, within Timeouts.Handshake, when ctx ends and the connection is closed untold,
	// whether the hook returns or not. It is called from Accept.MaxHandshakes goroutines at a time; one that does
	// not return keeps its place among them. A panic is an error.
	OnAccept func(ctx context.Context, in Incoming) error
	// OnDropped is told of messages for a connection that were thrown away, at most once a second each connection, also
	// for one that has closed meanwhile. It is called on a goroutine of the engine's that does nothing else, for one
	// connection at a time, and holds no lock; while it blocks, others are told later, and Run does not return before
	// Timeouts.Stop. Nil means no call; they are counted all the same.
	OnDropped func(c *Conn, dropped protocol.Traffic)

	// Logger takes what an operator should know, gnet's own words included. Nil means warnings and errors, to standard
	// error.
	Logger *zap.Logger
}

// Accept says how many connections come in, and how fast. Zero means the default, negative no limit.
type Accept struct {
	// MaxConnections is how many connections may be open. 0 means what the process's limit of open files leaves,
	// keeping some spare.
	MaxConnections int
	// MaxPerAddress is how many connections may be open from one remote address; one more is told TooManyConnections,
	// or closed untold where it would take a TLS handshake.
	// Many users may share an address. An IPv6 address counts as its network of 64 bits, which is one customer's. 0 or
	// less means no limit.
	MaxPerAddress int
	// MaxPerSubnet is MaxPerAddress for a whole network, of SubnetV4Bits or SubnetV6Bits. 0 or less means no limit.
	MaxPerSubnet int
	// SubnetV4Bits is the length of the prefix that makes a subnet of IPv4 addresses, 32 at most. 0 or less means 24.
	SubnetV4Bits int
	// SubnetV6Bits is the length of the prefix that makes a subnet of IPv6 addresses, 64 at most. 0 or less means 48.
	SubnetV6Bits int
	// Rate is how many connections are taken in a second, on average, by all listeners together. More are not
	// refused: they wait in the system's backlog. Those that are refused for their address, or because the server is
	// full, do not count. 0 or less means no limit.
	Rate float64
	// Burst is how many connections may be taken in at once, when fewer than Rate came before; without
	// Rate it must not be set. 0 or less means those of one second, 1 at least.
	Burst int
	// MaxHandshakes is how many connections may be in a handshake at a time: the PROXY header, OnAccept, TLS. More wait for
	// their turn, unread; while they do, a client, or load balancer, that has been waited for in its handshake for a second in
	// all is given up on. Eight more may be in a handshake that is only to tell them in TLS why they are not let in. 0 or less means 256.
	MaxHandshakes int
}

// Limits bound what one connection may send, ask and keep waiting, and MaxMemory what all may together. Zero means the
// default, negative means no limit.
type Limits struct {
	// MaxBody is the largest body of a message, both ways, in bytes. A client that sends a larger one is closed with
	// MessageTooLarge. Sending a larger one returns ErrTooLarge, but for the server's own words: a Close, the answer to a
	// Logon, an error reply. Clients are told in the answer to their Logon (protocol.FieldMaxBody) where it is not the
	// default. 0 means 1 MiB; negative means no limit.
	MaxBody int
	// MaxFirstFrame is the largest first frame, in bytes: a Logon, with its token and whatever else it says. 0 means 4 KiB.
	MaxFirstFrame int
	// MaxEarly is how many bytes may wait behind the first frame while a connection is being admitted. 0 means 64 KiB.
	MaxEarly int
	// MaxInbound is how many bytes of messages may wait for a connection's handlers, with Workers. A client that
	// sends more is closed with RateLimited; one message may wait alone, however large. After a time in which the server did
	// not read, 16 MiB more may wait for a while: what has piled up comes at once. A message that waits takes some 150
	// bytes of memory besides its own. 0 means 4 MiB.
	MaxInbound int
	// MaxOutbound is how many bytes may wait to be sent to a connection, beyond what the kernel's buffers hold. One that lets
	// more gather is closed with SlowConsumer. The keys of SlowLatest count. What is being written does not, up to 128 KiB.
	// 0 means 8 MiB; negative means no limit.
	MaxOutbound int
	// MaxMessageRate is how many messages a second a client may send, of whatever kind, heartbeats too. One that sends more is
	// closed with RateLimited. It is looked at once a read, whose messages are still handled. After a time in which the server
	// did not read (the process stood still, a handler blocked the event loop), as many more are allowed as may be sent in
	// that time. 0 or less means no limit.
	MaxMessageRate int
	// MessageBurst is how many messages a client may send at once, after it was silent; without MaxMessageRate it must not
	// be set. 0 or less means what MaxMessageRate allows in a second.
	MessageBurst int
	// MaxByteRate is how many bytes a second a client may send, frames with their headers, when they come, those of an
	// unfinished frame too; as MaxMessageRate.
	// 0 or less means no limit.
	MaxByteRate int
	// ByteBurst is how many bytes a client may send at once; a larger message that comes at once closes the connection; without MaxByteRate it
	// must not be set. 0 or less means what MaxByteRate allows in a second, and 64 KiB at least.
	ByteBurst int
	// MaxRequests is how many requests of a client may wait for their answers: messages of the application's with an ID,
	// to the server itself. Each is waited for until Reply or ReplyError has answered it, also after its handler has
	// returned, so with a limit each must be answered. One that is too many is answered with the error Refused, its handler is
	// not called, and the connection stays. 0 or less means no limit.
	MaxRequests int
	// MaxMemory is how many bytes may wait in the whole engine, to be read or to be written: unfinished frames, what
	// comes before a connection is admitted, messages that wait for Workers, queues, and what the network has not taken.
	// When it is more, the connections for which most waits are closed, the worst first, until the rest fits: with
	// SlowConsumer where more waits to be written, or else with RateLimited. What waits for them is thrown away at once, and
	// one that takes nothing is not waited for; what the network has not taken of theirs is freed when their event loops come
	// round. It is looked at every quarter of a second, and within a few milliseconds of a burst. A faster burst exceeds it
	// by an eighth, and by what those who are sending have in hand: they look themselves then. The kernel's own buffers do
	// not count. 0 or less means no limit.
	MaxMemory int
}

// Timeouts say how long the parts of a connection's life may take. Zero means the default, negative means for ever where
// no other meaning is given. None runs while the process stands still, nor while the connection's event loop is stuck in a
// handler.
type Timeouts struct {
	// Handshake is how long a handshake may take, and how long a connection may wait for its turn before that. One
	// that waits longer is told TooManyConnections. 0 means 10 s; negative means for ever.
	Handshake time.Duration
	// ProxyHeader is how long a load balancer may take until its PROXY header is there (Listener.ProxyProtocol). 0 means
	// 5 s.
	ProxyHeader time.Duration
	// FirstMessage is how long a connection may take until its first message is there, counted from the end of its TLS
	// handshake if it has one. Like every time below it does not run while the process stands still, nor while the
	// connection's event loop is stuck in a handler. 0 means 15 s.
	FirstMessage time.Duration
	// KeepAlive is how long a connection is quiet before TCP asks whether the client's system is there; after four questions
	// without an answer, each as long after the one before, the connection ends with NetworkError. It says nothing of the
	// client's program. 0 means 15 s where nothing watches for silent clients (no user manager, or heartbeat.New(0, -1)), and none
	// where something does: the heartbeat finds more, and keep-alive costs four system calls a connection. Negative means none.
	KeepAlive time.Duration
	// UnfinishedFrame is how long the bytes of one unfinished frame count as a sign of life. 0 means 60 s.
	UnfinishedFrame time.Duration
	// Close is how long a closing connection may take to fetch what was queued for it. When it has, it is given
	// another second at most to close its side. 0 means 10 s.
	Close time.Duration
	// StopWindow is the time over which a stop tells connections ServerStopping, evenly, so that a server's clients do not
	// all come back in one second; each is served until it is told. Every notice says, in protocol.FieldRetryMS, how long
	// to wait before reconnecting: from nothing for the first to StopWindow for the last, so that they come back over
	// twice the window. The notices take no more than half of the time that the stop has. 0 or less means that all are told
	// at once, and nothing of when to come back. Choose it by what the servers that remain can take: 50,000 clients, and
	// 2,000 logons a second to spare, make 25 s, half of which is the window; keep what stops the process, such as a
	// container's grace period, above Stop.
	StopWindow time.Duration
	// Stop is how long Run takes to stop when its context has ended, before it gives up on what is left and closes
	// it by force. 0 means 15 s more than StopWindow.
	Stop time.Duration
	// Stall is how long an event loop may be busy with a handler before that is logged and counted. 0 means 1 s.
	Stall time.Duration
	// Write is how long a client may take nothing at all while bytes wait for it, beyond what the kernel's buffers
	// hold, before SlowPolicy applies: SlowClose closes the connection, SlowDropNewest drops what is sent until the client
	// takes something again, and with the others nothing changes. A client that reads slowly is left alone as long as its
	// program reads what its kernel's receive buffer holds within Write: its kernel tells of what was read in large
	// steps, of a whole buffer at most, and until it does the client looks like one that reads nothing. With 128 KiB, Linux's
	// first size, and 10 s that is 13 KB/s; a client that means to read more slowly asks for a smaller buffer (SO_RCVBUF).
	// 0 means 10 s; negative means for ever.
	Write time.Duration
}

func orDefault[T int | time.Duration](v, def, none T) T {
	switch {
	case v == 0:
		return def
	case v < 0:
		return none
	}
	return v
}

func positiveOr(v, def int) int {
	if v <= 0 {
		return def
	}
	return v
}

const (
	never   = time.Duration(1<<63 - 1)
	noLimit = int(^uint(0) >> 1)
)

func (c Config) withDefaults() Config {
	c.Listeners = slices.Clone(c.Listeners)
	for i := range c.Listeners {
		if c.Listeners[i].Codec == nil && c.Listeners[i].NewCodec == nil {
			c.Listeners[i].Codec = protocol.Binary
		}
	}
	c.Loops = positiveOr(c.Loops, min(runtime.GOMAXPROCS(0), runtime.NumCPU()))
	c.Workers = max(c.Workers, 0)
	c.Accept = c.Accept.withDefaults()
	c.Bans = c.Bans.withDefaults()
	c.Limits = c.Limits.withDefaults()
	c.Timeouts = c.Timeouts.withDefaults()
	if c.SlowPolicy == SlowDefault {
		c.SlowPolicy = SlowClose
	}
	return c
}

// A burst without a rate stays as it is, here and in Limits: check names the mistake.

func (a Accept) withDefaults() Accept {
	a.SubnetV4Bits = min(positiveOr(a.SubnetV4Bits, 24), 32)
	a.SubnetV6Bits = min(positiveOr(a.SubnetV6Bits, 48), 64)
	if a.Rate > 0 {
		a.Burst = positiveOr(a.Burst, max(int(min(a.Rate, 1<<30)), 1))
	}
	a.MaxHandshakes = positiveOr(a.MaxHandshakes, 256)
	return a
}

func (l Limits) withDefaults() Limits {
	l.MaxBody = orDefault(l.MaxBody, protocol.DefaultMaxBody, noLimit)
	l.MaxFirstFrame = orDefault(l.MaxFirstFrame, 4<<10, noLimit)
	l.MaxEarly = orDefault(l.MaxEarly, 64<<10, noLimit)
	l.MaxInbound = orDefault(l.MaxInbound, 4<<20, noLimit)
	l.MaxOutbound = orDefault(l.MaxOutbound, 8<<20, noLimit)
	l.MaxMemory = positiveOr(l.MaxMemory, noLimit)
	l.MaxRequests = positiveOr(l.MaxRequests, noLimit)
	l.MaxMessageRate = positiveOr(l.MaxMessageRate, noLimit)
	l.MaxByteRate = positiveOr(l.MaxByteRate, noLimit)
	if l.MaxMessageRate < noLimit {
		l.MessageBurst = positiveOr(l.MessageBurst, l.MaxMessageRate)
	}
	if l.MaxByteRate < noLimit {
		l.ByteBurst = positiveOr(l.ByteBurst, max(l.MaxByteRate, 64<<10))
	}
	return l
}

func (t Timeouts) withDefaults() Timeouts {
	t.Handshake = orDefault(t.Handshake, 10*time.Second, never)
	t.ProxyHeader = orDefault(t.ProxyHeader, 5*time.Second, never)
	t.FirstMessage = orDefault(t.FirstMessage, 15*time.Second, never)
	t.UnfinishedFrame = orDefault(t.UnfinishedFrame, time.Minute, never)
	t.Write = orDefault(t.Write, 10*time.Second, never)
	t.Close = orDefault(t.Close, 10*time.Second, never)
	t.Stall = orDefault(t.Stall, time.Second, never)
	t.StopWindow = min(max(t.StopWindow, 0), never/8) // what is added to it does not overflow
	t.Stop = orDefault(t.Stop, 15*time.Second+t.StopWindow, never)
	return t
}

// leastOutbound is the least Limits.MaxOutbound: the answer to a Logon, with its user ID, and a Close notice fit.
const leastOutbound = 1 << 10
const (
	maxLoops   = 256     // gnet has no more
	maxWorkers = 1 << 16 // each is a goroutine from the start
)

// check returns an error for a setting that makes no sense. The defaults are there.
func (c *Config) check() error {
	for _, l := range c.Listeners {
		if l.Codec != nil && l.NewCodec != nil {
			return fmt.Errorf("rollcall: the listener %q has a Codec and a NewCodec", l.Addr)
		}
		if l.Addr == "" { // which net.Listen takes for any port, on all addresses
			return errors.New("rollcall: no address to listen on: each of Config.Listeners needs an Addr")
		}
		if err := errors.Join(checkTLS(l), checkProxies(l)); err != nil {
			return err
		}
		if l.Network != "" && l.Network != "tcp" && l.Network != "unix" {
			return fmt.Errorf("rollcall: the Network of listener %q is %q, and may be tcp or unix", l.Addr, l.Network)
		}
	}
	switch {
	case c.Loops > maxLoops:
		return fmt.Errorf("rollcall: Config.Loops is %d, and may be %d at most", c.Loops, maxLoops)
	case c.Workers > maxWorkers:
		return fmt.Errorf("rollcall: Config.Workers is %d, and may be %d at most", c.Workers, maxWorkers)
	case math.IsNaN(c.Accept.Rate):
		return errors.New("rollcall: Accept.Rate is no number")
	case c.Accept.Burst > 0 && c.Accept.Rate <= 0:
		return errors.New("rollcall: Accept.Burst says nothing without Accept.Rate")
	case c.Limits.MessageBurst > 0 && c.Limits.MaxMessageRate == noLimit:
		return errors.New("rollcall: Limits.MessageBurst says nothing without Limits.MaxMessageRate")
	case c.Limits.ByteBurst > 0 && c.Limits.MaxByteRate == noLimit:
		return errors.New("rollcall: Limits.ByteBurst says nothing without Limits.MaxByteRate")
	case slices.ContainsFunc(c.Bans.Exempt, func(p netip.Prefix) bool { return !p.IsValid() }):
		return errors.New("rollcall: an invalid prefix in Bans.Exempt")
	case c.Limits.MaxOutbound < leastOutbound:
		return fmt.Errorf("rollcall: a Limits.MaxOutbound of %d bytes takes no answer to a Logon: %d is the least", c.Limits.MaxOutbound, leastOutbound)
	case c.Limits.MaxFirstFrame < layout.HeaderLen+1:
		return fmt.Errorf("rollcall: a Limits.MaxFirstFrame of %d bytes takes no Logon: %d is the least", c.Limits.MaxFirstFrame, layout.HeaderLen+1)
	case c.SlowPolicy > SlowLatest:
		return c.SlowPolicy.unknown()
	}
	return nil
}
