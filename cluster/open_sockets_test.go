package cluster_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/rollcalltest"
	"github.com/rollcall-go/rollcall/usermgr"
)

// roaming is a client's way to a server, which it loses, and finds again to another one.
type roaming struct {
	t    *testing.T
	mu   sync.Mutex
	addr string
	away chan struct{} // closed when there is a way; nil while there is one
	conn *roamingConn
}

// roamingConn is a connection of which the server may not hear that it was lost.
type roamingConn struct {
	*net.TCPConn
	lost atomic.Bool
}

func (c *roamingConn) Close() error {
	if c.lost.Load() {
		return nil
	}
	return c.TCPConn.Close()
}

func (r *roaming) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	r.mu.Lock()
	away := r.away
	r.mu.Unlock()
	if away != nil {
		select {
		case <-away:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	r.mu.Lock()
	addr := r.addr
	r.mu.Unlock()
	nc, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conn = &roamingConn{TCPConn: nc.(*net.TCPConn)}
	r.t.Cleanup(func() { _ = nc.Close() })
	return r.conn, nil
}

// leave loses the connection; noticed says whether the server hears of it. There is no way until arrive is called.
func (r *roaming) leave(noticed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = make(chan struct{})
	if noticed {
		_ = r.conn.SetLinger(0)
		_ = r.conn.TCPConn.Close()
		return
	}
	r.conn.lost.Store(true)
	_ = r.conn.SetReadDeadline(time.Now())
}

// cut has the server notice that the connection is lost.
func (r *roaming) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.conn.SetLinger(0)
	_ = r.conn.TCPConn.Close()
}

// arrive gives the client a way to a server.
func (r *roaming) arrive(s *server) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addr = s.Addr
	close(r.away)
	r.away = nil
}

// roamer logs a user on whose client notes pushes, and calls handle before it acknowledges.
func (p *pushing) roamer(t *testing.T, s *server, user string, device uint16, handle func()) *roaming {
	r := &roaming{t: t, addr: s.Addr}
	s.Client(t, user, client.Config{Device: device, DialContext: r.dial, Reconnect: client.Reconnect{Min: -1},
		OnPush: func(_ *client.Client, m *protocol.PushMessage) {
			p.mu.Lock()
			p.got = append(p.got, fmt.Sprintf("%s/%d: %s", user, device, m.Content))
			p.mu.Unlock()
			handle()
		}})
	return r
}

// pushed pushes in the background. The time is so long that no test sees its end unless a confirmation is lost.
func (p *pushing) pushed(t *testing.T, from int, user string, o *push.Options) <-chan push.Result {
	result := make(chan push.Result, 1)
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	go func() {
		defer cancel()
		r, err := p.services[from].Push(ctx, push.ToUsers(user), push.Text("hi"), o)
		if err != nil {
			t.Error(err)
		}
		result <- r
	}()
	return result
}

// pushedLater is pushed with Go.
func (p *pushing) pushedLater(from int, user string, o *push.Options) <-chan push.Result {
	result := make(chan push.Result, 1)
	var all push.Result
	p.services[from].Go(push.ToUsers(user), push.Text("hi"), o, func(r push.Result, _ error) {
		all.Deliveries = append(all.Deliveries, r.Deliveries...)
		if r.Pending == 0 {
			result <- all
		}
	})
	return result
}

// isConfirmed waits for a push's result, which has one confirmation, and no error but of a node where the user was not.
func isConfirmed(t *testing.T, result <-chan push.Result) {
	t.Helper()
	select {
	case r := <-result:
		failed := slices.ContainsFunc(r.Deliveries, func(d push.Delivery) bool { return d.Err != nil && codeOf(d.Err) != protocol.UserOffline })
		if r.Confirmed() != 1 || failed {
			t.Fatalf("the result is %+v", r)
		}
	case <-time.After(2 * testkit.Patience):
		t.Fatal("there is no result")
	}
}

func online(s *server, user string) bool { return s.Users.IsOnline(user) }

