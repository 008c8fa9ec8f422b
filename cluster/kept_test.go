package cluster_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// keepers stands for the push service of each node of a world.
type keepers struct {
	*world
	all []*keptHere
}

type keptHere struct {
	node   *member
	keeper seam.Keeper

	mu     sync.Mutex
	kept   map[string][]seam.KeptMessage
	until  map[string]time.Time
	got    []string
	silent bool // its clients confirm nothing
}

func newKeepers(t *testing.T, nodes int, cfg usermgr.Config) *keepers {
	w := &keepers{world: newWorld(t, nodes, cfg)}
	for _, n := range w.nodes {
		w.all = append(w.all, newKeptHere(n))
	}
	return w
}

func newKeptHere(n *member) *keptHere {
	k := &keptHere{node: n, kept: make(map[string][]seam.KeptMessage), until: make(map[string]time.Time)}
	k.keeper = n.UseKept(seam.Kept{Left: k.left, Tell: k.tell, Messages: k.messages, Confirm: k.confirm, Deliver: k.deliver})
	n.users.Subscribe(usermgr.Events{Connected: func(s usermgr.SessionInfo) {
		k.keeper.Arrived(s.UserID, s.ID)
		for _, m := range k.messages(s.UserID) { // as a push service does for a user who is here
			k.confirm(seam.Confirmation{UserID: s.UserID, ID: m.ID})
		}
	}})
	return k
}

// keep keeps a message for a user.
func (k *keptHere) keep(user, text string, d time.Duration) {
	k.mu.Lock()
	k.kept[user] = append(k.kept[user], seam.KeptMessage{ID: uuid.New(), Body: []byte(text)})
	k.until[user] = time.Now().Add(d)
	k.mu.Unlock()
	k.keeper.Keeps(user, d)
}

// drop ends the time of what is kept for a user.
func (k *keptHere) drop(user string) {
	k.mu.Lock()
	delete(k.kept, user)
	k.mu.Unlock()
	k.keeper.KeepsNothing(user)
}

func (k *keptHere) left(user string) time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.kept[user]) == 0 {
		return 0
	}
	return time.Until(k.until[user])
}

func (k *keptHere) tell(user string) {
	if left := k.left(user); left > 0 {
		k.keeper.Keeps(user, left)
	}
}

func (k *keptHere) messages(user string) []seam.KeptMessage {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.kept[user])
}

func (k *keptHere) confirm(c seam.Confirmation) {
	k.mu.Lock()
	k.kept[c.UserID] = slices.DeleteFunc(k.kept[c.UserID], func(m seam.KeptMessage) bool { return m.ID == c.ID })
	nothing := len(k.kept[c.UserID]) == 0
	k.mu.Unlock()
	if nothing {
		k.keeper.KeepsNothing(c.UserID)
	}
}

func (k *keptHere) deliver(user string, _ uint64, messages []seam.KeptMessage, confirmed func(uuid.UUID)) bool {
	k.mu.Lock()
	silent := k.silent
	for _, m := range messages {
		k.got = append(k.got, fmt.Sprintf("%s@%s: %s", user, k.node.name, m.Body))
	}
	k.mu.Unlock()
	for _, m := range messages {
		if !silent {
			confirmed(m.ID)
		}
	}
	return true
}

// gets waits until the node's users have got just these messages since the last call.
func (w *keepers) gets(k *keptHere, want ...string) {
	w.t.Helper()
	synctest.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	if !slices.Equal(k.got, want) {
		w.t.Errorf("the users of %s have got %q, want %q", k.node.name, k.got, want)
	}
	k.got = nil
}

