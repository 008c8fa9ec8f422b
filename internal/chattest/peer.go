package chattest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/internal/wiretest"
	"github.com/rollcall-go/rollcall/protocol"
)

// Peer is a client that speaks the wire, and does nothing by itself.
type Peer struct {
	net.Conn
	T     *testing.T // whose it is; a test may give it to another
	User  string
	ID    uint32   // of the last request
	Heard []string // messages and notices that have come, but for presence
	Seen  []string // presence notices
	Names []string // of the presence notices
	Bytes []byte   // all that has come

	w  *World
	in wiretest.Reader
}

// LogOn logs a user on, each time on another device.
func (w *World) LogOn(user string, fields ...string) *Peer {
	w.T.Helper()
	c := testkit.Must(net.Dial("tcp", w.Addr))
	w.T.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(2 * testkit.Patience))
	p := &Peer{Conn: c, T: w.T, w: w, User: user, ID: 1}
	w.dialled++
	m := wiretest.Logon(user, fields...)
	m.Device = uint16(w.dialled)
	p.Send(m)
	if r := p.Receive(); r.Type != protocol.TypeLogon {
		w.T.Fatalf("%s is answered %+v", user, r)
	}
	p.Bytes = nil
	if w.nodes != nil { // a user's own node waits while the user is made; the others do not know of it
		testkit.Eventually(w.T, user+" exists", func() bool {
			all, err := w.Store.Users(context.Background(), []string{user})
			return err == nil && all[0].Exists
		})
	}
	return p
}

// Send sends a message.
func (p *Peer) Send(m *protocol.Message) {
	p.T.Helper()
	if _, err := p.Write(testkit.Must(protocol.Binary.Append(nil, m))); err != nil {
		p.T.Fatal(err)
	}
}

// Receive returns the next message.
func (p *Peer) Receive() *protocol.Message {
	p.T.Helper()
	m, err := p.next()
	if err != nil {
		p.T.Fatalf("%s: %v", p.User, err)
	}
	return m
}

func (p *Peer) next() (*protocol.Message, error) {
	return p.in.Next(func(b []byte) (int, error) {
		n, err := p.Read(b)
		p.Bytes = append(p.Bytes, b[:n]...)
		return n, err
	})
}

// Begin sends a request with fields key, value, key, value.
func (p *Peer) Begin(typ uint16, op uint8, content []byte, fields ...string) uint32 {
	p.T.Helper()
	p.ID++
	p.Send(wiretest.Request(typ, p.ID, op, content, fields...))
	return p.ID
}

// Answer returns the answer to a request. It notes what comes before.
func (p *Peer) Answer(id uint32) (protocol.Operation, error) {
	p.T.Helper()
	for {
		m := p.Receive()
		switch {
		case !m.IsReply():
			p.note(m)
		case m.ID != id:
			p.T.Fatalf("%s got an answer to message %d instead of %d", p.User, m.ID, id)
		case m.Flags&protocol.FlagError != 0:
			return protocol.Operation{}, testkit.Must(protocol.ParseClose(m.Body))
		default:
			return testkit.Must(protocol.ParseOperation(m.Body)), nil
		}
	}
}

// Ask sends a request and returns its answer.
func (p *Peer) Ask(typ uint16, op uint8, content []byte, fields ...string) (protocol.Operation, error) {
	p.T.Helper()
	return p.Answer(p.Begin(typ, op, content, fields...))
}

// Must is ask of a request that is served.
func (p *Peer) Must(typ uint16, op uint8, content []byte, fields ...string) protocol.Operation {
	p.T.Helper()
	o, err := p.Ask(typ, op, content, fields...)
	if err != nil {
		p.T.Fatalf("%s: operation %d of 0x%04x with %v is refused: %v", p.User, op, typ, fields, err)
	}
	return o
}

// Refused wants a request to be refused with a code.
func (p *Peer) Refused(rule string, want protocol.CloseCode, typ uint16, op uint8, content []byte, fields ...string) *protocol.CloseError {
	p.T.Helper()
	_, err := p.Ask(typ, op, content, fields...)
	var e *protocol.CloseError
	if !errors.As(err, &e) || e.Code != want {
		p.T.Errorf("rule %s: %s: operation %d of 0x%04x with %v is answered %v instead of %v", rule, p.User, op, typ, fields, err, want)
		return &protocol.CloseError{}
	}
	return e
}

