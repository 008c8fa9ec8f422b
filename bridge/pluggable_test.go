package bridge_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/heartbeat"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// guestBook is another user manager: the first session of a user stays, there are no events and no counts.
type guestBook struct {
	mu     sync.Mutex
	guests map[string]*guest
}

type guest struct {
	book *guestBook
	user string
	link usermgr.Link
	end  sync.Once
}

func (b *guestBook) Register(_ context.Context, l usermgr.Logon, link usermgr.Link) (usermgr.Session, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.guests[l.UserID] != nil {
		return nil, &protocol.CloseError{Code: protocol.AlreadyLoggedOn}
	}
	b.guests[l.UserID] = &guest{book: b, user: l.UserID, link: link}
	return b.guests[l.UserID], nil
}

func (b *guestBook) Links(userID string) []usermgr.Link {
	b.mu.Lock()
	defer b.mu.Unlock()
	if g := b.guests[userID]; g != nil {
		return []usermgr.Link{g.link}
	}
	return nil
}

func (g *guest) End(code protocol.CloseCode) {
	g.end.Do(func() {
		g.book.mu.Lock()
		delete(g.book.guests, g.user)
		g.book.mu.Unlock()
		g.link.Quiesce(func() { g.link.Close(&protocol.CloseError{Code: code}, nil) })
	})
}

func (g *guest) ID() string                             { return "guest " + g.user }
func (g *guest) UserID() string                         { return g.user }
func (*guest) Beat()                                    {}
func (*guest) Received(typ uint16, messages, bytes int) {}
func (*guest) Sent(typ uint16, messages, bytes int)     {}
func (*guest) Dropped(typ uint16, messages, bytes int)  {}

// A program may bring its own user manager.
func TestOwnUserManager(t *testing.T) {
	book := &guestBook{guests: make(map[string]*guest)}
	s := newServerFor(t, options{}, nil, book).start()
	ann := s.dial()
	reply := ann.logOn("ann")
	if len(reply) != 1 || reply[protocol.FieldSession] != "guest ann" {
		t.Errorf("the reply to the Logon is %v", reply)
	}
	second := s.dial()
	second.send(logonMessage("ann"))
	second.expectRefused(protocol.AlreadyLoggedOn)
	if err := s.bridge.Send("ann", push, []byte("hello")); err != nil {
		t.Error(err)
	}
	ann.expect(push, "hello")
	ann.ask("echo")
	ann.conn.Close()
	eventually(t, "ann is gone", func() bool { return book.Links("ann") == nil })
	s.logOn("ann").ask("again")
	if err := s.stop(); err != nil {
		t.Errorf("Run returned %v", err)
	}
	if len(book.guests) > 0 {
		t.Errorf("in the book there is still %v", book.guests)
	}
}

// hastyBook is a guestBook that closes the link of mallory's logon before it refuses the logon, and does not end other sessions.
type hastyBook struct{ *guestBook }

type endless struct{ usermgr.Session }

func (endless) End(protocol.CloseCode) {}

func (b hastyBook) Register(ctx context.Context, l usermgr.Logon, link usermgr.Link) (usermgr.Session, error) {
	if l.UserID == "mallory" {
		link.Close(&protocol.CloseError{Code: protocol.KickedOut}, nil)
		return nil, protocol.Unauthorized
	}
	s, err := b.guestBook.Register(ctx, l, link)
	return endless{s}, err
}

// Rule 16: Run counts the sessions that have not ended, also when the program's user manager has closed a link and then refused its logon.
func TestALinkThatIsClosedAndThenRefusedIsReleasedOnce(t *testing.T) {
	book := hastyBook{&guestBook{guests: make(map[string]*guest)}}
	s := newServerFor(t, options{engine: engine.Config{Timeouts: engine.Timeouts{Stop: 100 * time.Millisecond}}}, nil, book).start()
	for range 3 {
		mallory := s.dial()
		mallory.send(logonMessage("mallory"))
		mallory.expectRefused(protocol.Unauthorized)
	}
	s.logOn("ann")
	if err := s.stop(); !errors.Is(err, engine.ErrStopTimeout) || s.engine.Stats().Stop.Sessions != 1 {
		t.Errorf("Run returned %v, and counts %v", err, s.engine.Stats().Stop)
	}
}

// briefBook is a guestBook whose sessions are pushed out before Register returns.
type briefBook struct{ *guestBook }

func (b briefBook) Register(ctx context.Context, l usermgr.Logon, link usermgr.Link) (usermgr.Session, error) {
	s, err := b.guestBook.Register(ctx, l, link)
	link.Close(&protocol.CloseError{Code: protocol.PushedOut}, nil)
	return s, err
}

// Rule 14: a session that ends before its connection is let in has its Logon answered, then its notice. Nothing of it is left, and its
// user is remembered as one who was pushed out (rule 13).
func TestASessionThatEndsAtOnceIsAnsweredAndThenClosed(t *testing.T) {
	book := briefBook{&guestBook{guests: make(map[string]*guest)}}
	s := newServerFor(t, options{auth: func(_ context.Context, _ *engine.Conn, l usermgr.Logon) (bridge.Identity, error) {
		return bridge.Identity{UserID: l.UserID, Expires: time.Now().Add(time.Hour)}, nil
	}}, nil, book).start()
	for _, user := range []string{"ann", "bob"} {
		c := s.dial()
		if got := c.logOn(user)[protocol.FieldSession]; got != "guest "+user {
			t.Errorf("%s has the session %q", user, got)
		}
		c.expectClose(protocol.PushedOut)
	}
	eventually(t, "the logons are over", func() bool { return s.bridge.Logons().LoggingOn == 0 })
	if n := s.bridge.Expiring(); n != 0 {
		t.Errorf("%d sessions that have ended still expire", n)
	}
	if n := s.bridge.Relogons(); n != 2 {
		t.Errorf("%d users are remembered as pushed out, want 2", n)
	}
}

