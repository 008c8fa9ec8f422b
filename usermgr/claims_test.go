package usermgr_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// standTogether returns managers that share a claim table, and what happens on both.
func standTogether(t *testing.T, table *claimTable, cfg usermgr.Config) (a, b *usermgr.Manager, j *journal) {
	t.Helper()
	j = new(journal)
	both := [2]*usermgr.Manager{}
	for i := range both {
		n := table.node()
		cfg.Claims, cfg.HeartbeatTimeout = n, -1
		both[i] = newManager(t, cfg)
		n.manager = both[i]
		both[i].Subscribe(j.handlers())
	}
	return both[0], both[1], j
}

// register logs on within the deadline of a logon.
func register(m *usermgr.Manager, l usermgr.Logon, link usermgr.Link) (usermgr.Session, error) {
	ctx, cancel := context.WithTimeout(context.Background(), claimDeadline)
	defer cancel()
	return m.Register(ctx, l, link)
}

// codeOf returns the code of a refused logon.
func codeOf(err error) protocol.CloseCode {
	var ce *protocol.CloseError
	if errors.As(err, &ce) {
		return ce.Code
	}
	return 0
}

// Rule 20: a replacement on another manager has the order of one in one process, and its claim is given back.
func TestReplacementOnAnotherManagerIsPushedOutThenDisconnectedThenConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := new(claimTable)
		a, b, j := standTogether(t, table, usermgr.Config{})
		old := logOn(t, a, "ann", newLink(1))
		now := logOn(t, b, "ann", newLink(2))
		j.expect(t, "Connected ann@1", "PushedOut ann@1 by @2", "Disconnected ann@1 "+protocol.PushedOut.Error(), "Connected ann@2")
		if a.IsOnline("ann") || !b.IsOnline("ann") {
			t.Error("ann is not where her session is")
		}
		if _, ok := a.Session(old.ID()); ok {
			t.Error("the old session is still found")
		}
		if i, _ := b.Session(now.ID()); i.Generation != 2 {
			t.Errorf("the new session has generation %d, want 2", i.Generation)
		}
		if n := table.size(); n != 1 {
			t.Errorf("%d claims for one session", n)
		}
	})
}

// Rule 20: managers that replace each other's session of one user, at the same time, do not wait for each other: a turn that waits
// for its claim is lent.
func TestTwoThatReplaceEachOtherCrosswiseBothComeIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := new(claimTable)
		a, b, j := standTogether(t, table, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
		onDevice(t, a, "ann", 1, newLink(11))
		onDevice(t, b, "ann", 2, newLink(12))
		var both sync.WaitGroup
		both.Add(2)
		table.marked = func() { both.Done(); both.Wait() } // each has its claim entered before it waits for the other's session
		var errs [2]error
		var done sync.WaitGroup
		done.Go(func() { _, errs[0] = register(a, usermgr.Logon{UserID: "ann", Device: 2}, newLink(22)) })
		done.Go(func() { _, errs[1] = register(b, usermgr.Logon{UserID: "ann", Device: 1}, newLink(21)) })
		done.Wait()
		table.marked = nil
		if err := errors.Join(errs[:]...); err != nil {
			t.Fatalf("they wait for each other: %v; %q", err, j.all())
		}
		if n := table.size(); n != 2 {
			t.Errorf("%d claims for two sessions", n)
		}
	})
}

