package engine_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// header returns a frame's header whose fields may lie.
func header(magic, versionAndFlags byte, typ uint16, length uint32, user, dest byte) []byte {
	b := []byte{magic, versionAndFlags}
	b = binary.BigEndian.AppendUint16(b, typ)
	b = binary.BigEndian.AppendUint32(b, length)
	b = binary.BigEndian.AppendUint32(b, 1)
	return append(b, user, dest, 0, 0)
}

// Rule 15: one bad peer is one closed connection, with its code; by the header, before the body is there, which gnet would
// keep, however much it is. Each kind comes as the first frame and after a good one.
func TestBadFramesEndTheirConnectionAlone(t *testing.T) {
	r := serve(t, newEcho(engine.Config{Limits: engine.Limits{MaxBody: 1 << 20}}))
	check := healthy(t, r.addr)
	for _, c := range []struct {
		name string
		sent []byte
		code protocol.CloseCode
	}{
		{"a wrong magic", header(0x53, 0x10, 1, 0, 0, 0), protocol.InvalidMessage},
		{"another protocol", []byte("GET / HTTP/1.1\r\n\r\n"), protocol.InvalidMessage},
		{"one wrong byte", []byte{0}, protocol.InvalidMessage},
		{"a wrong version", header(0x52, 0x20, 1, 0, 0, 0), protocol.InvalidMessage},
		{"flag 4, not granted", header(0x52, 0x14, 1, 0, 0, 0), protocol.InvalidMessage},
		{"flag 8, not granted", header(0x52, 0x18, 1, 0, 0, 0), protocol.InvalidMessage},
		{"an error that is no reply", header(0x52, 0x12, 1, 0, 0, 0), protocol.InvalidMessage},
		{"type 0", header(0x52, 0x10, 0, 0, 0, 0), protocol.InvalidMessage},
		{"UserID longer than the frame", header(0x52, 0x10, 1, 4, 5, 0), protocol.InvalidMessage},
		{"DestUserID longer than the frame", header(0x52, 0x10, 1, 4, 0, 5), protocol.InvalidMessage},
		{"both IDs longer than the frame", header(0x52, 0x10, 1, 4, 3, 2), protocol.InvalidMessage},
		{"a length that is too short", append(header(0x52, 0x10, 1, 2, 0, 0), "hello"...), protocol.InvalidMessage},
		{"a UserID length that takes in the body", append(header(0x52, 0x10, 1, 5, 4, 0), "an\x00\x01x"...), protocol.InvalidMessage},
		{"a UserID that is no UTF-8", append(header(0x52, 0x10, 1, 2, 2, 0), 0xC3, 0x28), protocol.InvalidMessage},
		{"a body over the limit, by its header", header(0x52, 0x10, 1, 1<<20+1, 0, 0), protocol.MessageTooLarge},
		{"4 GiB, by its header", header(0x52, 0x10, 1, 1<<32-1, 255, 255), protocol.MessageTooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			first := dial(t, r.addr)
			first.sendRaw(c.sent)
			if c.name == "a length that is too short" { // two bytes of it are a message
				first.read()
			}
			first.wantClose(c.code)

			later := dial(t, r.addr)
			later.sendRaw(append(frame(t, protocol.Message{Type: 1, ID: 7, Body: []byte("good")}), c.sent...))
			if m := later.read(); m.ID != 7 || string(m.Body) != "good" {
				t.Errorf("the good message before it was answered with %v", m)
			}
			if c.name == "a length that is too short" {
				later.read()
			}
			later.wantClose(c.code)
		})
	}
	check()
}

// A length that is too long waits for the rest; the peer's end then comes within a frame.
func TestALengthThatIsTooLongWaitsForTheRest(t *testing.T) {
	e := newEcho(engine.Config{})
	g := newGate(t, e)
	r := serve(t, e)
	p, b := g.enter(t, r.addr)
	p.read()
	p.sendRaw(append(header(0x52, 0x10, 1, 6, 0, 0), "hello"...))
	p.endSide()
	b.wantEnd(t, protocol.NetworkError)
	p.wantEOF() // a NetworkError is never sent
	if n := b.received.Load(); n != 1 {
		t.Errorf("%d messages were received, want 1", n)
	}
}

