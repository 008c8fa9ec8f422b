package contract

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/rollcall-go/rollcall/internal/testkit"
)

// Violation says how the record breaks a rule of the contract.
type Violation struct {
	Rule int    // its number in docs/contract.md
	User string // empty if it is about no one user
	Text string
}

func (v *Violation) Error() string {
	if v.User == "" {
		return fmt.Sprintf("rule %d: %s", v.Rule, v.Text)
	}
	return fmt.Sprintf("rule %d, %s: %s", v.Rule, v.User, v.Text)
}

// Violations returns the violations in err, which is from [Manager.Check].
func Violations(err error) []*Violation {
	var all []*Violation
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			var v *Violation
			if errors.As(e, &v) {
				all = append(all, v)
			}
		}
	}
	return all
}

// maxTold limits the violations in an error, because the first is the one to look at.
const maxTold = 8

// Check compares the record with the rules. It returns the violations, with the story of the first one's user. Nothing
// may be under way but calls that are about to return, for which Check waits.
func (m *Manager) Check() error {
	// What a call has done shows before it has returned, and on a busy machine its goroutine may return much later. In fake time a call that
	// has not returned while all goroutines wait will not return.
	if !m.FakeTime {
		testkit.ComesTrue(testkit.Patience, m.log.isWhole)
	}
	m.log.mu.Lock()
	defer m.log.mu.Unlock()
	j := m.newJudge()
	for _, h := range j.histories {
		j.order(h)
		j.presence(h)
		j.tags(h)
		j.lookups(h)
		j.totals(h)
	}
	for _, c := range m.log.conns {
		j.register(c)
		j.session(c)
	}
	j.promptness()
	j.kicks()
	j.userCount()
	j.rests()
	j.closings()
	if len(j.violations) == 0 {
		return nil
	}
	var all []error
	for i, v := range j.violations {
		if i == maxTold {
			all = append(all, fmt.Errorf("and %d more", len(j.violations)-maxTold))
			break
		}
		all = append(all, v)
	}
	if user := j.violations[0].User; user != "" {
		all = append(all, errors.New("what befell "+user+":\n"+m.log.story(user)))
	}
	return errors.Join(all...)
}

// judge reads the record.
type judge struct {
	*log
	m          *Manager
	histories  []*history
	byUser     map[string]*history
	found      map[uint64]*befallen
	absences   []*absence
	chains     chains
	violations []*Violation
}

// befallen has the events of a session, each at most once (file complains of a second).
type befallen struct {
	connected, pushedOut, timedOut, expired, disconnected *event

	ignored *event // of its connection, which was refused
	turn    place  // before its logon's turn began
}

// history has the events of a user in order, with the calls of all subscribers gathered into one.
type history struct {
	user   string
	events []*event
}

func (j *judge) complain(rule int, user, format string, args ...any) {
	if !j.m.knows(rule) {
		return
	}
	j.violations = append(j.violations, &Violation{rule, user, fmt.Sprintf(format, args...)})
}

// knows reports whether Check checks a rule.
func (m *Manager) knows(rule int) bool { return len(m.Rules) == 0 || slices.Contains(m.Rules, rule) }

func (m *Manager) newJudge() *judge {
	j := &judge{log: &m.log, m: m, byUser: make(map[string]*history), found: make(map[uint64]*befallen)}
	j.chains = chains{make(map[uint64]heir), make(map[uint64]uint64), make(map[string]uint64)}
	calls := make(map[string][]*event)
	for _, e := range j.log.events {
		if _, seen := calls[e.user]; !seen {
			h := &history{user: e.user}
			j.histories = append(j.histories, h)
			j.byUser[e.user] = h
		}
		calls[e.user] = append(calls[e.user], e)
	}
	for _, h := range j.histories {
		h.events = j.gather(h.user, calls[h.user])
	}
	for _, h := range j.histories {
		for i, e := range h.events {
			j.file(h, i, e)
		}
	}
	for _, h := range j.histories {
		j.follow(h)
	}
	return j
}

// gather makes one event of the calls of all subscribers for it, which come one after another.
func (j *judge) gather(user string, calls []*event) []*event {
	var events []*event
	subscribers := int(j.m.subscribers.Load())
	for i := 0; i < len(calls); {
		first := calls[i]
		e := *first
		n := 0
		for ; n < subscribers && i+n < len(calls); n++ {
			c := calls[i+n]
			if n > 0 && !c.from.after(e.to) {
				j.complain(4, user, "%v began before %v had returned", c, &e)
			}
			if c.kind != first.kind || c.conn != first.conn || c.tag != first.tag || c.subscriber != n {
				break
			}
			e.to, e.toAt = c.to, c.toAt
		}
		if n < subscribers {
			j.complain(10, user, "%v was told to %d subscribers of %d", first, n, subscribers)
		}
		i += max(n, 1)
		if k := len(events); k > 0 && !e.from.after(events[k-1].to) {
			j.complain(4, user, "%v began before %v had returned", &e, events[k-1])
		}
		events = append(events, &e)
	}
	return events
}

// after reports whether p comes after q, the end of something; no place comes after an end that has not happened.
func (p place) after(q place) bool { return q != 0 && p > q }

// file notes e for its session.
func (j *judge) file(h *history, i int, e *event) {
	b := j.of(e.conn)
	keep := func(p **event) {
		if *p != nil {
			j.complain(3, e.user, "%v came twice", e)
		}
		*p = e
	}
	switch e.kind {
	case connected:
		keep(&b.connected)
		b.turn = h.turnOf(i)
	case pushedOut:
		keep(&b.pushedOut)
	case timedOut:
		keep(&b.timedOut)
	case expired:
		keep(&b.expired)
	case disconnected:
		keep(&b.disconnected)
	case ignored:
		keep(&b.ignored)
		b.turn = h.turnOf(i)
	}
}

