// Package clustertest checks the events of a cluster's nodes against rules 19 to 21 of the contract.
package clustertest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Node is what the log needs of a cluster.Node.
type Node interface {
	May() bool
	Incarnation() cluster.Incarnation
	Stats() cluster.Stats
}

// Log has the events of all nodes, in order, and holds them against rules 19, 20 and 21. Make one with NewLog.
//
// While a node acts without the store (cluster.Open), rule 19 is not held against its sessions and those of other nodes, and the
// generations of sessions that come in there are compared with each other alone.
type Log struct {
	exclude func(a, b uint16) bool
	began   time.Time

	mu      sync.Mutex
	lines   []string
	live    map[string][]*span // by user
	highest map[string]map[uint16]uint64
	apart   map[string][]*span // sessions that came in without the store, by user, until their node is back
	wrong   []string
	inside  func(node, event, user string)
	totals  Totals
	online  map[string][]presence
}

// presence is an Online or an Offline.
type presence struct {
	version uint64
	online  bool
	user    usermgr.UserData
}

// Totals count what has happened.
type Totals struct {
	Logons  int // sessions that were Connected
	Evicted int // sessions that were PushedOut by a logon on another node
	Lost    int // sessions that were Disconnected with NodeLost
}

// span is a session between its Connected and the return of its Disconnected handlers.
type span struct {
	name      string
	node      Node
	life      cluster.Incarnation
	id        string
	device    uint16
	pushedOut bool

	generation uint64
}

// NewLog returns a log for a policy: exclude says whether sessions on two devices may not live side by side.
func NewLog(exclude func(a, b uint16) bool) *Log {
	return &Log{exclude: exclude, began: time.Now(), live: make(map[string][]*span), highest: make(map[string]map[uint16]uint64),
		apart: make(map[string][]*span), online: make(map[string][]presence)}
}

// acting reports whether the session may still act, by its node's lease.
func (s *span) acting() bool { return s.node.May() && s.node.Incarnation() == s.life }

// isApart reports whether the session's node acts without the store.
func (s *span) isApart() bool { return s.node.Stats().StoreLost }

// Inside has f called in each handler: before the log notes a Disconnected, and after it has noted the others.
func (l *Log) Inside(f func(node, event, user string)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inside = f
}

// Events are the handlers for the user manager of a node.
func (l *Log) Events(name string, n Node) usermgr.Events {
	call := func(event, user string) {
		l.mu.Lock()
		f := l.inside
		l.mu.Unlock()
		if f != nil {
			f(name, event, user)
		}
	}
	return usermgr.Events{
		Online:    func(u usermgr.UserData) { l.presence(name, &u, true); call("Online", u.UserID) },
		Offline:   func(u usermgr.UserData) { l.presence(name, &u, false); call("Offline", u.UserID) },
		Connected: func(s usermgr.SessionInfo) { l.connected(name, n, &s); call("Connected", s.UserID) },
		PushedOut: func(s usermgr.SessionInfo, by usermgr.Address) {
			l.pushedOut(name, &s, by)
			call("PushedOut", s.UserID)
		},
		Disconnected: func(s usermgr.SessionInfo, why protocol.CloseCode) {
			call("Disconnected", s.UserID)
			l.disconnected(name, &s, why)
		},
	}
}

func (l *Log) presence(name string, u *usermgr.UserData, online bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	event := "Offline"
	if online {
		event = "Online"
	}
	l.addf("%s %s@%s version %d", event, u.UserID, name, u.Version)
	l.online[u.UserID] = append(l.online[u.UserID], presence{u.Version, online, *u})
}

// presences returns the Online and Offline of a user on all nodes, in the order of their versions. l.mu is held on entry.
func (l *Log) presences(user string) []presence {
	all := slices.Clone(l.online[user])
	slices.SortStableFunc(all, func(a, b presence) int {
		if c := cmp.Compare(a.version, b.version); c != 0 || a.online == b.online {
			return c
		}
		if a.online {
			return -1
		}
		return 1
	})
	return all
}

