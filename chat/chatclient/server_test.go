package chatclient_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/chat/chatclient"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/rollcalltest"
	"github.com/rollcall-go/rollcall/usermgr"
)

// No test may leave a goroutine behind.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) // gnet starts a goroutine pool when it is imported
}

const text = 7 // the type of the tests' messages

// world is a server with chat, and cables to it. Users may write to strangers.
type world struct {
	t      *testing.T
	cables []*testkit.Cable
	store  chat.Store
	gate   *gate // of requests
	*node
}

// config is the server's. Lost connections are found by logons, which push them out: that is not slowed down.
var config = rollcall.Config{
	Users:  usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}},
	Bridge: bridge.Config{RelogonBurst: -1},
}

// node is one run of the server.
type node struct {
	server *rollcalltest.Server
	chat   *chat.Service
	stop   func()
}

func newWorld(t *testing.T, cfg chat.Config) *world {
	t.Helper()
	w := &world{t: t, store: cfg.Store}
	if w.store == nil {
		w.store = chat.NewMemory()
	}
	w.gate = newGate()
	w.start(cfg)
	return w
}

// start starts the server.
func (w *world) start(cfg chat.Config) {
	w.t.Helper()
	n := &node{}
	cfg.Store, cfg.Strangers, cfg.Allow = w.store, true, w.gate.allow
	if cfg.StoreTimeout == 0 {
		cfg.StoreTimeout = testkit.Patience // a busy machine is no fault
	}
	if cfg.Presence.Interval == 0 {
		cfg.Presence.Interval = -1
	}
	n.server = rollcalltest.NewServer(w.t, config, func(s *rollcall.Server) {
		n.chat = testkit.Must(chat.New(s.Bridge, cfg))
	})
	n.stop = sync.OnceFunc(func() {
		w.gate.set(nil)
		n.server.Stop()
		ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
		defer cancel()
		if err := n.chat.Close(ctx); err != nil {
			w.t.Errorf("the service did not end: %v", err)
		}
	})
	w.t.Cleanup(n.stop)
	w.node = n
	w.meet()
}

// restart ends the server and starts another one with a store, at the end of the same cables.
func (w *world) restart(store chat.Store, cfg chat.Config) {
	w.t.Helper()
	w.stop()
	w.store = store
	w.start(cfg)
}

// person is a user's client and what it was told.
type person struct {
	*chatclient.Client
	t     *testing.T
	cable *testkit.Cable // nil for a client without one
	*heard
}

// heard is what a client was told. It outlives the client.
type heard struct {
	mu       sync.Mutex
	messages map[chatclient.Conversation][]*chatclient.Message
	resets   []chatclient.Conversation
	caughtUp int
}

// config returns the settings that have h told.
func (h *heard) config(cfg chatclient.Config) chatclient.Config {
	h.messages = make(map[chatclient.Conversation][]*chatclient.Message)
	then := cfg.OnMessage
	cfg.OnMessage = func(c *chatclient.Client, m *chatclient.Message) {
		h.mu.Lock()
		h.messages[m.Conversation] = append(h.messages[m.Conversation], m)
		h.mu.Unlock()
		if then != nil {
			then(c, m)
		}
	}
	cfg.OnReset = func(_ *chatclient.Client, of chatclient.Conversation) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.resets = append(h.resets, of)
	}
	cfg.OnCaughtUp = func(*chatclient.Client, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.caughtUp++
	}
	return cfg
}

// numbers returns the numbers of the messages of a conversation, in the order in which they came.
func (h *heard) numbers(of chatclient.Conversation) (all []uint64) {
	for _, m := range h.of(of) {
		all = append(all, m.Seq)
	}
	return all
}

func (h *heard) of(of chatclient.Conversation) []*chatclient.Message {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.messages[of])
}

// toldOfResets returns of which conversations OnReset was told.
func (h *heard) toldOfResets() []chatclient.Conversation {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.resets)
}

func (h *heard) timesCaughtUp() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.caughtUp
}

// dial logs a user on, over a cable of its own.
func (w *world) dial(user string, cfg chatclient.Config) *person {
	w.t.Helper()
	cable := testkit.NewCable(w.t, w.server.Addr)
	w.cables = append(w.cables, cable)
	p := w.dialAt(cable.Addr(), client.Config{UserID: user}, cfg)
	p.cable = cable
	return p
}

// direct is dial without a cable.
func (w *world) direct(user string, cfg chatclient.Config) *person {
	w.t.Helper()
	return w.dialAt(w.server.Addr, client.Config{UserID: user}, cfg)
}

func (w *world) dialAt(addr string, cc client.Config, cfg chatclient.Config) *person {
	w.t.Helper()
	p := &person{t: w.t, heard: &heard{}}
	cc.Reconnect = client.Reconnect{Min: time.Millisecond, Max: 20 * time.Millisecond}
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
	defer cancel()
	var err error
	if p.Client, err = chatclient.Dial(ctx, addr, cc, p.config(cfg)); err != nil {
		w.t.Fatalf("%s cannot log on: %v", cc.UserID, err)
	}
	w.t.Cleanup(p.end)
	return p
}