// Rules 1 and 20: a claim that is not granted refuses the logon, with the right code, without an event, and leaves nothing.
func TestAClaimThatIsNotGrantedRefusesTheLogon(t *testing.T) {
	for name, c := range map[string]struct {
		claim func(ctx context.Context) error
		then  func(m *usermgr.Manager, giveUp context.CancelCauseFunc) // while it waits
		code  protocol.CloseCode
		event string
	}{
		"fails":                   {claim: func(context.Context) error { return errors.New("no store") }, code: protocol.InternalError},
		"panics":                  {claim: func(context.Context) error { panic("a fault") }, code: protocol.InternalError},
		"has a code":              {claim: func(context.Context) error { return &protocol.CloseError{Code: 4711} }, code: 4711},
		"is refused":              {claim: func(context.Context) error { return &protocol.CloseError{Code: protocol.AlreadyLoggedOn} }, code: protocol.AlreadyLoggedOn, event: "Ignored ann@2"},
		"has a bare code":         {claim: func(context.Context) error { return protocol.CloseCode(4711) }, code: 4711},
		"is refused, a bare code": {claim: func(context.Context) error { return fmt.Errorf("%w", protocol.AlreadyLoggedOn) }, code: protocol.AlreadyLoggedOn, event: "Ignored ann@2"},
		"takes too long":          {claim: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, code: protocol.InternalError},
		"comes too late":          {claim: func(ctx context.Context) error { <-ctx.Done(); return nil }, code: protocol.InternalError},
		"finds a ban": {claim: func(context.Context) error { time.Sleep(time.Second); return nil }, then: func(m *usermgr.Manager, _ context.CancelCauseFunc) {
			_, _ = m.Kick("ann", &usermgr.KickOptions{BanFor: time.Hour})
		}, code: protocol.Unauthorized},
		"loses its client": {claim: func(ctx context.Context) error { <-ctx.Done(); return nil }, then: func(_ *usermgr.Manager, giveUp context.CancelCauseFunc) {
			giveUp(&protocol.CloseError{Code: protocol.NetworkError})
		}, code: protocol.NetworkError},
		"loses its client, a bare code": {claim: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, then: func(_ *usermgr.Manager, giveUp context.CancelCauseFunc) {
			giveUp(protocol.NetworkError)
		}, code: protocol.NetworkError},
		"is stopped":         {claim: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, then: func(m *usermgr.Manager, _ context.CancelCauseFunc) { _ = m.Close(context.Background()) }, code: protocol.ServerStopping},
		"is stopped, late":   {claim: func(ctx context.Context) error { <-ctx.Done(); return nil }, then: func(m *usermgr.Manager, _ context.CancelCauseFunc) { _ = m.Close(context.Background()) }, code: protocol.ServerStopping},
		"ends its goroutine": {claim: func(context.Context) error { runtime.Goexit(); return nil }, code: protocol.InternalError},
	} {
		for _, direct := range []bool{false, true} {
			if direct && name == "ends its goroutine" {
				continue // see TestAClaimThatEndsTheLogonsGoroutine
			}
			t.Run(fmt.Sprint(name, ", direct ", direct), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					claims := &claimsFunc{claim: func(ctx context.Context, r usermgr.ClaimRequest) (usermgr.Claimed, error) {
						if r.Logon.Address.Conn != 2 {
							t.Errorf("asked for connection %d", r.Logon.Address.Conn)
						}
						return usermgr.Claimed{}, c.claim(ctx)
					}}
					m := newManager(t, usermgr.Config{Claims: claims, HeartbeatTimeout: -1})
					j := new(journal)
					m.Subscribe(j.handlers())
					ctx, stop := context.WithTimeout(context.Background(), claimDeadline)
					defer stop()
					ctx, giveUp := context.WithCancelCause(ctx)
					defer giveUp(nil)
					var then sync.WaitGroup
					if c.then != nil {
						then.Go(func() { time.Sleep(time.Millisecond); c.then(m, giveUp) })
					}
					if direct {
						ctx = expendable{ctx}
					}
					_, err := m.Register(ctx, usermgr.Logon{UserID: "ann"}, newLink(2))
					then.Wait()
					if code := codeOf(err); code != c.code {
						t.Errorf("it ended with %v, want code %v", err, c.code)
					}
					if n := claims.open(); n != 0 {
						t.Errorf("%d claims were left", n)
					}
					if all := j.all(); c.event == "" && len(all) > 0 || c.event != "" && (len(all) != 1 || all[0] != c.event) {
						t.Errorf("it happened: %q, want %q", all, c.event)
					}
					if m.IsOnline("ann") || m.Count() != 0 {
						t.Error("the user is online")
					}
				})
			})
		}
	}
}

// expendable is the context of a goroutine that may end in Register, as a bridge's.
type expendable struct{ context.Context }

func (expendable) Expendable() {}

