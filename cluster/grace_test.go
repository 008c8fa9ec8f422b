package cluster_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule 17: a session that begins while another one of the user on its node ends has a grace of its own. It goes on when the store's slow
// answer shows that the other's is over.
func TestTheGraceOfALaterSessionGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, usermgr.Config{OfflineGrace: time.Minute, Devices: usermgr.Devices{OnePerClass: true}})
		a := w.nodes[0]
		first := w.mustLogOn(a, "ann", 1)
		var swaps atomic.Int64
		a.setFaults(memory.Faults{Before: func(_ context.Context, op string) error {
			if op == "Swap" {
				switch swaps.Add(1) {
				case 2: // the later session, beside the first
					time.Sleep(10 * time.Millisecond)
				case 3: // the first one's grace
					time.Sleep(time.Second)
				}
			}
			return nil
		}})
		time.AfterFunc(5*time.Millisecond, func() { first.End(protocol.ClientClosed) })
		w.mustLogOn(a, "ann", 2).End(protocol.ClientClosed)
		time.Sleep(5 * time.Second) // for long after the store's slow answers
		if !a.users.IsOnline("ann") {
			t.Error("the grace is over")
		}
		w.mustLogOn(a, "ann", 1).End(protocol.ClientClosed)
		w.wantPresence("ann", `offline after 0 messages, tag ""`)
	})
}

// Rule 17: a user who has logged on elsewhere and has gone offline there is in a grace no more. Where the node of the grace has not heard of
// that, a logon there that comes to nothing does not begin the grace again: Offline would be told twice.
func TestALogonThatFailsDoesNotBeginAnOldGraceAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{OfflineGrace: time.Minute})
		a, b := w.nodes[0], w.nodes[1]
		w.mustLogOn(a, "ann", 0).End(protocol.HeartbeatTimeout)
		synctest.Wait()
		w.mesh.Lose(func(cluster.Incarnation, []byte) bool { return true })
		w.mustLogOn(b, "ann", 0).End(protocol.SessionExpired) // without a grace, and without a bar
		w.mesh.Lose(nil)
		w.wantPresence("ann", `offline after 0 messages, tag ""`)
		if !a.users.IsOnline("ann") {
			t.Fatal("a has heard that the grace is over")
		}

		ctx, cancel := context.WithCancel(context.Background())
		var once sync.Once
		a.setFaults(memory.Faults{After: func(_ context.Context, op string) error {
			if op == "Swap" {
				if places, _ := b.Where(context.Background(), "ann"); len(places) > 0 { // the first one finds the kick's bar
					once.Do(cancel) // the claim is in the store, and its logon is given up
				}
			}
			return nil
		}})
		if _, err := a.users.Register(ctx, usermgr.Logon{UserID: "ann"}, link(99)); err == nil {
			t.Error("ann came in")
		}
		a.setFaults(memory.Faults{})
		w.wantPresence("ann", `offline after 0 messages, tag ""`)
		if w.records() != 0 || a.users.IsOnline("ann") {
			t.Errorf("there are %d records, and ann is online at a: %v", w.records(), a.users.IsOnline("ann"))
		}
		time.Sleep(2 * time.Minute)
		w.wantPresence("ann", `offline after 0 messages, tag ""`)
		if got := strings.Count(w.log.String(), "Offline"); got != 1 {
			t.Errorf("Offline is told %d times\n%s", got, w.log)
		}
	})
}

// Rule 17: the store loses the entry of a grace, and the grace ends before its node knows that. Offline is told when the store has recovered.
func TestAGraceThatEndsWhenTheStoreHasLostItIsToldOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, usermgr.Config{OfflineGrace: time.Second})
		a := w.nodes[0]
		w.mustLogOn(a, "ann", 0).End(protocol.HeartbeatTimeout)
		synctest.Wait() // its entry is in the store
		w.store.Restart()
		a.setFaults(refusing("Rejoin")) // it hears of that when the grace is over
		time.Sleep(2 * time.Second)
		a.setFaults(memory.Faults{})
		w.awaitRecovery(a)
		w.wantPresence("ann", `offline after 0 messages, tag ""`)
	})
}

// Rule 17: a replica takes over. It lacks the entry of a grace, and has an old entry of the user at another node. So the user seems to be online there,
// and the grace ends. Then the store loses the old entry too. Offline is told when it has recovered.
func TestAGraceThatEndsForAnOldEntryIsToldOfflineThoughTheStoreLosesThat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{OfflineGrace: time.Minute})
		a, b := w.nodes[0], w.nodes[1]
		w.mustLogOn(b, "ann", 0)
		synctest.Wait()
		before := w.store.Snapshot()
		w.mustLogOn(a, "ann", 0).End(protocol.HeartbeatTimeout)
		synctest.Wait()
		w.store.Promote(before)
		w.await("the grace is over", func() bool { return !a.users.IsOnline("ann") })
		w.store.Restart()
		w.awaitRecovery(a)
		w.settled()
		if got := w.presence("ann"); !strings.HasPrefix(got, "offline") {
			t.Errorf("ann is told to be %s, and is nowhere:\n%s", got, w.log)
		}
	})
}

// Rule 17: a user has sessions on two nodes. The first ends into a grace, and the answer to its removal is late. The second ends, and Offline is told.
// Then the store recovers: the first node must not write the grace, or the user's next logon would tell no Online.
func TestAGraceThatIsNotInTheStoreYetIsNotWrittenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{OfflineGrace: 10 * time.Minute, Devices: usermgr.Devices{OnePerClass: true}})
		a, b := w.nodes[0], w.nodes[1]
		first := w.mustLogOn(b, "ann", 1)
		w.mustLogOn(a, "ann", 2)
		synctest.Wait()
		late, swaps := make(chan struct{}), new(atomic.Int64)
		b.setFaults(memory.Faults{After: func(_ context.Context, op string) error {
			if op == "Swap" && swaps.Add(1) == 2 { // the first one finds the other session
				<-late
			}
			return nil
		}})
		first.End(protocol.HeartbeatTimeout)
		synctest.Wait()
		if _, err := a.users.Kick("ann", nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		w.store.Promote(w.store.Snapshot()) // with all that it has
		w.awaitRecovery(a)
		w.mustLogOn(a, "ann", 2)
		close(late)
		w.settled()
	})
}