func (j *judge) of(conn uint64) *befallen {
	b := j.found[conn]
	if b == nil {
		b = new(befallen)
		j.found[conn] = b
	}
	return b
}

// turnOf returns a place before the turn of the change that fired event i: the end of the event before that turn. The
// ends of old sessions are in the logon's turn, also of those that it found ended.
func (h *history) turnOf(i int) place {
	if e := h.events[i]; e.kind == connected || e.kind == ignored {
		for i > 0 && h.inTurnOf(e, i-1) {
			i--
		}
	}
	if i == 0 {
		return 0
	}
	return h.events[i-1].to
}

// inTurnOf reports whether event i, just before the outcome of a logon or another event of its turn, may be in that turn too.
func (h *history) inTurnOf(outcome *event, i int) bool {
	switch e := h.events[i]; e.kind {
	case cameOnline:
		return e.conn == outcome.conn
	case pushedOut:
		return e.by == outcome.conn
	case wentOffline:
		return true
	case disconnected:
		before := h.at(i - 1)
		return before == nil || before.kind != timedOut && before.kind != expired || before.conn != e.conn
	}
	return false
}

func (e *event) String() string {
	switch e.kind {
	case pushedOut:
		return fmt.Sprintf("PushedOut(%d by %d)", e.conn, e.by)
	case disconnected:
		return fmt.Sprintf("Disconnected(%d, %v)", e.conn, e.code)
	case countChanged:
		return fmt.Sprintf("UserCountChanged(%d)", e.count)
	case cameOnline:
		return fmt.Sprintf("Online(on %d)", e.conn)
	case wentOffline:
		return "Offline"
	case tagged, userTagged:
		return fmt.Sprintf("%s(%d, %q, was %q)", e.kind, e.conn, e.tag, e.old)
	}
	return fmt.Sprintf("%s(%d)", e.kind, e.conn)
}

func (a *ask) String() string {
	switch a.what {
	case endConn:
		return fmt.Sprintf("%s(%d, %v)", a.what, a.conn, a.code)
	case kickUser, kickSome, kickSession:
		return fmt.Sprintf("%s(%s, devices %d, session %q, %v, text %q, revoked for %v) = %v", a.what, a.user, a.devices, a.session,
			a.code, a.text, a.revoke, a.err)
	}
	return fmt.Sprintf("%s(%s, %v)", a.what, a.user, a.code)
}

func (k *look) String() string {
	switch {
	case k.session != "":
		return fmt.Sprintf("session %s of connection %d is found: %v", k.session, k.at, k.found)
	case k.at != 0 && k.found:
		return fmt.Sprintf("connection %d is %s's", k.at, k.user)
	case k.at != 0:
		return fmt.Sprintf("connection %d has no user", k.at)
	}
	return fmt.Sprintf("%s is on connections %v", k.user, k.conns)
}

// story lists what concerned a user, in order.
func (l *log) story(user string) string {
	type line struct {
		at   place
		text string
	}
	var lines []line
	tell := func(s span, what any) {
		took := ""
		if s.to == 0 {
			took = ", never ended"
		} else if s.toAt > s.fromAt {
			took = fmt.Sprintf(", for %v", s.toAt-s.fromAt)
		}
		lines = append(lines, line{s.from, fmt.Sprintf("  %6d-%-6d %v%s: %v", s.from, s.to, s.fromAt, took, what)})
	}
	for _, e := range l.events {
		if e.user == user {
			tell(e.span, fmt.Sprintf("%v to subscriber %d", e, e.subscriber))
		}
	}
	mine := make(map[uint64]bool)
	sessions := make(map[string]bool)
	for _, c := range l.conns {
		if c.user != user {
			continue
		}
		mine[c.number], sessions[c.session] = true, true
		tell(c.logon, fmt.Sprintf("Register(%d, device %d, token %q, session %q) = %q, %v", c.number, c.device, c.token,
			c.takeOver, c.session, c.err))
		if c.contextEnded != 0 {
			tell(span{from: c.contextEnded, to: c.contextEnded}, fmt.Sprintf("context of %d ended", c.number))
		}
		for _, q := range c.quiesces {
			tell(*q, fmt.Sprintf("Quiesce(%d), done at %v", c.number, c.quiet))
		}
		for _, x := range c.closes {
			tell(x.span, fmt.Sprintf("Close(%d, %v, %q)", c.number, x.code, x.text))
		}
		for _, x := range c.messages {
			tell(*x, fmt.Sprintf("message on %d", c.number))
		}
		for _, x := range c.silences {
			tell(span{from: x.at, to: x.at}, fmt.Sprintf("silent on %d: %v", c.number, x.silent))
		}
	}
	for _, a := range l.asks {
		if a.user == user || a.what == endAll || a.what == endForGood || mine[a.conn] || a.session != "" && sessions[a.session] {
			tell(a.span, a)
		}
	}
	for _, x := range l.touches {
		if x.user == user || sessions[x.session] {
			tell(x.span, "touched "+x.user+x.session)
		}
	}
	for _, x := range l.taggings {
		if x.user == user || sessions[x.session] {
			tell(x.span, fmt.Sprintf("tagged %s %q: %v", x.user+x.session, x.tag, x.done))
		}
	}
	for _, r := range l.rests {
		tell(r.span, "at rest")
	}
	slices.SortFunc(lines, func(a, b line) int { return int(a.at - b.at) })
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.text)
		b.WriteByte('\n')
	}
	return b.String()
}
