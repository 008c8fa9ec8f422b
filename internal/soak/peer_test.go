//go:build linux

package soak

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// target is where a server is, and how it is reached.
type target struct {
	Addr string
	CA   string // the file of the authority behind the server's certificate; "" for plain TCP
	Web  bool   // over WebSocket
	From string // the IP address to come from; "" leaves it to the system
}

// peer is one connection that speaks protocol.Binary and does nothing by itself.
type peer struct {
	net.Conn
	tcp     *net.TCPConn // what Conn is, or what lies beneath its TLS
	in, buf []byte
}

func dial(at target) (*peer, error) { return dialIn(at, patience, nil) }

// dialIn connects, and goes through the handshake of TLS, within a time, with a socket that prepare, unless it is nil, has
// had its hands on.
func dialIn(at target, within time.Duration, prepare func(fd int)) (*peer, error) {
	d := net.Dialer{Timeout: within, KeepAlive: -1}
	if at.From != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(at.From)}
	}
	if prepare != nil {
		d.Control = func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { prepare(int(fd)) })
		}
	}
	conn, err := d.Dial("tcp", at.Addr)
	if err != nil {
		return nil, err
	}
	p := &peer{Conn: conn, tcp: conn.(*net.TCPConn)}
	if at.CA != "" {
		err = p.shakeHands(at.CA, within)
	}
	if err == nil && at.Web {
		err = p.upgrade(within)
	}
	if err != nil {
		p.reset()
		return nil, err
	}
	return p, nil
}

// shakeHands goes through the handshake of TLS.
func (p *peer) shakeHands(ca string, within time.Duration) error {
	cfg, err := trusting(ca)
	if err != nil {
		return err
	}
	tc := tls.Client(p.Conn, cfg)
	_ = tc.SetDeadline(time.Now().Add(within))
	if err := tc.Handshake(); err != nil {
		return err
	}
	_ = tc.SetDeadline(time.Time{})
	p.Conn = tc
	return nil
}

var trusted sync.Map // a *tls.Config for each file of an authority

// trusting returns a configuration for clients that trust the authority in a file.
func trusting(ca string) (*tls.Config, error) {
	if cfg, ok := trusted.Load(ca); ok {
		return cfg.(*tls.Config), nil
	}
	b, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"}
	if !cfg.RootCAs.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s holds no certificate", ca)
	}
	trusted.Store(ca, cfg)
	return cfg, nil
}

// CloseWrite ends the client's side; over TLS that of the socket, too: half a record before it would swallow what TLS says.
func (p *peer) CloseWrite() error {
	err := p.Conn.(interface{ CloseWrite() error }).CloseWrite()
	if s, ok := p.Conn.(*tls.Conn); ok {
		return errors.Join(err, s.NetConn().(*net.TCPConn).CloseWrite())
	}
	return err
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
	return frame(&protocol.Message{Type: protocol.TypeLogon, ID: 1, UserID: userID, Body: body})
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
	case m.Type == protocol.TypeLogon && m.IsReply() && m.ID == 1:
		reply, err := protocol.ParseLogonReply(m.Body)
		return reply[protocol.FieldSession], err
	case m.Type == protocol.TypeClose:
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
		if m.Type == protocol.TypeClose {
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
		if m.Type == protocol.TypeClose {
			if ce, err := protocol.ParseClose(m.Body); err == nil {
				code = ce.Code
			}
		}
	}
}

// reset ends the connection with a reset, which leaves nothing behind in the system.
func (p *peer) reset() {
	_ = p.tcp.SetLinger(0)
	_ = p.tcp.Close()
}

// online logs a user on, which must succeed.
func online(t testing.TB, at target, userID string, fields ...string) *peer {
	t.Helper()
	p, err := dial(at)
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
	took phase
	errs []error
}

// phase is what healthy users met with in a part of a test.
type phase struct {
	asking     []time.Duration // how long answers took
	comingOn   []time.Duration // how long log-ons took, of newcomers
	turnedAway int             // newcomers
}

func (p phase) answers() latency { return latencyOf(p.asking) }
func (p phase) logons() latency  { return latencyOf(p.comingOn) }

func (p phase) and(q phase) phase {
	return phase{append(p.asking, q.asking...), append(p.comingOn, q.comingOn...), p.turnedAway + q.turnedAway}
}

// startHealthy logs users on. Each asks every few milliseconds until stop. Whom a server with short deadlines turns away, because the machine
// is busy, comes again.
func startHealthy(t testing.TB, at target, n int) *healthy {
	t.Helper()
	h := &healthy{t: t, quit: make(chan struct{})}
	for i := range n {
		var p *peer
		eventually(t, "a healthy user logs on", func() bool {
			var err error
			if p, err = dial(at); err != nil {
				return false
			}
			if _, err = p.logOn(fmt.Sprint("healthy", i)); err != nil {
				p.reset()
			}
			return err == nil
		})
		h.asked.Go(func() {
			defer p.Close()
			for id := uint32(1); ; id++ {
				began := time.Now()
				err := p.ask(id)
				h.mu.Lock()
				h.took.asking = append(h.took.asking, time.Since(began))
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
	l := h.took.answers()
	h.took = phase{}
	return l
}

// phase has the users go on for d, and returns what they met with.
func (h *healthy) phase(d time.Duration) phase {
	h.p99()
	time.Sleep(d)
	h.mu.Lock()
	defer h.mu.Unlock()
	met := h.took
	h.took = phase{}
	return met
}

// newcomers are users who log on, four a second, and leave again. Some may not be let in: a limit that is right does that.
func (h *healthy) newcomers(at target) {
	const patience = 5 * time.Second
	h.asked.Go(func() {
		for i := 0; ; i++ {
			h.asked.Go(func() {
				began := time.Now()
				err := comeAndGo(at, fmt.Sprint("newcomer", i), patience)
				h.mu.Lock()
				defer h.mu.Unlock()
				if err != nil {
					h.took.turnedAway++
					return
				}
				h.took.comingOn = append(h.took.comingOn, time.Since(began))
			})
			select {
			case <-h.quit:
				return
			case <-time.After(250 * time.Millisecond):
			}
		}
	})
}

// comeAndGo logs on within a time.
func comeAndGo(at target, user string, within time.Duration) error {
	p, err := dialIn(at, within, nil)
	if err != nil {
		return err
	}
	defer p.reset()
	// next sets a deadline of its own, which is longer.
	defer time.AfterFunc(within, func() { _ = p.tcp.Close() }).Stop()
	_, err = p.logOn(user)
	return err
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

// over returns how many times longer the slowest took.
func (l latency) over(without latency) float64 { return float64(l.p99) / float64(max(without.p99, 1)) }

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