// Before a connection is admitted a frame is 4 KiB at most, and is refused by its header.
func TestTheFirstFrameIsLimited(t *testing.T) {
	eachLayer(t, theFirstFrameIsLimited)
}

func theFirstFrameIsLimited(t *testing.T) {
	r := serve(t, newEcho(engine.Config{}))
	p := dial(t, r.addr)
	p.sendRaw(header(0x52, 0x10, 1, 4<<10-16+1, 0, 0))
	p.wantClose(protocol.MessageTooLarge)

	p = dial(t, r.addr)
	p.send(protocol.Message{Type: 1, ID: 1, Body: make([]byte, 4<<10-16)})
	p.read()
	p.ask(1, 2, string(make([]byte, 1<<20))) // later ones may be 1 MiB
}

// Rule 13: what comes while a connection is being admitted is bounded; gnet keeps all that is not taken.
func TestWhatWaitsForTheAdmissionIsLimited(t *testing.T) {
	eachTransportThat(t, (*transport).buffers, whatWaitsForTheAdmissionIsLimited)
}

func whatWaitsForTheAdmissionIsLimited(t *testing.T) {
	const limit = 64 << 10
	e := newEcho(engine.Config{Limits: engine.Limits{MaxEarly: limit}})
	g := newGate(t, e)
	g.first = func(engine.Control, *protocol.Message, *binding) {}
	r := serve(t, e)
	p, b := g.enter(t, r.addr)
	p.sendRaw(make([]byte, 256<<10))
	b.wantEnd(t, protocol.RateLimited)
	p.wantClose(protocol.RateLimited)

	p, b = g.enter(t, r.addr)
	for id := range uint32(100) {
		p.send(protocol.Message{Type: 1, ID: id + 1, Body: make([]byte, 500)})
	}
	_ = b.conn.Send(2, []byte("not before the reply"))
	b.Admit(&engine.Admitted{UserID: "ann", Reply: &protocol.Message{Type: protocol.TypeLogon, Flags: protocol.FlagReply}})
	if m := p.read(); m.Type != protocol.TypeLogon {
		t.Errorf("the first frame is of type %#x, want the reply", m.Type)
	}
	if m := p.read(); m.Type != 2 {
		t.Errorf("the second frame is of type %#x", m.Type)
	}
	for id := range uint32(100) {
		if m := p.read(); m.ID != id+1 {
			t.Fatalf("message %d was answered, want %d", m.ID, id+1)
		}
	}
}

func TestAHeaderMayComeByteByByte(t *testing.T) {
	r := serve(t, newEcho(engine.Config{Loops: 1}))
	other := dial(t, r.addr)
	for _, apart := range []bool{false, true} { // with and without a read of its own for each
		p := dial(t, r.addr)
		for id := range uint32(3) {
			for _, b := range frame(t, protocol.Message{Type: 1, ID: id + 1, DestUserID: "bob", Body: []byte("slowly")}) {
				p.sendRaw([]byte{b})
				if apart {
					other.ask(1, 1, "") // the loop has read what came before
				}
			}
		}
		for id := range uint32(3) {
			if m := p.read(); m.ID != id+1 || string(m.Body) != "slowly" {
				t.Errorf("got %v", m)
			}
		}
	}
}

// gnet: a Peek copies what is buffered. A large frame that comes in small pieces is not looked at, and not copied, at every
// piece. (With a look at each, the 4,096 pieces would cost 2 GiB of copies.)
func TestALargeFrameMayComeInSmallPieces(t *testing.T) {
	r := serve(t, newEcho(engine.Config{}))
	check := healthy(t, r.addr)
	p := dial(t, r.addr)
	p.ask(1, 1, "")
	body := make([]byte, 1<<20)
	for i := range body {
		body[i] = byte(i * 7)
	}
	f := frame(t, protocol.Message{Type: 1, ID: 2, Body: body})
	for len(f) > 0 {
		n := min(256, len(f))
		p.sendRaw(f[:n])
		f = f[n:]
	}
	if m := p.read(); !bytes.Equal(m.Body, body) {
		t.Error("the body came back changed")
	}
	check()
}

