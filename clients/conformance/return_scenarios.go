package main

import (
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// returnScenarios are about when and where a client comes back.
var returnScenarios = []scenario{
	{
		name: "retry-ms", heading: codeHeading, waits: true,
		rule: "a client waits retry-ms before it comes back, at least; that of a refused Logon counts too",
		run: func(t *trial) {
			s, c := t.session(nil, nil)
			const wait = 900 * time.Millisecond
			began := time.Now()
			c.close(protocol.ServerStopping, "stopping", fields{"retry-ms": "900"})
			t.lost(1004)
			c = s.accept()
			if took := c.at.Sub(began); took < wait {
				t.failf("got a connection after %v, want it after %v or later", took, wait)
			}
			began = time.Now()
			c.refuse(protocol.TooManyConnections, "full", fields{"retry-ms": "900"})
			t.lost(1006)
			c = s.accept()
			if took := c.at.Sub(began); took < wait {
				t.failf("got a connection after %v, want it after %v or later", took, wait)
			}
			c.welcome(nil)
			t.online()
		},
	},
	{
		name: "retry-ms-odd", heading: codeHeading, waits: true,
		rule: "a retry-ms that is too large to be right is an hour, and one that is no number is none",
		run: func(t *trial) {
			s, c := t.session(nil, nil)
			for _, ms := range []string{"", "soon", "-5", "0"} {
				c.close(protocol.ServerStopping, "", fields{"retry-ms": ms})
				t.lost(1004)
				c = t.again(s, nil)
			}
			for _, ms := range []string{"3600001", "4294967296", "2147483648000", "9223372036854775808", "99999999999999999999999"} {
				c.close(protocol.ServerStopping, "", fields{"retry-ms": ms})
				t.lost(1004)
				t.stays(s, quiet)
				t.do(command{"do": "close"})
				t.closed(1000, true)
				c = t.logOn(s, nil, nil)
			}
		},
	},
	{
		name: "address", heading: closeHeading,
		rule: "a client connects to the address that the server names instead, with scheme and path as before",
		run: func(t *trial) {
			s, c := t.session(command{"tokens": []string{"one", "two"}}, fields{"session": "s1"})
			other := t.listen()
			c.close(protocol.ServerStopping, "moved", fields{"address": other.hostPort()})
			t.lost(1004)
			c = other.accept()
			if f := c.welcome(nil); f["session"] != "s1" || f["token"] != "two" {
				t.failf("got a Logon with %v, want the session s1 and the token two", f)
			}
			t.online()
			c.fence()
			t.stays(s, 0)
		},
	},
	{
		name: "address-fails", heading: closeHeading,
		rule: "after a failed attempt at the named address a client goes back to its own",
		run: func(t *trial) {
			s, c := t.session(nil, nil)
			for _, address := range []string{keepsOut(), "", "no port", "127.0.0.1:0", "127.0.0.1:99999"} {
				c.close(protocol.ServerStopping, "moved", fields{"address": address})
				t.lost(1004)
				c = t.again(s, nil)
			}
			other := t.listen()
			c.close(protocol.ServerStopping, "moved", fields{"address": other.hostPort()})
			t.lost(1004)
			t.again(other, nil)
			other.close()
			t.lost(1001)
			t.again(s, nil).fence()
		},
	},
	{
		name: "backoff", heading: closeHeading, waits: true,
		rule: "the wait before each attempt is random, evenly distributed between 0 and the limit (full jitter), so that clients do not come back together",
		run: func(t *trial) {
			const limit, attempts = 300 * time.Millisecond, 60
			t.mostly(func(s *server) string {
				t.dial(s, command{"min_ms": 300, "max_ms": 300})
				s.accept().welcomeAndClose()
				waits := t.waits(s, attempts)
				if d := distance(waits, limit); d > mostDistance {
					return fmt.Sprintf("got waits that are not evenly distributed between 0 and %v: the distance is %.2f, want %.2f at most (Kolmogorov–Smirnov): %v",
						limit, d, mostDistance, waits)
				}
				return ""
			})
		},
	},
	{
		name: "backoff-grows", heading: closeHeading, waits: true,
		rule: "the limit of the wait doubles with each attempt, also where logons are accepted and soon lost",
		run: func(t *trial) {
			s := t.listen()
			t.dial(s, command{"min_ms": 20, "max_ms": 30000})
			s.accept().welcomeAndClose()
			var sum time.Duration
			for range 9 {
				e := t.state2("reconnecting", "online")
				for e.State == "online" {
					e = t.state("reconnecting")
				}
				c := s.accept()
				sum += c.at.Sub(e.at)
				c.welcomeAndClose()
			}
			// The limits are 20 ms to 5.12 s, and the sum is 5 s on average. Without growth it is 90 ms.
			if least := 300 * time.Millisecond; sum < least {
				t.failf("got 9 waits of %v together, want %v or more", sum, least)
			}
		},
	},
	{
		name: "backoff-for-ever", heading: closeHeading, waits: true,
		rule: "the exponent is at most 8: after very many attempts the waits are neither 0 nor without end",
		run: func(t *trial) {
			s := t.listen()
			t.dial(s, command{"min_ms": 1, "max_ms": 40})
			s.accept().welcomeAndClose()
			waits := t.waits(s, 80)
			var sum time.Duration
			for _, w := range waits[30:] {
				sum += w
			}
			if least := 250 * time.Millisecond; sum < least { // 1 s on average
				t.failf("got 50 waits of %v together after 30 attempts, want %v or more", sum, least)
			}
			t.again(s, nil).fence()
		},
	},
	{
		name: "backoff-begins-anew", heading: closeHeading, needs: "stable", waits: true,
		rule: "the backoff begins anew when a logon was accepted and has lasted (a minute; stable_ms here)",
		run: func(t *trial) {
			t.mostly(func(s *server) string {
				t.dial(s, command{"min_ms": 20, "max_ms": 60000, "stable_ms": 400})
				s.accept().welcomeAndClose()
				t.waits(s, 8)
				var sum time.Duration
				c := t.again(s, nil)
				for range 3 {
					time.Sleep(500 * time.Millisecond)
					c.close(protocol.ServerStopping, "", nil)
					lost := t.lost(1004)
					c = s.accept()
					sum += c.at.Sub(lost.at)
					c.welcome(nil)
					t.online()
				}
				// Each wait is 20 ms at most. Without a new beginning they are 2.5 s on average.
				if most := 2 * time.Second; sum > most {
					return fmt.Sprintf("got 3 waits of %v together after connections that lasted, want 60 ms at most", sum)
				}
				return ""
			})
		},
	},
}

// mostDistance is the critical value of the test of Kolmogorov and Smirnov. A client with full jitter has it once in 100,000 times with 60 waits; one
// that waits half of the limit at least has 0.5, and one without jitter has 1.
const mostDistance = 0.31

// distance returns how far waits are from being evenly distributed between 0 and limit, from 0 to 1. What the fastest attempt took besides its
// wait is taken off each.
func distance(waits []time.Duration, limit time.Duration) (d float64) {
	sorted := slices.Sorted(slices.Values(waits))
	n := float64(len(sorted))
	overhead := min(sorted[0], limit/30)
	for i, w := range sorted {
		uniform := min(float64(w-overhead)/float64(limit), 1)
		d = max(d, float64(i+1)/n-uniform, uniform-float64(i)/n)
	}
	return d
}

// waits refuses attempts, and returns how long the client waited before each: from the event that tells of the failure until the connection.
func (t *trial) waits(s *server, n int) (all []time.Duration) {
	for range n {
		failed := t.state2("reconnecting", "online")
		if failed.State == "online" {
			failed = t.state("reconnecting")
		}
		c := s.accept()
		all = append(all, max(c.at.Sub(failed.at), 0))
		c.refuse(protocol.TooManyConnections, "", nil)
	}
	return all
}

// welcomeAndClose accepts a Logon, and closes the connection at once.
func (c *conn) welcomeAndClose() {
	c.welcome(nil)
	c.close(protocol.ServerStopping, "", nil)
}

// keepsOut returns an address where nothing listens.
func keepsOut() string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	defer ln.Close()
	return ln.Addr().String()
}
