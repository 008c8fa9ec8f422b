package client_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// push makes a push with the number n in its ID and its content, to be confirmed.
func push(n int) protocol.PushMessage {
	id := uuid.MustParse("0197abcd-ef01-7234-89ab-0123456789ab")
	id[14], id[15] = byte(n>>8), byte(n)
	return protocol.PushMessage{ID: id, Kind: protocol.PushText, Confirm: true, Content: fmt.Append(nil, n)}
}

// pushes encodes pushes.
func (p *peer) pushes(all ...protocol.PushMessage) (messages []protocol.Message) {
	p.t.Helper()
	for _, m := range all {
		body, err := system.AppendPush(nil, &m)
		if err != nil {
			p.t.Fatal(err)
		}
		messages = append(messages, protocol.Message{Type: protocol.TypePush, Body: body})
	}
	return messages
}

// push sends pushes, in one piece.
func (p *peer) push(all ...protocol.PushMessage) {
	p.t.Helper()
	p.write(p.pushes(all...)...)
}

// acked checks that m acknowledges the push.
func (p *peer) acked(m *protocol.Message, of protocol.PushMessage) {
	p.t.Helper()
	id, err := system.ParsePushAck(m.Body)
	if m.Type != protocol.TypePushAck || m.Flags != 0 || m.ID != 0 || err != nil || id != of.ID {
		p.t.Fatalf("the client sends %+v, %v; want the acknowledgement of %v", m, err, of.ID)
	}
}

// contents makes cfg report what is pushed on the channel that it returns.
func contents(cfg *client.Config) <-chan string {
	got := make(chan string, 10_000)
	cfg.OnPush = func(_ *client.Client, m *protocol.PushMessage) { got <- string(m.Content) }
	return got
}

func TestPushesComeInOrderWithMessagesAndAreAcknowledged(t *testing.T) {
	n := sockets(t)
	got := make(chan string, 10)
	_, p := n.dial(client.Config{
		HandleDefault: func(_ *client.Client, m *protocol.Message) error { got <- "message " + string(m.Body); return nil },
		OnPush: func(_ *client.Client, m *protocol.PushMessage) {
			got <- fmt.Sprintf("%v %q %v %d %v %s", m.Kind, m.Name, m.Confirm, m.Time.UnixMilli(), m.Metadata, m.Content)
		}}, nil)
	custom := push(2)
	custom.Kind, custom.Name, custom.Confirm = protocol.PushCustom, "score", false
	custom.Time, custom.Metadata = time.UnixMilli(1_760_000_000_000), map[string]string{"room": "42"}
	later := push(3)
	later.Kind, later.Time = 99, time.UnixMilli(1)
	first := push(1)
	first.Time = time.UnixMilli(-1)
	p.write(slices.Concat([]protocol.Message{{Type: 1, Body: []byte("a")}}, p.pushes(first, custom),
		[]protocol.Message{{Type: 1, Body: []byte("b")}}, p.pushes(later))...)
	for _, want := range []string{"message a", `Text "" true -1 map[] 1`,
		`Custom "score" false 1760000000000 map[room:42] 2`, "message b", `kind 99 "" true 1 map[] 3`} {
		if g := <-got; g != want {
			t.Errorf("delivered is %s, want %s", g, want)
		}
	}
	p.acked(p.read(), first)
	p.acked(p.read(), later)
}

// A push counts as dealt with when OnPush returns, not before.
func TestAPushIsAcknowledgedWhenOnPushHasReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := pipes(t).dial(client.Config{OnPush: func(*client.Client, *protocol.PushMessage) { time.Sleep(time.Second) }}, nil)
		began := time.Now()
		p.push(push(1))
		p.acked(p.read(), push(1))
		if took := time.Since(began); took != time.Second {
			t.Errorf("acknowledged after %v, want a second", took)
		}
	})
}

func TestWithoutOnPushPushesAreDroppedAndNotAcknowledged(t *testing.T) {
	n := sockets(t)
	_, p := n.dial(client.Config{HandleDefault: func(c *client.Client, m *protocol.Message) error { return c.Reply(m, m.Body) }}, nil)
	p.push(push(1))
	p.write(protocol.Message{Type: protocol.TypePush}) // nor looked at
	p.write(protocol.Message{Type: 1, ID: 7})
	if m := p.read(); m.Type != 1 || m.ID != 7 {
		t.Errorf("the client sends %+v, want the reply only", m)
	}
}

