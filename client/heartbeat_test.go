package client_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/protocol"
)

// heartbeatAfter returns how long the client takes to send its next message, which must be a Heartbeat.
func heartbeatAfter(t *testing.T, p *peer) (time.Duration, *protocol.Message) {
	t.Helper()
	began := time.Now()
	m := p.read()
	if m.Type != protocol.TypeHeartbeat || m.IsReply() {
		t.Fatalf("the client sent %+v, want a Heartbeat", m)
	}
	return time.Since(began), m
}

func TestAHeartbeatIsSentWhenNothingElseWas(t *testing.T) {
	for _, tc := range []struct {
		name   string
		config time.Duration
		fields map[string]string
		want   time.Duration
	}{
		{"for as long as the server says", 0, map[string]string{"heartbeat-ms": "2500"}, 2500 * time.Millisecond},
		{"for 10 s, when the server says nothing", 0, nil, 10 * time.Second},
		{"for 10 s, when the server needs none", 0, map[string]string{"heartbeat-ms": "0"}, 10 * time.Second},
		{"for 10 s, when the server says nonsense", 0, map[string]string{"heartbeat-ms": "-1"}, 10 * time.Second},
		{"for as long as the program says", time.Second, map[string]string{"heartbeat-ms": "2500"}, time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, p := pipes(t).dial(client.Config{Timeouts: client.Timeouts{Heartbeat: tc.config, Server: -1}}, tc.fields)
				for range 3 {
					if got, _ := heartbeatAfter(t, p); got != tc.want {
						t.Errorf("a Heartbeat after %v, want %v", got, tc.want)
					}
				}
			})
		})
	}
}

func TestEverythingThatIsSentCountsAsASignOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := pipes(t).dial(client.Config{Timeouts: client.Timeouts{Server: -1}}, nil)
		time.Sleep(7 * time.Second)
		if err := c.Send(1, nil); err != nil {
			t.Fatal(err)
		}
		if m := p.read(); m.Type != 1 {
			t.Fatalf("the client sent %+v", m)
		}
		if got, _ := heartbeatAfter(t, p); got != 10*time.Second {
			t.Errorf("a Heartbeat %v after the message, want 10s", got)
		}
	})
}

func TestANegativeHeartbeatTimeMeansNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := pipes(t).dial(client.Config{Timeouts: client.Timeouts{Heartbeat: -1}}, nil)
		time.Sleep(time.Hour) // the peer does not read: a Heartbeat would end the connection at the write timeout
		if c.State() != client.Online {
			t.Errorf("after an hour of silence: %v", c.State())
		}
	})
}

func TestASilentServerIsAskedAndThenGivenUpOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := client.Config{}
		changes := watch(&cfg)
		_, p := pipes(t).dial(cfg, nil)
		began := time.Now()
		for range 2 {
			if after, m := heartbeatAfter(t, p); after != 10*time.Second || m.ID == 0 {
				t.Errorf("a Heartbeat with the ID %d after %v, want one that asks after 10s", m.ID, after)
			}
		}
		expect(t, changes, client.Online)
		why := <-changes
		if took := time.Since(began); took != 30*time.Second || why.state != client.Reconnecting || code(t, why.err) != protocol.NetworkError {
			t.Errorf("after %v: %v, %v", took, why.state, why.err)
		}
	})
}

func TestAServerThatAnswersIsAlive(t *testing.T) {
	for name, answer := range map[string]func(p *peer, m *protocol.Message){
		"with the reply to the Heartbeat": func(p *peer, m *protocol.Message) {
			p.write(protocol.Message{Type: protocol.TypeHeartbeat, Flags: protocol.FlagReply, ID: m.ID})
		},
		"with a message":                  func(p *peer, _ *protocol.Message) { p.write(protocol.Message{Type: 1}) },
		"with a byte of a message":        func(p *peer, _ *protocol.Message) { p.writeBytes([]byte{0x52}) },
		"with a type of a later protocol": func(p *peer, _ *protocol.Message) { p.write(protocol.Message{Type: 0xFF7F}) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, p := pipes(t).dial(client.Config{}, nil)
				asked := make(chan *protocol.Message, 100)
				go readHeartbeats(p, asked)
				time.Sleep(29 * time.Second)
				answer(p, <-asked)
				time.Sleep(29 * time.Second)
				if c.State() != client.Online {
					t.Errorf("29 s after the sign of life the client is %v", c.State())
				}
				time.Sleep(2 * time.Second)
				if c.State() != client.Reconnecting {
					t.Errorf("31 s after it the client is %v", c.State())
				}
			})
		})
	}
}

// readHeartbeats takes what the client sends, until it ends.
func readHeartbeats(p *peer, to chan<- *protocol.Message) {
	for {
		m, err := p.next()
		if err != nil {
			return
		}
		to <- m
	}
}

func TestTheServersTimeIsExact(t *testing.T) {
	for _, timeout := range []time.Duration{time.Second, 7 * time.Second, 100 * time.Second} {
		t.Run(timeout.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := client.Config{Timeouts: client.Timeouts{Server: timeout}}
				changes := watch(&cfg)
				n := pipes(t)
				_, p := n.dial(cfg, nil)
				began := time.Now()
				go readHeartbeats(p, make(chan *protocol.Message, 100))
				<-changes
				<-changes
				if took := time.Since(began); took < timeout || took > timeout+10*time.Nanosecond {
					t.Errorf("given up on after %v, want %v", took, timeout)
				}
			})
		})
	}
}

// A program that was stopped for a while, as a laptop is by its lid, must not take its own silence for the server's.
func TestTheServerIsAskedBeforeItIsGivenUpOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := pipes(t).dial(client.Config{Timeouts: client.Timeouts{Write: -1}}, nil)
		// The test does not read what the client writes: its writer is stuck in the first Heartbeat.
		time.Sleep(30 * time.Minute)
		_, m := heartbeatAfter(t, p)
		synctest.Wait()
		if c.State() != client.Online {
			t.Fatalf("after its pause the client is %v", c.State())
		}
		p.write(protocol.Message{Type: protocol.TypeHeartbeat, Flags: protocol.FlagReply, ID: m.ID})
		if _, m = heartbeatAfter(t, p); m.ID == 0 {
			t.Error("the next Heartbeat does not ask")
		}
	})
}

func TestPingTellsHowLongTheServerTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := pipes(t).dial(client.Config{}, nil)
		go func() {
			m := p.read()
			time.Sleep(time.Second)
			p.write(protocol.Message{Type: protocol.TypeHeartbeat, Flags: protocol.FlagReply, ID: m.ID})
		}()
		if took, err := c.Ping(t.Context()); took != time.Second || err != nil {
			t.Errorf("Ping: %v, %v", took, err)
		}
	})
}

func TestANetworkThatTakesNothingIsGivenUpOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := client.Config{}
		changes := watch(&cfg)
		c, _ := pipes(t).dial(cfg, nil)
		expect(t, changes, client.Online)
		began := time.Now()
		var err error
		for err == nil { // blocks when enough waits
			err = c.Send(1, make([]byte, 100<<10))
		}
		if took := time.Since(began); took != 10*time.Second || err != client.ErrNotConnected {
			t.Errorf("Send blocks for %v and returns %v, want ErrNotConnected after 10s", took, err)
		}
		why := <-changes
		if why.state != client.Reconnecting || code(t, why.err) != protocol.NetworkError {
			t.Errorf("the state is %v: %v", why.state, why.err)
		}
	})
}
