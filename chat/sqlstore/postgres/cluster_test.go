//go:build unix

package postgres_test

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/chat/sqlstore/internal/pgtest"
	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/cluster/mesh"
	"github.com/rollcall-go/rollcall/internal/chattest"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// newNodes starts two nodes, each with a store of its own on one database. Their mesh is TCP from node to node.
func newNodes(t *testing.T, cfg chat.Config) (a, b *chattest.Node) {
	t.Helper()
	dsn, directory := pgtest.Shared(t).Lend(t), memory.New()
	nodes := chattest.NewNodes(t, 2, cfg, func(i int) (cluster.Config, chat.Store) {
		store := open(t, dsn)
		direct := testkit.Must(mesh.New(mesh.Config{Listen: "127.0.0.1:0", Secret: []byte("the test's secret"), Logger: zap.NewNop()}))
		t.Cleanup(direct.Close)
		return cluster.Config{Directory: directory, Mesh: direct, Name: string(rune('a' + i))}, store
	})
	return nodes.All[0], nodes.All[1]
}

func groupID(s string) chat.GroupID { return chat.GroupID(testkit.Must(strconv.ParseUint(s, 10, 63))) }

// Rules P29, P32 and P39: what users on two nodes write comes to all their sessions, with the numbers of one order, and so do recalls and notices.
func TestMessagesReachBothNodes(t *testing.T) {
	a, b := newNodes(t, chat.Config{})
	ann, tablet, bob := a.LogOn("ann"), b.LogOn("ann"), b.LogOn("bob")
	ann.RequestFriend("bob")
	bob.WantHeard("P39", "contact asked ann it is me")
	bob.Must(protocol.TypeContacts, protocol.ContactAnswer, nil, "user", "ann", "accept", "1")
	ann.WantHeard("P39", "contact friends bob")
	tablet.WantHeard("P39", "contact friends bob")
	bob.WantHeard("P39", "contact friends ann")

	ann.Say("bob", "one")
	bob.WantHeard("P29", "ann>bob#1 ann: one")
	bob.Say("ann", "two")
	ann.WantHeard("P29", "bob>ann#2 bob: two")
	tablet.WantHeard("P29", "ann>bob#1 ann: one", "bob>ann#2 bob: two")
	ann.Must(protocol.TypeChat, protocol.ChatRecall, nil, "user", "bob", "seq", "1")
	bob.WantHeard("P32", "ann>bob#3 ann: (recalls 1)")
	if h, want := bob.History("ann"), []string{"#1 ann: (recalled)", "#2 bob: two", "#3 ann: (recalls 1)"}; !slices.Equal(h, want) {
		t.Errorf("rule P32: on the other node the history is %q, not %q", h, want)
	}
	bob.Refused("P32", protocol.NotYours, protocol.TypeChat, protocol.ChatRecall, nil, "user", "ann", "seq", "1")

	g := ann.Create()
	bob.Join(g)
	ann.WantHeard("P29", "group "+g+" joined bob")
	bob.WantHeard("P29", "group "+g+" joined bob")
	ann.Say(g, "first")
	bob.WantHeard("P29", g+"#1 ann: first") // numbers are in order on a node that has delivered one of the conversation
	const each = 50
	var talk sync.WaitGroup
	for _, p := range []*chattest.Peer{ann, bob} {
		talk.Go(func() {
			for range each {
				p.Say(g, p.User)
			}
		})
	}
	talk.Wait()
	page := testkit.Must(a.Chat.History(t.Context(), "ann", chat.ToGroup(groupID(g)), chat.Range{FromStart: true, Limit: 1 + 2*each}))
	for i, m := range page.Messages {
		if m.Seq != uint64(i+1) {
			t.Fatalf("rule P29: message %d of the history has the number %d", i+1, m.Seq)
		}
	}
	for p, other := range map[*chattest.Peer]string{ann: "bob", bob: "ann"} {
		p.SyncUntil(func() bool { return len(p.Heard) >= each })
		var want []string
		for _, m := range page.Messages[1:] {
			if m.From == other {
				want = append(want, fmt.Sprintf("%s#%d %s: %s", g, m.Seq, other, other))
			}
		}
		if !slices.Equal(p.Heard, want) || len(want) != each {
			t.Errorf("rule P29: %s heard\n%q, and\n%q is stored", p.User, p.Heard, want)
		}
	}
}

