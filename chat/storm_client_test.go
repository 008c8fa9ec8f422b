//go:build unix

package chat_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/internal/wiretest"
	"github.com/rollcall-go/rollcall/presence"
	"github.com/rollcall-go/rollcall/protocol"
)

// stormClient is a client with one goroutine and a small buffer. It logs on, watches, and keeps what it is told.
type stormClient struct {
	storm                *storm
	user                 string
	number, group, place int
	seen                 presence.State // what others are to see in the end; for the test's goroutine
	routine              sync.WaitGroup // reads

	mu       sync.Mutex
	conn     net.Conn         // nil before it is there and after it was cut
	wanted   bool             // it is to be there
	watching time.Time        // since when; zero before the answer to Watch
	knows    []presence.State // of each place of the group; what was told last
}

// come begins to connect.
func (c *stormClient) come(state presence.State) {
	if c.seen = state; state == presence.Stealth {
		c.seen = presence.Offline
	}
	c.mu.Lock()
	c.wanted, c.watching, c.knows = true, time.Time{}, slices.Repeat([]presence.State{presence.Offline}, c.storm.size)
	c.mu.Unlock()
	c.routine.Go(func() {
		if err := c.live(state); err != nil {
			c.storm.fault("%s: %v", c.user, err)
		}
	})
}

// cut resets the connection. Only the test's goroutine calls it.
func (c *stormClient) cut() {
	c.seen = presence.Offline
	c.mu.Lock()
	conn := c.conn
	c.conn, c.wanted, c.knows = nil, false, nil
	c.mu.Unlock()
	if conn != nil {
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	}
}

func (c *stormClient) isThere() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wanted
}

func (c *stormClient) watchesSince() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.watching
}

// live connects, logs on and reads until the connection is cut.
func (c *stormClient) live(state presence.State) error {
	conn, err := c.logOn(state)
	if err == nil {
		defer conn.Close()
		err = c.listen(conn)
	}
	if !c.isThere() { // it was cut
		return nil
	}
	return err
}

// logOn connects, and sends the Logon. 64 clients do so at a time: the server lets them in no faster, and its event loops do not wait behind
// thousands of clients for the processors, which are another machine's otherwise.
func (c *stormClient) logOn(state presence.State) (net.Conn, error) {
	c.storm.slots <- struct{}{}
	defer func() { <-c.storm.slots }()
	conn, err := net.DialTimeout("tcp", c.storm.Addr, c.storm.patience)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.conn = conn
	gone := !c.wanted
	c.mu.Unlock()
	if err = write(conn, wiretest.Logon(c.user, "presence", state.String())); gone || err != nil {
		_ = conn.Close()
	}
	return conn, err
}

// listen takes what comes.
func (c *stormClient) listen(conn net.Conn) error {
	return wiretest.Each(make([]byte, 4<<10), func(b []byte) (int, error) {
		n, err := conn.Read(b)
		c.storm.read.Add(int64(n))
		return n, err
	}, func(m *protocol.Message) error { return c.take(conn, m) })
}

func write(conn net.Conn, m *protocol.Message) error {
	_, err := conn.Write(testkit.Must(protocol.Binary.Append(nil, m)))
	return err
}

// take takes a message.
func (c *stormClient) take(conn net.Conn, m *protocol.Message) error {
	switch {
	case m.Type == protocol.TypeClose, m.Flags&protocol.FlagError != 0:
		return fmt.Errorf("message 0x%04x is %w", m.Type, testkit.Must(protocol.ParseClose(m.Body)))
	case m.Type == protocol.TypeLogon && m.IsReply():
		return write(conn, wiretest.Request(protocol.TypePresence, 2, protocol.PresenceWatch, nil))
	case m.Type == protocol.TypePresence:
		return c.isTold(m)
	}
	return fmt.Errorf("message 0x%04x has come", m.Type)
}

