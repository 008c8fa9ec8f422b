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
	// Network is "tcp", "unix" or "udp". "" means "tcp". Over UDP messages may be lost, or come in another order: docs/contract.md says
	// what holds there. A "udp" listener needs an attached bridge, and has the codec protocol.Binary. It has encrypted datagrams of clients
	// that have logged on over TLS, at another listener, and so have a second way for what may be lost (SendOptions.Unreliable). With
	// Cleartext it has sessions of its own instead; a message, with its user IDs, has at most 1,171 bytes of body there.
	Network string
	// Addr is a TCP address, as in net.Listen, but not empty; port 0 takes a free port, which Addrs returns. For "unix" Addr is the
	// path of a socket. The path must not exist yet, and is removed when the engine stops; the permissions of its directory
	// control who may connect. Peers of a Unix socket have no address, so MaxPerAddress, MaxPerSubnet and bans do not apply.
	Addr string
	// Codec is the wire format of connections that come in here. Nil means protocol.Binary.
	Codec protocol.Codec
	// NewCodec, instead of Codec, makes a codec for each connection. Such a codec may have state: a serial number, a cipher, or
	// facts about the peer. NewCodec is called on a goroutine of the engine, before the connection's first byte is read, and
	// also for a connection that is only told why it is refused. If it returns nil or panics the connection is closed.
	//
	// The methods of such a codec are never called concurrently, and must not block. Append is called in the order in which frames go
	// out, beginning with the answer to the Logon. The message given to Append has the bound user in DestUserID unless it names
	// another user; the message given to Decode has the bound user in UserID. A frame that Append has encoded is sent, or the
	// connection ends. So an error must leave the codec unchanged, and a panic ends the connection with InternalError. Limits and
	// policies are applied before Append, with the message's size in protocol.Binary; SlowDropOldest and SlowLatest drop the newest
	// message instead of an older one.
	NewCodec func() protocol.Codec
	// ProxyProtocol lists the addresses of the load balancers in front of this listener. Empty means that clients connect
	// directly. Otherwise every connection must come from a listed address, or from any peer of a Unix socket, and must begin
	// with a PROXY header, version 1 or 2, within Timeouts.ProxyHeader; other connections are closed. The address in the header
	// is the client's address for limits, bans, OnAccept and Conn.RemoteAddr. When the header has no client's address, because
	// the load balancer connects for itself (LOCAL) or does not know the client (UNKNOWN, UNSPEC), the connection is let in
	// under the load balancer's address, which is neither limited nor banned.
	ProxyProtocol []netip.Prefix
	// TLS, when set, makes the listener use TLS; nil means plain TCP. The tls.Config needs a certificate. Do not change the
	// tls.Config after New; to replace certificates while the engine runs use tls.Config.GetCertificate. The time that functions of
	// the tls.Config take counts towards Timeouts.Handshake.
	TLS *tls.Config
	// WebSocket, when set, has clients speak WebSocket, as browsers do, over TLS where TLS is set.
	WebSocket *WebSocket
	// Cleartext makes a "udp" listener one for clients that log on by datagram, and says that the program knows that nothing is encrypted
	// then: a program that sees one datagram of a session can read it, and take the session over. It is an error elsewhere.
	Cleartext bool
}

