package bridge_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/layout"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// finals collects what Disconnected tells.
func finals(s *server) <-chan usermgr.SessionInfo {
	c := make(chan usermgr.SessionInfo, 16)
	s.users.Subscribe(usermgr.Events{Disconnected: func(i usermgr.SessionInfo, _ protocol.CloseCode) { c <- i }})
	return c
}

// Rule 12: every message counts once each way, bytes with headers, for every sender and every kind of handler.
// Logon, Heartbeat and Close do not count.
func TestCountsAreExact(t *testing.T) {
	for _, workers := range []int{0, 2} {
		s := newServer(t, options{engine: engine.Config{Workers: workers}})
		final := finals(s)
		s.start()
		c := s.logOn("ann")

		const asked, pushers, pushes = 300, 4, 200
		var in, out protocol.Traffic
		in.Messages, out.Messages = asked+1, asked+1+pushers*pushes
		var requests []*protocol.Message
		for i := range asked {
			body := []byte(strings.Repeat("x", i))
			requests = append(requests, &protocol.Message{Type: echo, ID: 2, UserID: "ann", Body: body},
				&protocol.Message{Type: protocol.TypeHeartbeat, ID: 3})
			in.Bytes += uint64(layout.HeaderLen + len("ann") + i)
			out.Bytes += uint64(layout.HeaderLen + i)
		}
		var sending sync.WaitGroup
		for range pushers {
			sending.Go(func() {
				for range pushes {
					if err := s.bridge.Send("ann", push, []byte("pushed")); err != nil {
						t.Error(err)
					}
				}
			})
		}
		out.Bytes += pushers * pushes * uint64(layout.HeaderLen+len("pushed"))
		sending.Go(func() { _ = c.write(requests...) }) // what does not arrive is missed below
		for range asked + asked + pushers*pushes {
			c.receive()
		}
		sending.Wait()
		last := &protocol.Message{Type: 0x77, ID: 4} // has no handler: an error reply
		c.send(last)
		reply := c.receive()
		in.Bytes += layout.HeaderLen
		out.Bytes += layout.HeaderLen + uint64(len(reply.Body))
		in.LastType, out.LastType = last.Type, last.Type

		eventually(t, "the counts of the user are true", func() bool {
			data, _ := s.users.User("ann")
			return data.In == in && data.Out == out
		})
		c.send(&protocol.Message{Type: protocol.TypeClose,
			Body: system.AppendClose(nil, &protocol.CloseError{Code: protocol.ClientClosed})})
		if i := receive(t, "the end of the session", final); i.In != in || i.Out != out || i.Dropped != (protocol.Traffic{}) {
			t.Errorf("workers %d: Disconnected told in %+v, out %+v, dropped %+v; want %+v, %+v", workers, i.In, i.Out, i.Dropped, in, out)
		}
	}
}

// Rule 12: where the first message binds it is counted, and so is what was pipelined behind it.
func TestFirstMessageIsCounted(t *testing.T) {
	s := newServer(t, options{})
	final := finals(s)
	s.start()
	c := s.dial()
	c.send(&protocol.Message{Type: say, UserID: "ann", Body: []byte("12345")}, &protocol.Message{Type: echo, ID: 1})
	c.expect(echo, "")
	c.conn.Close()
	i := receive(t, "the end of the session", final)
	want := protocol.Traffic{Messages: 2, Bytes: 2*layout.HeaderLen + 3 + 5, LastType: echo}
	if i.In != want {
		t.Errorf("in: %+v, want %+v", i.In, want)
	}
	if want = (protocol.Traffic{Messages: 1, Bytes: layout.HeaderLen, LastType: echo}); i.Out != want {
		t.Errorf("out: %+v, want %+v", i.Out, want)
	}
}

// Rule 12: a user's counts go on over a replacement; a session's start anew.
func TestUsersCountsGoOn(t *testing.T) {
	s := serve(t, options{})
	for range 3 {
		s.logOn("ann").ask("hello")
	}
	want := protocol.Traffic{Messages: 3, Bytes: 3 * (layout.HeaderLen + 5), LastType: echo}
	eventually(t, "the user's counts have all three sessions'", func() bool {
		data, _ := s.users.User("ann")
		return data.In == want && data.Out == want && data.Sessions[0].In.Messages == 1
	})
}

// Rule 12 and 15: what is thrown away because the client does not read is counted as dropped, the rest as sent as far
// as it was handed over; the client is a SlowConsumer.
func TestDroppedIsCounted(t *testing.T) {
	s := newServer(t, options{engine: engine.Config{Limits: engine.Limits{MaxOutbound: 1 << 20}, Timeouts: engine.Timeouts{Close: time.Second}}})
	final := finals(s)
	s.start()
	c, bob := s.logOn("ann"), s.logOn("bob")
	body := make([]byte, 64<<10)
	accepted := 0
	for {
		if err := s.bridge.Send("ann", push, body); err != nil {
			break
		}
		accepted++
	}
	i := receive(t, "the end of the session", final)
	frameLen := uint64(layout.HeaderLen + len(body))
	if want := (protocol.Traffic{Messages: 1, Bytes: frameLen, LastType: push}); i.Dropped != want {
		t.Errorf("dropped: %+v, want %+v", i.Dropped, want)
	}
	if i.Out.Messages > uint64(accepted) || i.Out.Bytes != i.Out.Messages*frameLen {
		t.Errorf("out: %+v of %d that were taken", i.Out, accepted)
	}
	bob.ask("unharmed")
	s.journal.expect(t, "Connected ann@1", "Connected bob@2", "Disconnected ann@1 SlowConsumer")
	c.conn.Close()
}

