package push_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/rollcalltest"
)

// unheard is a Keeper that does nothing.
type unheard struct{}

func (unheard) Keeps(string, time.Duration)               {}
func (unheard) KeepsNothing(string)                       {}
func (unheard) Arrived(string, string)                    {}
func (unheard) Unasked(string, uint64, uint16, uuid.UUID) {}

// away has what one server keeps for ann, who is on another.
type away struct {
	kept      []seam.KeptMessage
	seam.Kept // of the server where she is, on device 2
	service   *push.Service
	conn      uint64
	confirmed chan uuid.UUID
	got       chan string   // what her client has handled
	hold      chan struct{} // closed when it may
}

func newAway(t *testing.T) *away {
	_, keeping := newServer(t, rollcall.Config{})
	srv, service := newServer(t, rollcall.Config{})
	a := &away{Kept: seam.KeptOf(service, unheard{}), service: service, confirmed: make(chan uuid.UUID, 10), got: make(chan string, 10), hold: make(chan struct{})}
	for _, text := range []string{"0", "1", "2"} {
		keeping.Go(push.ToUsers("ann"), push.Text(text), keep, nil)
	}
	a.kept = seam.KeptOf(keeping, unheard{}).Messages("ann")
	if len(a.kept) != 3 || slices.ContainsFunc(a.kept, func(m seam.KeptMessage) bool { return m.Left <= 59*time.Minute || m.Left > time.Hour }) {
		t.Fatalf("it keeps %v", a.kept)
	}
	srv.Client(t, "ann", client.Config{Device: 2, OnPush: func(_ *client.Client, p *protocol.PushMessage) {
		<-a.hold
		a.got <- string(p.Content)
	}})
	a.conn = sessionsOf(srv.Users, "ann")[0].Address.Conn
	return a
}

func (a *away) deliver(t *testing.T, messages []seam.KeptMessage) {
	t.Helper()
	if !a.Deliver("ann", a.conn, messages, func(id uuid.UUID) { a.confirmed <- id }) {
		t.Fatal("ann is not there")
	}
}

func (a *away) receives(t *testing.T, texts ...string) {
	t.Helper()
	for _, want := range texts {
		if text := receive(t, "the next message", a.got); text != want {
			t.Errorf("ann got %q, want %q", text, want)
		}
	}
}

// Rule 23: what is kept on another server goes to a session in order. What the session has got and has not confirmed does not go again.
func TestWhatAnotherServerKeepsIsHandedOverOnce(t *testing.T) {
	a := newAway(t)
	a.deliver(t, a.kept[:2])
	a.deliver(t, a.kept)
	if n := a.service.Stats().Waiting; n != 3 {
		t.Errorf("%d messages wait for ann", n)
	}
	close(a.hold)
	a.receives(t, "0", "1", "2")
	for i, m := range a.kept {
		if id := receive(t, "a confirmation", a.confirmed); id != m.ID {
			t.Errorf("message %d is not the one that was confirmed", i)
		}
	}
}

// Rule 27: what is kept for sessions of a device class goes to no other on another server either, and is given up when its time is over.
func TestWhatAnotherServerKeepsIsForItsDevicesAndItsTime(t *testing.T) {
	a := newAway(t)
	a.kept[0].Devices = []uint16{1}
	a.kept[1].Devices, a.kept[1].Left = []uint16{1, 2}, 50*time.Millisecond
	a.deliver(t, a.kept)
	rollcalltest.Eventually(t, func() bool { return a.service.Stats().Waiting == 1 }, "the second message is given up")
	close(a.hold)
	a.receives(t, "1", "2")
	if id := receive(t, "a confirmation", a.confirmed); id != a.kept[2].ID {
		t.Error("it is not the last message that was confirmed")
	}
}

// reporting is a Pusher that calls a function, and returns a delivery.
type reporting func(id uuid.UUID) push.Delivery

func (f reporting) Push(_ context.Context, _ push.Target, m *push.Message) ([]push.Delivery, error) {
	return []push.Delivery{f(m.ID)}, nil
}

// Rule 27: a confirmation of a session on another server that comes while a pusher is at work counts once, whether the pusher reports it or not.
func TestAConfirmationThatComesBeforeThePusherReportsItCountsOnce(t *testing.T) {
	for _, told := range []bool{false, true} {
		for _, how := range []seam.Confirmed{seam.ConfirmedKept, seam.ConfirmedUnasked} {
			t.Run(fmt.Sprintf("told %v, how %d", told, how), func(t *testing.T) {
				_, service := newServer(t, rollcall.Config{})
				kept := seam.KeptOf(service, unheard{})
				service.Register("elsewhere", reporting(func(id uuid.UUID) push.Delivery {
					kept.Confirm(seam.Confirmation{UserID: "ann", ID: id, Session: uuid.New(), How: how})
					if !told {
						return push.Delivery{UserID: "ann", Err: protocol.UserOffline}
					}
					kept.Confirm(seam.Confirmation{UserID: "ann", ID: id, How: seam.ConfirmedTold, Replaces: func(uint16) bool { return true }})
					return push.Delivery{UserID: "ann", Confirmed: true}
				}))
				r, err := service.Push(t.Context(), push.ToUsers("ann"), push.Text("hi"), &push.Options{Confirm: true, Keep: time.Hour})
				if err != nil || r.Confirmed() != 1 {
					t.Errorf("the result is %+v, %v", r, err)
				}
				if left := kept.Messages("ann"); len(left) > 0 {
					t.Errorf("%d messages are kept", len(left))
				}
			})
		}
	}
}