func TestAPushIsOnPushsToKeepAndToChange(t *testing.T) {
	n := sockets(t)
	kept := make(chan *protocol.PushMessage, 100)
	_, p := n.dial(client.Config{OnPush: func(_ *client.Client, m *protocol.PushMessage) {
		m.Confirm, m.ID = false, uuid.Nil
		kept <- m
	}}, nil)
	for i := range 100 {
		p.push(push(i))
		p.acked(p.read(), push(i))
	}
	for i := range 100 {
		if m := <-kept; string(m.Content) != fmt.Sprint(i) {
			t.Errorf("push %d has become %q", i, m.Content)
		}
	}
}

// A push comes again when its acknowledgement was lost, perhaps together with the connection.
func TestAPushThatComesAgainIsAcknowledgedAndNotDelivered(t *testing.T) {
	for name, again := range map[string]func(n *network, p *peer) *peer{
		"on the same connection": func(_ *network, p *peer) *peer { return p },
		"on the next": func(n *network, p *peer) *peer {
			_ = p.nc.Close()
			p = n.accept()
			p.welcome(nil)
			return p
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := sockets(t)
			cfg := client.Config{Reconnect: client.Reconnect{Min: -1}}
			got := contents(&cfg)
			_, p := n.dial(cfg, nil)
			p.push(push(1))
			p.acked(p.read(), push(1))
			p = again(n, p)
			p.push(push(1), push(2))
			p.acked(p.read(), push(1))
			p.acked(p.read(), push(2))
			if first, second := <-got, <-got; first != "1" || second != "2" || len(got) > 0 {
				t.Errorf("delivered are %s and %s, and %d more", first, second, len(got))
			}
		})
	}
}

// What needs no confirmation a server has no reason to send twice but to say it twice.
func TestAPushWithoutConfirmIsDeliveredAsOftenAsItComes(t *testing.T) {
	n := sockets(t)
	cfg := client.Config{}
	got := contents(&cfg)
	_, p := n.dial(cfg, nil)
	m := push(1)
	m.Confirm = false
	p.push(m, m, push(2))
	p.acked(p.read(), push(2))
	if len(got) != 3 {
		t.Errorf("%d pushes are delivered, want 3", len(got))
	}
}

func TestTheLast1024PushesAreKnownAgain(t *testing.T) {
	n := sockets(t)
	cfg := client.Config{}
	got := contents(&cfg)
	_, p := n.dial(cfg, nil)
	const known = 1024
	for i := range known + 1 {
		p.push(push(i))
		p.acked(p.read(), push(i))
		<-got
	}
	again := []int{1, known, 0, known, 1} // 0 is forgotten; when it has come again so is 1
	for _, i := range again {
		p.push(push(i))
		p.acked(p.read(), push(i))
	}
	if len(got) != 2 || <-got != "0" || <-got != "1" {
		t.Errorf("%d of those that came again are delivered, want the two that were forgotten", len(got))
	}
}

func TestAnAcknowledgementGoesOutOnTheConnectionThatThereIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := pipes(t)
		deal := make(chan struct{})
		_, p := n.dial(client.Config{OnPush: func(*client.Client, *protocol.PushMessage) { <-deal }}, nil)
		p.push(push(1))
		synctest.Wait()
		_ = p.nc.Close()
		p = n.accept()
		p.welcome(nil)
		synctest.Wait()
		close(deal)
		p.acked(p.read(), push(1))
	})
}

// While there is no connection the acknowledgement is lost: the server pushes again, and gets it then.
func TestAnAcknowledgementWithoutAConnectionIsGivenWhenThePushComesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := pipes(t)
		deal := make(chan struct{})
		calls := 0
		_, p := n.dial(client.Config{OnPush: func(*client.Client, *protocol.PushMessage) { calls++; <-deal }}, nil)
		p.push(push(1))
		synctest.Wait()
		_ = p.nc.Close()
		synctest.Wait()
		close(deal)
		synctest.Wait()
		p = n.accept()
		p.welcome(nil)
		p.push(push(1))
		p.acked(p.read(), push(1))
		if calls != 1 {
			t.Errorf("OnPush is called %d times", calls)
		}
	})
}

