//go:build linux

package soak

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// Rules 3 and 12: connections come, log on, ask, and leave in every way there is, 200,000 a minute for as long as SOAK_TIME
// says, and over TLS, where each costs two handshakes' worth of processor time, 20,000. What the server holds does not grow,
// and its counts are true.
func TestChurn(t *testing.T) {
	duration := sized(500*time.Millisecond, 700*time.Millisecond, soakTime())
	t.Run("plain", func(t *testing.T) { churn(t, nil, 200_000/60, duration) })
	t.Run("TLS", func(t *testing.T) { churn(t, newCertificate(t), 20_000/60, sized(duration, duration, duration/5)) })
}

func churn(t *testing.T, c *certificate, perSecond int, duration time.Duration) {
	returnsTheDescriptors(t)
	s := startServer(t, settings{TLS: c})
	h := startHealthy(t, s.at, 1)
	visitors := startIdle(t, "attack", orders{At: s.at, Flood: visits, Attackers: 16, Rate: perSecond})
	if got := visitors.line(); got != "ready" {
		t.Fatal(got)
	}
	began := time.Now()

	// The first fifth is for warming up.
	var first state
	const samples = 10
	sample := time.NewTicker(duration / samples)
	defer sample.Stop()
	for i := range samples {
		<-sample.C
		st := s.collected()
		if i == 1 {
			first = st
		}
		t.Logf("%v: %d connections made; %v; %d open; the healthy: %v", time.Since(began).Round(100*time.Millisecond),
			st.Engine.Accepted, st.usage, st.Engine.Conns.Open, h.p99())
	}
	seen := visitors.stop()
	loggedOn := seen.Ends[left]
	last := s.until("all that came has gone, and goroutines that logons have left have ended", func(now state) bool {
		return now.Engine.Conns.Open == 1 && now.Disconnected == now.Connected-1 && now.Goroutines <= first.Goroutines+8
	})
	t.Logf("%d connections in %v, %.0f a minute; before the end %v, at the end %v", seen.Done, seen.Took.Round(time.Millisecond),
		float64(seen.Done)/seen.Took.Minutes(), first.usage, last.usage)
	if got := int(last.Engine.Accepted); loggedOn == 0 || loggedOn != seen.Done || got != seen.Done+1 || last.Connected != seen.Done+1 {
		t.Errorf("%d were made: %v; the server had %d connections and %d Connected", seen.Done, seen.Ends, got, last.Connected)
	}
	if want := 3 * loggedOn; last.MessagesIn != want {
		t.Errorf("%d messages were counted, want %d", last.MessagesIn, want)
	}
	if last.Users != 1 || last.Descriptors > first.Descriptors {
		t.Errorf("%d users, %v", last.Users, last.usage)
	}
	if grown := last.Resident - first.Resident; soakTime() >= time.Minute && !raced && grown > 32<<20 {
		t.Errorf("memory grew by %d MB", grown>>20)
	}
	h.stop()
}

// visitor is a peer, or a raw connection.
type visitor interface {
	write([]byte) error
	next() (protocol.Message, error)
	CloseWrite() error
	reset()
}

// rawPeer is a raw connection that reads messages.
type rawPeer struct {
	rawConn
	*rawReader
}

func (p rawPeer) next() (protocol.Message, error) { return p.rawReader.next(p.rawConn) }

// visits is what the visitors do, who are no attackers but for their numbers.
func (a *attacker) visits() {
	for i := a.number; a.goesOn(); i += a.Attackers {
		var p visitor
		var err error
		if a.At.CA != "" {
			p, err = dial(a.At)
		} else {
			var c rawConn
			c, err = dialRaw(a.at, a.from)
			a.reader = rawReader{}
			p = rawPeer{c, &a.reader}
		}
		if err == nil {
			err = visit(p, fmt.Sprint("user", a.number, ".", i%1000), i)
			p.reset()
		}
		if err != nil {
			a.ended(err.Error())
			continue
		}
		a.ended(left)
	}
}

var (
	asking  = frame(&protocol.Message{Type: echo, ID: 2, Body: []byte("hello")})
	leaving = frame(&protocol.Message{Type: protocol.TypeClose, Body: system.AppendClose(nil, &protocol.CloseError{Code: protocol.ClientClosed})})
)

// visit logs on, asks three times, and leaves.
func visit(p visitor, user string, how int) error {
	logon := logonFrame(user)
	if err := p.write(logon); err != nil {
		return err
	}
	if m, err := p.next(); err != nil || m.Type != protocol.TypeLogon || !m.IsReply() {
		return fmt.Errorf("the answer to a Logon is %+v, %w", m, err)
	}
	for range 3 {
		if err := p.write(asking); err != nil {
			return err
		}
		if m, err := p.next(); err != nil || m.Type != echo || !m.IsReply() {
			return fmt.Errorf("the answer to a question is %+v, %w", m, err)
		}
	}
	switch how / 16 % 4 {
	case 0: // in good order
		if err := p.write(leaving); err != nil {
			return err
		}
		return toTheEnd(p)
	case 1:
		_ = p.CloseWrite()
		return toTheEnd(p)
	case 2: // in the middle of a frame
		return p.write(logon[:5])
	}
	return nil
}

// toTheEnd reads until the server has ended its side.
func toTheEnd(p visitor) error {
	for {
		if _, err := p.next(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}
