package cluster_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule 21: after a day with faults, and the audit that follows, the store has nothing that no node knows, and nothing is missing. Each part does
// its own work: the releases remove what has ended, so that the audits find nearly nothing; a recovery writes again what was lost; sweeps
// remove the dead before their rows leave the table, also of users who never come again; and audits write what was deleted.
func TestADayOfFaultsLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}, OfflineGrace: 10 * time.Second})
		r := rand.New(rand.NewPCG(24, 0))
		var all []usermgr.Session
		for began, next := time.Now(), time.Duration(0); time.Since(began) < 24*time.Hour/time.Duration(lighter); {
			time.Sleep(time.Duration(r.IntN(60)) * time.Second)
			n := w.nodes[r.IntN(len(w.nodes))]
			s, err := w.logOn(n, usermgr.Logon{UserID: fmt.Sprint("user", r.IntN(20)), Device: uint16(r.IntN(2))})
			if err == nil {
				all = append(all, s)
			}
			if len(all) > 15 {
				all[0].End([]protocol.CloseCode{protocol.ClientClosed, protocol.HeartbeatTimeout}[r.IntN(2)])
				all = all[1:]
			}
			if time.Since(began) > next {
				next += 20 * time.Minute
				for i, n := range w.nodes { // of these users no later logon or release cleans the record
					_, _ = w.logOn(n, usermgr.Logon{UserID: fmt.Sprint("resting", i, " ", next)})
				}
				w.dayFault(r)
			}
			w.checkSwept()
		}
		w.awaitNodes()
		time.Sleep(time.Hour + 10*renew) // an audit
		w.settled()
		if strangers, missing := w.auditMends(); strangers > 3 || missing > 0 {
			t.Errorf("rule 21: audits have removed %d entries that the releases have left, and written %d that were missing", strangers, missing)
		}
		lost := 0
		for user := range w.haves() { // what only an audit can mend: records are deleted
			w.losesRecord(user)
			lost += w.haves()[user]
		}
		time.Sleep(time.Hour + 10*renew)
		if d := w.differing(); len(d) > 0 {
			t.Errorf("rule 21: after the audits it still differs: %v", d)
		}
		if _, missing := w.auditMends(); lost < 10 || missing != lost {
			t.Errorf("rule 21: audits have written %d sessions again, of %d that were deleted", missing, lost)
		}
		w.entries(func(user string, node *member) {
			if node == nil {
				t.Errorf("the record of %s has an entry of a dead node", user)
			}
		})
		for _, m := range testkit.Must(w.store.Table(context.Background())).Members {
			if m.Dead && !m.Swept {
				t.Errorf("dead node %d is not swept", m.Incarnation)
			}
		}
	})
}

// auditMends returns what all nodes' audits had to mend.
func (w *world) auditMends() (strangers, missing int) {
	for _, n := range w.nodes {
		s, m := n.AuditMends()
		strangers, missing = strangers+s, missing+m
	}
	return strangers, missing
}

// checkSwept fails the test if the store has an entry of a node that is told to be swept.
func (w *world) checkSwept() {
	w.t.Helper()
	v := testkit.Must(w.store.Table(context.Background()))
	for from, first := "", true; first || from != ""; first = false {
		l := testkit.Must(w.store.Walk(context.Background(), from, 100))
		for _, r := range l.Records {
			nodes, _ := cluster.Decode(r)
			for _, inc := range nodes {
				i := slices.IndexFunc(v.Members, func(m cluster.MemberState) bool { return m.Incarnation == inc })
				if v.Armed && (i < 0 || v.Members[i].Swept) {
					w.t.Fatalf("rule 21: the record of %s has an entry of node %d, which is swept: %+v", r.User, inc, v.Members)
				}
			}
		}
		from = l.Next
	}
}

// dayFault does something bad for some seconds, or for longer than a lease.
func (w *world) dayFault(r *rand.Rand) {
	n := w.nodes[r.IntN(len(w.nodes))]
	while := time.Duration(r.IntN(60)) * time.Second
	switch r.IntN(6) {
	case 0:
		w.store.Restart()
	case 1:
		before := w.store.Snapshot()
		time.Sleep(time.Duration(r.IntN(20)) * time.Second)
		w.store.Promote(before)
	case 2:
		n.cut()
		time.Sleep(while)
	case 3: // answers are lost: what was asked for has been done
		count := 0
		n.setFaults(memory.Faults{After: func(_ context.Context, op string) error {
			n.mu.Lock()
			defer n.mu.Unlock()
			if count++; count%3 == 0 && op != "Renew" {
				return errCut
			}
			return nil
		}})
		_, _ = w.logOn(n, usermgr.Logon{UserID: fmt.Sprint("user", r.IntN(20))})
		time.Sleep(while)
	case 4:
		n.setFaults(refusing("Swap", "Remove", "Walk"))
		_, _ = w.logOn(n, usermgr.Logon{UserID: fmt.Sprint("user", r.IntN(20))})
		time.Sleep(while)
	case 5: // the others have to sweep, and cannot write
		for _, o := range w.nodes {
			o.setFaults(refusing("Swap", "Remove"))
		}
		n.cut()
		time.Sleep(2 * lease)
	}
	for _, o := range w.nodes {
		o.setFaults(memory.Faults{})
	}
}
