package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// presence returns the last Online or Offline that any node has told of a user.
func (w *world) presence(user string) string {
	online, data := w.log.IsOnline(user)
	if online {
		return "online"
	}
	return fmt.Sprintf("offline after %d messages, tag %q", data.In.Messages, data.Tag)
}

func (w *world) wantPresence(user, want string) {
	w.t.Helper()
	w.settled()
	if got := w.presence(user); got != want {
		w.t.Errorf("%s is told to be %s, want %s\n%s", user, got, want, w.log)
	}
	w.log.CheckPresence(w.t)
}

// Rule 17: a node whose life ends while it does not know whether it has removed a user's record tells Offline when it is back, and only if
// the user has no record then.
func TestANodeThatDoesNotKnowWhetherAUserLeftLooksWhenItIsBack(t *testing.T) {
	lost := errors.New("the answer is lost")
	onRemove := func(_ context.Context, op string) error {
		if op == "Remove" {
			return lost
		}
		return nil
	}
	for _, removed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 2, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
			a, b := w.nodes[0], w.nodes[1]
			before := w.mustLogOn(b, "ann", 2) // so that it is not the session at a that has brought her online
			s := w.mustLogOn(a, "ann", 1)
			before.End(protocol.ClientClosed)
			w.settled()
			want := "online"
			if removed {
				a.setFaults(memory.Faults{After: onRemove})
				want = `offline after 0 messages, tag ""`
			} else {
				a.setFaults(memory.Faults{Before: onRemove})
			}
			s.End(protocol.ClientClosed)
			synctest.Wait()
			a.cut() // before it hears more
			if !removed {
				w.mustLogOn(b, "ann", 2)
			}
			w.await("a is fenced", func() bool { return !a.May() })
			a.setFaults(memory.Faults{})
			w.awaitNodes()
			w.settled()
			if got := w.presence("ann"); got != want {
				t.Errorf("ann is told to be %s, want %s\n%s", got, want, w.log)
			}
		})
	}
}

// Rule 17: a user who moves from node to node is online all the time, takes totals and tag along, and goes offline once.
func TestAUserWhoMovesStaysOnlineAndKeepsTotalsAndTag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, usermgr.Config{})
		var since time.Time
		var tag string
		for _, n := range w.nodes {
			n.users.Subscribe(usermgr.Events{Connected: func(s usermgr.SessionInfo) { tag = s.UserTag }})
		}
		for i, n := range slices.Concat(w.nodes, w.nodes) {
			s := w.mustLogOn(n, "ann", 0)
			s.Received(1, 1, 10)
			if i == 0 {
				n.users.SetTag("ann", "vip")
			} else if tag != "vip" {
				t.Errorf("when ann came to %s her tag was %q", n.name, tag)
			}
			w.wantPresence("ann", "online")
			d, ok := n.users.User("ann")
			if i == 0 {
				since = d.Since
			}
			if !ok || d.Tag != "vip" || d.In.Messages != uint64(i+1) || !d.Since.Equal(since) {
				t.Errorf("at %s ann has %+v", n.name, d)
			}
			time.Sleep(time.Second)
		}
		s := w.nodes[2].users
		for i := range s.Sessions(usermgr.Filter{}) {
			if _, err := s.Kick(i.UserID, nil); err != nil {
				t.Error(err)
			}
		}
		w.wantPresence("ann", `offline after 6 messages, tag "vip"`)
	})
}

// Rule 17: of a user with sessions on several nodes the totals are complete in the end, whichever ends last.
func TestTotalsOfSeveralNodesComeTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
		var all []usermgr.Session
		for i, n := range w.nodes {
			s := w.mustLogOn(n, "ann", uint16(i))
			s.Received(1, 10, 10)
			all = append(all, s)
		}
		for _, i := range []int{2, 0, 1} {
			w.wantPresence("ann", "online")
			all[i].End(protocol.ClientClosed)
		}
		w.wantPresence("ann", `offline after 30 messages, tag ""`)
	})
}

