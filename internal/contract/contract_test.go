package contract

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// online and ended are how user a, or b, comes online on connection 1 and goes again.
const (
	online  = "log 1 a; Online 1; Connected 1; count 1; in 1; "
	ended   = "end 1 1000; quiesce 1; quiet 1; Disconnected 1 1000; close 1 1000; Offline a; count 0; "
	replace = "log 2 a; quiesce 1; quiet 1; PushedOut 1 by 2; Disconnected 1 2000; close 1 2000; Connected 2; in 2; "
)

// Stories of a manager, and the rule that each breaks; 0 is none. The words are explained at teller.tell.
var stories = []struct {
	name  string
	rule  int
	mode  usermgr.RelogonMode
	story string
}{
	{"a user comes and goes", 0, 0, online + "message 1; users a=1; " + ended + "users"},
	{"a second logon replaces the first", 0, 0, online + replace + "users a=2"},
	{"a second logon is refused", 0, usermgr.IgnoreNew, online + "log 2 a; Ignored 2 a; out 2 2001; users a=1"},
	{"a session is taken over", 0, usermgr.IgnoreNew, online + "log 2 a s1;" + replace[len("log 2 a;"):]},
	{"a logon is withdrawn", 0, 0, "log 1 a; dead 1; out 1 1000"},
	{"a user falls silent", 0, 0, online + "silent 1; quiesce 1; quiet 1; TimedOut 1; Disconnected 1 1002; close 1 1002; Offline a"},
	{"a handler is given up on", 0, 0, online + "+message 1; end 1 1000; quiesce 1; pass; Disconnected 1 1000; close 1 1000; " +
		"Offline a"},
	{"a handler counts in the instant in which it is given up on", 0, 0, online + "+message 1; end 1 1000; quiesce 1; pass; received 1; " +
		"-message 1; quiet 1; Disconnected 1 1000; close 1 1000; Offline a"},
	{"a late end of the old connection", 0, 0, online + replace + "end 1 1001; users a=2"},
	{"a manager is closed", 0, 0, online + "+stop; quiesce 1; quiet 1; Disconnected 1 1004; close 1 1004; Offline a; -stop"},

	{"Disconnected never comes", 3, 0, online + "end 1 1000; quiesce 1; quiet 1; users"},
	{"Disconnected comes twice", 3, 0, online + ended + "Disconnected 1 1000"},
	{"Disconnected comes first", 3, 0, "log 1 a; Disconnected 1 1000"},
	{"TimedOut comes after Disconnected", 3, 0, online + ended + "TimedOut 1"},
	{"the second cause wins", 3, 0, online + "kick a 2002; " + ended},
	{"there was no cause", 3, 0, online + "quiesce 1; quiet 1; Disconnected 1 1000; close 1 1000"},
	{"the link is told another cause", 3, 0, online + "end 1 1000; quiesce 1; quiet 1; Disconnected 1 1000; close 1 1001"},
	{"an ended session is pushed out", 3, 0, online + "end 1 1000; " + replace},
	{"a dead connection comes online", 3, 0, "log 2 a; dead 2; " + online + ended + "Connected 2; in 2"},
	{"a logon fails without a reason", 3, 0, "log 1 a; out 1 1008"},
	{"a logon succeeds without Connected", 3, 0, "log 1 a; in 1"},
	{"events of a user overlap", 4, 0, "log 1 a; +Connected 1; end 1 1000; quiesce 1; quiet 1; Disconnected 1 1000; " +
		"-Connected 1; close 1 1000; in 1"},
	{"Connected(new) comes before Disconnected(old)", 4, 0, online + "log 2 a; quiesce 1; quiet 1; Connected 2; in 2; " +
		"PushedOut 1 by 2; Disconnected 1 2000; close 1 2000"},
	{"somebody else comes online in between", 4, 0, online + "log 2 a; log 3 a; quiesce 1; quiet 1; PushedOut 1 by 2; " +
		"Disconnected 1 2000; close 1 2000; Connected 3; in 3"},
	{"TimedOut is not followed by Disconnected", 4, 0, online + "silent 1; TimedOut 1"},
	{"a message handler starts before Connected returns", 5, 0, "log 1 a; +Connected 1; message 1; -Connected 1; in 1"},
	{"a logon returns before Connected does", 5, 0, "log 1 a; +Connected 1; in 1; -Connected 1"},
	{"the last message handler is not waited for", 5, 0, online + "+message 1; end 1 1000; quiesce 1; Disconnected 1 1000; " +
		"close 1 1000"},
	{"a message handler runs beside Disconnected", 5, 0, online + "+message 1; " + ended + "-message 1"},
	{"a session ends without being quiesced", 6, 0, online + "end 1 1000; Disconnected 1 1000; close 1 1000"},
	{"a message comes after the session was quiet", 6, 0, online + "end 1 1000; quiesce 1; quiet 1; message 1; " +
		"Disconnected 1 1000; close 1 1000"},
	{"the new address is answered too early", 6, 0, online + "log 2 a; quiesce 1; quiet 1; +PushedOut 1 by 2; where a 2; " +
		"-PushedOut 1 by 2; Disconnected 1 2000; close 1 2000; Connected 2; in 2"},
	{"the user is offline for a moment", 6, 0, online + "log 2 a; quiesce 1; quiet 1; PushedOut 1 by 2; " +
		"+Disconnected 1 2000; where a; -Disconnected 1 2000; close 1 2000; Connected 2; in 2"},
	{"the connection of an online user is unknown", 6, 0, "log 1 a; +Connected 1; who 1; -Connected 1; in 1"},
	{"the link is closed before Disconnected returns", 6, 0, online + "end 1 1000; quiesce 1; quiet 1; " +
		"+Disconnected 1 1000; close 1 1000; -Disconnected 1 1000"},
	{"the link is not closed", 6, 0, online + "end 1 1000; quiesce 1; quiet 1; Disconnected 1 1000"},
	{"a logon is refused although it should replace", 6, 0, online + "log 2 a; Ignored 2 a; out 2 2001"},
	{"a session is pushed out although it should stay", 7, usermgr.IgnoreNew, online + replace},
	{"a logon is refused without Ignored", 7, usermgr.IgnoreNew, online + "log 2 a; out 2 2001"},
	{"a logon is refused although it takes over", 7, usermgr.IgnoreNew, online + "log 2 a s1; Ignored 2 a; out 2 2001"},
	{"a refused connection is closed by the manager", 7, usermgr.IgnoreNew, online + "log 2 a; Ignored 2 a; out 2 2001; close 2 2001"},
	{"an ended session stands in the way", 7, usermgr.IgnoreNew, online + "end 1 1000; log 2 a; dead 2; Ignored 2 a; " +
		"out 2 1000; log 3 a; Ignored 3 a; out 3 2001"},
	{"nobody looked at the silence again", 8, 0, online + "quiesce 1; quiet 1; TimedOut 1; Disconnected 1 1002; close 1 1002"},
	{"the end of an old connection ends a newer session", 9, 0, online + replace + "end 1 1001; quiesce 2; quiet 2; " +
		"Disconnected 2 1001; close 2 1001"},
	{"a kick hits a later logon", 10, 0, "kick a 2002; " + online + "quiesce 1; quiet 1; Disconnected 1 2002; close 1 2002"},
	{"a kick is forgotten", 10, 0, online + "kick a 2002; users a=1"},
	{"a kick is held up", 10, 0, online + "+kick a 2002; pass; -kick a 2002"},
	{"a logon never returns", 10, 0, "log 1 a"},
	{"the final counters are too low", 12, 0, online + "received 1; " + ended},
	{"a handler that is given up on counted in time", 12, 0, online + "+message 1; end 1 1000; quiesce 1; received 1; pass; " +
		"-message 1; quiet 1; Disconnected 1 1000; close 1 1000; Offline a"},
	{"the user count is told without a change", 12, 0, online + "count 1"},
	{"the user count does not end on the truth", 12, 0, online + "count 2; users a=1"},
	{"the user is on another connection than was told", 3, 0, online + "users a=7"},
	{"an event comes after Close", 16, 0, online + "stop; " + strings.TrimPrefix(ended, "end 1 1000;")},
	{"a logon succeeds after Close", 16, 0, "stop; " + online},
}