func (p *person) end() {
	p.t.Helper()
	if err := p.Close(); err != nil {
		p.t.Error(err)
	}
	testkit.Receive(p.t, "the client's end", p.Done())
}

// send sends a text, which must be stored.
func (p *person) send(to chatclient.Conversation, words string) chatclient.Sent {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
	defer cancel()
	sent, err := p.Send(ctx, to, text, []byte(words), chatclient.SendOptions{})
	if err != nil {
		p.t.Fatalf("%s was not sent: %v (%v)", words, err, p.Err())
	}
	return sent
}

// stored returns a conversation as the server has it, as a user sees it.
func (w *world) stored(user string, of chatclient.Conversation) (all []chat.Message) {
	w.t.Helper()
	for {
		after := uint64(0)
		if len(all) > 0 {
			after = all[len(all)-1].Seq
		}
		page, err := w.chat.History(w.t.Context(), user, chat.Conversation{Group: chat.GroupID(of.Group), With: of.With},
			chat.Range{After: after, FromStart: true, Limit: 1000})
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, page.Messages...)
		if !page.More {
			return all
		}
	}
}

// hasAll waits until a user was handed a conversation as the server has it from a number on, each message once and in order.
func (w *world) hasAll(p *person, of chatclient.Conversation, from uint64) {
	w.t.Helper()
	user := p.Conn().UserID()
	want := w.stored(user, of)
	want = want[min(int(from-1), len(want)):]
	testkit.ComesTrue(testkit.Patience, func() bool { return len(p.of(of)) >= len(want) })
	got := p.of(of)
	for i := range max(len(got), len(want)) {
		if i >= min(len(got), len(want)) {
			w.t.Fatalf("rule P45: of %d messages of %v %s was handed %d, the first of them as they are stored", len(want), of, user, len(got))
		}
		if m, s := got[i], &want[i]; m.Seq != s.Seq || m.ID != s.ID || string(m.Content) != string(s.Content) && !s.Recalled || m.From != s.From || m.Recalls != s.Recalls {
			w.t.Fatalf("rule P45: message %d of %d of %v is %+v for %s, and %+v in the store", i+1, len(want), of, m.StoredMessage, user, *s)
		}
	}
}

// group makes a group of some users, which the first one owns.
func (w *world) group(owner *person, others ...*person) chatclient.Conversation {
	w.t.Helper()
	id, err := owner.CreateGroup(w.t.Context(), chatclient.Group{Name: "group", Open: true})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, p := range others {
		if _, err := p.Join(w.t.Context(), id); err != nil {
			w.t.Fatal(err)
		}
	}
	return chatclient.ToGroup(id)
}

// fill stores messages by the program, while no client is told.
func (w *world) fill(of chatclient.Conversation, n int) {
	w.t.Helper()
	for i := range n {
		_, err := w.chat.Send(w.t.Context(), chat.Server, chat.Conversation{Group: chat.GroupID(of.Group), With: of.With}, text,
			[]byte(fmt.Sprintf("fill %d", i)), chat.SendOptions{})
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

// part breaks the connections of some clients, and keeps them from coming back.
func (w *world) part(all ...*person) {
	w.t.Helper()
	for _, p := range all {
		p.cable.Lead("127.0.0.1:1") // where no server is
		p.cable.Break()
		testkit.Eventually(w.t, "the connection is lost", func() bool { return p.Conn().State() == client.Reconnecting })
	}
}

// meet lets clients come back.
func (w *world) meet() {
	for _, c := range w.cables {
		c.Lead(w.server.Addr)
	}
}

// gate has requests of some kind wait, or be refused, before the server looks at them.
type gate struct {
	mu      sync.Mutex
	changed sync.Cond
	rule    func(a chat.Action) (closed bool, refusal error)
	waiting int // for the rule to change
}

func newGate() *gate {
	g := &gate{}
	g.changed.L = &g.mu
	return g
}

// allow is chat.Config.Allow.
func (g *gate) allow(_ context.Context, a chat.Action) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for {
		if g.rule == nil {
			return nil
		}
		closed, refusal := g.rule(a)
		if !closed {
			return refusal
		}
		g.waiting++
		g.changed.Wait()
	}
}

// set sets the rule; nil lets all requests pass.
func (g *gate) set(rule func(a chat.Action) (closed bool, refusal error)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.rule, g.waiting = rule, 0
	g.changed.Broadcast()
}

func (g *gate) waits() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.waiting
}

// closeFor has all requests of a user with an operation of chat wait.
func closeFor(user string, op uint8) func(chat.Action) (bool, error) {
	return func(a chat.Action) (bool, error) {
		return a.UserID == user && a.Type == protocol.TypeChat && a.Op == op, nil
	}
}
