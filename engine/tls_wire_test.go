package engine

import (
	"bytes"
	"crypto/tls"
	"net"
	"slices"
	"testing"

	"github.com/rollcall-go/rollcall/internal/testca"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// memoryLink is a memoryConn that keeps what was written to it.
type memoryLink struct {
	memoryConn
	wrote []byte
	full  bool // the socket takes nothing
}

func (c *memoryLink) Write(p []byte) (int, error) {
	if c.full {
		return 0, nil
	}
	c.wrote = append(c.wrote, p...)
	return len(p), nil
}

func (c *memoryLink) Fd() int { return -1 }

// recorder is the client's end: what it writes is kept once the handshake is over.
type recorder struct {
	net.Conn
	keeps bool
	kept  []byte
	keys  bytes.Buffer // the secrets of TLS 1.3, as crypto/tls logs them
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.keeps {
		r.kept = append(r.kept, p...)
		return len(p), nil
	}
	return r.Conn.Write(p)
}

// newSecureConn returns a bound connection after its handshake, without a socket, and its client's end.
func newSecureConn(t *testing.T, e *Engine, version uint16) (*Conn, *memoryLink, *tls.Conn, *recorder) {
	ca := testca.New(t)
	ours, theirs := net.Pipe()
	t.Cleanup(func() { _ = ours.Close(); _ = theirs.Close() })
	s := startTLS(newHandshakeConn(ours, &e.clock),
		&tls.Config{Certificates: []tls.Certificate{ca.Issue("server")}, SessionTicketsDisabled: true})
	rec := &recorder{Conn: theirs}
	client := tls.Client(rec, &tls.Config{RootCAs: ca.Pool, ServerName: "localhost", MinVersion: version, MaxVersion: version,
		KeyLogWriter: &rec.keys})
	done := make(chan error, 1)
	go func() { done <- client.Handshake() }()
	if err := s.tls.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	rec.keeps = true
	gc := &memoryLink{}
	s.wire.nc = nil
	c := &Conn{setup: e.newSetup(protocol.Binary), tcp: gnetSocket{gc}, loop: &loop{engine: e}, userID: "ann", binding: &memoryBinding{}, userBound: true}
	s.join(c)
	c.state.Store(stateBound)
	return c, gc, client, rec
}

// Records that come in pieces of every length, one byte among them, and many in one piece, are what was sent. At each moment
// something is known to be unfinished exactly when a record or a frame is.
func TestTLSRecordsInPiecesOfEveryLength(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		e := testkit.Must(New(Config{}))
		var got []byte
		e.HandleDefault(func(_ *Conn, m *protocol.Message) error { got = append(got, m.Body...); return nil })
		c, gc, client, rec := newSecureConn(t, e, version)
		s := c.stream().(*tlsStream)
		var sent []byte
		var whole []int // lengths of what had been sent when a frame and its record were whole
		for i := range 40 {
			body := bytes.Repeat([]byte{byte(i)}, i*i)
			b, err := protocol.Binary.Append(nil, &protocol.Message{Type: 1, Body: body})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := client.Write(b); err != nil {
				t.Fatal(err)
			}
			sent = append(sent, body...)
			whole = append(whole, len(rec.kept))
		}
		for step, at := 1, 0; at < len(rec.kept); step++ {
			n := min(step, len(rec.kept)-at)
			if at < 3000 {
				n = 1
			}
			gc.in = rec.kept[at : at+n]
			if s.arrived() || c.state.Load() != stateBound {
				t.Fatalf("the connection ended at byte %d: %v", at, c.code)
			}
			at += n
			if finished := slices.Contains(whole, at); finished != (c.buffered() == 0) {
				t.Fatalf("after byte %d %d bytes wait", at, c.buffered())
			}
			if c.buffered() == 0 && s.plain != nil {
				t.Fatal("a connection for which nothing waits holds a buffer")
			}
		}
		if !bytes.Equal(got, sent) {
			t.Errorf("%s: got %d bytes, and not the %d that were sent", tls.VersionName(version), len(got), len(sent))
		}
	}
}

// A record that never ends is a sign of life for Timeouts.UnfinishedFrame alone, as a frame is.
func TestARecordThatNeverEndsIsNoSignOfLifeForEver(t *testing.T) {
	e := testkit.Must(New(Config{}))
	e.HandleDefault(func(*Conn, *protocol.Message) error { return nil })
	c, gc, client, rec := newSecureConn(t, e, tls.VersionTLS13)
	beats := &beatCounter{}
	c.binding = beats
	if _, err := client.Write(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	feed := func(at int) {
		gc.in = rec.kept[at : at+1]
		c.arrived()
	}
	feed(0)
	feed(1)
	if beats.n != 2 {
		t.Fatalf("%d signs of life, want 2", beats.n)
	}
	c.loop.clock.Advance(e.cfg.Timeouts.UnfinishedFrame + 1)
	feed(2)
	if beats.n != 2 {
		t.Error("it is a sign of life after Timeouts.UnfinishedFrame too")
	}
}

type beatCounter struct {
	memoryBinding
	n int
}

func (b *beatCounter) Beat() { b.n++ }

// Records that carry no message's byte, such as a key update without end, are kept by crypto/tls where Limits.MaxMemory does not see
// them: after a while they end the connection. Large records, however slowly they come, do not.
func TestTLSRecordsWithNothingInThemEndTheConnection(t *testing.T) {
	e := testkit.Must(New(Config{Timeouts: Timeouts{Close: -1}}))
	e.HandleDefault(func(*Conn, *protocol.Message) error { return nil })
	c, gc, client, rec := newSecureConn(t, e, tls.VersionTLS13)
	c.loop.woken = true // no loop is woken
	b, err := protocol.Binary.Append(nil, &protocol.Message{Type: 1, Body: make([]byte, 4*maxHollow)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Write(b); err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(rec.kept); at += 100 {
		gc.in = rec.kept[at:min(at+100, len(rec.kept))]
		c.arrived()
	}
	if c.state.Load() != stateBound || c.buffered() != 0 {
		t.Fatalf("a message of large records ended with %v", c.code)
	}
	seal := newSealer(t, client, rec).record
	sent := 0
	for part := []byte{24, 0, 0xff, 0xff}; c.state.Load() == stateBound; part = make([]byte, 1000) { // a key update of 64 KiB
		gc.in = seal(22, part)
		if sent += len(gc.in); sent > 2*maxHollow {
			t.Fatal("the connection still lives")
		}
		c.arrived()
	}
	if sent < maxHollow/2 || c.code != protocol.InvalidMessage {
		t.Errorf("ended after %d bytes with %v", sent, c.code)
	}
}