// Rule 27: a client that loses its connection with a message and comes back on another server may have the message twice: from its old
// session, and by a pusher. Its confirmations count once, in whatever order they and the end of the connection come.
func TestAClientThatHasAMessageByAPusherTooConfirmsItOnce(t *testing.T) {
	for _, order := range []string{"lost unasked told", "lost told unasked", "unasked lost told", "told lost unasked"} {
		for _, keep := range []time.Duration{0, time.Hour} {
			t.Run(fmt.Sprintf("%s, keep %v", order, keep), func(t *testing.T) {
				srv, service := newServer(t, rollcall.Config{})
				kept := seam.KeptOf(service, unheard{})
				handling, handled := make(chan struct{}), make(chan struct{})
				srv.Client(t, "ann", client.Config{Reconnect: client.Reconnect{Max: -1}, OnPush: func(*client.Client, *protocol.PushMessage) {
					close(handling)
					<-handled
				}})
				defer close(handled)
				service.Register("elsewhere", reporting(func(id uuid.UUID) push.Delivery {
					<-handling
					c := seam.Confirmation{UserID: "ann", ID: id}
					for _, step := range strings.Fields(order) {
						switch step {
						case "lost":
							conn := srv.Engine.Conn(sessionsOf(srv.Users, "ann")[0].Address.Conn)
							conn.Close(protocol.Errorf(protocol.HeartbeatTimeout, "no beat"))
							rollcalltest.Eventually(t, func() bool { return !srv.Users.IsOnline("ann") }, "the session has ended")
						case "unasked":
							c.Session, c.How, c.Replaces = uuid.New(), seam.ConfirmedUnasked, nil
							kept.Confirm(c)
						case "told":
							c.Session, c.How, c.Replaces = uuid.UUID{}, seam.ConfirmedTold, func(uint16) bool { return true }
							kept.Confirm(c)
						}
					}
					return push.Delivery{UserID: "ann", Confirmed: true}
				}))
				o := &push.Options{Confirm: true, Keep: keep, Timeout: 100 * time.Millisecond}
				r, err := service.Push(t.Context(), push.ToUsers("ann"), push.Text("hi"), o)
				if err != nil || r.Confirmed() != 1 {
					t.Errorf("the result is %+v, %v", r, err)
				}
			})
		}
	}
}

// Rule 27: a confirmation that waits for a pusher counts when the time of Go is over.
func TestAConfirmationThatWaitsForAPusherIsNotLostAtTheDeadline(t *testing.T) {
	srv, service := newServer(t, rollcall.Config{})
	kept := seam.KeptOf(service, unheard{})
	handling, handled, returns := make(chan struct{}), make(chan struct{}), make(chan struct{})
	srv.Client(t, "ann", client.Config{Reconnect: client.Reconnect{Max: -1}, OnPush: func(*client.Client, *protocol.PushMessage) {
		close(handling)
		<-handled
	}})
	defer close(handled)
	conn := srv.Engine.Conn(sessionsOf(srv.Users, "ann")[0].Address.Conn)
	service.Register("elsewhere", reporting(func(id uuid.UUID) push.Delivery {
		<-handling
		conn.Close(protocol.Errorf(protocol.HeartbeatTimeout, "no beat"))
		rollcalltest.Eventually(t, func() bool { return !srv.Users.IsOnline("ann") }, "the session has ended")
		kept.Confirm(seam.Confirmation{UserID: "ann", ID: id, Session: uuid.New(), How: seam.ConfirmedUnasked})
		<-returns
		return push.Delivery{UserID: "bob", Err: protocol.UserOffline}
	}))
	defer close(returns)
	outcomes := make(chan push.Delivery, 10)
	o := &push.Options{Confirm: true, Timeout: 2 * time.Second}
	service.Go(push.ToUsers("ann"), push.Text("hi"), o, func(r push.Result, _ error) {
		for _, d := range r.Deliveries {
			outcomes <- d
		}
	})
	if d := receive(t, "the outcome", outcomes); !d.Confirmed {
		t.Errorf("the outcome is %+v", d)
	}
}