// Rules 10 and 20: on a bridge's goroutine a Claim is called directly. When it ends that goroutine, the logon fails, and nothing else.
func TestAClaimThatEndsTheLogonsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := true
		claims := &claimsFunc{claim: func(context.Context, usermgr.ClaimRequest) (usermgr.Claimed, error) {
			if first {
				first = false
				time.Sleep(time.Second)
				runtime.Goexit()
			}
			return usermgr.Claimed{}, nil
		}}
		m := newManager(t, usermgr.Config{Claims: claims, Devices: usermgr.Devices{OnePerClass: true}, HeartbeatTimeout: time.Minute})
		j := new(journal)
		m.Subscribe(usermgr.Events{Disconnected: func(usermgr.SessionInfo, protocol.CloseCode) { time.Sleep(2 * time.Second) }})
		m.Subscribe(j.handlers())
		first = false
		old := onDevice(t, m, "ann", 1, newLink(1))
		first = true
		ended, returned := make(chan struct{}), false
		go func() {
			defer close(ended)
			_, _ = m.Register(expendable{t.Context()}, usermgr.Logon{UserID: "ann", Device: 2}, newLink(2))
			returned = true
		}()
		synctest.Wait()
		old.End(protocol.ClientClosed) // its handlers have the turn while the Claim ends
		<-ended
		if returned {
			t.Error("the goroutine went on")
		}
		ctx, stop := context.WithTimeout(expendable{t.Context()}, time.Minute)
		defer stop()
		if _, err := m.Register(expendable{ctx}, usermgr.Logon{UserID: "ann", Device: 2}, newLink(3)); err != nil {
			t.Errorf("the next logon ended with %v", err)
		}
		j.expect(t, "Connected ann@1", "Disconnected ann@1 ClientClosed", "Connected ann@3")
		s := m.Stats()
		if claims.open() != 1 || s.HandlerPanics != 1 || s.Refused[protocol.InternalError] != 1 {
			t.Errorf("%d claims are left, %d failures and %v refusals were counted", claims.open(), s.HandlerPanics, s.Refused)
		}
	})
}

// Rule 20: a logon that is refused here ends no session elsewhere.
func TestALogonThatIsRefusedHereAsksForNoClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		claims := grantAtOnce()
		m := newManager(t, usermgr.Config{Claims: claims, RelogonMode: usermgr.IgnoreNew, HeartbeatTimeout: -1})
		logOn(t, m, "ann", newLink(1))
		if _, err := register(m, usermgr.Logon{UserID: "ann"}, newLink(2)); codeOf(err) != protocol.AlreadyLoggedOn {
			t.Errorf("it ended with %v", err)
		}
		if claims.granted != 1 {
			t.Errorf("%d claims were asked for, want the first logon's", claims.granted)
		}
	})
}

// Rules 3, 8, 10 and 20: while a claim waits, the user's sessions here end, are kicked and time out.
func TestSessionsEndWhileAClaimWaits(t *testing.T) {
	for name, end := range map[string]func(m *usermgr.Manager, s usermgr.Session){
		"End":                    func(_ *usermgr.Manager, s usermgr.Session) { s.End(protocol.ClientClosed) },
		"Kick":                   func(m *usermgr.Manager, _ usermgr.Session) { _, _ = m.Kick("ann", nil) },
		"KickSession":            func(m *usermgr.Manager, s usermgr.Session) { _, _ = m.KickSession(s.ID(), nil) },
		"KickSession, by a code": func(m *usermgr.Manager, s usermgr.Session) { endSession(m, s.ID(), 4000, "") },
		"Clear":                  func(m *usermgr.Manager, _ usermgr.Session) { startClear(m) },
		"its silence":            func(*usermgr.Manager, usermgr.Session) { time.Sleep(4 * time.Second) },
		"its idleness": func(_ *usermgr.Manager, s usermgr.Session) {
			for range 8 {
				s.Beat()
				time.Sleep(time.Second)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				claims, asked, grant := grantLater()
				m := newManager(t, usermgr.Config{Claims: claims, Devices: usermgr.Devices{OnePerClass: true}, HeartbeatTimeout: 2 * time.Second, IdleTimeout: 5 * time.Second})
				old := onDevice(t, m, "ann", 1, newLink(1))
				var s usermgr.Session
				var err error
				var done sync.WaitGroup
				done.Go(func() {
					s, err = register(m, usermgr.Logon{UserID: "ann", Device: 2, Fields: map[string]string{"claim": "later"}}, newLink(2))
				})
				<-asked
				end(m, old)
				synctest.Wait()
				if _, ok := m.Session(old.ID()); ok {
					t.Error("the session waits for the claim")
				}
				select {
				case grant <- nil:
				case <-time.After(claimDeadline):
					t.Error("the claim was given up")
				}
				done.Wait()
				if err != nil {
					t.Fatalf("the logon ended with %v", err)
				}
				s.End(protocol.ClientClosed)
				synctest.Wait()
				if m.IsOnline("ann") || claims.open() != 0 {
					t.Errorf("ann is online: %v; %d claims are left", m.IsOnline("ann"), claims.open())
				}
			})
		})
	}
}

