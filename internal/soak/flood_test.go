//go:build linux

package soak

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// flood is what attackers do, each until over is closed; each counts what it has done.
type flood struct {
	name       string
	attackers  int
	unfinished bool // no logon comes, and the server waits for one for less long than it otherwise would
	attack     func(f *attacker)
}

type attacker struct {
	addr   string
	number int
	over   <-chan struct{}
	done   *atomic.Int64
	wrong  *atomic.Int64 // what should not have been
}

func (a *attacker) goesOn() bool {
	select {
	case <-a.over:
		return false
	default:
		return true
	}
}

// waits waits for d and reports whether the flood goes on.
func (a *attacker) waits(d time.Duration) bool {
	select {
	case <-a.over:
		return false
	case <-time.After(d):
		return true
	}
}

var floods = []flood{
	{"connect and leave", 8, false, func(a *attacker) {
		for a.goesOn() {
			if p, err := dial(a.addr); err == nil {
				p.reset()
				a.done.Add(1)
			}
		}
	}},
	{"half a header", 300, true, func(a *attacker) {
		half := logonFrame("nobody")[:protocol.HeaderLen/2]
		for a.goesOn() {
			a.told(protocol.LogonTimeout, func(p *peer) { _ = p.write(half) })
		}
	}},
	{"hellos that never end", 300, true, func(a *attacker) {
		hello := frame(&protocol.Message{Type: protocol.Logon, ID: 1, UserID: "nobody", Body: make([]byte, 2000)})
		for a.goesOn() {
			a.told(protocol.LogonTimeout, func(p *peer) {
				for _, b := range hello[:len(hello)-1] {
					if p.write([]byte{b}) != nil || !a.waits(20*time.Millisecond) {
						return
					}
				}
			})
		}
	}},
	{"one byte a write", 20, false, func(a *attacker) {
		p, err := dial(a.addr)
		if err != nil {
			a.wrong.Add(1)
			return
		}
		defer p.reset()
		trickle := func(b []byte) {
			for i := range b {
				_ = p.write(b[i : i+1])
			}
		}
		trickle(logonFrame(fmt.Sprint("trickle", a.number)))
		if _, err := p.answer(); err != nil {
			a.wrong.Add(1)
		}
		for id := uint32(1); a.goesOn(); id++ {
			trickle(frame(&protocol.Message{Type: echo, ID: id, Body: []byte("by and by")}))
			if m, err := p.next(); err != nil || m.ID != id {
				a.wrong.Add(1)
				return
			}
			a.done.Add(1)
		}
	}},
	{"bad logons", 32, false, func(a *attacker) {
		logon := logonFrame("nobody", protocol.FieldToken, bad)
		for a.goesOn() {
			p, err := dial(a.addr)
			if err != nil {
				continue
			}
			_ = p.write(logon)
			var ce *protocol.CloseError
			if _, err := p.answer(); !errors.As(err, &ce) || ce.Code != protocol.Unauthorized {
				a.wrong.Add(1)
			}
			p.reset()
			a.done.Add(1)
		}
	}},
}

// told makes a connection that does something and then listens. Unless the flood ends first it must be told the code.
func (a *attacker) told(want protocol.CloseCode, do func(*peer)) {
	p, err := dial(a.addr)
	if err != nil {
		return
	}
	left := make(chan struct{})
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		code, _ := p.hearOut()
		select {
		case <-left:
		default:
			if code != want {
				a.wrong.Add(1)
			}
		}
	}()
	do(p)
	select {
	case <-heard:
	case <-a.over:
		close(left)
	}
	p.reset()
	<-heard
	a.done.Add(1)
}

// Rule 15: a flood of connections that want nothing good. Healthy connections go on, and when it is over the server holds
// no more than before.
func TestFloods(t *testing.T) {
	duration := sized(200*time.Millisecond, 1500*time.Millisecond, 20*time.Second)
	for _, f := range floods {
		t.Run(f.name, func(t *testing.T) {
			returnsTheDescriptors(t)
			cfg := settings{Authenticate: true, CloseTimeout: time.Second, CollectBeforeStats: true}
			if f.unfinished {
				cfg.LogonTimeout = sized(100*time.Millisecond, 500*time.Millisecond, 5*time.Second)
			}
			s := startServer(t, cfg)
			h := startHealthy(t, s.addr, 4)
			time.Sleep(duration / 3) // what is asked meanwhile is measured
			without, before := h.p99(), s.stats()
			over := make(chan struct{})
			var done, wrong atomic.Int64
			var attacking sync.WaitGroup
			began := time.Now()
			for i := range f.attackers {
				attacking.Go(func() { f.attack(&attacker{s.addr, i, over, &done, &wrong}) })
			}
			time.Sleep(duration)
			during := s.stats()
			close(over)
			attacking.Wait()
			took, with := time.Since(began), h.p99()
			after := s.isBackAt(before)
			t.Logf("%d times, %.0f a second; healthy without: %v; with: %v", done.Load(), float64(done.Load())/took.Seconds(), without, with)
			t.Logf("before %v; during %v; after %v", before.usage, during.usage, after.usage)
			if done.Load() == 0 || wrong.Load() > 0 {
				t.Errorf("of %d attacks %d did not go as they should", done.Load(), wrong.Load())
			}
			if grown := after.Resident - before.Resident; !raced && grown > 64<<20 {
				t.Errorf("memory grew by %d MB", grown>>20)
			}
			h.stop()
		})
	}
}