// note notes a message or a notice: "7#1 bob: hello", "bob>ann#2 bob: hello", "group 7 joined bob", "contact asked bob".
func (p *Peer) note(m *protocol.Message) {
	p.T.Helper()
	if m.Type == protocol.TypeClose {
		p.T.Fatalf("%s is told %v", p.User, testkit.Must(protocol.ParseClose(m.Body)))
	}
	o := testkit.Must(protocol.ParseOperation(m.Body))
	switch {
	case m.Type == protocol.TypeChat && o.Op == protocol.ChatMessage:
		where := o.Fields["group"]
		if where == "" {
			where = o.Fields["from"] + ">" + o.Fields["to"]
		}
		p.Heard = append(p.Heard, where+Line(testkit.Must(protocol.ParseStoredMessage(o.Content))))
	case m.Type == protocol.TypeGroup && o.Op == protocol.GroupNotice:
		p.Heard = append(p.Heard, strings.TrimSpace("group "+o.Fields["group"]+" "+o.Fields["event"]+" "+o.Fields["user"]))
	case m.Type == protocol.TypeContacts && o.Op == protocol.ContactNotice:
		p.Heard = append(p.Heard, strings.TrimSpace("contact "+o.Fields["event"]+" "+o.Fields["user"]+" "+o.Fields["text"]))
	case m.Type == protocol.TypePresence && o.Op == protocol.PresenceNotice:
		p.Names = append(p.Names, o.Fields["name"])
		for _, e := range testkit.Must(protocol.ParsePresences(o.Content)) {
			p.Seen = append(p.Seen, e.UserID+" "+e.State.String())
		}
	default:
		p.T.Errorf("%s got %+v, %+v", p.User, m, o)
	}
}

// Line writes a message as "#3 bob: hello", "#3 ?: hello", "#3 bob: (recalled)" or "#4 bob: (recalls 3)".
func Line(m protocol.StoredMessage) string {
	from := m.From
	if m.Anonymous {
		from += "?"
	}
	text := string(m.Content)
	switch {
	case m.Recalled:
		text = "(recalled)" + text
	case m.Recalls != 0:
		text = fmt.Sprintf("(recalls %d)", m.Recalls)
	}
	return fmt.Sprintf("#%d %s: %s", m.Seq, from, text)
}

// Sync waits until all that was sent to the peer before has come.
func (p *Peer) Sync() {
	p.T.Helper()
	p.SyncUntil(func() bool { return true })
}

// SyncUntil is Sync, but where the service cannot tell when it has delivered (see World.Settle). There it waits until what has come is enough.
func (p *Peer) SyncUntil(enough func() bool) {
	p.T.Helper()
	if !p.w.Settle() && !p.Await(enough) {
		return
	}
	p.Must(protocol.TypePresence, protocol.PresenceQuery, IDs())
}

// Await reads until what has come is enough, and reports whether it does.
func (p *Peer) Await(enough func() bool) bool {
	p.T.Helper()
	_ = p.SetReadDeadline(time.Now().Add(testkit.Patience))
	defer func() { _ = p.SetReadDeadline(time.Now().Add(2 * testkit.Patience)) }()
	for !enough() {
		m, err := p.next()
		if err != nil {
			p.T.Errorf("%s waits for more than %q: %v", p.User, p.Heard, err)
			return false
		}
		p.note(m)
	}
	return true
}

// WantHeard wants these messages and notices, and no others, since the last call.
func (p *Peer) WantHeard(rule string, want ...string) {
	p.T.Helper()
	p.SyncUntil(func() bool { return len(p.Heard) >= len(want) })
	got := p.Heard
	p.Heard = nil
	if !slices.Equal(got, want) {
		p.T.Errorf("rule %s: %s heard %q, not %q", rule, p.User, got, want)
	}
}

// Forget forgets what was heard.
func (p *Peer) Forget() {
	p.T.Helper()
	p.Sync()
	p.Heard = nil
}