// IsOnline reports whether a user is online by the Online and Offline that were told; data has the totals of the last of them.
func (l *Log) IsOnline(user string) (online bool, data usermgr.UserData) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.presences(user)
	if len(all) == 0 {
		return false, usermgr.UserData{}
	}
	last := all[len(all)-1]
	return last.online, last.user
}

// Users returns the users who were told to be online or offline.
func (l *Log) Users() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.online))
}

// CheckPresence fails the test unless Online and Offline of each user alternate, by their versions (rule 17). That does not hold when answers of
// the store are lost, or nodes die.
func (l *Log) CheckPresence(t testing.TB) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for user := range l.online {
		all := l.presences(user)
		for i, p := range all {
			if p.online != (i%2 == 0) {
				lines, at := l.linesOf(user, fmt.Sprint("version ", p.version))
				t.Errorf("rule 17: of %s it was told, one after the other: %s\n%s", user, inWords(all[max(0, i-4):min(len(all), i+4)]),
					strings.Join(lines[max(0, at-30):min(len(lines), at+20)], "\n"))
				break
			}
		}
	}
}

func inWords(all []presence) string {
	var words []string
	for _, p := range all {
		what := "offline"
		if p.online {
			what = "online"
		}
		words = append(words, fmt.Sprint(what, " at ", p.version))
	}
	return strings.Join(words, ", ")
}

// connected holds rule 19: no session that acts may exclude the new one; and rule 21: its generation is greater than that of every
// session before that it excludes.
func (l *Log) connected(name string, n Node, s *usermgr.SessionInfo) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.totals.Logons++
	l.addf("Connected %s@%s device %d generation %d", s.UserID, name, s.Device, s.Generation)
	now := &span{name: name, node: n, life: n.Incarnation(), id: s.ID, device: s.Device, generation: s.Generation}
	for _, o := range l.live[s.UserID] {
		if o.node != n && (o.isApart() || now.isApart()) {
			continue
		}
		if l.exclude(o.device, s.Device) && o.acting() && now.acting() {
			l.wrongf("rule 19: %s is connected at %s while its session at %s acts, which excludes it", s.UserID, name, o.name)
		}
	}
	l.live[s.UserID] = append(l.live[s.UserID], now)
	l.generation(name, now, s)
}

// generation holds rule 21. l.mu is held on entry.
func (l *Log) generation(name string, now *span, s *usermgr.SessionInfo) {
	highest := l.highest[s.UserID]
	if highest == nil {
		highest = make(map[uint16]uint64)
		l.highest[s.UserID] = highest
	}
	if now.isApart() {
		for _, o := range l.apart[s.UserID] {
			if o.node == now.node && l.exclude(o.device, s.Device) && o.generation >= s.Generation {
				l.wrongf("rule 21: %s has generation %d at %s, which is without the store, after %d", s.UserID, s.Generation, name, o.generation)
			}
		}
		l.apart[s.UserID] = append(l.apart[s.UserID], now)
		return
	}
	l.apart[s.UserID] = slices.DeleteFunc(l.apart[s.UserID], func(o *span) bool {
		back := !o.isApart()
		if back {
			highest[o.device] = max(highest[o.device], o.generation)
		}
		return back
	})
	for device, generation := range highest {
		if l.exclude(device, s.Device) && generation >= s.Generation {
			l.wrongf("rule 21: %s has generation %d at %s, after %d", s.UserID, s.Generation, name, generation)
		}
	}
	highest[s.Device] = max(highest[s.Device], s.Generation)
}

func (l *Log) pushedOut(name string, s *usermgr.SessionInfo, by usermgr.Address) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addf("PushedOut %s@%s by %s", s.UserID, name, by)
	if by.Conn == 0 {
		l.totals.Evicted++
	}
	o := l.find(s)
	if o == nil || o.pushedOut {
		l.wrongf("rule 20: %s is pushed out at %s and was not connected, or was pushed out before", s.UserID, name)
		return
	}
	o.pushedOut = true
}