func TestAHundredThousandFramesInOneWrite(t *testing.T) {
	const n = 100_000
	for _, workers := range []int{0, 2} {
		t.Run(fmt.Sprintf("%d workers", workers), func(t *testing.T) {
			r := serve(t, newEcho(engine.Config{Workers: workers}))
			check := healthy(t, r.addr)
			p := dial(t, r.addr)
			var all []byte
			var err error
			for id := range uint32(n) {
				all, err = protocol.Binary.Append(all, &protocol.Message{Type: 1, ID: id + 1, Body: []byte("12345678")})
				if err != nil {
					t.Fatal(err)
				}
			}
			written := make(chan error, 1)
			go func() {
				_, err := p.Write(all)
				written <- err
			}()
			for id := range uint32(n) {
				if m := p.read(); m.ID != id+1 {
					t.Fatalf("message %d was answered, want %d", m.ID, id+1)
				}
			}
			if err := receive(t, "the end of the write", written); err != nil {
				t.Error(err)
			}
			check()
		})
	}
}

// Rule 15: good messages before garbage are answered, then comes the notice.
func TestGarbageAfterGoodMessages(t *testing.T) {
	for _, workers := range []int{0, 2} {
		t.Run(fmt.Sprintf("%d workers", workers), func(t *testing.T) {
			e := newEngine(engine.Config{Workers: workers})
			handled := make(chan uint32, 1000)
			e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error {
				handled <- m.ID
				return c.Reply(m, nil)
			})
			r := serve(t, e)
			p := dial(t, r.addr)
			var all []byte
			for id := range uint32(100) {
				all = append(all, frame(t, protocol.Message{Type: 1, ID: id + 1})...)
			}
			p.sendRaw(append(all, "garbage, garbage, garbage"...))
			last := uint32(0)
			for {
				m := p.read()
				if m.Type == protocol.TypeClose {
					wantNotice(t, m, protocol.InvalidMessage)
					break
				}
				if m.ID != last+1 {
					t.Fatalf("message %d was answered, want %d", m.ID, last+1)
				}
				last = m.ID
			}
			p.wantEOF()
			if workers == 0 && last != 100 { // a worker that is not so far drops what waits: the connection is closing
				t.Errorf("%d good messages were answered, want 100", last)
			}
		})
	}
}

// docs/protocol.md, "Heartbeat": those with an ID are answered; others, and replies without a request, are not.
func TestHeartbeatsAndStrayReplies(t *testing.T) {
	r := serve(t, newEcho(engine.Config{}))
	p := dial(t, r.addr)
	p.send(
		protocol.Message{Type: protocol.TypeHeartbeat},
		protocol.Message{Type: 1, ID: 5, Flags: protocol.FlagReply},
		protocol.Message{Type: protocol.TypeHeartbeat, ID: 6, Flags: protocol.FlagReply},
		protocol.Message{Type: protocol.TypeClose, ID: 6, Flags: protocol.FlagReply},
		protocol.Message{Type: protocol.TypeHeartbeat, ID: 7},
	)
	if m := p.read(); m.Type != protocol.TypeHeartbeat || m.ID != 7 || !m.IsReply() {
		t.Errorf("got %v, want the answer to heartbeat 7", m)
	}
	p.ask(1, 8, "")
}

