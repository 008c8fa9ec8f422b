package chat_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/internal/chattest"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// nodes are servers of one cluster, with one store in memory.
type nodes struct {
	*chattest.Nodes
	mesh *memory.Mesh
}

func newNodes(t *testing.T, n int, cfg chat.Config) *nodes {
	t.Helper()
	directory, mesh, store := memory.New(), memory.NewMesh(), chat.NewMemory()
	return &nodes{mesh: mesh, Nodes: chattest.NewNodes(t, n, cfg, func(int) (cluster.Config, chat.Store) {
		return cluster.Config{Directory: directory, Mesh: mesh}, store
	})}
}

// frameTell is the first byte of frames of services.
const frameTell = 17

// lose has the next n frames be lost in which a node tells others.
func (c *nodes) lose(n int64) {
	var lost atomic.Int64
	c.mesh.Lose(func(_ cluster.Incarnation, frame []byte) bool { return frame[0] == frameTell && lost.Add(1) <= n })
}

// Rule P29: members, friends and devices get messages and notices on whichever node they are, each once and in order.
func TestMessagesReachAllNodes(t *testing.T) {
	c := newNodes(t, 2, chat.Config{})
	a, b := c.All[0], c.All[1]
	ann, tablet, bob := a.LogOn("ann"), b.LogOn("ann"), b.LogOn("bob")
	ann.Must(protocol.TypeContacts, protocol.ContactRequest, nil, "user", "bob", "text", "hi")
	bob.WantHeard("P39", "contact asked ann hi")
	bob.Must(protocol.TypeContacts, protocol.ContactAnswer, nil, "user", "ann", "accept", "1")
	ann.WantHeard("P39", "contact friends bob")
	tablet.WantHeard("P39", "contact friends bob")
	bob.Forget()

	ann.Must(protocol.TypeContacts, protocol.ContactSettings, nil, "anonymous", "1")
	ann.Say("bob", "one")
	bob.WantHeard("P29", "ann>bob#1 ann: one") // numbers are in order on a node that has delivered one of the conversation
	bob.Say("ann", "two")
	bob.Say("ann", "anonymous", "anonymous", "1")
	ann.WantHeard("P29", "bob>ann#2 bob: two", "_anonymous>ann#1 ?: anonymous")
	tablet.WantHeard("P29", "ann>bob#1 ann: one", "bob>ann#2 bob: two", "_anonymous>ann#1 ?: anonymous")

	group := ann.Create()
	bob.Join(group)
	ann.WantHeard("P29", "group "+group+" joined bob")
	tablet.WantHeard("P29", "group "+group+" joined bob")
	bob.Forget()
	g := group
	ann.Say(group, "one")
	bob.WantHeard("P29", g+"#1 ann: one")
	bob.Say(group, "two")
	tablet.Say(group, "three")
	seq := ann.Say(group, "four")
	ann.Sync() // it is delivered before its content goes
	ann.Must(protocol.TypeChat, protocol.ChatRecall, nil, "group", group, "seq", fmt.Sprint(seq))
	ann.WantHeard("P29", g+"#2 bob: two", g+"#3 ann: three")
	tablet.WantHeard("P29", g+"#1 ann: one", g+"#2 bob: two", g+"#4 ann: four", g+"#5 ann: (recalls 4)")
	bob.WantHeard("P29", g+"#3 ann: three", g+"#4 ann: four", g+"#5 ann: (recalls 4)")
}

// Rules P29 and P30: while members talk on two nodes at once, each session gets each number once, in order, and one who joins gets all that comes
// after the answer.
func TestJoinIsExactOnAllNodes(t *testing.T) {
	c := newNodes(t, 2, chat.Config{RecentHistory: -1})
	ann, bob := c.All[0].LogOn("ann"), c.All[1].LogOn("bob")
	g := ann.Create()
	bob.Join(g)
	ann.Say(g, "first")
	bob.Await(func() bool { return len(numbersOf(bob.Heard)) == 1 })
	ann.Forget()
	bob.Forget()
	const each = 50
	var talk sync.WaitGroup
	for _, p := range []*chattest.Peer{ann, bob} {
		talk.Go(func() {
			for range each {
				p.Say(g, "x")
			}
		})
	}
	carol := c.All[1].LogOn("carol")
	o := carol.Group(protocol.GroupJoin, g)
	talk.Wait()
	var last uint64
	if _, err := fmt.Sscan(o.Fields["last"], &last); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*chattest.Peer{ann, bob, carol} {
		p.Sync()
		numbers := numbersOf(p.Heard)
		if !slices.IsSorted(numbers) || len(slices.Compact(slices.Clone(numbers))) != len(numbers) {
			t.Errorf("rule P29: %s got the numbers %v", p.User, numbers)
		}
		if p != carol && len(numbers) != each {
			t.Errorf("rule P29: %s got %d messages of the other, not %d", p.User, len(numbers), each)
		}
		if p == carol && (uint64(len(numbers)) != 2*each+1-last || len(numbers) > 0 && numbers[0] != last+1) {
			t.Errorf("rule P30: carol, who has joined at %d, got the numbers %v", last, numbers)
		}
	}
}

