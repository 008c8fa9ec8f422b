//go:build linux

package soak

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// perSecond is 200,000 connections a minute.
const perSecond = 200_000 / 60

// Rules 3 and 12: connections come, log on, ask, and leave in every way there is, 200,000 a minute for as long as SOAK_TIME
// says. What the server holds does not grow, and its counts are true.
func TestChurn(t *testing.T) {
	returnsTheDescriptors(t)
	duration := sized(500*time.Millisecond, 2*time.Second, soakTime())
	s := startServer(t, settings{})
	h := startHealthy(t, s.at, 1)
	began := time.Now()
	var made, loggedOn, failed atomic.Int64
	places := make(chan int, perSecond) // to connect; what is not taken within a second is lost
	var churning, feeding sync.WaitGroup
	for w := range 16 {
		churning.Go(func() {
			for i := range places {
				made.Add(1)
				if err := visit(s.at, fmt.Sprint("user", w, ".", i%1000), i); err != nil {
					failed.Add(1)
					continue
				}
				loggedOn.Add(1)
			}
		})
	}
	feeding.Go(func() {
		defer close(places)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for i := 0; time.Since(began) < duration; {
			for due := int(time.Since(began).Seconds() * perSecond); i < due; i++ {
				select {
				case places <- i:
				default:
				}
			}
			<-tick.C
		}
	})

	// The first fifth is for warming up.
	var first state
	samples := 10
	for i := range samples {
		time.Sleep(time.Until(began.Add(duration * time.Duration(i+1) / time.Duration(samples))))
		st := s.collected()
		if i == 1 {
			first = st
		}
		t.Logf("%v: %d connections made; %v; %d open; the healthy: %v", time.Since(began).Round(100*time.Millisecond),
			made.Load(), st.usage, st.Engine.Connections, h.p99())
	}
	feeding.Wait()
	churning.Wait()
	took := time.Since(began)
	last := s.until("all that came has gone", func(now state) bool { return now.Engine.Connections == 1 && now.Disconnected == now.Connected-1 })
	t.Logf("%d connections in %v, %.0f a minute; before the end %v, at the end %v", made.Load(), took.Round(time.Millisecond),
		float64(made.Load())/took.Minutes(), first.usage, last.usage)
	if got := int(last.Engine.Accepted); failed.Load() > 0 || got != int(made.Load())+1 || last.Connected != int(loggedOn.Load())+1 {
		t.Errorf("%d were made and %d failed; the server had %d connections and %d Connected", made.Load(), failed.Load(), got, last.Connected)
	}
	if want := 3 * int(loggedOn.Load()); last.MessagesIn != want {
		t.Errorf("%d messages were counted, want %d", last.MessagesIn, want)
	}
	if last.Users != 1 || last.Goroutines > first.Goroutines+8 || last.Descriptors > first.Descriptors {
		t.Errorf("%d users, %v", last.Users, last.usage)
	}
	if grown := last.Resident - first.Resident; soakTime() > 0 && !raced && grown > 32<<20 {
		t.Errorf("memory grew by %d MB", grown>>20)
	}
	h.stop()
}

// visit logs on, asks three times, and leaves.
func visit(at target, user string, how int) error {
	p, err := dial(at)
	if err != nil {
		return err
	}
	defer p.reset()
	if _, err := p.logOn(user); err != nil {
		return err
	}
	for id := range uint32(3) {
		if err := p.ask(id + 1); err != nil {
			return err
		}
	}
	switch how % 4 {
	case 0: // in good order
		if err := p.write(frame(&protocol.Message{Type: protocol.Close,
			Body: protocol.AppendClose(nil, &protocol.CloseError{Code: protocol.ClientClosed})})); err != nil {
			return err
		}
		_, err = p.hearOut()
	case 1:
		_ = p.CloseWrite()
		_, err = p.hearOut()
	case 2: // in the middle of a frame
		err = p.write(logonFrame(user)[:5])
	}
	return err
}