func (l *Log) disconnected(name string, s *usermgr.SessionInfo, why protocol.CloseCode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addf("Disconnected %s@%s %s", s.UserID, name, why)
	if why == protocol.NodeLost {
		l.totals.Lost++
	}
	o := l.find(s)
	if o == nil || o.pushedOut != (why == protocol.PushedOut) {
		l.wrongf("rule 20: %s is disconnected at %s with %s out of order", s.UserID, name, why)
	}
	l.live[s.UserID] = slices.DeleteFunc(l.live[s.UserID], func(x *span) bool { return x == o })
}

func (l *Log) find(s *usermgr.SessionInfo) *span {
	for _, o := range l.live[s.UserID] {
		if o.id == s.ID {
			return o
		}
	}
	return nil
}

func (l *Log) addf(format string, args ...any) {
	l.lines = append(l.lines, fmt.Sprintf("%10s ", time.Since(l.began).Round(time.Millisecond))+fmt.Sprintf(format, args...))
	if len(l.lines) > 20_000 {
		l.lines = slices.Clone(l.lines[10_000:])
	}
}

func (l *Log) wrongf(format string, args ...any) {
	l.addf("WRONG: "+format, args...)
	if len(l.wrong) < 20 {
		l.wrong = append(l.wrong, fmt.Sprintf(format, args...))
	}
}

// Check fails the test where a rule was broken.
func (l *Log) Check(t testing.TB) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.wrong) > 0 {
		first := max(0, slices.IndexFunc(l.lines, func(line string) bool { return strings.Contains(line, "WRONG: ") }))
		before := strings.Join(l.lines[max(0, first-100):min(len(l.lines), first+20)], "\n")
		t.Errorf("%s\n\n%s\n…\n%s", strings.Join(l.wrong, "\n"), before, l.tail())
	}
}

// CheckNoRivals fails the test where sessions of one user live that exclude each other, or more of one user than so many.
func (l *Log) CheckNoRivals(t testing.TB, most int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for user, live := range l.live {
		for i, a := range live {
			for _, b := range live[:i] {
				if l.exclude(a.device, b.device) {
					t.Errorf("rule 19: %s has sessions at %s and %s that exclude each other\n%s", user, b.name, a.name, l.tail())
				}
			}
		}
		if len(live) > most {
			t.Errorf("rule 17: %s has %d sessions, %d are the most\n%s", user, len(live), most, l.of(user))
		}
	}
}

// String returns the last lines.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tail()
}

// Notef adds a line about something that concerns all users: a fault, for example.
func (l *Log) Notef(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addf(format, args...)
}

// Of returns what happened before and after the last Online or Offline of a user, with the notes, and then the last lines.
func (l *Log) Of(user string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.of(user)
}

func (l *Log) of(user string) string {
	all, last := l.linesOf(user, "version")
	from, to := max(0, last-30), min(len(all), last+30)
	if len(all)-to <= 60 {
		return strings.Join(all[from:], "\n")
	}
	return strings.Join(all[from:to], "\n") + "\n…\n" + strings.Join(all[len(all)-60:], "\n")
}

// linesOf returns the lines about a user, with the notes, and the index of the last one that has a text. l.mu is held on entry.
func (l *Log) linesOf(user, text string) (all []string, last int) {
	for _, line := range l.lines {
		of := strings.Contains(line, " "+user+"@")
		if of && strings.Contains(line, text) {
			last = len(all)
		}
		if of || !strings.Contains(line, "@") {
			all = append(all, line)
		}
	}
	return all, last
}

func (l *Log) tail() string { return strings.Join(l.lines[max(0, len(l.lines)-100):], "\n") }

// Count returns the totals.
func (l *Log) Count() Totals {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.totals
}

// Take returns what happened to sessions since the last call, without times, generations and addresses.
func (l *Log) Take() (all []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		f := strings.Fields(line)[1:]
		if f[0] == "Online" || f[0] == "Offline" {
			continue
		}
		if f[0] == "Disconnected" {
			all = append(all, strings.Join(f[:3], " "))
		} else {
			all = append(all, strings.Join(f[:2], " "))
		}
	}
	l.lines = nil
	return all
}