// Rule 20: a turn that was lent comes back behind the handlers that run in it, and events do not overlap.
func TestALogonWhoseClaimIsGrantedWaitsForTheEndsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		claims, asked, grant := grantLater()
		m := newManager(t, usermgr.Config{Claims: claims, Devices: usermgr.Devices{OnePerClass: true}, HeartbeatTimeout: -1})
		j := new(journal)
		m.Subscribe(usermgr.Events{Disconnected: func(usermgr.SessionInfo, protocol.CloseCode) { time.Sleep(time.Second) }})
		m.Subscribe(j.handlers())
		old := onDevice(t, m, "ann", 1, newLink(1))
		var done sync.WaitGroup
		done.Go(func() {
			_, _ = register(m, usermgr.Logon{UserID: "ann", Device: 2, Fields: map[string]string{"claim": "later"}}, newLink(2))
		})
		<-asked
		old.End(protocol.ClientClosed)
		synctest.Wait()
		grant <- nil
		done.Wait()
		j.expect(t, "Connected ann@1", "Disconnected ann@1 "+protocol.ClientClosed.Error(), "Connected ann@2")
	})
}

// Rule 20: a session that is evicted between its claim and Connected is finished first.
func TestASessionIsEvictedWhileItsClaimWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		claims, asked, grant := grantLater()
		m := newManager(t, usermgr.Config{Claims: claims, HeartbeatTimeout: -1})
		j := new(journal)
		m.Subscribe(j.handlers())
		var done sync.WaitGroup
		done.Go(func() {
			_, _ = register(m, usermgr.Logon{UserID: "ann", Fields: map[string]string{"claim": "later"}}, newLink(1))
		})
		r := <-asked
		for range 2 {
			if !m.Evict(r.Session, usermgr.Address{Conn: 9}, protocol.PushedOut) {
				t.Error("the session was not found")
			}
			synctest.Wait()
		}
		grant <- nil
		done.Wait()
		synctest.Wait()
		j.expect(t, "Connected ann@1", "PushedOut ann@1 by @9", "Disconnected ann@1 "+protocol.PushedOut.Error())
		if n := claims.open(); n != 0 {
			t.Errorf("%d claims are left", n)
		}
		if m.Evict(r.Session, usermgr.Address{}, protocol.PushedOut) {
			t.Error("a session that has ended was found")
		}
	})
}

// Rule 20: whatever the order, sessions that exclude each other are never connected at once, every logon is decided, and every
// claim is given back.
func TestManyLogonsOnTwoManagers(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				table := new(claimTable)
				a, b, _ := standTogether(t, table, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
				var mu sync.Mutex
				connected := make(map[uint16]int)
				count := usermgr.Events{
					Connected: func(s usermgr.SessionInfo) {
						mu.Lock()
						defer mu.Unlock()
						if connected[s.Device]++; connected[s.Device] > 1 {
							t.Errorf("%d sessions of device %d are connected", connected[s.Device], s.Device)
						}
					},
					Disconnected: func(s usermgr.SessionInfo, _ protocol.CloseCode) {
						mu.Lock()
						defer mu.Unlock()
						connected[s.Device]--
					},
				}
				a.Subscribe(count)
				b.Subscribe(count)
				var done sync.WaitGroup
				for i := range uint64(8) {
					done.Go(func() {
						r := rand.New(rand.NewPCG(seed, i))
						for n := range uint64(20) {
							m := a
							if r.IntN(2) == 0 {
								m = b
							}
							s, err := register(m, usermgr.Logon{UserID: "ann", Device: uint16(r.IntN(3))}, newLink(100*i+n))
							if err != nil {
								t.Errorf("a logon was not decided: %v", err)
								continue
							}
							time.Sleep(time.Duration(r.IntN(3)) * time.Millisecond)
							switch r.IntN(4) {
							case 0:
								s.End(protocol.ClientClosed)
							case 1:
								_, _ = m.Kick("ann", nil)
							}
						}
					})
				}
				done.Wait()
				synctest.Wait()
				var live int
				for _, n := range connected {
					live += n
				}
				if n := table.size(); n != live || n != a.Stats().Sessions+b.Stats().Sessions {
					t.Errorf("%d claims, %d sessions", n, live)
				}
			})
		})
	}
}