// Rules 12 and 15: with a policy that drops, the sender is told, the user stays, and what was dropped is counted for the user.
func TestDroppedIsCountedForAUserWhoStays(t *testing.T) {
	s := serve(t, options{engine: engine.Config{Limits: engine.Limits{MaxOutbound: 1 << 20}, SlowPolicy: engine.SlowDropNewest}})
	ann := s.logOn("ann")
	body := make([]byte, 64<<10)
	accepted, dropped := 0, 0
	for dropped < 10 {
		switch err := s.bridge.Send("ann", push, body); {
		case err == nil:
			accepted++
		case errors.Is(err, engine.ErrDropped):
			dropped++
		default:
			t.Fatal(err)
		}
	}
	frameLen := uint64(layout.HeaderLen + len(body))
	want := protocol.Traffic{Messages: uint64(dropped), Bytes: uint64(dropped) * frameLen, LastType: push}
	eventually(t, "the count of what was dropped", func() bool {
		d, online := s.users.User("ann")
		return online && d.Dropped == want
	})
	for range accepted {
		if m := ann.receive(); len(m.Body) != len(body) {
			t.Fatalf("got %v", m)
		}
	}
	ann.ask("still there")
}

// Rule 12: what Connected's handlers send is counted, and so is what was sent right before the session was ended.
func TestLastWordsAreCounted(t *testing.T) {
	for _, workers := range []int{0, 2} {
		s := newServer(t, options{engine: engine.Config{Workers: workers}})
		final := finals(s)
		s.users.Subscribe(usermgr.Events{Connected: func(i usermgr.SessionInfo) {
			_ = s.bridge.Send(i.UserID, push, []byte("welcome"))
		}})
		s.start()
		for range 50 {
			c := s.logOn("ann")
			c.expect(push, "welcome")
			if err := s.bridge.Send("ann", push, []byte("goodbye")); err != nil {
				t.Fatal(err)
			}
			_, _ = s.users.Kick("ann", nil)
			c.expect(push, "goodbye")
			c.expectClose(protocol.KickedOut)
			want := protocol.Traffic{Messages: 2, Bytes: 2 * (layout.HeaderLen + 7), LastType: push}
			if i := receive(t, "the end of the session", final); i.Out != want {
				t.Errorf("workers %d: out %+v, want %+v", workers, i.Out, want)
			}
		}
	}
}

// Rule 12: so is what a PushedOut handler still sends to the old connection.
func TestWhatPushedOutHandlersSendIsCounted(t *testing.T) {
	for _, workers := range []int{0, 2} {
		s := newServer(t, options{engine: engine.Config{Workers: workers}, bridge: bridge.Config{RelogonBurst: -1}})
		final := finals(s)
		s.users.Subscribe(usermgr.Events{PushedOut: func(old usermgr.SessionInfo, _ usermgr.Address) {
			_ = s.bridge.Send(old.UserID, push, []byte("farewell"))
		}})
		s.start()
		c := s.logOn("ann")
		for range 50 {
			next := s.logOn("ann")
			c.expect(push, "farewell")
			c.expectClose(protocol.PushedOut)
			want := protocol.Traffic{Messages: 1, Bytes: layout.HeaderLen + 8, LastType: push}
			if i := receive(t, "the end of the session", final); i.Out != want {
				t.Errorf("workers %d: out %+v, want %+v", workers, i.Out, want)
			}
			c = next
		}
	}
}

// shortFrames is a wire format of frames that are short: a name and a colon, then one letter a message. It keeps what it was last
// asked to decode.
type shortFrames struct {
	protocol.Codec
	asked *atomic.Value
}

func (f shortFrames) Decode(src []byte, m *protocol.Message, o protocol.DecodeOptions) (n, need int, err error) {
	if len(src) > 0 {
		f.asked.Store(string(src))
	}
	if !o.First {
		*m = protocol.Message{Type: say, Body: src[:1]}
		return 1, 0, nil
	}
	name, _, whole := strings.Cut(string(src), ":")
	if !whole {
		return 0, len(src) + 1, nil
	}
	*m = protocol.Message{Type: say, UserID: name}
	return len(name) + 1, 0, nil
}

// Rule 12: the first message, too, counts what came on the wire, whatever the codec and however it comes.
func TestTheFirstMessageCountsWhatCame(t *testing.T) {
	for name, pieces := range map[string][]string{"at once": {"al:x"}, "in pieces": {"a", "l", ":", "x"}, "then more": {"al:", "x"}} {
		for _, workers := range []int{0, 1} {
			t.Run(name, func(t *testing.T) {
				codec := shortFrames{protocol.Binary, new(atomic.Value)}
				s := newServer(t, options{engine: engine.Config{Listeners: []engine.Listener{{Codec: codec}}, Workers: workers}})
				final := finals(s)
				s.start()
				c := s.dial()
				for _, piece := range pieces {
					if _, err := c.conn.Write([]byte(piece)); err != nil {
						t.Fatal(err)
					}
					eventually(t, "it is read", func() bool {
						asked, _ := codec.asked.Load().(string)
						return strings.HasSuffix(asked, piece[len(piece)-1:])
					})
				}
				eventually(t, "both are counted", func() bool {
					data, online := s.users.User("al")
					return online && data.In.Messages == 2
				})
				c.conn.Close()
				want := protocol.Traffic{Messages: 2, Bytes: 4, LastType: say}
				if i := receive(t, "the end of the session", final); i.In != want {
					t.Errorf("in: %+v, want %+v", i.In, want)
				}
				if got := s.engine.Stats().In; got.Bytes > 4 {
					t.Errorf("the engine counts %+v", got)
				}
			})
		}
	}
}
