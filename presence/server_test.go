package presence_test

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/internal/wiretest"
	"github.com/rollcall-go/rollcall/presence"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/rollcalltest"
	"github.com/rollcall-go/rollcall/usermgr"
)

// No test may leave a goroutine behind.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) // gnet starts a goroutine pool when it is imported
}

// world is a server with a presence service, whose ticks come when the test says so.
type world struct {
	*rollcalltest.Server
	t        *testing.T
	presence *presence.Service
	friends  *friends
	store    *store
	dialled  int
}

// newWorld starts a server. All users are friends, and each may have several devices.
func newWorld(t *testing.T, cfg presence.Config, users usermgr.Config) *world {
	t.Helper()
	w := &world{t: t, friends: &friends{}, store: &store{Memory: presence.NewMemory()}}
	w.start(cfg, users, nil)
	return w
}

func (w *world) start(cfg presence.Config, users usermgr.Config, elsewhere bridge.Elsewhere) {
	t := w.t
	t.Helper()
	switch cfg.Contacts {
	case nil:
		cfg.Contacts = w.friends
	case none:
		cfg.Contacts = nil
	}
	if cfg.Store == nil {
		cfg.Store = w.store
	}
	if cfg.Interval == 0 {
		cfg.Interval = time.Hour // the test ticks
	}
	if cfg.StoreTimeout == 0 {
		cfg.StoreTimeout = testkit.Patience // a busy machine is no fault
	}
	users.Devices = usermgr.Devices{OnePerClass: true}
	whoIsOnline := bridge.Config{
		MayAskWhoIsOnline: func(string, []string) bool { return true },
		Visible:           func(asker, userID string) bool { return w.presence.VisibleTo(asker, userID) },
		Elsewhere:         elsewhere,
	}
	w.Server = rollcalltest.NewServer(t, rollcall.Config{Users: users, Bridge: whoIsOnline}, func(s *rollcall.Server) {
		w.presence = presence.New(s.Bridge, cfg)
	})
	t.Cleanup(w.end)
}

// end stops the server and closes the service. It may be called again.
func (w *world) end() {
	w.t.Helper()
	w.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
	defer cancel()
	if err := w.presence.Close(ctx); err != nil {
		w.t.Errorf("the service did not end: %v", err)
	}
}

// tick waits until all that users have done is loaded and stored, and has the next tick come.
func (w *world) tick() {
	w.t.Helper()
	w.settle()
	w.presence.Tick()
	w.settle()
}

// settle waits until no call of the store is under way.
func (w *world) settle() {
	w.t.Helper()
	testkit.Eventually(w.t, "the store has all", w.presence.Quiet)
}

// peer is a client that speaks the wire, and does nothing by itself.
type peer struct {
	net.Conn
	t       *testing.T
	w       *world
	user    string
	in      wiretest.Reader
	id      uint32
	notices []string // that have come
	bytes   []byte   // all that has come
}

// logOn logs a user on, on a device of its own, with fields key, value, key, value.
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
	p.bytes = nil // the session's ID is another each time
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

// ask sends a request, and returns its answer; it notes the notices that come before.
func (p *peer) ask(op uint8, content []byte, fields ...string) (protocol.Operation, error) {
	p.t.Helper()
	p.begin(op, content, fields...)
	return p.answer()
}

func (p *peer) begin(op uint8, content []byte, fields ...string) {
	p.t.Helper()
	p.id++
	p.send(wiretest.Request(protocol.TypePresence, p.id, op, content, fields...))
}

// answer returns the answer to the last request.
func (p *peer) answer() (protocol.Operation, error) {
	p.t.Helper()
	for {
		switch m := p.receive(); {
		case m.Type != protocol.TypePresence:
			p.t.Fatalf("%s got %+v", p.user, m)
		case !m.IsReply():
			p.note(testkit.Must(protocol.ParseOperation(m.Body)))
		case m.ID != p.id:
			p.t.Fatalf("%s got an answer to message %d", p.user, m.ID)
		case m.Flags&protocol.FlagError != 0:
			return protocol.Operation{}, testkit.Must(protocol.ParseClose(m.Body))
		default:
			return testkit.Must(protocol.ParseOperation(m.Body)), nil
		}
	}
}