// isTold takes the answer to Watch, or a notice.
func (c *stormClient) isTold(m *protocol.Message) error {
	o, err := protocol.ParseOperation(m.Body)
	if err != nil {
		return err
	}
	all, err := protocol.ParsePresences(o.Content)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.knows == nil { // it was cut
		return nil
	}
	switch isWatch := m.IsReply() && o.Op == protocol.PresenceWatch; {
	case isWatch && c.watching.IsZero():
		c.watching = time.Now()
	case isWatch || o.Op != protocol.PresenceNotice || c.watching.IsZero():
		return fmt.Errorf("rule P22: operation %d has come", o.Op)
	}
	for _, p := range all {
		f := c.storm.byUser[p.UserID]
		switch {
		case f == c:
		case f == nil || f.group != c.group:
			return fmt.Errorf("rule P25: it is told that %s is %v", p.UserID, p.State)
		case p.State == presence.Stealth:
			return fmt.Errorf("rule P23: it is told that %s is %v", p.UserID, p.State)
		case c.knows[f.place] == p.State:
			return fmt.Errorf("rule P21: it is told again that %s is %v", p.UserID, p.State)
		default:
			c.knows[f.place] = p.State
		}
	}
	return nil
}

// wrong returns a fellow member of whom the client knows something wrong; nil if there is none, or if the client was cut. Only the test's goroutine calls it.
func (c *stormClient) wrong() *stormClient {
	group := c.storm.clients[c.group*c.storm.size:][:c.storm.size]
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, s := range c.knows {
		if f := group[i]; f != c && f.seen != s {
			return f
		}
	}
	return nil
}

func (c *stormClient) isRight() bool { return c.wrong() == nil }

func (c *stormClient) String() string {
	if f := c.wrong(); f != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		return fmt.Sprintf("%s, who knows %s as %v instead of %v", c.user, f.user, c.knows[f.place], f.seen)
	}
	return c.user
}

// probeType is a type of the application's, whose handler answers on the event loop with the number of its goroutine.
const probeType = 1

// goroutine returns "goroutine 7 ".
func goroutine() []byte {
	b := make([]byte, 64)
	b, _, _ = bytes.Cut(b[:runtime.Stack(b, false)], []byte("["))
	return b
}

// probe asks an event loop again and again.
type probe struct {
	conn     net.Conn
	patience time.Duration
	in       wiretest.Reader
	id       uint32
	loop     string

	mu      sync.Mutex
	answers []time.Duration // how long each has taken
}

// probe begins to ask each event loop every 5 ms, until the test ends.
func (s *storm) probe(loops int) {
	stop := make(chan struct{})
	var all sync.WaitGroup
	found := make(map[string]bool)
	for i := 0; len(found) < loops; i++ {
		p := &probe{conn: testkit.Must(net.Dial("tcp", s.Addr)), patience: s.patience}
		s.t.Cleanup(func() { _ = p.conn.Close() })
		if err := p.ask(wiretest.Logon(fmt.Sprint("probe", i))); err != nil {
			s.t.Fatal(err)
		}
		if err := p.ask(&protocol.Message{Type: probeType}); err != nil {
			s.t.Fatal(err)
		}
		if found[p.loop] {
			_ = p.conn.Close()
			continue
		}
		found[p.loop] = true
		s.probes = append(s.probes, p)
	}
	for _, p := range s.probes {
		all.Go(func() {
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-stop:
					return
				case <-tick.C:
				}
				began, loop := time.Now(), p.loop
				if err := p.ask(&protocol.Message{Type: probeType}); err != nil || p.loop != loop {
					s.fault("a loop answers no more: %v", err)
					return
				}
				p.mu.Lock()
				p.answers = append(p.answers, time.Since(began))
				p.mu.Unlock()
			}
		})
	}
	s.t.Cleanup(func() { close(stop); all.Wait() })
}

// ask asks, and waits for the answer.
func (p *probe) ask(m *protocol.Message) error {
	p.id++
	m.ID = p.id
	if err := write(p.conn, m); err != nil {
		return err
	}
	_ = p.conn.SetReadDeadline(time.Now().Add(p.patience))
	r, err := p.in.Next(p.conn.Read)
	switch {
	case err != nil:
		return err
	case !r.IsReply() || r.ID != m.ID || r.Flags&protocol.FlagError != 0:
		return errors.New("it is no answer")
	}
	if r.Type == probeType {
		p.loop = string(r.Body)
	}
	return nil
}

func (p *probe) hasAnswer() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.answers) > 0
}

// take returns how long the answers since the last call have taken.
func (p *probe) take() []time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.answers
	p.answers = nil
	return all
}
