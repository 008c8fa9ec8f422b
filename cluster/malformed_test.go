package cluster_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// spoil has another program write a user's record.
func (w *world) spoil(user string) {
	w.t.Helper()
	synctest.Wait()
	ctx := context.Background()
	o := cluster.SwapOptions{Epoch: testkit.Must(w.store.Table(ctx)).Epoch}
	testkit.Must(w.store.Swap(ctx, user, testkit.Must(w.store.Look(ctx, user))[0].Version, []byte("not a record"), o))
}

// isSpoilt reports whether a user's record is still as spoil has left it.
func (w *world) isSpoilt(user string) bool {
	return string(testkit.Must(w.store.Look(context.Background(), user))[0].Body) == "not a record"
}

// observe has the log of all nodes that are added kept.
func observe(cfg *cluster.Config) *observer.ObservedLogs {
	core, logs := observer.New(zap.WarnLevel)
	cfg.Logger = zap.New(core)
	return logs
}

// Rule 22: a record that another program has written costs its user alone. What concerns other users is answered, and the user's sessions are
// found on the nodes.
func TestAMalformedRecordCostsItsUserAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := busyWorld(t)
		w.spoil("ann")
		w.spoil("user01")
		ctx, a, c := context.Background(), w.nodes[0], w.nodes[2]
		online, err := c.Online(ctx, "ann", "nobody", "user00", "user01", "user02")
		if err != nil || !slices.Equal(online, []string{"user00", "user02"}) {
			t.Errorf("online are %q, %v", online, err)
		}
		page, err := a.UserPage(ctx, "", 0)
		if err != nil || len(page.Items) != 19 {
			t.Errorf("a page has %d users, %v", len(page.Items), err)
		}
		if _, err := c.IsOnline(ctx, "ann"); !errors.Is(err, protocol.InternalError) {
			t.Errorf("whether ann is online: %v", err)
		}
		if r, err := c.Sessions(ctx, "ann"); err != nil || len(r.Value) != 2 || len(r.Missing) > 0 {
			t.Errorf("ann's sessions are %+v, %v", r, err)
		}
		w.mustLogOn(a, "ann", 1) // so that the store is as the nodes are
		w.mustLogOn(a, "user01", 1)
		w.settled()
	})
}

// Rules 19 and 20: a logon of a user whose record is malformed has all nodes say what they have of the user, and excludes what it would have
// excluded.
func TestALogonWritesAMalformedRecordAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
		a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
		w.mustLogOn(a, "ann", 1)
		w.mustLogOn(c, "ann", 2)
		w.spoil("ann")
		w.mustLogOn(b, "ann", 1)
		w.happened("Connected ann@a", "Connected ann@c", "PushedOut ann@a", "Disconnected ann@a PushedOut", "Connected ann@b")
		w.wantPresence("ann", "online")
		if at := w.at(a, "ann"); at != "c b" {
			t.Errorf("ann is at %s", at)
		}
		w.spoil("bob") // who is nowhere
		w.mustLogOn(b, "bob", 1).End(protocol.KickedOut)
		w.settled()
		if online, _ := w.log.IsOnline("bob"); online {
			t.Error("bob is told to be online")
		}
	})
}

// Rules 17 and 21: an audit mends malformed records, removes those of users who are nowhere, and says so once.
func TestAnAuditMendsMalformedRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, usermgr.Config{})
		var logs *observer.ObservedLogs
		w.change = func(cfg *cluster.Config) { logs = observe(cfg) }
		w.addNode()
		w.awaitNodes()
		for i, user := range []string{"ann", "bob", "carl"} {
			w.mustLogOn(w.nodes[i%2], user, 0)
		}
		for _, user := range []string{"ann", "bob", "dave", "eve"} {
			w.spoil(user)
		}
		w.nodes[0].end() // its audit does not come first
		<-w.nodes[0].ended
		w.nodes[0].ended <- nil
		time.Sleep(time.Hour + 10*renew)
		w.settled()
		if n := w.records(); n != 1 {
			t.Errorf("there are %d records", n)
		}
		said := logs.FilterMessage("records in the cluster's store were malformed").All()
		if len(said) != 1 || said[0].ContextMap()["records"] != int64(3) || said[0].ContextMap()["written anew"] != int64(3) {
			t.Errorf("the audit has said %+v", said)
		}
	})
}