// Config holds the settings of an Engine. For every number zero means the default and negative means none. New takes a copy, and
// returns an error for invalid settings.
type Config struct {
	// Listeners are the addresses to listen on, each with its wire format. Without any, Listen and Run return an error.
	Listeners []Listener

	// Loops is the number of event loops. 0 or less means one for each processor that GOMAXPROCS allows. If GOMAXPROCS is greater
	// than Loops by two, work that is not on a loop (accepting, TLS handshakes, authenticators, Workers) does not wait until a loop
	// sleeps: see docs/performance.md.
	Loops int
	// Workers is the number of goroutines that run message handlers. With 0 handlers run on the event loops, which is fastest;
	// then they must not block, because a stuck loop serves none of its connections and delays accepting. With Workers handlers
	// may block. The messages of each connection stay in order, and messages that a client sent before it ended its connection
	// are still handled. More than 65,536 are an error.
	Workers int

	// Accept limits how many connections come in, and how fast.
	Accept Accept
	// Bans shut out addresses that fail to log on, or connect and leave, too often. The zero value bans none.
	Bans Bans
	// Limits limit what connections may send, and how much may wait for them.
	Limits Limits
	// Timeouts limit how long the phases of a connection may take.
	Timeouts Timeouts
	// SlowPolicy says what happens to messages for a client that does not keep up. 0 means SlowClose. With SlowLatest a message
	// that is sent without a key has its type as the key.
	SlowPolicy SlowPolicy
	// OnAccept, when set, is called for each connection before any byte from the client is read, after limits on addresses and
	// bans. An error turns the connection away: with a *protocol.CloseError the client is told so, with any other error it is
	// closed without a notice. A panic counts as an error. OnAccept may block until ctx ends, at Timeouts.Handshake; then the
	// connection is closed without a notice, whether OnAccept has returned or not. At most Accept.MaxHandshakes calls run at a
	// time, and a call that does not return keeps its place.
	OnAccept func(ctx context.Context, in Incoming) error
	// OnDropped, when set, is called when messages for a connection were dropped, at most once per second for each connection, also
	// when the connection has closed meanwhile. It runs on a goroutine of its own, for one connection at a time, with no lock held.
	// While it blocks, later calls wait, and Run waits for it until Timeouts.Stop. Drops are counted with and without OnDropped.
	OnDropped func(c *Conn, dropped protocol.Traffic)

	// Logger gets messages for operators, gnet's included. Nil means that warnings and errors go to standard error.
	Logger *zap.Logger
}

// Accept limits how many connections come in, and how fast. Zero means the default, negative means no limit.
type Accept struct {
	// MaxConnections limits the open connections. 0 means what the process's limit of open files allows, with some files kept
	// in reserve.
	MaxConnections int
	// MaxPerAddress limits the open connections from one remote address. A further connection is told TooManyConnections; on a
	// TLS listener it is closed without a notice. Many users may share an address. All addresses of an IPv6 network of 64 bits,
	// which usually belongs to one customer, count as one. 0 or less means no limit.
	MaxPerAddress int
	// MaxPerSubnet is MaxPerAddress for a whole network, of SubnetV4Bits or SubnetV6Bits. 0 or less means no limit.
	MaxPerSubnet int
	// SubnetV4Bits is the length of the prefix that makes a subnet of IPv4 addresses, 32 at most. 0 or less means 24.
	SubnetV4Bits int
	// SubnetV6Bits is the length of the prefix that makes a subnet of IPv6 addresses, 64 at most. 0 or less means 48.
	SubnetV6Bits int
	// Rate limits the connections that all listeners together accept in a second, on average. Further connections are not
	// refused: they wait in the system's backlog. Connections that are refused for their address, or because the server is
	// full, are not counted. 0 or less means no limit.
	Rate float64
	// Burst is the number of connections that may be accepted at once, when fewer than Rate came before. It must not be set without
	// Rate. 0 or less means the connections that Rate allows in a second, and at least 1.
	Burst int
	// MaxHandshakes limits concurrent handshakes: PROXY header, OnAccept, TLS. Further connections queue, unread. While any
	// queue, a client or load balancer that has kept its handshake waiting for 1 s in total is dropped. Beyond the limit, eight
	// TLS handshakes may run only to tell clients why they are refused. 0 or less means 256.
	MaxHandshakes int
}

