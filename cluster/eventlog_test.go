package cluster_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// eventLog has the events of all nodes, in order, and holds them against rules 19 and 20.
type eventLog struct {
	exclude func(a, b uint16) bool // may sessions on these devices not live side by side?
	began   time.Time

	mu      sync.Mutex
	lines   []string
	live    map[string][]*span // by user
	wrong   []string
	logons  int
	evicted int // PushedOut by a logon on another node
	lost    int // Disconnected with NodeLost
	inside  func(n *member, event, user string)
}

// span is a session between its Connected and the return of its Disconnected handlers.
type span struct {
	node       *member
	life       cluster.Incarnation
	id         string
	device     uint16
	generation uint64
	pushedOut  bool
}

func newEventLog(d usermgr.Devices) *eventLog {
	exclude := func(a, b uint16) bool { return true }
	switch {
	case reflect.DeepEqual(d, usermgr.Devices{OnePerClass: true}):
		exclude = func(a, b uint16) bool { return a == b }
	case reflect.DeepEqual(d, usermgr.Devices{MaxSessions: 2}):
		exclude = func(a, b uint16) bool { return a == b && a != 0 }
	}
	return &eventLog{exclude: exclude, began: time.Now(), live: make(map[string][]*span)}
}

// acting reports whether the session may still act, by its node's lease.
func (s *span) acting() bool { return s.node.May() && s.node.Incarnation() == s.life }

func (l *eventLog) addf(format string, args ...any) {
	l.lines = append(l.lines, fmt.Sprintf("%10s ", time.Since(l.began).Round(time.Millisecond))+fmt.Sprintf(format, args...))
	if len(l.lines) > 2000 {
		l.lines = l.lines[1000:]
	}
}

func (l *eventLog) wrongf(format string, args ...any) {
	l.addf("WRONG: "+format, args...)
	if len(l.wrong) < 20 {
		l.wrong = append(l.wrong, fmt.Sprintf(format, args...))
	}
}

func (l *eventLog) handlers(n *member) usermgr.Events {
	event := func(name, user string) {
		l.mu.Lock()
		f := l.inside
		l.mu.Unlock()
		if f != nil {
			f(n, name, user)
		}
	}
	return usermgr.Events{
		Connected: func(s usermgr.SessionInfo) { l.connected(n, &s); event("Connected", s.UserID) },
		PushedOut: func(s usermgr.SessionInfo, by usermgr.Address) { l.pushedOut(n, &s, by); event("PushedOut", s.UserID) },
		Disconnected: func(s usermgr.SessionInfo, why protocol.CloseCode) {
			event("Disconnected", s.UserID)
			l.disconnected(n, &s, why)
		},
	}
}

// connected holds rule 19: no session that acts may exclude the new one; and rule 21: its generation is greater.
func (l *eventLog) connected(n *member, s *usermgr.SessionInfo) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.logons++
	l.addf("Connected %s@%s device %d generation %d", s.UserID, n.name, s.Device, s.Generation)
	now := &span{node: n, life: n.Incarnation(), id: s.ID, device: s.Device, generation: s.Generation}
	for _, o := range l.live[s.UserID] {
		if !l.exclude(o.device, s.Device) {
			continue
		}
		if o.acting() && now.acting() {
			l.wrongf("rule 19: %s is connected at %s while its session at %s acts, which excludes it", s.UserID, n.name, o.node.name)
		}
		if o.generation >= s.Generation {
			l.wrongf("rule 21: %s has generation %d at %s, after %d at %s", s.UserID, s.Generation, n.name, o.generation, o.node.name)
		}
	}
	l.live[s.UserID] = append(l.live[s.UserID], now)
}

func (l *eventLog) pushedOut(n *member, s *usermgr.SessionInfo, by usermgr.Address) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addf("PushedOut %s@%s by %s", s.UserID, n.name, by)
	if by.Conn == 0 {
		l.evicted++
	}
	o := l.find(s)
	if o == nil || o.pushedOut {
		l.wrongf("rule 20: %s is pushed out at %s and was not connected, or was before", s.UserID, n.name)
		return
	}
	o.pushedOut = true
}

func (l *eventLog) disconnected(n *member, s *usermgr.SessionInfo, why protocol.CloseCode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addf("Disconnected %s@%s %s", s.UserID, n.name, why)
	if why == protocol.NodeLost {
		l.lost++
	}
	o := l.find(s)
	if o == nil || o.pushedOut != (why == protocol.PushedOut) {
		l.wrongf("rule 20: %s is disconnected at %s with %s out of order", s.UserID, n.name, why)
	}
	l.live[s.UserID] = slices.DeleteFunc(l.live[s.UserID], func(x *span) bool { return x == o })
}

func (l *eventLog) find(s *usermgr.SessionInfo) *span {
	for _, o := range l.live[s.UserID] {
		if o.id == s.ID {
			return o
		}
	}
	return nil
}

// check fails the test where a rule was broken.
func (l *eventLog) check(t testing.TB) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.wrong) > 0 {
		t.Errorf("%s\n\n%s", strings.Join(l.wrong, "\n"), strings.Join(l.lines[max(0, len(l.lines)-100):], "\n"))
	}
}

func (l *eventLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines[max(0, len(l.lines)-100):], "\n")
}

// events returns what happened since the last call, without times, generations and addresses.
func (l *eventLog) events() (all []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		f := strings.Fields(line)[1:]
		if f[0] == "Disconnected" {
			all = append(all, strings.Join(f[:3], " "))
		} else {
			all = append(all, strings.Join(f[:2], " "))
		}
	}
	l.lines = nil
	return all
}

// setInside has f called in each handler.
func (l *eventLog) setInside(f func(n *member, event, user string)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inside = f
}

func (l *eventLog) evictions() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.evicted
}

func (l *eventLog) lostSessions() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}