// Rule 17: a user who leaves while the record is malformed goes offline, once, and another session stays.
func TestAUserLeavesWhoseRecordIsMalformed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}, OfflineGrace: 10 * time.Second})
		a, b := w.nodes[0], w.nodes[1]
		first, second := w.mustLogOn(a, "ann", 1), w.mustLogOn(b, "ann", 2)
		w.spoil("ann")
		first.End(protocol.KickedOut)
		w.wantPresence("ann", "online")
		w.spoil("ann")
		second.End(protocol.HeartbeatTimeout)
		synctest.Wait()
		if ok, err := a.IsOnline(context.Background(), "ann"); !ok || err != nil {
			t.Errorf("in the grace ann does not count as online: %v", err)
		}
		w.wantPresence("ann", `offline after 0 messages, tag ""`)
		if n := w.records(); n != 0 {
			t.Errorf("there are %d records", n)
		}
	})
}

// Rule 27: a message that is kept for a user goes out when the user logs on, also if the record that said so is malformed.
func TestAMarkIsWrittenAnewWithAMalformedRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newKeepers(t, 2, usermgr.Config{})
		w.all[0].keep("ann", "hello", time.Hour)
		w.marked("ann", "a")
		w.spoil("ann")
		w.mustLogOn(w.nodes[1], "ann", 0)
		w.gets(w.all[1], "ann@b: hello")
		w.marked("ann")
	})
}

// Rule 26: a user stays banned whose record is malformed, also if the record is malformed when the ban comes.
func TestABanStandsInARecordThatIsWrittenAnew(t *testing.T) {
	for _, first := range []string{"ban", "malformed"} {
		t.Run(first+" first", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2, usermgr.Config{})
				a, b := w.nodes[0], w.nodes[1]
				if first == "malformed" {
					w.spoil("ann")
				}
				if _, err := a.Kick(context.Background(), "ann", &usermgr.KickOptions{BanFor: 3 * time.Hour}); err != nil {
					t.Error(err)
				}
				if first == "ban" {
					w.spoil("ann")
					time.Sleep(time.Hour + 10*renew) // an audit
				}
				for _, n := range []*member{a, b} {
					n.stop(t) // its mind is lost
				}
				c := w.addNode()
				w.await("c has joined", c.May)
				if _, err := w.logOn(c, usermgr.Logon{UserID: "ann"}); codeOf(err) != protocol.Unauthorized {
					t.Errorf("ann's logon ended with %v", err)
				}
			})
		})
	}
}

// later is the store of a node of a later version, which can read what the others cannot.
type later struct {
	cluster.DetailStore
	says map[string][]byte // by the user
}

func (l later) read(records []cluster.Record) []cluster.Record {
	for i := range records {
		if string(records[i].Body) == "not a record" {
			records[i].Body = l.says[records[i].User]
		}
	}
	return records
}

func (l later) Look(ctx context.Context, users ...string) ([]cluster.Record, error) {
	records, err := l.DetailStore.Look(ctx, users...)
	return l.read(records), err
}

func (l later) Walk(ctx context.Context, from string, limit int) (cluster.Listing, error) {
	listing, err := l.DetailStore.Walk(ctx, from, limit)
	listing.Records = l.read(listing.Records)
	return listing, err
}

// Rule 19: a record that a node of a later version can read stays as it is, and so does one while a node does not say what it has of the user. Logons
// of the user are refused there, and told to come again.
func TestAMalformedRecordStaysWhileANodeMayNeedIt(t *testing.T) {
	for _, why := range []string{"another node can read it", "a node does not answer"} {
		t.Run(why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1, usermgr.Config{})
				says := make(map[string][]byte)
				if why == "another node can read it" {
					w.change = func(cfg *cluster.Config) { cfg.Directory = later{cfg.Directory.(cluster.DetailStore), says} }
				}
				a, b := w.nodes[0], w.addNode()
				w.awaitNodes()
				w.awaitAnswers()
				w.mustLogOn(a, "ann", 0)
				w.mustLogOn(b, "bob", 0)
				w.settled()
				for _, r := range testkit.Must(w.store.Look(context.Background(), "ann", "bob")) {
					says[r.User] = r.Body
				}
				w.spoil("ann")
				w.spoil("bob")
				if why == "a node does not answer" {
					w.silence(b)
				}
				var ce *protocol.CloseError
				if _, err := w.logOn(a, usermgr.Logon{UserID: "bob"}); !errors.As(err, &ce) || ce.Code != protocol.InternalError || ce.Info["retry-ms"] == "" {
					t.Errorf("bob's logon ended with %v", err)
				}
				audits := a.Audits()
				time.Sleep(time.Hour)
				w.await("a has audited", func() bool { return a.Audits() > audits })
				time.Sleep(renew)
				if !w.isSpoilt("ann") || !w.isSpoilt("bob") {
					t.Error("a record was written")
				}
				if why == "a node does not answer" {
					w.mesh.Lose(nil)
					w.mustLogOn(a, "bob", 0)
					w.mustLogOn(b, "ann", 0)
					w.settled()
				}
			})
		})
	}
}