// heldStore is a store whose Append returns, once held, when it is released: its messages are stored before.
type heldStore struct {
	*chat.Memory
	held atomic.Pointer[chan struct{}]
}

func (s *heldStore) Append(ctx context.Context, posts []*chat.Post, allow func(*chat.Post, *chat.Standing) error) error {
	err := s.Memory.Append(ctx, posts, allow)
	if held := s.held.Load(); held != nil {
		<-*held
	}
	return err
}

// Rule P29: a message that another node's later one brings out, before its own server knows that it is stored, does not go to the session that has
// sent it.
func TestAnothersLaterMessageBringsOutNoCopyForTheSender(t *testing.T) {
	directory, mesh, memoryStore := memory.New(), memory.NewMesh(), chat.NewMemory()
	store := &heldStore{Memory: memoryStore}
	c := chattest.NewNodes(t, 2, chat.Config{}, func(i int) (cluster.Config, chat.Store) {
		return cluster.Config{Directory: directory, Mesh: mesh}, []chat.Store{store, memoryStore}[i]
	})
	ann, tablet, bob := c.All[0].LogOn("ann"), c.All[0].LogOn("ann"), c.All[1].LogOn("bob")
	g := ann.Create()
	bob.Join(g)
	ann.WantHeard("P29", "group "+g+" joined bob")
	tablet.WantHeard("P29", "group "+g+" joined bob")
	held := make(chan struct{})
	release := sync.OnceFunc(func() { close(held) })
	defer release() // or the server would not end
	store.held.Store(&held)
	id := ann.Begin(protocol.TypeChat, protocol.ChatSend, chattest.Post(uuid.New(), "one"), "group", g)
	testkit.Eventually(t, "the message is stored", func() bool { return len(bob.History(g)) == 1 })
	bob.Say(g, "two")
	tablet.Await(func() bool { return len(tablet.Heard) == 2 })
	release()
	if o, err := ann.Answer(id); err != nil || o.Fields["seq"] != "1" {
		t.Errorf("rule P33: the message is answered %+v, %v", o, err)
	}
	ann.WantHeard("P29", g+"#2 bob: two")
	tablet.WantHeard("P29", g+"#1 ann: one", g+"#2 bob: two")
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
	ann, bob := c.All[0].LogOn("ann"), c.All[1].LogOn("bob")
	g := ann.Create()
	bob.Join(g)
	bob.Say(g, "before")
	ann.Group(protocol.GroupMute, g, "user", "bob", "until-ms", fmt.Sprint(time.Now().Add(time.Hour).UnixMilli()))
	bob.MayNotSay("P37", protocol.MemberMuted, g)
	ann.Group(protocol.GroupMute, g, "user", "bob", "until-ms", "0")
	if seq := bob.Say(g, "after"); seq != 2 {
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
	ann, bob, carol := c.All[0].LogOn("ann"), c.All[1].LogOn("bob", "presence", "stealth"), c.All[1].LogOn("carol")
	g := ann.Create()
	bob.Join(g)
	carol.Join(g)
	c.All[0].Online("carol")
	_ = carol.Close()
	presence := c.All[0].Chat.Presence()
	testkit.Eventually(t, "carol has gone", func() bool { return presence.Visible("carol") == protocol.PresenceOffline })
	bob.Sync()
	ann.Say(g, "hi")
	ann.Sync()
	bob.Say(g, "ho")
	bob.Sync()
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
	ann, bob := c.All[0].LogOn("ann"), c.All[1].LogOn("bob")
	g := ann.Create()
	bob.Join(g)
	bob.Forget()
	ann.Say(g, "one")
	bob.WantHeard("P29", g+"#1 ann: one")
	c.lose(2)
	ann.Say(g, "two")
	bob.Say(g, "three") // fills the gap
	bob.Sync()
	if want := []string{g + "#2 ann: two"}; !slices.Equal(bob.Heard, want) {
		t.Errorf("rule P29: bob heard %q, not %q", bob.Heard, want)
	}
	testkit.Eventually(t, "ann hears what was lost", func() bool {
		ann.Sync()
		return slices.Contains(ann.Heard, g+"#3 bob: three")
	})
}
