package chat_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// nodes are servers of one cluster, with one store.
type nodes struct {
	t    *testing.T
	mesh *memory.Mesh
	all  []*node
}

type node struct {
	*world
	cluster *cluster.Node
	stops   atomic.Int64 // that other nodes have told it: see settle
}

func newNodes(t *testing.T, n int, cfg chat.Config) *nodes {
	t.Helper()
	directory, c := memory.New(), &nodes{t: t, mesh: memory.NewMesh()}
	cfg.Store = chat.NewMemory()
	for i := range n {
		w := &node{world: &world{t: t, store: cfg.Store, dialled: 100 * i, nodes: c}}
		w.cluster = testkit.Must(cluster.New(cluster.Config{Directory: directory, Mesh: c.mesh, Logger: zap.NewNop()}))
		w.cluster.Hear("stop", func(uint32, []byte) { w.stops.Add(1) }, func([]uint32) {})
		w.start(cfg, usermgr.Config{Claims: w.cluster, Logger: zap.NewNop()}, w.cluster)
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- w.cluster.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
		ready, over := context.WithTimeout(context.Background(), testkit.Patience)
		defer over()
		if err := w.cluster.Joined(ready); err != nil {
			t.Fatal(err)
		}
		c.all = append(c.all, w)
	}
	return c
}

// settle waits until each node has delivered what all have stored: what nodes tell each other keeps its order.
func (c *nodes) settle() {
	c.t.Helper()
	for _, n := range c.all {
		n.chat.Settle()
	}
	for _, to := range c.all {
		before := to.stops.Load()
		for _, from := range c.all {
			from.cluster.Tell("stop", uint32(to.cluster.Incarnation()), nil)
		}
		testkit.Eventually(c.t, "the nodes hear each other", func() bool { return to.stops.Load() == before+int64(len(c.all)-1) })
	}
	for _, n := range c.all {
		n.chat.Settle()
	}
}

// frameTell is the first byte of frames of services.
const frameTell = 17

func (c *nodes) lose(lose bool) {
	c.mesh.Lose(func(_ cluster.Incarnation, frame []byte) bool { return lose && frame[0] == frameTell })
}

// Rule P29: members, friends and devices get messages and notices on whichever node they are, each once and in order.
func TestMessagesReachAllNodes(t *testing.T) {
	c := newNodes(t, 2, chat.Config{})
	a, b := c.all[0], c.all[1]
	ann, tablet, bob := a.logOn("ann"), b.logOn("ann"), b.logOn("bob")
	ann.must(protocol.TypeContacts, protocol.ContactRequest, nil, "user", "bob", "text", "hi")
	bob.wantHeard("P39", "contact asked ann hi")
	bob.must(protocol.TypeContacts, protocol.ContactAnswer, nil, "user", "ann", "accept", "1")
	ann.wantHeard("P39", "contact friends bob")
	tablet.wantHeard("P39", "contact friends bob")
	bob.forget()

	ann.must(protocol.TypeContacts, protocol.ContactSettings, nil, "anonymous", "1")
	ann.say("bob", "one")
	bob.say("ann", "two")
	bob.say("ann", "anonymous", "anonymous", "1")
	bob.wantHeard("P29", "ann>bob#1 ann: one")
	ann.wantHeard("P29", "bob>ann#2 bob: two", "_anonymous>ann#1 ?: anonymous")
	tablet.wantHeard("P29", "ann>bob#1 ann: one", "bob>ann#2 bob: two", "_anonymous>ann#1 ?: anonymous")

	group := ann.create()
	bob.join(group)
	ann.wantHeard("P29", "group "+group+" joined bob")
	tablet.wantHeard("P29", "group "+group+" joined bob")
	bob.forget()
	ann.say(group, "one")
	bob.say(group, "two")
	tablet.say(group, "three")
	seq := ann.say(group, "four")
	ann.sync() // it is delivered before its content goes
	ann.must(protocol.TypeChat, protocol.ChatRecall, nil, "group", group, "seq", fmt.Sprint(seq))
	g := group
	ann.wantHeard("P29", g+"#2 bob: two", g+"#3 ann: three")
	tablet.wantHeard("P29", g+"#1 ann: one", g+"#2 bob: two", g+"#4 ann: four", g+"#5 ann: (recalls 4)")
	bob.wantHeard("P29", g+"#1 ann: one", g+"#3 ann: three", g+"#4 ann: four", g+"#5 ann: (recalls 4)")
}