func TestAPanicInOnPushEndsTheClientAndAcknowledgesNothing(t *testing.T) {
	n := sockets(t)
	c, p := n.dial(client.Config{OnPush: func(_ *client.Client, m *protocol.PushMessage) {
		if string(m.Content) == "2" {
			panic("oh no")
		}
	}}, nil)
	p.push(push(1), push(2), push(3))
	got := p.readEnd()
	if len(got) != 2 || got[1].Type != protocol.TypeClose {
		t.Fatalf("the client sends %d messages, the last is %+v", len(got), got[len(got)-1])
	}
	p.acked(got[0], push(1))
	_ = p.nc.Close()
	<-c.Done()
	if err := c.Err(); err == nil || !strings.HasPrefix(err.Error(), "rollcall: a handler panicked: oh no\n") {
		t.Errorf("the client ended with %v", err)
	}
}

// What OnPush has returned from is acknowledged before the notice; what it has not is not acknowledged at all.
func TestCloseSendsTheAcknowledgementsThatAreDue(t *testing.T) {
	t.Run("in OnPush", func(t *testing.T) {
		n := sockets(t)
		c, p := n.dial(client.Config{OnPush: func(c *client.Client, m *protocol.PushMessage) {
			if string(m.Content) == "3" {
				_ = c.Close()
			}
		}}, nil)
		p.push(push(1), push(2), push(3), push(4))
		got := p.readEnd()
		if len(got) != 3 || got[2].Type != protocol.TypeClose {
			t.Fatalf("the client sends %d messages, the last is %+v", len(got), got[len(got)-1])
		}
		p.acked(got[0], push(1))
		p.acked(got[1], push(2))
		_ = p.nc.Close()
		<-c.Done()
	})
	t.Run("while OnPush runs", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			deal := make(chan struct{})
			c, p := pipes(t).dial(client.Config{OnPush: func(_ *client.Client, m *protocol.PushMessage) {
				if string(m.Content) == "2" {
					<-deal
				}
			}}, nil)
			p.push(push(1), push(2)) // and the client's writer is stuck with the first one's acknowledgement
			synctest.Wait()
			go c.Close()
			synctest.Wait()
			close(deal)
			synctest.Wait()
			p.acked(p.read(), push(1))
			if m := p.read(); m.Type != protocol.TypeClose {
				t.Errorf("the client sends %+v, want a Close", m)
			}
			_ = p.nc.Close()
			<-c.Done()
		})
	})
}

func TestABadPushEndsTheClientAndIsReported(t *testing.T) {
	n := sockets(t)
	cfg := client.Config{}
	got := contents(&cfg)
	changes := watch(&cfg)
	_, p := n.dial(cfg, nil)
	expect(t, changes, client.Online)
	p.write(protocol.Message{Type: protocol.TypePush, Body: make([]byte, 27)})
	m := p.read()
	if ce, err := protocol.ParseClose(m.Body); m.Type != protocol.TypeClose || err != nil || ce.Code != protocol.InvalidMessage {
		t.Errorf("the server is told %+v, %v", m, err)
	}
	p.readEnd()
	_ = p.nc.Close()
	if why := code(t, expect(t, changes, client.Closed)); why != protocol.InvalidMessage || len(got) > 0 {
		t.Errorf("ended with %v, after %d pushes", why, len(got))
	}
}

func TestOnPushMayMakeRequests(t *testing.T) {
	n := sockets(t)
	got := make(chan error, 1)
	_, p := n.dial(client.Config{OnPush: func(c *client.Client, _ *protocol.PushMessage) {
		_, err := c.Request(context.Background(), 2, nil)
		got <- err
	}}, nil)
	p.push(push(1))
	m := p.read()
	p.write(protocol.Message{Type: 2, Flags: protocol.FlagReply, ID: m.ID})
	if err := <-got; err != nil {
		t.Error(err)
	}
	p.acked(p.read(), push(1))
}

// Pushes that wait for OnPush are bounded as messages are.
func TestPushesThatWaitAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deal := make(chan struct{})
		_, p := pipes(t).dial(client.Config{MaxInbound: 10_000, Timeouts: client.Timeouts{Heartbeat: -1},
			OnPush: func(*client.Client, *protocol.PushMessage) { <-deal }}, nil)
		sent := 0
		go func() {
			m := push(1)
			m.Confirm, m.Content = false, make([]byte, 1000)
			for range 1000 {
				p.push(m)
				sent++
			}
		}()
		synctest.Wait()
		if sent > 30 {
			t.Errorf("%d pushes of 1,000 bytes were read while 10,000 bytes may wait", sent)
		}
		close(deal)
		synctest.Wait()
		if sent != 1000 {
			t.Errorf("%d of 1,000 pushes are read in the end", sent)
		}
	})
}