// Rule 17: a user who comes back on another node within the grace was never offline, and keeps totals and tag.
func TestAUserWhoComesBackOnAnotherNodeWithinTheGraceWasNeverOffline(t *testing.T) {
	for _, how := range []string{"asked", "frames are lost"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2, usermgr.Config{OfflineGrace: 10 * time.Second})
				a, b := w.nodes[0], w.nodes[1]
				ann := w.mustLogOn(a, "ann", 0)
				ann.Received(1, 5, 50)
				a.users.SetTag("ann", "vip")
				ann.End(protocol.HeartbeatTimeout)
				w.await("ann's session has ended", func() bool { return !a.has(ann) })
				time.Sleep(5 * time.Second)
				if w.presence("ann") != "online" || w.records() != 1 {
					t.Fatalf("ann is %s", w.presence("ann"))
				}
				if ok, err := b.IsOnline(context.Background(), "ann"); !ok || err != nil {
					t.Error("in the grace ann does not count as online", err)
				}
				if how != "asked" {
					w.mesh.Lose(func(cluster.Incarnation, []byte) bool { return true })
				}
				began := time.Now()
				s := w.mustLogOn(b, "ann", 0)
				if took := time.Since(began); took > time.Second {
					t.Errorf("ann waited %v", took)
				}
				w.mesh.Lose(nil)
				w.await("a's grace is over", func() bool { return !a.users.IsOnline("ann") })
				w.wantPresence("ann", "online")
				d, _ := b.users.User("ann")
				if d.Tag != "vip" || d.In.Messages != 5 {
					t.Errorf("ann has come with %+v", d)
				}
				s.End(protocol.ClientClosed)
				w.wantPresence("ann", `offline after 5 messages, tag "vip"`)
			})
		})
	}
}

// Rule 17: a grace ends on its node, with one Offline, and at once when the user is thrown out or the node stops.
func TestAGraceEndsWithOneOffline(t *testing.T) {
	for _, how := range []string{"in time", "kick", "stop", "back and gone", "recovery"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2, usermgr.Config{OfflineGrace: time.Minute})
				a := w.nodes[0]
				ann := w.mustLogOn(a, "ann", 0)
				ann.Received(1, 5, 50)
				ann.End(protocol.HeartbeatTimeout)
				synctest.Wait()
				began := time.Now()
				switch how {
				case "kick":
					if _, err := a.users.Kick("ann", nil); err != nil {
						t.Error(err)
					}
				case "stop":
					a.stop(t)
				case "back and gone":
					w.mustLogOn(a, "ann", 0).End(protocol.ClientClosed)
				case "recovery":
					w.store.Restart()
					w.await("the grace is written again", func() bool { return w.records() == 1 })
				}
				w.await("ann is offline", func() bool { return w.presence("ann") != "online" })
				if took := time.Since(began); (how == "kick" || how == "stop") != (took < time.Minute) {
					t.Errorf("ann is offline after %v", took)
				}
				w.wantPresence("ann", `offline after 5 messages, tag ""`)
				if n := w.records(); n != 0 {
					t.Errorf("there are %d records", n)
				}
			})
		})
	}
}

// Rule 17: a logon that fails within the grace does not end it.
func TestALogonThatFailsWithinTheGraceDoesNotEndIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, usermgr.Config{OfflineGrace: time.Minute})
		a := w.nodes[0]
		w.mustLogOn(a, "ann", 0).End(protocol.HeartbeatTimeout)
		synctest.Wait()
		ctx, cancel := context.WithCancel(context.Background())
		var once sync.Once
		a.setFaults(memory.Faults{After: func(_ context.Context, op string) error {
			if op == "Swap" {
				once.Do(cancel) // the claim is in the store, and its logon is given up
			}
			return ctx.Err()
		}})
		if _, err := a.users.Register(ctx, usermgr.Logon{UserID: "ann"}, link(99)); err == nil {
			t.Error("ann came in")
		}
		a.setFaults(memory.Faults{})
		time.Sleep(30 * time.Second)
		w.log.CheckPresence(t)
		if w.presence("ann") != "online" || w.records() != 1 {
			t.Errorf("ann is %s, and there are %d records", w.presence("ann"), w.records())
		}
		w.mustLogOn(a, "ann", 0).End(protocol.ClientClosed)
		w.wantPresence("ann", `offline after 0 messages, tag ""`)
	})
}

// Rule 17: a grace that ends because the user seems to be online, by a claim that fails then, leaves nothing in the store.
func TestAGraceThatEndsWhileItIsWrittenLeavesTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, usermgr.Config{OfflineGrace: 10 * time.Second})
		a := w.nodes[0]
		a.DelayEndGrace(time.Second)
		old := w.mustLogOn(a, "ann", 0)
		ctx, cancel := context.WithCancel(context.Background())
		failed := make(chan struct{})
		var swaps atomic.Int64
		a.setFaults(memory.Faults{After: func(_ context.Context, op string) error {
			if op != "Swap" {
				return nil
			}
			switch swaps.Add(1) {
			case 2: // the claim, which has found the old session
				old.End(protocol.HeartbeatTimeout)
				<-ctx.Done()
				return ctx.Err()
			case 4: // the end of the old session, which has found the claim
				cancel()
				<-failed
			}
			return nil
		}})
		if _, err := a.users.Register(ctx, usermgr.Logon{UserID: "ann"}, link(99)); err == nil {
			t.Error("ann came in")
		}
		close(failed)
		w.wantPresence("ann", `offline after 0 messages, tag ""`)
		w.settled()
		if swaps.Load() != 5 { // the last writes the grace
			t.Errorf("there were %d swaps", swaps.Load())
		}
	})
}

