package push_test

import (
	"context"
	"fmt"
	"slices"
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