// note notes a notice as "bob online", or "bob online, eve online".
func (p *peer) note(o protocol.Operation) {
	p.t.Helper()
	all := testkit.Must(protocol.ParsePresences(o.Content))
	for _, e := range all {
		if o.Op != protocol.PresenceNotice || e.State.String() != o.Fields["name"] {
			p.t.Errorf("%s got the operation %d, %v, with %+v", p.user, o.Op, o.Fields, e)
		}
	}
	p.notices = append(p.notices, list(all))
}

// list writes presences as "bob online, eve busy".
func list(all []protocol.Presence) string {
	var words []string
	for _, e := range all {
		words = append(words, e.UserID+" "+e.State.String())
	}
	return strings.Join(words, ", ")
}

// set chooses a state.
func (p *peer) set(state presence.State) {
	p.t.Helper()
	if _, err := p.ask(protocol.PresenceSet, nil, "state", state.String()); err != nil {
		p.t.Fatalf("%s may not be %v: %v", p.user, state, err)
	}
}

// watch begins to watch, and returns the users in the answer.
func (p *peer) watch() string {
	p.t.Helper()
	o, err := p.ask(protocol.PresenceWatch, nil)
	if err != nil {
		p.t.Fatalf("%s may not watch: %v", p.user, err)
	}
	return list(testkit.Must(protocol.ParsePresences(o.Content)))
}

// watchInTicks is watch where the answer may have to wait for ticks, which come as fast as they can.
func (p *peer) watchInTicks() []protocol.Presence {
	p.t.Helper()
	p.begin(protocol.PresenceWatch, nil)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				p.w.presence.Tick()
			}
		}
	}()
	o, err := p.answer()
	close(stop)
	<-stopped
	if err != nil {
		p.t.Fatalf("%s may not watch: %v", p.user, err)
	}
	return testkit.Must(protocol.ParsePresences(o.Content))
}

// query asks for users.
func (p *peer) query(ids ...string) []protocol.Presence {
	p.t.Helper()
	o, err := p.ask(protocol.PresenceQuery, testkit.Must(system.AppendIDList(nil, ids)))
	if err != nil {
		p.t.Fatalf("%s may not ask: %v", p.user, err)
	}
	return testkit.Must(protocol.ParsePresences(o.Content))
}

// heard returns the notices that have come since the last call, each in brackets: all that was sent before is there, because the answer to
// a question comes after it.
func (p *peer) heard() string {
	p.t.Helper()
	p.query()
	all := p.notices
	p.notices = nil
	slices.Sort(all) // notices of one tick and several names come in no order
	return "[" + strings.Join(all, "] [") + "]"
}

// online asks the bridge which of some users are online.
func (p *peer) online(ids ...string) []string {
	p.t.Helper()
	p.id++
	p.send(&protocol.Message{Type: protocol.TypeWhoIsOnline, ID: p.id, Body: testkit.Must(system.AppendIDList(nil, ids))})
	for {
		m := p.receive()
		if m.Type == protocol.TypeWhoIsOnline && m.Flags == protocol.FlagReply {
			return testkit.Must(system.ParseIDList(m.Body))
		}
		p.note(testkit.Must(protocol.ParseOperation(m.Body)))
	}
}

// wantHeard wants these notices, and no others, since the last call.
func (p *peer) wantHeard(rule, want string) {
	p.t.Helper()
	if got := p.heard(); got != "["+want+"]" {
		p.t.Errorf("rule %s, %s: heard %s, not [%s]", rule, p.user, got, want)
	}
}

// leave logs a device off.
func (p *peer) leave() {
	p.t.Helper()
	_ = p.Close()
}

// gone waits until a user has gone.
func (w *world) gone(user string) {
	w.t.Helper()
	testkit.Eventually(w.t, user+" has gone", func() bool { return !w.presence.Comes(user) })
}

// none stands for no Contacts.
var none presence.Contacts = (*friends)(nil)

// lose resets the connection, as a network does that is lost.
func (p *peer) lose() {
	p.t.Helper()
	if err := p.Conn.(*net.TCPConn).SetLinger(0); err != nil {
		p.t.Fatal(err)
	}
	_ = p.Close()
}