// Rules P29 and P30: while members talk on two nodes at once, each session gets each number once, in order, and one who joins gets all that comes
// after the answer.
func TestJoinIsExactOnAllNodes(t *testing.T) {
	c := newNodes(t, 2, chat.Config{RecentHistory: -1})
	ann, bob := c.all[0].logOn("ann"), c.all[1].logOn("bob")
	g := ann.create()
	bob.join(g)
	ann.say(g, "first")
	ann.forget()
	bob.forget()
	const each = 50
	var talk sync.WaitGroup
	for _, p := range []*peer{ann, bob} {
		talk.Go(func() {
			for range each {
				p.say(g, "x")
			}
		})
	}
	carol := c.all[1].logOn("carol")
	o := carol.group(protocol.GroupJoin, g)
	talk.Wait()
	var last uint64
	if _, err := fmt.Sscan(o.Fields["last"], &last); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*peer{ann, bob, carol} {
		p.sync()
		numbers := numbersOf(p.heard)
		if !slices.IsSorted(numbers) || len(slices.Compact(slices.Clone(numbers))) != len(numbers) {
			t.Errorf("rule P29: %s got the numbers %v", p.user, numbers)
		}
		if p != carol && len(numbers) != each {
			t.Errorf("rule P29: %s got %d messages of the other, not %d", p.user, len(numbers), each)
		}
		if p == carol && (uint64(len(numbers)) != 2*each+1-last || len(numbers) > 0 && numbers[0] != last+1) {
			t.Errorf("rule P30: carol, who has joined at %d, got the numbers %v", last, numbers)
		}
	}
}

// numbersOf returns the numbers of the messages among what a peer has heard.
func numbersOf(heard []string) (numbers []uint64) {
	for _, h := range heard {
		var group, seq uint64
		if _, err := fmt.Sscanf(h, "%d#%d", &group, &seq); err == nil {
			numbers = append(numbers, seq)
		}
	}
	return numbers
}

// Rule P37: once Mute has been answered on one node, no message of the member is stored on another.
func TestMuteHoldsOnAllNodes(t *testing.T) {
	c := newNodes(t, 2, chat.Config{})
	ann, bob := c.all[0].logOn("ann"), c.all[1].logOn("bob")
	g := ann.create()
	bob.join(g)
	bob.say(g, "before")
	ann.group(protocol.GroupMute, g, "user", "bob", "until-ms", fmt.Sprint(time.Now().Add(time.Hour).UnixMilli()))
	bob.mayNotSay("P37", protocol.MemberMuted, g)
	ann.group(protocol.GroupMute, g, "user", "bob", "until-ms", "0")
	if seq := bob.say(g, "after"); seq != 2 {
		t.Errorf("rule P37: the next message has the number %d", seq)
	}
}

// The program is told once, on the node that has stored a message, and Offline names only those who are on no node.
func TestHandlersAreCalledOnOneNode(t *testing.T) {
	var mu sync.Mutex
	var got []string
	note := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, fmt.Sprintf(format, args...))
	}
	c := newNodes(t, 2, chat.Config{Handlers: chat.Handlers{
		Stored:  func(m *chat.Message) { note("stored %d", m.Seq) },
		Offline: func(m *chat.Message, users []string) { note("offline %d %v", m.Seq, users) },
	}})
	ann, bob, carol := c.all[0].logOn("ann"), c.all[1].logOn("bob", "presence", "stealth"), c.all[1].logOn("carol")
	g := ann.create()
	bob.join(g)
	carol.join(g)
	_ = carol.Close()
	presence := c.all[0].chat.Presence()
	testkit.Eventually(t, "carol has gone", func() bool { return presence.Visible("carol") == protocol.PresenceOffline })
	bob.sync()
	ann.say(g, "hi")
	ann.sync()
	bob.say(g, "ho")
	bob.sync()
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"stored 1", "offline 1 [carol]", "stored 2", "offline 2 [carol]"}; !slices.Equal(got, want) {
		t.Errorf("the program was told %q, not %q", got, want)
	}
}

// Rule P29: what nodes do not hear of each other comes with the next message, or when it is told once more.
func TestWhatIsLostBetweenNodesComesLater(t *testing.T) {
	t.Cleanup(chat.Again(100 * time.Millisecond))
	c := newNodes(t, 2, chat.Config{})
	ann, bob := c.all[0].logOn("ann"), c.all[1].logOn("bob")
	g := ann.create()
	bob.join(g)
	bob.forget()
	ann.say(g, "one")
	bob.wantHeard("P29", g+"#1 ann: one")
	c.lose(true)
	ann.say(g, "two")
	bob.say(g, "three") // fills the gap
	c.lose(false)
	bob.sync()
	if want := []string{g + "#2 ann: two"}; !slices.Equal(bob.heard, want) {
		t.Errorf("rule P29: bob heard %q, not %q", bob.heard, want)
	}
	testkit.Eventually(t, "ann hears what was lost", func() bool {
		ann.sync()
		return slices.Contains(ann.heard, g+"#3 bob: three")
	})
}
