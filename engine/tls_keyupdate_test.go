package engine

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"net"
	"strings"
	"testing"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// sealer seals records as the client, whose own tls.Conn cannot start a key update.
type sealer struct {
	t      *testing.T
	secret []byte
	aead   cipher.AEAD
	iv     []byte
	seq    uint64
}

// newSealer takes over from a client, behind what it has sent since its handshake.
func newSealer(t *testing.T, client *tls.Conn, rec *recorder) *sealer {
	switch suite := client.ConnectionState().CipherSuite; suite {
	case tls.TLS_AES_128_GCM_SHA256:
	case tls.TLS_CHACHA20_POLY1305_SHA256: // what Go prefers where the processor has no AES; it cannot be told otherwise
		testkit.LeaveOut(t, "ChaCha20 was agreed on, which the standard library does not export")
	default:
		t.Fatalf("%s was agreed on", tls.CipherSuiteName(suite))
	}
	s := &sealer{t: t}
	for line := range strings.Lines(rec.keys.String()) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "CLIENT_TRAFFIC_SECRET_0" {
			s.secret, _ = hex.DecodeString(f[2])
		}
	}
	s.derive()
	for b := rec.kept; len(b) > 0; b = b[recordHeaderLen+int(binary.BigEndian.Uint16(b[3:])):] {
		s.seq++
	}
	return s
}