// eachMove runs a test for a push from each server of three to a user who moves from the first to the second, where the first has noticed
// that the connection is lost and where it has not, and for both kinds of push.
func eachMove(t *testing.T, test func(t *testing.T, p *pushing, from int, noticed bool, o *push.Options)) {
	for from := range 3 {
		for _, noticed := range []bool{false, true} {
			for kind, o := range map[string]*push.Options{"confirm": {Confirm: true}, "keep": {Confirm: true, Keep: time.Hour}} {
				t.Run(fmt.Sprintf("from %d, noticed %v, %s", from, noticed, kind), func(t *testing.T) {
					test(t, newPushing(t, 3, nil), from, noticed, o)
				})
			}
		}
	}
}

// Rule 27 over nodes: a client that handles a push while it moves to another server acknowledges it there. That counts, once, and the
// client handles the push once.
func TestAnAcknowledgementOnAnotherServerCounts(t *testing.T) {
	eachMove(t, func(t *testing.T, p *pushing, from int, noticed bool, o *push.Options) {
		entered, release := make(chan struct{}, 10), make(chan struct{})
		r := p.roamer(t, p.all[0], "bob", 0, func() { entered <- struct{}{}; <-release })
		result := p.pushed(t, from, "bob", o)
		<-entered
		if r.leave(noticed); noticed {
			rollcalltest.Eventually(t, func() bool { return !online(p.all[0], "bob") }, "the first server has noticed")
		}
		r.arrive(p.all[1])
		rollcalltest.Eventually(t, func() bool { return online(p.all[1], "bob") && !online(p.all[0], "bob") }, "bob has moved")
		close(release)
		isConfirmed(t, result)
		p.keepsNothing(t, "bob")
		p.becomes(t, "bob/0: hi")
	})
}

// Rule 27 over nodes: a push that is kept, and was lost with the connection, goes to the session that continues on another server, as it
// does on one server. The server that has pushed it is told of the confirmation.
func TestAKeptPushThatWasUnderWayGoesOutOnAnotherServer(t *testing.T) {
	for from := range 3 {
		for _, way := range []string{"Push", "Push, first", "Go"} {
			t.Run(fmt.Sprintf("from %d, %s", from, way), func(t *testing.T) {
				p := newPushing(t, 3, nil)
				r := p.roamer(t, p.all[0], "bob", 0, func() {})
				r.leave(false)
				o := &push.Options{Confirm: true, First: way == "Push, first", Keep: time.Hour}
				var result <-chan push.Result
				if way == "Go" {
					result = p.pushedLater(from, "bob", o)
				} else {
					result = p.pushed(t, from, "bob", o)
				}
				rollcalltest.Eventually(t, func() bool {
					u, _ := p.all[0].Users.User("bob")
					return len(u.Sessions) == 1 && u.Sessions[0].Out.Messages == 1
				}, "the push is under way")
				r.arrive(p.all[1])
				isConfirmed(t, result)
				p.keepsNothing(t, "bob")
				p.becomes(t, "bob/0: hi")
			})
		}
	}
}

// keptPush has the first server push a message, which is kept, to all sessions of a user, and returns where the deliveries come.
func (p *pushing) keptPush(user string) <-chan push.Delivery {
	done := make(chan push.Delivery, 10)
	p.services[0].Go(push.ToUsers(user), push.Text("hi"), &push.Options{Confirm: true, Keep: time.Hour}, func(r push.Result, _ error) {
		for _, d := range r.Deliveries {
			done <- d
		}
	})
	return done
}

