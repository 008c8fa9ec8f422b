//go:build linux

// Package load is the load generator. It works like a C program, so that it does not limit a measurement: one thread, one
// epoll descriptor, non-blocking sockets, frames built beforehand, replies counted by their bytes, and no allocations
// while it runs.
//
// Run it on a goroutine with a thread of its own (runtime.LockOSThread): a Result has the thread's CPU time.
package load

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rollcall-go/rollcall/bench/internal/process"
	"github.com/rollcall-go/rollcall/bench/internal/wire"
)

// Group is a number of connections to one server, each logged on.
type Group struct {
	server *process.Process
	poller poller
	conns  []conn
	sent   int // whole frames, since the group was made
	got    int

	size   int    // of a frame
	unit   int    // bytes that a frame to the server takes, with what WebSocket adds
	web    bool   // over WebSocket
	frames []byte // many of them, end to end
	buf    []byte // for reads; their bytes are not kept
}

type conn struct {
	fd   int
	owed int // bytes that are to be written
	at   int // position in a unit of the next byte to write
	part int // bytes of an unfinished reply
	due  ring
	in   wire.Unwrapper // of WebSocket
}

// Result is what happened in the measured part of a run.
type Result struct {
	Messages  int // answered, or received
	Elapsed   time.Duration
	Server    process.CPU
	Generator process.CPU
}

// Rate is the number of messages a second.
func (r Result) Rate() float64 { return float64(r.Messages) / r.Elapsed.Seconds() }

// Add puts two runs together.
func (r Result) Add(o Result) Result {
	return Result{r.Messages + o.Messages, r.Elapsed + o.Elapsed, r.Server.Add(o.Server), r.Generator.Add(o.Generator)}
}

// drainPatience is how long a server may take to answer what it has been sent when a run is over.
const drainPatience = 10 * time.Second

// Dial opens n connections to a server, logs a user on over each, and checks that the server answers as it should.
// All messages are of size bytes, header included. To an address that begins with wire.Scheme it speaks WebSocket: each frame is
// a message, with a mask.
func Dial(server *process.Process, n int, d wire.Dialect, size int) (*Group, error) {
	g := &Group{server: server, conns: make([]conn, 0, n), size: size, unit: size, buf: make([]byte, 256<<10),
		web: strings.HasPrefix(server.Addr, wire.Scheme)}
	for len(g.frames) < 64<<10 {
		before := len(g.frames)
		if g.web {
			g.frames = wire.AppendMasked(g.frames, d.AppendFrame(nil, size))
		} else {
			g.frames = d.AppendFrame(g.frames, size)
		}
		g.unit = len(g.frames) - before
	}
	var err error
	if g.poller, err = newPoller(); err != nil {
		return nil, err
	}
	for i := range n {
		fd, err := logOn(server.Addr, i, d, size)
		if err != nil {
			g.Close()
			return nil, fmt.Errorf("connection %d to %v: %w", i, server, err)
		}
		g.conns = append(g.conns, conn{fd: fd})
		if err := g.poller.add(fd, i); err != nil {
			g.Close()
			return nil, err
		}
	}
	return g, nil
}

// Close closes the connections.
func (g *Group) Close() {
	for i := range g.conns {
		_ = unix.Close(g.conns[i].fd)
	}
	_ = unix.Close(g.poller.fd)
}

// Connections returns the number of connections.
func (g *Group) Connections() int { return len(g.conns) }

// Received returns how many messages have come, since the group was made.
func (g *Group) Received() int { return g.got }

// logOn opens one connection and sends its first frame; the first connection of a group also tries a message, and looks
// at the answer.
func logOn(addr string, i int, d wire.Dialect, size int) (fd int, err error) {
	host, web := strings.CutPrefix(addr, wire.Scheme)
	fd, err = connect(host, i)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	wait := unix.NsecToTimeval(int64(drainPatience))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		return 0, err
	}
	ask := ask
	if web {
		if err := upgrade(fd, host); err != nil {
			return 0, fmt.Errorf("the upgrade to WebSocket: %w", err)
		}
		ask = askWeb
	}
	if _, err := ask(fd, d, d.AppendLogon(nil, UserID(i))); err != nil {
		return 0, fmt.Errorf("logging on: %w", err)
	}
	if i == 0 {
		frame := d.AppendFrame(nil, size)
		reply, err := ask(fd, d, frame)
		if err != nil {
			return 0, fmt.Errorf("trying a message: %w", err)
		}
		if h := d.HeaderLen(); len(reply) != size || string(reply[h:]) != string(frame[h:]) {
			return 0, fmt.Errorf("a message of %d bytes was not echoed, but answered by %d bytes: %.64x", size, len(reply), reply)
		}
	}
	return fd, unix.SetNonblock(fd, true)
}

