package cluster_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// detailed is a world of two nodes that write details.
func detailed(t *testing.T) *world {
	w := newWorld(t, 0, usermgr.Config{})
	w.change = func(c *cluster.Config) { c.Details = time.Minute }
	w.addNode()
	w.addNode()
	w.awaitNodes()
	return w
}

// detailsOf returns what the store keeps of a user's sessions.
func (w *world) detailsOf(user string) (all []cluster.SessionDetail) {
	w.t.Helper()
	synctest.Wait()
	for _, body := range w.store.Details(user) {
		var d cluster.SessionDetail
		if err := json.Unmarshal(body, &d); err != nil {
			w.t.Fatal(err)
		}
		all = append(all, d)
	}
	return all
}

// Config.Details: the store has the details of each session while it lives, without secrets, and again each third of the time.
func TestTheStoreKeepsDetails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := detailed(t)
		a, b := w.nodes[0], w.nodes[1]
		s := testkit.Must(w.logOn(a, usermgr.Logon{UserID: "ann", Device: 3, Token: "secret token", Fields: map[string]string{"app": "chat"}}))
		d := w.detailsOf("ann")
		if len(d) != 1 || d[0].UserID != "ann" || d[0].Node != "a" || d[0].Device != 3 || d[0].Fields["app"] != "chat" || d[0].Generation == 0 {
			t.Fatalf("the details are %+v", d)
		}
		for _, body := range w.store.Details("ann") {
			if strings.Contains(string(body), s.ID()) || strings.Contains(string(body), "secret token") {
				t.Errorf("a secret is in the store: %s", body)
			}
		}
		time.Sleep(21 * time.Second)
		if again := w.detailsOf("ann"); len(again) != 1 || !again[0].AsOf.After(d[0].AsOf) {
			t.Errorf("a third of the time later the details are %+v", again)
		}
		w.mustLogOn(b, "ann", 0)
		if d = w.detailsOf("ann"); len(d) != 1 || d[0].Node != "b" {
			t.Errorf("after a logon elsewhere the details are %+v", d)
		}
		s = w.mustLogOn(b, "ann", 0)
		s.End(protocol.ClientClosed)
		w.settled()
		if d = w.detailsOf("ann"); len(d) != 0 {
			t.Errorf("when the user is gone the details are %+v", d)
		}
	})
}

// Details that the store did not take are written with the next refresh, and a store without them holds up no logon.
func TestDetailsThatWereLostAreWrittenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := detailed(t)
		a := w.nodes[0]
		a.setFaults(refusing("Describe"))
		w.mustLogOn(a, "ann", 0)
		if d := w.detailsOf("ann"); len(d) != 0 {
			t.Fatalf("the details are %+v", d)
		}
		a.setFaults(refusing())
		w.await("the details are written", func() bool { return len(w.store.Details("ann")) == 1 })
	})
}

// The details of a session that has begun before the node was ready to write them are written at once, and not with the next refresh.
func TestDetailsOfAnEarlySessionAreWrittenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		cfg := cluster.Config{Directory: store, Mesh: memory.NewMesh(), Details: time.Minute, Logger: zap.NewNop()}
		n := testkit.Must(cluster.New(cfg.InBubble()))
		ctx, end := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			n.DescribeLate(ctx, usermgr.SessionInfo{UserID: "ann", Generation: 7}, store)
		}()
		synctest.Wait()
		if d := store.Details("ann"); len(d) != 1 {
			t.Errorf("the details are %s", d)
		}
		end()
		<-ended
	})
}

// A node that stops takes the details of its sessions away, also where the store still has to answer an earlier call when they have ended.
func TestANodeThatStopsLeavesNoDetails(t *testing.T) {
	for range 10 { // what the node does first is drawn
		synctest.Test(t, func(t *testing.T) {
			w := detailed(t)
			a := w.nodes[0]
			a.setFaults(memory.Faults{After: func(_ context.Context, op string) error {
				if op == "Describe" {
					time.Sleep(time.Second)
				}
				return nil
			}})
			w.mustLogOn(a, "ann", 0)
			if d := w.detailsOf("ann"); len(d) != 1 {
				t.Fatalf("the details are %+v", d)
			}
			a.stop(t)
			if d := w.detailsOf("ann"); len(d) != 0 {
				t.Errorf("the details are %+v", d)
			}
		})
	}
}

// onlyDirectory is a Directory that is no DetailStore.
type onlyDirectory struct{ cluster.Directory }

func TestDetailsNeedAStoreForThem(t *testing.T) {
	_, err := cluster.New(cluster.Config{Directory: onlyDirectory{memory.New()}, Mesh: memory.NewMesh(), Details: time.Minute})
	if err == nil || !strings.Contains(err.Error(), "DetailStore") {
		t.Errorf("the error is %v", err)
	}
}