// marked waits until a user's record has marks of these nodes, by their names.
func (w *keepers) marked(user string, names ...string) {
	w.t.Helper()
	var got []string
	defer func() {
		if w.t.Failed() {
			w.t.Log("the marks are of", got)
		}
	}()
	w.await("the marks of "+user, func() bool {
		got = nil
		for _, inc := range cluster.Marks(testkit.Must(w.store.Look(context.Background(), user))[0]) {
			name := fmt.Sprint(inc)
			for _, n := range w.nodes {
				if n.Incarnation() == inc {
					name = n.name
				}
			}
			got = append(got, name)
		}
		slices.Sort(got)
		return strings.Join(got, " ") == strings.Join(names, " ")
	})
}

// auditEvery is by when an audit has ended.
const auditEvery = time.Hour + 2*time.Minute

// allIsThere waits until the users who are online have what is kept for them, and no mark is left.
func (w *keepers) allIsThere() {
	w.t.Helper()
	online := make(map[string]bool)
	for _, n := range w.nodes {
		for s := range n.users.Sessions(usermgr.Filter{}) {
			online[s.UserID] = true
		}
	}
	var left string
	defer func() {
		if w.t.Failed() {
			w.t.Log(left)
		}
	}()
	w.await("users who are online have what is kept for them", func() bool {
		left = ""
		for _, k := range w.all {
			for user := range online {
				for _, m := range k.messages(user) {
					left += fmt.Sprintf("%s keeps %s for %s; ", k.node.name, m.Body, user)
				}
			}
		}
		return left == ""
	})
	w.await("no mark is left", func() bool {
		left = ""
		for user := range online {
			r := testkit.Must(w.store.Look(context.Background(), user))[0]
			if len(cluster.Marks(r)) > 0 {
				left += user + " " + cluster.DecodeText(r)
			}
		}
		return left == ""
	})
}

// Rule 27: what a node keeps for a user goes to the node that lets the user in, in order, once; then the mark leaves the record.
func TestWhatIsKeptFollowsItsUserToAnotherNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newKeepers(t, 3, usermgr.Config{})
		a, b, c := w.all[0], w.all[1], w.all[2]
		a.keep("ann", "1", time.Hour)
		w.marked("ann", "a")
		version := testkit.Must(w.store.Look(context.Background(), "ann"))[0].Version
		a.keep("ann", "2", time.Hour)
		b.keep("ann", "3", time.Hour)
		w.marked("ann", "a", "b")
		if now := testkit.Must(w.store.Look(context.Background(), "ann"))[0]; now.Version != version+1 || len(now.Body) != 2*13 {
			t.Errorf("the record has version %d after %d, and %d bytes", now.Version, version, len(now.Body))
		}
		s := w.mustLogOn(c.node, "ann", 0)
		synctest.Wait()
		slices.Sort(c.got)
		w.gets(c, "ann@c: 1", "ann@c: 2", "ann@c: 3")
		w.marked("ann")
		s.End(protocol.ClientClosed)
		w.settled()
		w.mustLogOn(b.node, "ann", 0)
		w.gets(b)
	})
}

// A user with nothing but marks is offline, in all that nodes tell, with a grace and without.
func TestAMarkAloneIsNoUser(t *testing.T) {
	for _, grace := range []time.Duration{0, 30 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			w := newKeepers(t, 2, usermgr.Config{OfflineGrace: grace})
			a, b := w.all[0], w.all[1]
			offline := func(when string) {
				t.Helper()
				online, err := w.nodes[1].IsOnline(context.Background(), "ann")
				places, err2 := w.nodes[1].Where(context.Background(), "ann")
				among, err3 := w.nodes[1].Online(context.Background(), "ann")
				time.Sleep(2 * time.Second) // a count is good for a second
				count, err4 := w.nodes[1].Count(context.Background())
				page, err5 := w.nodes[1].UserPage(context.Background(), "", 10)
				if online || len(places) > 0 || len(among) > 0 || count.Value.Users != 0 || len(page.Items) > 0 {
					t.Errorf("%s: %v %v %v %+v %v", when, online, places, among, count, page)
				}
				for _, err := range []error{err, err2, err3, err4, err5} {
					if err != nil {
						t.Error(err)
					}
				}
			}
			a.keep("ann", "1", 24*time.Hour)
			w.marked("ann", "a")
			offline("never there")
			b.silent = true
			s := w.mustLogOn(b.node, "ann", 0)
			w.gets(b, "ann@b: 1")
			w.marked("ann", "a")
			if online, err := w.nodes[0].IsOnline(context.Background(), "ann"); !online || err != nil {
				t.Errorf("ann is online: %v, %v", online, err)
			}
			s.End(protocol.ClientClosed)
			synctest.Wait()
			time.Sleep(grace)
			w.settled() // Offline was told
			w.marked("ann", "a")
			offline("after a session")
			time.Sleep(2 * time.Hour) // two audits
			w.settled()
			w.marked("ann", "a")
			b.silent = false
			w.mustLogOn(b.node, "ann", 0)
			w.gets(b, "ann@b: 1")
			w.marked("ann")
		})
	}
}