// timers is a Checker of one's own: a timer for each session.
type timers time.Duration

type timer struct {
	*time.Timer
	limit time.Duration
	last  atomic.Int64
}

func (d timers) Watch(silent func()) heartbeat.Watch {
	w := &timer{time.AfterFunc(time.Duration(d), silent), time.Duration(d), atomic.Int64{}}
	w.Beat()
	return w
}
func (d timers) Timeout() time.Duration { return time.Duration(d) }
func (d timers) Close()                 {}
func (w *timer) Beat()                  { w.Reset(w.limit); w.last.Store(time.Now().UnixNano()) }
func (w *timer) Silent() bool           { return time.Now().UnixNano()-w.last.Load() >= int64(w.limit) }
func (w *timer) Stop()                  { w.Timer.Stop() }

// E7: the heartbeat checker is replaceable.
func TestOwnChecker(t *testing.T) {
	s := serve(t, options{users: usermgr.Config{HeartbeatChecker: timers(300 * time.Millisecond)}})
	c := s.dial()
	if got := c.logOn("ann")[protocol.FieldHeartbeatMS]; got != "100" {
		t.Errorf("heartbeat-ms is %q", got)
	}
	c.ask("hello")
	c.expectClose(protocol.HeartbeatTimeout)
	s.expectEnd("Connected ann@1", "TimedOut ann@1", "Disconnected ann@1 HeartbeatTimeout")
}

// jsonCodec is a wire format of one's own: a length of two bytes, then the message in JSON. It has no notices.
type jsonCodec struct{}

func (jsonCodec) Decode(src []byte, m *protocol.Message, o protocol.DecodeOptions) (n, need int, err error) {
	if len(src) < 2 {
		return 0, 2, nil
	}
	if n = 2 + int(binary.BigEndian.Uint16(src)); o.MaxFrame > 0 && n > o.MaxFrame {
		return 0, 0, &protocol.CloseError{Code: protocol.MessageTooLarge}
	}
	if len(src) < n {
		return 0, n, nil
	}
	var decoded protocol.Message
	if err := json.Unmarshal(src[2:n], &decoded); err != nil {
		return 0, 0, &protocol.CloseError{Code: protocol.InvalidMessage, Text: err.Error()}
	}
	*m = decoded
	return n, 0, nil
}

func (jsonCodec) Append(dst []byte, m *protocol.Message) ([]byte, error) {
	if m.Type == protocol.TypeClose {
		return dst, nil
	}
	b, err := json.Marshal(m)
	if err != nil {
		return dst, err
	}
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(b))), b...), nil
}

// E2, E4: with a wire format of the program's own everything else stays the same.
func TestOwnCodec(t *testing.T) {
	s := serve(t, options{engine: engine.Config{Listeners: []engine.Listener{{Codec: jsonCodec{}}}}})
	send := func(c *rawClient, messages ...*protocol.Message) {
		var b []byte
		for _, m := range messages {
			b, _ = jsonCodec{}.Append(b, m)
		}
		for len(b) > 0 { // in pieces
			n := min(len(b), 50)
			c.sendBytes(b[:n])
			b = b[n:]
		}
	}
	receive := func(c *rawClient) (m protocol.Message, err error) {
		_ = c.conn.SetReadDeadline(time.Now().Add(patience))
		var head [2]byte
		if _, err = io.ReadFull(c.conn, head[:]); err != nil {
			return m, err
		}
		b := make([]byte, binary.BigEndian.Uint16(head[:]))
		if _, err = io.ReadFull(c.conn, b); err != nil {
			return m, err
		}
		return m, json.Unmarshal(b, &m)
	}

	first := s.dial()
	send(first, &protocol.Message{Type: say, UserID: "ann", Body: []byte("hello")}, &protocol.Message{Type: echo, ID: 1, Body: []byte("1")},
		&protocol.Message{Type: echo, ID: 2, Body: []byte("2")})
	for _, want := range []string{"1", "2"} {
		if m, err := receive(first); err != nil || string(m.Body) != want || !m.IsReply() {
			t.Fatalf("received %+v, %v; want a reply %q", m, err, want)
		}
	}
	second := s.dial()
	send(second, logonMessage("ann"))
	if m, err := receive(second); err != nil || m.Type != protocol.TypeLogon || m.Flags != protocol.FlagReply {
		t.Errorf("the Logon was answered with %+v, %v", m, err)
	}
	if m, err := receive(first); err != io.EOF {
		t.Errorf("who was pushed out received %+v, %v; there are no notices", m, err)
	}
	second.sendBytes([]byte{0, 3, 'b', 'a', 'd'})
	if m, err := receive(second); err != io.EOF {
		t.Errorf("who sent rubbish received %+v, %v", m, err)
	}
	s.expectEnd("Connected ann@1", "say ann@1 hello", "PushedOut ann@1 by 2", "Disconnected ann@1 PushedOut",
		"Connected ann@2", "Disconnected ann@2 InvalidMessage")
}
