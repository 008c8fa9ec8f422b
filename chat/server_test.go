package chat_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/internal/wiretest"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/rollcalltest"
	"github.com/rollcall-go/rollcall/usermgr"
)

// No test may leave a goroutine behind.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) // gnet starts a goroutine pool when it is imported
}

// world is a server with a chat service.
type world struct {
	*rollcalltest.Server
	t       *testing.T
	chat    *chat.Service
	store   chat.Store
	dialled int
	closed  bool
	nodes   *nodes // nil for a server alone
}

// settle waits until all that was stored before is delivered, on all servers.
func (w *world) settle() {
	w.t.Helper()
	w.chat.Settle()
	if w.nodes != nil {
		w.nodes.settle()
	}
}

// newWorld starts a server whose users may have several devices. Presence is told at once.
func newWorld(t *testing.T, cfg chat.Config) *world {
	t.Helper()
	w := &world{t: t, store: cfg.Store}
	w.start(cfg, usermgr.Config{}, nil)
	return w
}

func (w *world) start(cfg chat.Config, users usermgr.Config, elsewhere bridge.Elsewhere) {
	t := w.t
	t.Helper()
	if cfg.Store == nil {
		cfg.Store = chat.NewMemory()
		w.store = cfg.Store
	}
	if cfg.StoreTimeout == 0 {
		cfg.StoreTimeout = testkit.Patience // a busy machine is no fault
	}
	cfg.Presence.Interval = -1
	cfg.Presence.StoreTimeout = testkit.Patience
	users.Devices = usermgr.Devices{OnePerClass: true}
	w.Server = rollcalltest.NewServer(t, rollcall.Config{Users: users, Bridge: bridge.Config{Elsewhere: elsewhere}}, func(s *rollcall.Server) {
		w.chat = testkit.Must(chat.New(s.Bridge, cfg))
	})
	t.Cleanup(w.end)
}

// end stops the server and closes the service. It may be called again.
func (w *world) end() {
	w.t.Helper()
	if w.closed {
		return
	}
	w.closed = true
	w.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
	defer cancel()
	if err := w.chat.Close(ctx); err != nil {
		w.t.Errorf("the service did not end: %v", err)
	}
}

// peer is a client that speaks the wire, and does nothing by itself.
type peer struct {
	net.Conn
	t     *testing.T
	w     *world
	user  string
	in    wiretest.Reader
	id    uint32
	heard []string // messages and notices that have come, but for presence
	seen  []string // presence notices
	bytes []byte   // all that has come
}

// logOn logs users on, each on a device of its own.
func (w *world) logOn(user string, fields ...string) *peer {
	w.t.Helper()
	c := testkit.Must(net.Dial("tcp", w.Addr))
	w.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(2 * testkit.Patience))
	p := &peer{Conn: c, t: w.t, w: w, user: user, id: 1}
	w.dialled++
	m := wiretest.Logon(user, fields...)
	m.Device = uint16(w.dialled)
	p.send(m)
	if r := p.receive(); r.Type != protocol.TypeLogon {
		w.t.Fatalf("%s is answered %+v", user, r)
	}
	p.bytes = nil
	return p
}

func (p *peer) send(m *protocol.Message) {
	p.t.Helper()
	if _, err := p.Write(testkit.Must(protocol.Binary.Append(nil, m))); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) receive() *protocol.Message {
	p.t.Helper()
	m, err := p.in.Next(func(b []byte) (int, error) {
		n, err := p.Read(b)
		p.bytes = append(p.bytes, b[:n]...)
		return n, err
	})
	if err != nil {
		p.t.Fatalf("%s: %v", p.user, err)
	}
	return m
}

// begin sends a request with fields key, value, key, value.
func (p *peer) begin(typ uint16, op uint8, content []byte, fields ...string) uint32 {
	p.t.Helper()
	o := protocol.Operation{Op: op, Content: content, Fields: map[string]string{}}
	for i := 0; i < len(fields); i += 2 {
		o.Fields[fields[i]] = fields[i+1]
	}
	p.id++
	p.send(&protocol.Message{Type: typ, ID: p.id, Body: testkit.Must(protocol.AppendOperation(nil, &o))})
	return p.id
}

// answer returns the answer to a request. It notes what comes before.
func (p *peer) answer(id uint32) (protocol.Operation, error) {
	p.t.Helper()
	for {
		m := p.receive()
		switch {
		case !m.IsReply():
			p.note(m)
		case m.ID != id:
			p.t.Fatalf("%s got an answer to message %d instead of %d", p.user, m.ID, id)
		case m.Flags&protocol.FlagError != 0:
			return protocol.Operation{}, testkit.Must(protocol.ParseClose(m.Body))
		default:
			return testkit.Must(protocol.ParseOperation(m.Body)), nil
		}
	}
}

// ask sends a request and returns its answer.
func (p *peer) ask(typ uint16, op uint8, content []byte, fields ...string) (protocol.Operation, error) {
	p.t.Helper()
	return p.answer(p.begin(typ, op, content, fields...))
}

// must is ask of a request that is served.
func (p *peer) must(typ uint16, op uint8, content []byte, fields ...string) protocol.Operation {
	p.t.Helper()
	o, err := p.ask(typ, op, content, fields...)
	if err != nil {
		p.t.Fatalf("%s: operation %d of 0x%04x with %v is refused: %v", p.user, op, typ, fields, err)
	}
	return o
}