// Limits limit what one connection may send, and how much may wait for it; MaxMemory limits all connections together. Zero means
// the default, negative means no limit.
type Limits struct {
	// MaxBody is the largest body of a message, both ways, in bytes. A client that sends a larger one is closed with MessageTooLarge.
	// Sending a larger one returns that too, except for the server's own messages: a Close, the answer to a Logon, an error reply. If
	// MaxBody is not the default, the answer to a Logon tells clients its value (max-body, in docs/protocol.md). 0 means 1 MiB;
	// negative means no limit.
	MaxBody int
	// MaxFirstFrame is the largest first frame, in bytes: a Logon with its token and all other fields. 0 means 4 KiB.
	MaxFirstFrame int
	// MaxEarly limits the bytes that wait after the first frame while a connection is being admitted. 0 means 64 KiB.
	MaxEarly int
	// MaxInbound limits the bytes of a connection's messages that wait for Workers, or that Async handles. A client that sends more
	// is closed with RateLimited, but a single message of any size may wait. After a time in which the server did not read, 16 MiB
	// more may wait for a while, because the messages of that time come at once. A waiting message takes some 150 bytes of memory
	// besides its own bytes. 0 means 4 MiB.
	MaxInbound int
	// MaxOutbound limits the bytes that wait to be sent to a connection, besides those in the kernel's buffers. Above it the
	// SlowPolicy applies; by default the connection is closed with SlowConsumer. The keys of SlowLatest count; up to 128 KiB
	// that are being written do not. 0 means 8 MiB; negative means no limit.
	MaxOutbound int
	// MaxMessageRate limits the messages that a client may send in a second, heartbeats included. A client that sends more is
	// closed with RateLimited. The rate is checked once for each read, whose messages are still handled. After a time in which
	// the server did not read (the process stood still, or a handler blocked the event loop), the messages of that time are
	// allowed too. 0 or less means no limit.
	MaxMessageRate int
	// MessageBurst is the number of messages that a client may send at once, after it was silent. MessageBurst must not be set
	// without MaxMessageRate. 0 or less means the messages that MaxMessageRate allows in a second.
	MessageBurst int
	// MaxByteRate limits the bytes that a client may send in a second, in the same way as MaxMessageRate. Bytes count when they
	// arrive, including headers and unfinished frames. 0 or less means no limit.
	MaxByteRate int
	// ByteBurst is the number of bytes that a client may send at once; a larger message that arrives at once closes the connection.
	// ByteBurst must not be set without MaxByteRate. 0 or less means the bytes that MaxByteRate allows in a second, and at least 64
	// KiB.
	ByteBurst int
	// MaxRequests limits the requests of a client that wait for their answers. A request is a message of the application with an
	// ID, to the server itself. It waits until Reply or ReplyError answers it, also after its handler has returned; so with a
	// limit every request must be answered. A request over the limit is answered with the error Refused; its handler is not
	// called, and the connection stays. 0 or less means no limit.
	MaxRequests int
	// MaxMemory limits the bytes that wait in the whole engine, to be read or to be written: unfinished frames, frames of connections
	// that are not admitted yet, messages that wait for Workers, output queues, and bytes that the network has not taken. Above the
	// limit the engine closes the connections with the most waiting bytes, the worst first, until the rest fits: with SlowConsumer if
	// more bytes wait to be written than to be read, and otherwise with RateLimited. Their waiting bytes are discarded at once,
	// without waiting for the client; the event loops free the bytes that were being written. The engine checks the limit every
	// quarter of a second, and within a few milliseconds after a burst. A faster burst may exceed it by an eighth, plus the messages
	// that are being sent at that moment. The kernel's own buffers do not count. 0 or less means no limit.
	MaxMemory int
}

