//go:build linux

package soak

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// peer is one connection that speaks protocol.Binary and does nothing by itself.
type peer struct {
	*net.TCPConn
	in, buf []byte
}

func dial(addr string) (*peer, error) {
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	return &peer{TCPConn: conn.(*net.TCPConn)}, nil
}

func frame(m *protocol.Message) []byte {
	b, err := protocol.Binary.Append(nil, m)
	if err != nil {
		panic(err)
	}
	return b
}

// logonFrame is a Logon with the ID 1; its fields are key, value, key, value.
func logonFrame(userID string, fields ...string) []byte {
	m := make(map[string]string)
	for i := 0; i < len(fields); i += 2 {
		m[fields[i]] = fields[i+1]
	}
	body, err := protocol.AppendStringMap(nil, m)
	if err != nil {
		panic(err)
	}
	return frame(&protocol.Message{Type: protocol.Logon, ID: 1, UserID: userID, Body: body})
}

func (p *peer) write(b []byte) error {
	_ = p.SetWriteDeadline(time.Now().Add(patience))
	_, err := p.Write(b)
	return err
}

// next returns the next message, or the error that ended the connection: io.EOF when the server has ended its side.
func (p *peer) next() (protocol.Message, error) {
	if p.buf == nil {
		p.buf = make([]byte, 4096)
	}
	for {
		var m protocol.Message
		n, _, err := protocol.Binary.Decode(p.in, &m, protocol.DecodeOptions{})
		if err != nil {
			return m, err
		}
		if n > 0 {
			p.in = p.in[n:]
			return m, nil
		}
		_ = p.SetReadDeadline(time.Now().Add(patience))
		got, err := p.Read(p.buf)
		p.in = append(p.in, p.buf[:got]...)
		if err != nil && got == 0 {
			return m, err
		}
	}
}

// logOn sends a Logon and reads its answer. The error is a *protocol.CloseError when the server refused.
func (p *peer) logOn(userID string, fields ...string) (session string, err error) {
	if err := p.write(logonFrame(userID, fields...)); err != nil {
		return "", err
	}
	return p.answer()
}

// answer reads the answer to a Logon.
func (p *peer) answer() (session string, err error) {
	m, err := p.next()
	switch {
	case err != nil:
		return "", err
	case m.Type == protocol.Logon && m.IsReply() && m.ID == 1:
		reply, err := protocol.ParseLogonReply(m.Body)
		return reply[protocol.FieldSession], err
	case m.Type == protocol.Close:
		ce, err := protocol.ParseClose(m.Body)
		return "", errors.Join(ce, err)
	}
	return "", fmt.Errorf("the answer to a Logon is %+v", m)
}

// ask sends a request and reads its reply; pushes in between are thrown away.
func (p *peer) ask(id uint32) error {
	if err := p.write(frame(&protocol.Message{Type: echo, ID: id, Body: []byte("hello")})); err != nil {
		return err
	}
	for {
		m, err := p.next()
		if err != nil {
			return err
		}
		if m.Type == echo && m.ID == id && m.IsReply() {
			return nil
		}
		if m.Type == protocol.Close {
			ce, err := protocol.ParseClose(m.Body)
			return errors.Join(ce, err)
		}
	}
}

// hearOut reads to the end and returns the code of the Close notice; 0 without one.
func (p *peer) hearOut() (code protocol.CloseCode, err error) {
	for {
		m, err := p.next()
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			return code, err
		}
		if m.Type == protocol.Close {
			if ce, err := protocol.ParseClose(m.Body); err == nil {
				code = ce.Code
			}
		}
	}
}

// reset ends the connection with a reset, which leaves nothing behind in the system.
func (p *peer) reset() {
	_ = p.SetLinger(0)
	_ = p.Close()
}

// online logs a user on, which must succeed.
func online(t testing.TB, addr, userID string, fields ...string) *peer {
	t.Helper()
	p, err := dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	if _, err := p.logOn(userID, fields...); err != nil {
		t.Fatalf("%s cannot log on: %v", userID, err)
	}
	return p
}

// healthy are users who ask, now and then, while others behave badly. All their questions must be answered.
type healthy struct {
	t     testing.TB
	quit  chan struct{}
	asked sync.WaitGroup

	mu   sync.Mutex
	took []time.Duration
	errs []error
}

// startHealthy logs users on, each of whom asks every few milliseconds until stop.
func startHealthy(t testing.TB, addr string, n int) *healthy {
	t.Helper()
	h := &healthy{t: t, quit: make(chan struct{})}
	for i := range n {
		p := online(t, addr, fmt.Sprint("healthy", i))
		h.asked.Go(func() {
			defer p.Close()
			for id := uint32(1); ; id++ {
				began := time.Now()
				err := p.ask(id)
				h.mu.Lock()
				h.took = append(h.took, time.Since(began))
				if err != nil {
					h.errs = append(h.errs, err)
				}
				h.mu.Unlock()
				select {
				case <-h.quit:
					return
				case <-time.After(5 * time.Millisecond):
				}
				if err != nil {
					return
				}
			}
		})
	}
	return h
}

// p99 returns how long the slowest answers of the last phase took, and begins a new one.
func (h *healthy) p99() latency {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := latencyOf(h.took)
	h.took = nil
	return l
}

// stop ends the users. It fails the test when one was not answered.
func (h *healthy) stop() {
	h.t.Helper()
	close(h.quit)
	h.asked.Wait()
	if len(h.errs) > 0 {
		h.t.Errorf("%d healthy users suffered: %v", len(h.errs), h.errs[0])
	}
}

type latency struct {
	n        int
	p50, p99 time.Duration
	longest  time.Duration
}

func (l latency) String() string {
	r := func(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }
	return fmt.Sprintf("p50 %v, p99 %v, max %v of %d", r(l.p50), r(l.p99), r(l.longest), l.n)
}

func latencyOf(took []time.Duration) latency {
	if len(took) == 0 {
		return latency{}
	}
	slices.Sort(took)
	return latency{len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1]}
}

// pushed reads pushes until the connection ends, and tells how old each was.
func (p *peer) pushed(each func(age time.Duration)) {
	for {
		m, err := p.next()
		if err != nil {
			return
		}
		if m.Type == push {
			each(time.Since(time.Unix(0, int64(binary.BigEndian.Uint64(m.Body)))))
		}
	}
}