// Rule P37: when one node has answered Mute, no later message of the member has a number, although another node stores it.
func TestMuteOnOneNodeAgainstSendOnAnother(t *testing.T) {
	a, b := newNodes(t, chat.Config{})
	ctx := t.Context()
	group := testkit.Must(a.Chat.CreateGroup(ctx, "ann", chat.Group{Open: true}))
	testkit.Must(b.Chat.Join(ctx, group, "bob"))
	for range 20 {
		var writers sync.WaitGroup
		var sent atomic.Int32
		for range 2 {
			writers.Go(func() {
				for {
					if _, err := b.Chat.Send(ctx, "bob", chat.ToGroup(group), 1, []byte("x"), chat.SendOptions{}); err != nil {
						if chattest.CodeOf(err) != protocol.MemberMuted {
							t.Errorf("rule P37: bob is refused with %v", err)
						}
						return
					}
					sent.Add(1)
				}
			})
		}
		testkit.Eventually(t, "bob writes", func() bool { return sent.Load() > 2 })
		if err := a.Chat.Mute(ctx, "ann", group, "bob", time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		muted, _, err := a.Store.Group(ctx, group, "bob")
		writers.Wait()
		after, _, err2 := a.Store.Group(ctx, group, "bob")
		if err != nil || err2 != nil || muted.LastSeq != after.LastSeq {
			t.Fatalf("rule P37: the last number was %d when Mute was answered, and is %d: %v, %v", muted.LastSeq, after.LastSeq, err, err2)
		}
		if err := a.Chat.Mute(ctx, "ann", group, "bob", time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
}

// Rule P35: a group has its maximum, also when many join at once, on both nodes.
func TestAGroupHasAMaximumOnBothNodes(t *testing.T) {
	a, b := newNodes(t, chat.Config{})
	ann := a.LogOn("ann")
	group := ann.Create("max", "11")
	in, full := chattest.JoinTogether(t, 100, func(i int) error {
		_, err := []*chattest.Node{a, b}[i%2].Chat.Join(t.Context(), groupID(group), fmt.Sprint("user", i))
		return err
	})
	if in != 10 || full != 90 {
		t.Errorf("rule P35: %d users are in, and %d were refused", in, full)
	}
	for _, n := range []*chattest.Node{a, b} {
		if _, members, err := n.Store.Members(t.Context(), groupID(group), "", 0); len(members) != 11 || err != nil {
			t.Errorf("rule P35: the group has %d members, %v", len(members), err)
		}
	}
}

// Rules P19, P20 and P27: friends on two nodes see each other come, choose and go, and what they have chosen is there on each node.
func TestFriendsOnBothNodesSeeEachOther(t *testing.T) {
	a, b := newNodes(t, chat.Config{})
	ann, bob := a.LogOn("ann"), b.LogOn("bob")
	ann.RequestFriend("bob")
	if state := bob.RequestFriend("ann"); state != "friends" {
		t.Fatalf("rule P39: two who ask each other on two nodes are %q", state)
	}
	testkit.Eventually(t, "ann's answer to Watch has bob", func() bool { return slices.Equal(ann.Watch(), []string{"bob online"}) })
	bob.Must(protocol.TypePresence, protocol.PresenceSet, nil, "state", "busy")
	ann.Sees("P20", "bob", "busy")
	_ = bob.Close()
	ann.Sees("P20", "bob", "offline")
	a.LogOn("bob") // moves
	ann.Sees("P19", "bob", "busy")
}