// Timeouts limit how long the phases of a connection may take. Zero means the default; negative means no limit, where no other
// meaning is given. Time in which the process stands still, or the connection's event loop is stuck in a handler, does not count.
type Timeouts struct {
	// Handshake limits a handshake, and also the wait in the queue before it. A connection that waits longer in the queue is told
	// TooManyConnections. 0 means 10 s.
	Handshake time.Duration
	// ProxyHeader limits the time until a load balancer has sent its PROXY header (Listener.ProxyProtocol). 0 means 5 s.
	ProxyHeader time.Duration
	// FirstMessage limits the time until a connection's first message has come, counted from the end of its TLS handshake if it
	// has one. 0 means 15 s.
	FirstMessage time.Duration
	// KeepAlive is the time without traffic after which TCP probes the client's system. After four probes without an answer, at
	// intervals of KeepAlive, the connection ends with NetworkError. The client's program is not involved. 0 means 15 s if no
	// heartbeat checker watches clients (no user manager, or a negative usermgr.Config.HeartbeatTimeout). If a checker does, 0 means
	// no probes, because heartbeats find more, and keep-alive costs four system calls for each connection. Negative means no probes.
	KeepAlive time.Duration
	// UnfinishedFrame is how long the bytes of one unfinished frame count as a sign of life. 0 means 60 s.
	UnfinishedFrame time.Duration
	// Close limits the time in which a closing connection has to receive its queued bytes. A client that has received them has
	// at most another second to close its side. 0 means 10 s.
	Close time.Duration
	// StopWindow is the time over which a stopping engine sends ServerStopping to its connections, evenly, so that not all
	// clients reconnect in the same second. A connection is served until its notice. Every notice says in
	// protocol.FieldRetryMS how long to wait before reconnecting: from 0 for the first to StopWindow for the last, so that
	// clients come back over twice the window. The notices take at most half of the time that the stop has. 0 or less means that
	// all connections are told at once, without a time to wait.
	//
	// In a cluster, clients whose sessions end with NodeLost or ServerStopping because of their node are also told to come back over
	// StopWindow.
	//
	// Choose StopWindow by the capacity of the remaining servers: 50,000 clients at 2,000 logons per second take 25 s, and the window
	// is half of that. Set the limit of the program that stops the process, such as a container's grace period, above Stop.
	StopWindow time.Duration
	// Stop limits the time that Run takes to stop after its context has ended. Then it closes the remaining connections by
	// force. 0 means 15 s more than StopWindow.
	Stop time.Duration
	// Stall is how long an event loop may be busy with a handler before that is logged and counted. 0 means 1 s.
	Stall time.Duration
	// Write is how long a client may take no bytes, while bytes wait beyond the kernel's buffers, before SlowPolicy applies.
	// SlowClose closes the connection. SlowDropNewest drops new messages until the client takes bytes again. The other policies
	// ignore Write. 0 means 10 s; negative means for ever.
	//
	// A slow reader is safe while its program reads a whole receive buffer of its kernel within Write, because a kernel reports
	// what was read in steps of up to a whole buffer. With Linux's first size of 128 KiB and 10 s that is 13 KB/s; a client that
	// reads more slowly should ask for a smaller buffer (SO_RCVBUF).
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
	t.StopWindow = min(max(t.StopWindow, 0), never/8) // sums with it do not overflow
	t.Stop = orDefault(t.Stop, 15*time.Second+t.StopWindow, never)
	return t
}

// leastOutbound is the least Limits.MaxOutbound: the answer to a Logon, with its user ID, and a Close notice fit.
const leastOutbound = 1 << 10
const (
	maxLoops   = 256     // gnet has no more
	maxWorkers = 1 << 16 // each is a goroutine from the start
)

// check returns an error for a setting that makes no sense. It runs after the defaults are set.
func (c *Config) check() error {
	for _, l := range c.Listeners {
		if l.Codec != nil && l.NewCodec != nil {
			return fmt.Errorf("rollcall: the listener %q has a Codec and a NewCodec", l.Addr)
		}
		if l.Addr == "" { // which net.Listen takes for any port, on all addresses
			return errors.New("rollcall: no address to listen on: each of Config.Listeners needs an Addr")
		}
		if err := errors.Join(checkTLS(l), checkProxies(l), checkWebSocket(l), checkUDP(l)); err != nil {
			return err
		}
		if l.Network != "" && l.Network != "tcp" && l.Network != "unix" && l.Network != "udp" {
			return fmt.Errorf("rollcall: the Network of listener %q is %q, and may be tcp, unix or udp", l.Addr, l.Network)
		}
	}
	if err := checkSealed(c.Listeners); err != nil {
		return err
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