// expand is HKDF-Expand-Label of RFC 8446.
func (s *sealer) expand(label string, n int) []byte {
	s.t.Helper()
	info := binary.BigEndian.AppendUint16(nil, uint16(n))
	info = append(info, byte(len("tls13 "+label)))
	info = append(info, "tls13 "+label...)
	b, err := hkdf.Expand(sha256.New, s.secret, string(append(info, 0)), n)
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

func (s *sealer) derive() {
	s.t.Helper()
	block, err := aes.NewCipher(s.expand("key", 16))
	if err != nil {
		s.t.Fatal(err)
	}
	if s.aead, err = cipher.NewGCM(block); err != nil {
		s.t.Fatal(err)
	}
	s.iv, s.seq = s.expand("iv", 12), 0
}

// record returns a record of a type: 22 for handshakes, 23 for what is said.
func (s *sealer) record(typ byte, b []byte) []byte {
	header := binary.BigEndian.AppendUint16([]byte{23, 3, 3}, uint16(len(b)+1+s.aead.Overhead()))
	nonce := append([]byte(nil), s.iv...)
	binary.BigEndian.PutUint64(nonce[4:], binary.BigEndian.Uint64(nonce[4:])^s.seq)
	s.seq++
	return s.aead.Seal(header, nonce, append(append([]byte(nil), b...), typ), header)
}

// keyUpdate returns a record after which the client's keys are new, and which has the server make new ones too.
func (s *sealer) keyUpdate() []byte {
	s.t.Helper()
	b := s.record(22, []byte{24, 0, 0, 1, 1})
	s.secret = s.expand("traffic upd", 32)
	s.derive()
	return b
}

func (s *sealer) message(m *protocol.Message) []byte {
	s.t.Helper()
	b, err := protocol.Binary.Append(nil, m)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.record(23, b)
}

// deafWaker is a loop's waker where the test runs the loop.
type deafWaker struct{ net.Conn }

func (deafWaker) Write(b []byte) (int, error) { return len(b), nil }

func stopAttending(l *loop) {
	if l.attention.timer != nil {
		l.attention.timer.Stop()
	}
}

// A key update comes when the socket takes nothing, and nothing is held yet: its answer is held back as a message is. What is
// sent from then on waits in the queue, the peer counts as one that takes nothing, and when it takes something again all of
// it arrives, in order, under the keys that were agreed on.
func TestAKeyUpdatesAnswerIsHeldBack(t *testing.T) {
	e := testkit.Must(New(Config{}))
	var handled []string
	e.HandleDefault(func(_ *Conn, m *protocol.Message) error { handled = append(handled, string(m.Body)); return nil })
	c, gc, client, rec := newSecureConn(t, e, tls.VersionTLS13)
	theirs := newSealer(t, client, rec)
	l := c.loop
	l.waker = deafWaker{}
	t.Cleanup(func() { stopAttending(l) })
	feed := func(b []byte) {
		t.Helper()
		gc.in = b
		if c.arrived() || c.state.Load() != stateBound {
			t.Fatalf("the connection ended with %v", c.code)
		}
	}
	gc.full = true
	feed(theirs.keyUpdate())
	if c.unsent == 0 || len(c.behind().wire) != int(c.unsent) || !c.queued.Load() || !c.is(isAttended) {
		t.Fatalf("%d bytes of the answer are kept, and somebody looks after them: %t", c.unsent, c.is(isAttended))
	}
	answer := c.unsent
	if err := c.Send(1, []byte("first")); err != nil {
		t.Fatal(err)
	}
	l.run()
	if len(gc.wrote) > 0 || c.unsent != answer {
		t.Fatal("what was sent afterwards did not wait")
	}
	feed(append(theirs.message(&protocol.Message{Type: 1, Body: []byte("still there")}), theirs.keyUpdate()...))
	if c.unsent == answer || len(handled) != 1 {
		t.Fatalf("the second key update was not answered, or the message before it was not handled: %q", handled)
	}
	makeDue(l)
	l.lookAfter()
	if int(c.unsent) != len(c.behind().wire) {
		t.Errorf("%d bytes are kept, %d are known", len(c.behind().wire), c.unsent)
	}
	if err := c.Send(1, []byte("second")); err != nil {
		t.Fatal(err)
	}
	gc.full = false // the peer takes it all
	makeDue(l)
	l.lookAfter()
	if c.is(isAttended) || c.unsent != 0 || c.queued.Load() {
		t.Error("it is looked after for ever")
	}
	rec.Conn = &replay{Conn: rec.Conn, b: gc.wrote}
	var in []byte
	for _, want := range []string{"first", "second"} {
		var m protocol.Message
		for {
			n, _, err := protocol.Binary.Decode(in, &m, protocol.DecodeOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if n > 0 {
				in = in[n:]
				break
			}
			b := make([]byte, 1000)
			if n, err = client.Read(b); err != nil {
				t.Fatalf("the client reads: %v", err)
			}
			in = append(in, b[:n]...)
		}
		if string(m.Body) != want {
			t.Errorf("got %q, want %q", m.Body, want)
		}
	}
}

// replay is a connection on which this has come.
type replay struct {
	net.Conn
	b []byte
}

func (r *replay) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, errNothingMore
	}
	n := copy(p, r.b)
	r.b = r.b[n:]
	return n, nil
}

// Rule 15: a peer that takes nothing, and updates its keys over and over, is a slow consumer by the answers alone.
func TestKeyUpdatesWithoutEndCloseAPeerThatTakesNothing(t *testing.T) {
	const limit = 1 << 10
	e := testkit.Must(New(Config{Limits: Limits{MaxOutbound: limit}}))
	e.HandleDefault(func(*Conn, *protocol.Message) error { return nil })
	c, gc, client, rec := newSecureConn(t, e, tls.VersionTLS13)
	theirs := newSealer(t, client, rec)
	c.loop.waker = deafWaker{}
	t.Cleanup(func() { stopAttending(c.loop) })
	gc.full = true
	for c.state.Load() == stateBound {
		if int(c.unsent) > 2*limit {
			t.Fatalf("%d bytes wait, and the limit is %d", int(c.unsent), limit)
		}
		gc.in = append(theirs.keyUpdate(), theirs.message(&protocol.Message{Type: 1})...)
		c.arrived()
	}
	if c.code != protocol.SlowConsumer || int(c.unsent) <= limit {
		t.Errorf("the connection was closed with %v when %d bytes waited", c.code, int(c.unsent))
	}
}