// Rule 17: a claim that may have been the user's first, and that the store has lost before the node heard of it, tells Online where the
// claim of another node has found it meanwhile, and so was not the first. It does so whether it comes in itself or fails.
func TestOnlineIsToldOfAUserWhoseFirstClaimWasLostByTheStore(t *testing.T) {
	for name, answer := range map[string]error{"the answer comes late": nil, "the answer is lost": errCut} {
		for _, outcome := range []string{"comes in", "fails", "is refused"} {
			t.Run(name+" and the claim "+outcome, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, 3, usermgr.Config{
						RelogonMode: usermgr.IgnoreNew, Devices: usermgr.Devices{OnePerClass: true},
					})
					a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
					var sessions []usermgr.Session
					logOn := func(n *member, device uint16) error {
						s, err := w.logOnWithin(n, usermgr.Logon{UserID: "ann", Device: device}, lease)
						if err == nil {
							sessions = append(sessions, s)
						}
						return err
					}
					var once sync.Once
					a.setFaults(memory.Faults{After: func(_ context.Context, op string) (err error) {
						if op != "Swap" {
							return nil
						}
						once.Do(func() {
							err = logOn(b, 2)
							w.store.Restart()
							w.await("the store recovers", func() bool { return a.Stats().Recoveries > 0 })
							a.setFaults(memory.Faults{})
							switch outcome {
							case "fails":
								a.setFaults(refusing("Swap"))
							case "is refused":
								err = errors.Join(err, logOn(c, 1))
							}
							if err != nil {
								t.Error(err)
							}
							err = answer
						})
						return err
					}})
					if err := logOn(a, 1); (err == nil) != (outcome == "comes in") {
						t.Fatalf("the logon at a ended with %v", err)
					}
					w.wantPresence("ann", "online")
					a.setFaults(memory.Faults{})
					for _, s := range sessions {
						s.End(protocol.ClientClosed)
					}
					w.wantPresence("ann", `offline after 0 messages, tag ""`)
				})
			})
		}
	}
}

// Rule 17: a user who has a session on the claim's own node was online before it, whatever the store has lost.
func TestASecondSessionOnANodeTellsNoOnlineThoughTheStoreHasLostItsClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
		a := w.nodes[0]
		w.mustLogOn(a, "ann", 1)
		a.setFaults(memory.Faults{After: func(_ context.Context, op string) error {
			if op != "Swap" {
				return nil
			}
			a.setFaults(memory.Faults{})
			w.store.Restart()
			w.await("the store recovers", func() bool { return a.Stats().Recoveries > 0 })
			return errCut
		}})
		testkit.Must(w.logOnWithin(a, usermgr.Logon{UserID: "ann", Device: 2}, lease))
		w.wantPresence("ann", "online")
	})
}

// part is a part of an application that moves with a user.
type part struct {
	mu   sync.Mutex
	have map[string]string
}

func (p *part) Leave(user string) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	v := p.have[user]
	delete(p.have, user)
	if v == "" {
		return nil
	}
	return []byte(v)
}

func (p *part) Arrive(user string, v []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.have[user] += string(v)
}

// What an application has of a user moves along, before the user's Connected.
func TestAnApplicationsPartMovesWithTheUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		var parts []*part
		var got []string
		for _, n := range w.nodes {
			p := &part{have: make(map[string]string)}
			parts = append(parts, p)
			n.users.AddCarryPart("basket", p)
			n.users.Subscribe(usermgr.Events{Connected: func(s usermgr.SessionInfo) {
				p.mu.Lock()
				defer p.mu.Unlock()
				got = append(got, n.name+" "+p.have[s.UserID])
				p.have[s.UserID] += n.name
			}})
		}
		for _, i := range []int{0, 1, 0} {
			w.mustLogOn(w.nodes[i], "ann", 0)
			w.settled()
		}
		if want := "a |b a|a ab"; strings.Join(got, "|") != want {
			t.Errorf("the part was %q, want %q", got, want)
		}
		if len(parts[1].have) != 0 {
			t.Errorf("b still has %v", parts[1].have)
		}
	})
}