// Rule 27: a push that one of a user's devices has not confirmed goes to the device's next session on another server while the other
// device stays, and takes its time.
func TestAKeptPushFollowsOneDeviceOfAUser(t *testing.T) {
	p := newPushing(t, 2, func(c *rollcall.Config) { c.Users.Devices.OnePerClass = true })
	confirm := make(chan struct{})
	p.roamer(t, p.all[0], "bob", 2, func() { <-confirm })
	r := p.roamer(t, p.all[0], "bob", 1, func() {})
	r.leave(false)
	done := p.keptPush("bob")
	p.becomes(t, "bob/2: hi")
	r.arrive(p.all[1])
	p.becomes(t, "bob/1: hi")
	close(confirm)
	for confirmed := make(map[uint16]bool); len(confirmed) < 2; {
		d := testkit.Receive(t, "an outcome", done)
		switch {
		case d.Confirmed:
			confirmed[d.Device] = true
		case codeOf(d.Err) != protocol.UserOffline: // it is that when the pusher comes late
			t.Errorf("%+v", d)
		}
	}
	p.keepsNothing(t, "bob")
}

// Rule 27: a session elsewhere that has confirmed a push for itself, and confirms it again, does not confirm it for a session that was lost.
func TestADeviceElsewhereConfirmsForItselfAlone(t *testing.T) {
	p := newPushing(t, 2, func(c *rollcall.Config) { c.Users.Devices.OnePerClass = true })
	p.client(t, 1, "bob", 2)
	r := p.roamer(t, p.all[0], "bob", 1, func() {})
	r.leave(false)
	done := p.keptPush("bob")
	outcome := func(pusher string, device uint16) {
		t.Helper()
		if d := testkit.Receive(t, "an outcome", done); !d.Confirmed || d.Pusher != pusher || d.Device != device {
			t.Fatalf("%+v", d)
		}
	}
	outcome("cluster", 2)
	p.becomes(t, "bob/2: hi")
	r.cut()
	rollcalltest.Eventually(t, func() bool { return p.services[1].Stats().Confirmed == 2 }, "the other device has confirmed the push again")
	r.arrive(p.all[1])
	p.becomes(t, "bob/1: hi")
	outcome("", 1)
	p.keepsNothing(t, "bob")
}

// A client that moves twice while it handles a push acknowledges it on the third server.
func TestAnAcknowledgementTwoServersLaterCounts(t *testing.T) {
	p := newPushing(t, 3, nil)
	entered, release := make(chan struct{}, 10), make(chan struct{})
	r := p.roamer(t, p.all[0], "bob", 0, func() { entered <- struct{}{}; <-release })
	result := p.pushed(t, 0, "bob", &push.Options{Confirm: true})
	<-entered
	for _, to := range p.all[1:] {
		r.leave(to == p.all[2])
		r.arrive(to)
		rollcalltest.Eventually(t, func() bool { return online(to, "bob") }, "bob has moved")
	}
	close(release)
	isConfirmed(t, result)
	p.becomes(t, "bob/0: hi")
}

// Other nodes are told of acknowledgements of messages that are older than the session, and of 1,024 of a session at most: a client that
// acknowledges late, or too much, costs them nothing.
func TestLateAcknowledgementsStayOnTheirServer(t *testing.T) {
	p := newPushing(t, 2, nil)
	var told atomic.Int64
	p.mesh.Lose(func(_ cluster.Incarnation, frame []byte) bool {
		if frame[0] == cluster.FrameUnasked {
			told.Add(1)
		}
		return false
	})
	// acknowledge has a user acknowledge messages that were made at a time, all of them too late.
	acknowledge := func(user string, made time.Time, batches ...int) {
		t.Helper()
		release := make(chan struct{})
		p.roamer(t, p.all[0], user, 0, func() { <-release })
		outcomes := make(chan struct{}, 1000)
		for _, n := range batches {
			for range n {
				m := push.Text("late")
				for i, ms := 0, made.UnixMilli(); i < 6; i++ {
					m.ID[5-i] = byte(ms >> (8 * i))
				}
				o := &push.Options{Confirm: true, Timeout: time.Millisecond}
				p.services[0].Go(push.ToUsers(user), m, o, func(r push.Result, _ error) {
					if r.Pending == 0 {
						outcomes <- struct{}{}
					}
				})
			}
			for range n {
				<-outcomes
			}
		}
		close(release)
		isConfirmed(t, p.pushed(t, 0, user, &push.Options{Confirm: true})) // behind all others
	}
	if acknowledge("bob", time.Now().Add(10*time.Minute), 100); told.Load() != 0 {
		t.Errorf("of acknowledgements of messages that are younger than the session %d are told", told.Load())
	}
	if acknowledge("eve", time.Now(), 500, 500, 500); told.Load() != 1024 {
		t.Errorf("of 1,500 acknowledgements %d are told", told.Load())
	}
	p.mesh.Lose(nil)
}

