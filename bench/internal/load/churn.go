//go:build linux

package load

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rollcall-go/rollcall/bench/internal/process"
	"github.com/rollcall-go/rollcall/bench/internal/wire"
)

// churner opens and closes connections: each logs on as a new user, echoes one message, and is closed.
type churner struct {
	Group  // got counts the connections that have done it all
	to     *unix.SockaddrInet4
	d      wire.Dialect
	slots  []slot
	opened int
	over   bool
}

// slot is one of the connections that are open at a time.
type slot struct {
	fd    int
	user  int
	stage int // 0 connecting, 1 logon sent, 2 message sent
	reply []byte
}

// sourcePorts is how many connections come from one address before the next one takes its turn: the ports of an address
// are not free again for a minute.
const sourcePorts = 20_000

// Churn keeps parallel connections going through their lives. Its messages are whole lives.
func Churn(server *process.Process, d wire.Dialect, parallel, size int, warmUp, length time.Duration) (Result, error) {
	to, err := sockaddr(server.Addr)
	if err != nil {
		return Result{}, err
	}
	p, err := newPoller()
	if err != nil {
		return Result{}, err
	}
	c := &churner{to: to, d: d, slots: make([]slot, parallel),
		Group: Group{server: server, poller: p, frames: d.AppendFrame(nil, size), buf: make([]byte, 64<<10)}}
	defer func() { _ = unix.Close(p.fd) }()
	for i := range c.slots {
		if err := c.open(i); err != nil {
			return Result{}, err
		}
	}
	m := meter{group: &c.Group, from: time.Now().Add(warmUp), length: length}
	for !m.done(time.Now()) {
		if err := c.turn(); err != nil {
			return Result{}, err
		}
	}
	c.over = true
	for deadline := time.Now().Add(drainPatience); c.got < c.opened; {
		if time.Now().After(deadline) {
			return Result{}, fmt.Errorf("%v has left %d connections hanging", server, c.opened-c.got)
		}
		if err := c.turn(); err != nil {
			return Result{}, err
		}
	}
	return m.result, nil
}

// open starts the slot's next life.
func (c *churner) open(i int) error {
	fd, err := openSocket(c.opened / sourcePorts)
	if err != nil {
		return err
	}
	c.opened++
	c.slots[i] = slot{fd: fd, user: c.opened, reply: c.slots[i].reply[:0]}
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	if err := unix.Connect(fd, c.to); err != nil && err != unix.EINPROGRESS {
		return fmt.Errorf("connect: %w", err)
	}
	return c.poller.add(fd, i)
}

func (c *churner) turn() error {
	for _, e := range c.poller.wait(maxWait) {
		if err := c.advance(int(e.Fd), e.Events); err != nil {
			return fmt.Errorf("a connection to %v, in stage %d: %w", c.server, c.slots[e.Fd].stage, err)
		}
	}
	return nil
}

// advance takes a slot's connection as far as it goes.
func (c *churner) advance(i int, events uint32) error {
	s := &c.slots[i]
	if s.stage == 0 {
		if events&unix.EPOLLOUT == 0 {
			return nil
		}
		if errno, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || errno != 0 {
			return fmt.Errorf("connect: %w", unix.Errno(errno))
		}
		return c.say(s, c.d.AppendLogon(c.buf[:0], UserID(s.user)))
	}
	n, errno := read(s.fd, c.buf)
	switch {
	case errno == unix.EAGAIN:
		return nil
	case errno != 0:
		return errno
	case n == 0:
		return errClosed
	}
	s.reply = append(s.reply, c.buf[:n]...)
	if want := c.d.FrameLen(s.reply); want == 0 || len(s.reply) < want {
		return nil
	}
	s.reply = s.reply[:0]
	if s.stage == 1 {
		return c.say(s, c.frames)
	}
	c.got++
	if err := unix.Close(s.fd); err != nil || c.over {
		return err
	}
	return c.open(i)
}

func (c *churner) say(s *slot, frame []byte) error {
	s.stage++
	if _, errno := write(s.fd, frame); errno != 0 {
		return errno
	}
	return nil
}