func TestCheckNamesTheRuleThatAStoryBreaks(t *testing.T) {
	for _, s := range stories {
		t.Run(s.name, func(t *testing.T) {
			var err error
			synctest.Test(t, func(*testing.T) { err = told(&Manager{mode: s.mode}, s.story).Check() })
			judged(t, s.rule, err)
		})
	}
}

func judged(t *testing.T, rule int, err error) {
	t.Helper()
	var rules []int
	for _, v := range Violations(err) {
		rules = append(rules, v.Rule)
	}
	if rule == 0 && err != nil {
		t.Errorf("breaks no rule, but Check says: %v", err)
	}
	if rule != 0 && !slices.Contains(rules, rule) {
		t.Errorf("breaks rule %d, but Check says: %v", rule, err)
	}
}

func TestAManagerIsRecordedWithoutBeingChanged(t *testing.T) {
	m := New(usermgr.Config{HeartbeatTimeout: -1})
	if _, err := m.Register(context.Background(), usermgr.Logon{UserID: "a"}, idleLink(1)); err != nil {
		t.Fatal(err)
	}
	s, err := m.Register(context.Background(), usermgr.Logon{UserID: "a"}, idleLink(2))
	if err != nil {
		t.Fatal(err)
	}
	m.Message(2)()
	s.End(protocol.ClientClosed)
	if err := m.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	m.AtRest()
	if err := m.Check(); err != nil {
		t.Error(err)
	}
}