// UserID is the name of the user of a group's connection i.
func UserID(i int) string { return fmt.Sprintf("user%08d", i) }

// connectionsPerSource keeps the number of connections from one address below the number of ports.
const connectionsPerSource = 10_000

// connect opens a blocking connection, from an address of its own for every so many connections.
func connect(addr string, i int) (int, error) {
	to, err := sockaddr(addr)
	if err != nil {
		return 0, err
	}
	fd, err := openSocket(i / connectionsPerSource)
	if err != nil {
		return 0, err
	}
	if err := unix.Connect(fd, to); err != nil {
		_ = unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

// openSocket makes a socket whose connection will come from the loopback address of this number.
func openSocket(source int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	from := &unix.SockaddrInet4{Addr: [4]byte{127, 0, byte(1 + source/250), byte(1 + source%250)}}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		// The port is chosen at connect, when the other end is known, and not one for all servers at bind.
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1),
		unix.Bind(fd, from))
	if err != nil {
		_ = unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

func sockaddr(addr string) (*unix.SockaddrInet4, error) {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	return &unix.SockaddrInet4{Addr: ap.Addr().As4(), Port: int(ap.Port())}, nil
}

// ask writes a frame to a blocking socket and reads the frame that answers it.
func ask(fd int, d wire.Dialect, frame []byte) ([]byte, error) {
	return exchange(fd, frame, func(reply, came []byte) ([]byte, bool, error) {
		reply = append(reply, came...)
		return reply, isWhole(d, reply), nil
	})
}

func isWhole(d wire.Dialect, reply []byte) bool {
	want := d.FrameLen(reply)
	return want > 0 && len(reply) >= want
}

// exchange writes to a blocking socket and reads until add, which puts what has come to the reply, says that it is whole.
func exchange(fd int, b []byte, add func(reply, came []byte) ([]byte, bool, error)) (reply []byte, err error) {
	if _, err := unix.Write(fd, b); err != nil {
		return nil, err
	}
	b = make([]byte, 64<<10)
	for whole := false; !whole; {
		n, err := unix.Read(fd, b)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return nil, err
		case n == 0:
			return nil, io.ErrUnexpectedEOF
		}
		if reply, whole, err = add(reply, b[:n]); err != nil {
			return nil, err
		}
	}
	return reply, nil
}

var errClosed = fmt.Errorf("the server closed a connection: %w", net.ErrClosed)

// send writes what the connection owes, as far as its socket takes it; the poller tells when it takes more.
func (g *Group) send(c *conn) error {
	for c.owed > 0 {
		n, errno := write(c.fd, g.frames[c.at:min(c.at+c.owed, len(g.frames))])
		if errno == unix.EAGAIN {
			return nil
		}
		if errno != 0 {
			return fmt.Errorf("write: %w", errno)
		}
		c.owed -= n
		c.at = (c.at + n) % g.unit
	}
	return nil
}

// receive reads until the socket is empty, and returns how many messages became whole.
func (g *Group) receive(c *conn) (messages int, err error) {
	for {
		n, errno := read(c.fd, g.buf)
		switch {
		case errno == unix.EAGAIN:
			return messages, nil
		case errno != 0:
			return messages, fmt.Errorf("read: %w", errno)
		case n == 0:
			return messages, errClosed
		}
		came := n
		if g.web {
			if came, err = c.payload(g.buf[:n]); err != nil {
				return messages, err
			}
		}
		whole := (c.part + came) / g.size
		c.part = (c.part + came) % g.size
		messages += whole
		g.got += whole
		if n < len(g.buf) { // the socket is empty: this saves a read
			return messages, nil
		}
	}
}

// drain waits until all that was sent is answered.
func (g *Group) drain() error {
	for deadline := time.Now().Add(drainPatience); g.got < g.sent; {
		if time.Now().After(deadline) {
			return fmt.Errorf("%v has left %d of %d messages unanswered", g.server, g.sent-g.got, g.sent)
		}
		for _, e := range g.poller.wait(maxWait) {
			c := &g.conns[e.Fd]
			if _, err := g.receive(c); err != nil {
				return err
			}
			if err := g.send(c); err != nil {
				return err
			}
		}
	}
	return nil
}