// refused wants a request to be refused with a code.
func (p *peer) refused(rule string, want protocol.CloseCode, typ uint16, op uint8, content []byte, fields ...string) *protocol.CloseError {
	p.t.Helper()
	_, err := p.ask(typ, op, content, fields...)
	var e *protocol.CloseError
	if !errors.As(err, &e) || e.Code != want {
		p.t.Errorf("rule %s: %s: operation %d of 0x%04x with %v is answered %v instead of %v", rule, p.user, op, typ, fields, err, want)
		return &protocol.CloseError{}
	}
	return e
}

// note notes a message or a notice: "7#1 bob: hello", "bob>ann#2 bob: hello", "group 7 joined bob", "contact asked bob".
func (p *peer) note(m *protocol.Message) {
	p.t.Helper()
	o := testkit.Must(protocol.ParseOperation(m.Body))
	switch {
	case m.Type == protocol.TypeChat && o.Op == protocol.ChatMessage:
		where := o.Fields["group"]
		if where == "" {
			where = o.Fields["from"] + ">" + o.Fields["to"]
		}
		p.heard = append(p.heard, where+line(testkit.Must(protocol.ParseStoredMessage(o.Content))))
	case m.Type == protocol.TypeGroup && o.Op == protocol.GroupNotice:
		p.heard = append(p.heard, strings.TrimSpace("group "+o.Fields["group"]+" "+o.Fields["event"]+" "+o.Fields["user"]))
	case m.Type == protocol.TypeContacts && o.Op == protocol.ContactNotice:
		p.heard = append(p.heard, strings.TrimSpace("contact "+o.Fields["event"]+" "+o.Fields["user"]+" "+o.Fields["text"]))
	case m.Type == protocol.TypePresence && o.Op == protocol.PresenceNotice:
		for _, e := range testkit.Must(protocol.ParsePresences(o.Content)) {
			p.seen = append(p.seen, e.UserID+" "+e.State.String())
		}
	default:
		p.t.Errorf("%s got %+v, %+v", p.user, m, o)
	}
}

// line writes a message as "#3 bob: hello", "#3 ?: hello", "#3 bob: (recalled)" or "#4 bob: (recalls 3)".
func line(m protocol.StoredMessage) string {
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

// sync waits until all that was sent to the peer before has come.
func (p *peer) sync() {
	p.t.Helper()
	p.w.settle()
	p.must(protocol.TypePresence, protocol.PresenceQuery, testkit.Must(system.AppendIDList(nil, nil)))
}

// wantHeard wants these messages and notices, and no others, since the last call.
func (p *peer) wantHeard(rule string, want ...string) {
	p.t.Helper()
	p.sync()
	got := p.heard
	p.heard = nil
	if !slices.Equal(got, want) {
		p.t.Errorf("rule %s: %s heard %q, not %q", rule, p.user, got, want)
	}
}

// forget forgets what was heard.
func (p *peer) forget() {
	p.t.Helper()
	p.sync()
	p.heard = nil
}

// to is the fields that name a conversation: a group's number, or a user.
func to(conversation string) []string {
	if _, err := strconv.ParseUint(conversation, 10, 63); err == nil {
		return []string{"group", conversation}
	}
	return []string{"user", conversation}
}

func post(id uuid.UUID, text string) []byte {
	b := binary.BigEndian.AppendUint16(id[:], 1)
	return append(slices.Clone(b), text...)
}

// say sends a message and returns its number.
func (p *peer) say(conversation, text string, fields ...string) uint64 {
	p.t.Helper()
	o := p.must(protocol.TypeChat, protocol.ChatSend, post(uuid.New(), text), append(to(conversation), fields...)...)
	return testkit.Must(strconv.ParseUint(o.Fields["seq"], 10, 64))
}

// mayNotSay wants a message to be refused.
func (p *peer) mayNotSay(rule string, want protocol.CloseCode, conversation string, fields ...string) *protocol.CloseError {
	p.t.Helper()
	return p.refused(rule, want, protocol.TypeChat, protocol.ChatSend, post(uuid.New(), "no"), append(to(conversation), fields...)...)
}

// history returns messages as line has them.
func (p *peer) history(conversation string, fields ...string) []string {
	p.t.Helper()
	o := p.must(protocol.TypeChat, protocol.ChatHistory, nil, append(to(conversation), fields...)...)
	return lines(testkit.Must(protocol.ParseStoredMessages(o.Content)))
}

func lines(all []protocol.StoredMessage) (texts []string) {
	for _, m := range all {
		texts = append(texts, line(m))
	}
	return texts
}

// befriend makes friends of two users.
func befriend(a, b *peer) {
	a.t.Helper()
	a.must(protocol.TypeContacts, protocol.ContactRequest, nil, "user", b.user)
	b.must(protocol.TypeContacts, protocol.ContactAnswer, nil, "user", a.user, "accept", "1")
	a.forget()
	b.forget()
}

// create makes a group and returns its number.
func (p *peer) create(fields ...string) string {
	p.t.Helper()
	return p.must(protocol.TypeGroup, protocol.GroupCreate, nil, fields...).Fields["group"]
}

// join joins a group and returns the messages in the answer.
func (p *peer) join(group string) []string {
	p.t.Helper()
	o := p.must(protocol.TypeGroup, protocol.GroupJoin, nil, "group", group)
	return lines(testkit.Must(protocol.ParseStoredMessages(o.Content)))
}

// group sends a request about a group that is served.
func (p *peer) group(op uint8, group string, fields ...string) protocol.Operation {
	p.t.Helper()
	return p.must(protocol.TypeGroup, op, nil, append([]string{"group", group}, fields...)...)
}

// ids is the content that names users.
func ids(users ...string) []byte { return testkit.Must(system.AppendIDList(nil, users)) }