// idleLink is a connection on which nothing runs.
type idleLink uint64

func (l idleLink) Address() usermgr.Address { return usermgr.Address{Conn: uint64(l)} }
func (l idleLink) Quiesce(done func())      { done() }
func (l idleLink) Close(_ *protocol.CloseError, done func(protocol.CloseOutcome)) {
	if done != nil {
		done(protocol.OutcomeTold)
	}
}

// teller writes a story into a record as if it had happened.
type teller struct {
	m     *Manager
	users map[string]string // of connections
	open  map[string]*span  // what was begun, by its words
}

func told(m *Manager, story string) *Manager {
	m.FakeTime, m.quiesceTimeout = true, time.Minute
	m.idleInterval = m.idle / 60
	m.subscribers.Store(1)
	m.log.start, m.log.byConn = time.Now(), make(map[uint64]*connection)
	t := &teller{m, make(map[string]string), make(map[string]*span)}
	for words := range strings.SplitSeq(story, ";") {
		if words = strings.TrimSpace(words); words != "" {
			t.tell(words)
		}
	}
	return m
}

// tell writes one thing that happened. With a plus it only begins, and ends at the same words with a minus. At "pass" a
// minute passes.
func (t *teller) tell(words string) {
	l := &t.m.log
	if begun, ok := strings.CutPrefix(words, "-"); ok {
		l.end(t.open[begun], nil)
		return
	}
	words, stays := strings.CutPrefix(words, "+")
	w := strings.Fields(words + " . .")
	first, number := w[0], num(w[1])
	c := l.byConn[uint64(number)]
	var s *span
	switch first {
	case "pass":
		time.Sleep(time.Minute)
		return
	case "log": // connection, user, and any of: s and a session to take over, d and a device, t and a token
		c = &connection{number: uint64(number), user: w[2]}
		for _, more := range w[3:] {
			switch more[0] {
			case 's':
				c.takeOver = more
			case 'd':
				c.device = uint16(num(more[1:]))
			case 't':
				c.token = more
			}
		}
		t.users[w[1]] = w[2]
		l.begin(&c.logon, func() { l.conns, l.byConn[c.number] = append(l.conns, c), c })
		return
	case "in":
		l.end(&c.logon, func() { c.session = "s" + w[1] })
		return
	case "out": // connection, code
		l.end(&c.logon, func() { c.err = &protocol.CloseError{Code: code(w[2])} })
		return
	case "dead":
		l.mark(&c.contextEnded, func() { c.cause = &protocol.CloseError{Code: protocol.ClientClosed} })
		return
	case "silent":
		var at place
		l.mark(&at, func() { c.silences = append(c.silences, silence{at, true}) })
		return
	case "quiet":
		var at place
		l.mark(&at, func() { c.quiet = append(c.quiet, at) })
		return
	case "users": // user=connection,connection
		s = t.rest(w[1])
	case "where": // user, connection
		k := &look{user: w[1]}
		if w[2] != "." {
			k.conns = []uint64{uint64(num(w[2]))}
		}
		s, l.looks = &k.span, append(l.looks, k)
	case "who":
		k := &look{at: uint64(number)}
		s, l.looks = &k.span, append(l.looks, k)
	case "quiesce":
		s = new(span)
		c.quiesces = append(c.quiesces, s)
	case "close":
		x := &closeCall{code: code(w[2])}
		s, c.closes = &x.span, append(c.closes, x)
	case "message":
		s = new(span)
		c.messages = append(c.messages, s)
	case "received":
		x := &tally{way: in, typ: 1, messages: 1, bytes: 16}
		s, c.tallies = &x.span, append(c.tallies, x)
	case "touch": // user
		x := &touch{user: w[1]}
		s, l.touches = &x.span, append(l.touches, x)
	case "tag": // user, tag
		x := &tagging{user: w[1], tag: w[2], done: true}
		s, l.taggings = &x.span, append(l.taggings, x)
	case "miss": // user: a kick that finds no session
		s = t.ask(&ask{what: kickUser, user: w[1], code: protocol.KickedOut, err: usermgr.ErrUnknownID})
	case "end": // connection, code
		s = t.ask(&ask{what: endConn, conn: uint64(number), code: code(w[2])})
	case "kick": // user, code
		s = t.ask(&ask{what: kickUser, user: w[1], code: code(w[2])})
	case "revoke": // user, code: a kick that revokes for a minute
		s = t.ask(&ask{what: kickUser, user: w[1], code: code(w[2]), revoke: time.Minute})
	case "stop":
		s = t.ask(&ask{what: endForGood, code: protocol.ServerStopping})
	case "count":
		e := &event{kind: countChanged, count: number}
		s, l.counts = &e.span, append(l.counts, e)
	default: // an event
		e := &event{kind: kind(first), conn: uint64(number), user: t.users[w[1]]}
		if c != nil {
			e.info = info(c)
		}
		switch e.kind {
		case pushedOut:
			e.by = uint64(num(w[3]))
		case disconnected:
			e.code = code(w[2])
		case cameOnline:
			e.data.Sessions = []usermgr.SessionInfo{e.info}
		case wentOffline:
			e.user = w[1]
		case userTagged: // user, tag, old tag
			e.user, e.tag, e.old = w[1], w[2], strings.Trim(w[3], ".")
		}
		s, l.events = &e.span, append(l.events, e)
	}
	l.begin(s, nil)
	t.open[words] = s
	if !stays {
		l.end(s, nil)
	}
}