// A session that came in before the mark was written is told too; and where the frame that tells is lost, an audit tells again.
func TestWhatIsKeptReachesSessionsThatWereNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newKeepers(t, 2, usermgr.Config{})
		a, b := w.all[0], w.all[1]
		w.mustLogOn(b.node, "ann", 0)
		a.keep("ann", "1", time.Minute)
		w.gets(b, "ann@b: 1")
		w.marked("ann")

		a.keep("bob", "2", 3*time.Hour)
		w.marked("bob", "a")
		w.mesh.Lose(func(_ cluster.Incarnation, frame []byte) bool { return cluster.IsMarked(frame) })
		w.mustLogOn(b.node, "bob", 0)
		w.gets(b)
		w.mesh.Lose(func(cluster.Incarnation, []byte) bool { return false })
		time.Sleep(time.Hour + time.Minute)
		w.gets(b, "bob@b: 2")
		w.marked("bob")
	})
}

// Marks of messages whose time is over, and of dead nodes, leave the store, also where the store fails; a store that has lost a mark gets
// it again.
func TestMarksLeaveTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newKeepers(t, 3, usermgr.Config{})
		a, b := w.all[0], w.all[1]
		a.keep("ann", "1", time.Hour)
		w.marked("ann", "a")
		a.node.setFaults(refusing("Swap", "Remove"))
		a.drop("ann")
		time.Sleep(10 * time.Second)
		w.marked("ann", "a")
		a.node.setFaults(memory.Faults{})
		w.marked("ann")

		a.keep("ann", "1", 24*time.Hour)
		b.keep("ann", "2", 24*time.Hour)
		w.mustLogOn(w.nodes[2], "eve", 0)
		w.marked("ann", "a", "b")
		w.store.Restart()
		w.await("the marks are there again", func() bool {
			return len(cluster.Marks(testkit.Must(w.store.Look(context.Background(), "ann"))[0])) == 2
		})
		b.node.stop(t)
		w.marked("ann", "a")
		a.node.stop(t)
		w.marked("ann")
	})
}

// Rule 17: a user with a mark is told Offline, once, also where the answer of the store was lost.
func TestAUserWithAMarkGoesOfflineWhenAnAnswerIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newKeepers(t, 2, usermgr.Config{})
		a, b := w.all[0], w.all[1]
		b.silent = true
		a.keep("ann", "1", time.Hour)
		w.marked("ann", "a")
		s := w.mustLogOn(b.node, "ann", 0)
		w.gets(b, "ann@b: 1")
		lost := false // the bubble's calls come one after the other
		b.node.setFaults(memory.Faults{After: func(_ context.Context, op string) error {
			if op == "Swap" && !lost {
				lost = true
				return errCut
			}
			return nil
		}})
		s.End(protocol.ClientClosed)
		w.settled()
		if !lost {
			t.Error("no answer was lost")
		}
		w.marked("ann", "a")
	})
}
