//go:build linux

package soak

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// watched are the settings of servers whose clients vanish while they are pushed to.
func watched() settings {
	return settings{Interval: 100 * time.Millisecond, Timeout: sized(300*time.Millisecond, time.Second, 10*time.Second),
		PushEvery: 10 * time.Millisecond, CloseTimeout: sized(200*time.Millisecond, time.Second, 10*time.Second)}
}

// Rule 8: the cable of a client is pulled in the middle of a frame, while the server goes on sending to it. Nothing that
// the server sends counts as life: the heartbeat finds the silence, and not before its time.
func TestCablePulledInMidFrame(t *testing.T) {
	returnsTheDescriptors(t)
	cfg := watched()
	s := startServer(t, cfg)
	c := testkit.NewCable(t, s.at.Addr)
	p := online(t, target{Addr: c.Addr(), CA: s.at.CA}, "ann")
	b := frame(&protocol.Message{Type: echo, Body: make([]byte, 200)})
	if err := p.write(b[:len(b)/2]); err != nil {
		t.Fatal(err)
	}
	began := time.Now() // no later than the server reads the half
	if _, err := p.next(); err != nil {
		t.Fatalf("before the cable was pulled: %v", err)
	}
	c.SetCut(true)
	s.until("the heartbeat finds the silence", func(now state) bool { return now.Codes[protocol.HeartbeatTimeout.Error()] == 1 })
	took := time.Since(began)
	t.Logf("found after %v, with a timeout of %v and an interval of %v", took.Round(time.Millisecond), cfg.Timeout, cfg.Interval)
	if took < cfg.Timeout {
		t.Error("that is before the timeout")
	}
	s.until("the connection is given up", func(now state) bool { return now.Engine.Conns.Open == 0 && now.TimedOut == 1 })
}

// TestLinkThatGoesDown is TestCablePulledInMidFrame with a network: the server and the client are each in a namespace of
// its own, and the link between them goes down. What the server sends is never acknowledged.
func TestLinkThatGoesDown(t *testing.T) {
	here, there := fmt.Sprintf("soak%da", os.Getpid()), fmt.Sprintf("soak%db", os.Getpid())
	var err error
	for _, args := range [][]string{
		{"netns", "add", here}, {"netns", "add", there},
		{"-n", here, "link", "add", "soak0", "type", "veth", "peer", "name", "soak0", "netns", there},
		{"-n", here, "addr", "add", "192.0.2.1/24", "dev", "soak0"}, {"-n", there, "addr", "add", "192.0.2.2/24", "dev", "soak0"},
		{"-n", here, "link", "set", "soak0", "up"}, {"-n", there, "link", "set", "soak0", "up"},
	} {
		if err = testkit.IP(args...); err != nil {
			break
		}
	}
	t.Cleanup(func() { _, _ = testkit.IP("netns", "del", here), testkit.IP("netns", "del", there) })
	if err != nil {
		testkit.LeaveOut(t, "this needs a network namespace, and so root; TestCablePulledInMidFrame needs none: %v", err)
	}
	cfg := watched()
	cfg.Addr = "192.0.2.1:9000"
	s := startServer(t, cfg, "ip", "netns", "exec", here)
	client := startChild(t, "halfway", crowd{At: s.at, Prefix: "ann"}, "ip", "netns", "exec", there)
	if got := client.line(); got != "half" {
		t.Fatal(got)
	}
	if err := testkit.IP("-n", there, "link", "set", "soak0", "down"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	s.until("the heartbeat finds the silence", func(now state) bool { return now.Codes[protocol.HeartbeatTimeout.Error()] == 1 })
	t.Logf("found %v after the link went down, with a timeout of %v and an interval of %v",
		time.Since(began).Round(time.Millisecond), cfg.Timeout, cfg.Interval)
	s.until("the connection is given up", func(now state) bool { return now.Engine.Conns.Open == 0 && now.TimedOut == 1 })
}