// Rules 6 and 23: a user who logs on again, on another server, is never offline in between. A push that comes while the old session ends
// and the new one has not begun reaches the new one.
func TestAPushWaitsForALogonThatIsUnderWay(t *testing.T) {
	for from := range 3 {
		t.Run(fmt.Sprint("from ", from), func(t *testing.T) {
			p := newPushing(t, 3, nil)
			p.client(t, 0, "bob", 0)
			ends, goOn := make(chan struct{}), make(chan struct{})
			end := sync.OnceFunc(func() { close(goOn) })
			p.all[0].Users.Subscribe(usermgr.Events{Disconnected: func(usermgr.SessionInfo, protocol.CloseCode) {
				close(ends)
				<-goOn
			}})
			logon := make(chan struct{})
			go func() {
				defer close(logon)
				p.client(t, 1, "bob", 0)
			}()
			defer func() {
				end()
				<-logon
			}()
			<-ends
			result := p.pushed(t, from, "bob", &push.Options{Confirm: true})
			select {
			case r := <-result:
				t.Fatalf("before the logon is over the result is %+v", r)
			case <-time.After(100 * time.Millisecond): // as a rule long enough to see a wrong outcome
			}
			end()
			isConfirmed(t, result)
			p.becomes(t, "bob/0: hi")
		})
	}
}

// Rule 23: when the logon for which a push waits fails, the push goes to where the user is then: to the old session, which has not heard of
// the logon.
func TestAPushThatWaitsForALogonThatFailsComesToTheOldSession(t *testing.T) {
	p := newPushing(t, 3, nil)
	p.client(t, 0, "bob", 0)
	var asked atomic.Bool
	p.mesh.Lose(func(_ cluster.Incarnation, frame []byte) bool {
		if frame[0] != cluster.FrameEvict {
			return false
		}
		asked.Store(true)
		return true
	})
	ctx, giveUp := context.WithCancel(t.Context())
	defer giveUp()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if c, err := client.Dial(ctx, p.all[1].Addr, client.Config{UserID: "bob"}); err == nil {
			t.Error("bob is in at the second server")
			_ = c.Close()
		}
	}()
	rollcalltest.Eventually(t, asked.Load, "the logon waits")
	result := p.pushed(t, 2, "bob", &push.Options{Confirm: true})
	rollcalltest.Eventually(t, func() bool { return p.all[1].node.Awaited("bob") }, "the push waits for the logon")
	giveUp()
	<-ended
	isConfirmed(t, result)
	p.becomes(t, "bob/0: hi")
	p.mesh.Lose(nil)
}

// Rule 27: a push that a session has not confirmed yet goes to a session that comes in beside it on another server, too. The confirmation
// there counts when the first session has ended.
func TestAKeptPushGoesToASessionThatComesInBesideOnAnotherServer(t *testing.T) {
	p := newPushing(t, 2, func(c *rollcall.Config) { c.Users.Devices.OnePerClass = true })
	deaf := p.all[0].Client(t, "bob", client.Config{Device: 1}) // confirms nothing
	result := p.pushedLater(0, "bob", &push.Options{Confirm: true, Keep: time.Hour})
	p.client(t, 1, "bob", 2)
	p.becomes(t, "bob/2: hi")
	rollcalltest.Eventually(t, func() bool { return p.services[1].Stats().Confirmed == 1 }, "the new session has confirmed")
	select {
	case r := <-result:
		t.Fatalf("while the first session is there the result is %+v", r)
	default:
	}
	deaf.Close()
	isConfirmed(t, result)
	p.keepsNothing(t, "bob")
	p.becomes(t)
}