// docs/protocol.md, "A connection from start to end": a second Logon on a connection is InvalidMessage. Rule 2: a strict
// connection refuses another user's ID.
func TestAfterAdmission(t *testing.T) {
	e := newEcho(engine.Config{})
	g := newGate(t, e)
	g.first = func(k engine.Control, m *protocol.Message, _ *binding) {
		k.Admit(&engine.Admitted{UserID: "ann", StrictUserID: m.Type == 2})
	}
	users := make(chan string, 10)
	e.Handle(3, func(_ *engine.Conn, m *protocol.Message) error { users <- m.UserID; return nil })
	r := serve(t, e)

	p, b := g.enter(t, r.addr)
	for _, name := range []string{"", "ann", "eve"} {
		p.send(protocol.Message{Type: 3, UserID: name})
		if got := receive(t, "a message", users); got != "ann" {
			t.Errorf("a message as %q was delivered as %q's", name, got)
		}
	}
	p.send(protocol.Message{Type: protocol.TypeLogon, ID: 1})
	p.wantClose(protocol.InvalidMessage)
	b.wantEnd(t, protocol.InvalidMessage)

	strict := dial(t, r.addr)
	strict.send(protocol.Message{Type: 2, UserID: "ann"})
	b = receive(t, "a connection", g.arrived)
	strict.ask(1, 1, "")
	strict.send(protocol.Message{Type: 3}, protocol.Message{Type: 3, UserID: "ann"}, protocol.Message{Type: 3, UserID: "eve"})
	strict.wantClose(protocol.WrongUserID)
	b.wantEnd(t, protocol.WrongUserID)
	if len(users) != 2 {
		t.Errorf("%d messages were delivered, want 2", len(users))
	}
}

// An Admission turns a connection away: its reply, then the notice.
func TestRefuse(t *testing.T) {
	e := newEcho(engine.Config{})
	g := newGate(t, e)
	g.first = func(k engine.Control, m *protocol.Message, _ *binding) {
		id := m.ID
		go k.Refuse(&protocol.Message{Type: protocol.TypeLogon, Flags: protocol.FlagReply | protocol.FlagError, ID: id,
			Body: system.AppendClose(nil, &protocol.CloseError{Code: protocol.Unauthorized})}, &protocol.CloseError{Code: protocol.Unauthorized, Text: "no"})
	}
	r := serve(t, e)
	p := dial(t, r.addr)
	p.send(protocol.Message{Type: protocol.TypeLogon, ID: 3, UserID: "ann"}, protocol.Message{Type: 1, ID: 4})
	b := receive(t, "a connection", g.arrived)
	p.wantError(3, protocol.Unauthorized)
	p.wantClose(protocol.Unauthorized)
	b.wantEnd(t, protocol.Unauthorized)
}

// Rule 8: every byte is a sign of life, an unfinished frame for Timeouts.UnfinishedFrame at most.
func TestBytesAreSignsOfLife(t *testing.T) {
	const timeout = time.Second
	e := newEcho(engine.Config{Timeouts: engine.Timeouts{UnfinishedFrame: timeout}, Loops: 1})
	g := newGate(t, e)
	r := serve(t, e)
	other, _ := g.enter(t, r.addr)
	other.read()
	p, b := g.enter(t, r.addr)
	p.read()
	p.send(protocol.Message{Type: protocol.TypeHeartbeat})
	eventually(t, "a beat", func() bool { return b.beats.Load() >= 2 })

	rest := 1 << 20
	began := time.Now()
	p.sendRaw(header(0x52, 0x10, 1, uint32(rest), 0, 0))
	barrier := func() { // what was sent before it has been read: the loop has answered twice, and goes round all between
		other.ask(1, 1, "")
		other.ask(1, 2, "")
	}
	beat := func() bool { // one more byte of the body
		barrier()
		n := b.beats.Load()
		p.sendRaw([]byte{0})
		rest--
		barrier()
		return b.beats.Load() > n
	}
	if !beat() && time.Since(began) < timeout/2 {
		t.Error("a byte of an unfinished frame is no sign of life")
	}
	eventually(t, "the end of the frame's time", func() bool {
		first, second := beat(), beat()
		return !first && !second
	})
	n := b.beats.Load()
	p.sendRaw(make([]byte, rest))
	p.read()
	if b.beats.Load() == n {
		t.Error("the end of the frame is no sign of life")
	}
}