func (t *teller) ask(a *ask) *span {
	t.m.log.asks = append(t.m.log.asks, a)
	return &a.span
}

func info(c *connection) usermgr.SessionInfo {
	s := usermgr.SessionInfo{UserID: c.user, ID: "s" + strconv.FormatUint(c.number, 10), Token: c.token, Device: c.device,
		Address: usermgr.Address{Conn: c.number}}
	if s.Token == "" {
		s.Token = s.ID
	}
	return s
}

// rest is a rest at which one user, or none, is online.
func (t *teller) rest(who string) *span {
	r := &rest{online: make(map[string][]uint64), data: make(map[string]usermgr.UserData)}
	if user, conns, ok := strings.Cut(who, "="); ok {
		var d usermgr.UserData
		for conn := range strings.SplitSeq(conns, ",") {
			n := uint64(num(conn))
			if conn == "" {
				continue
			}
			r.online[user] = append(r.online[user], n)
			if c := t.m.log.byConn[n]; c != nil {
				d.Sessions = append(d.Sessions, info(c))
				r.stats.Sessions++
			}
		}
		r.data[user] = d
		r.stats.Users = 1
	}
	t.m.log.rests = append(t.m.log.rests, r)
	return &r.span
}

func num(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

func code(s string) protocol.CloseCode { return protocol.CloseCode(num(s)) }
