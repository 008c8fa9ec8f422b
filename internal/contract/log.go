package contract

import (
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// place is a position in the record, from 1. 0 is the place of what has not happened.
type place int

// log is the record.
type log struct {
	start time.Time

	mu       sync.Mutex
	last     place
	underWay int // spans that have begun and not ended
	conns    []*connection
	byConn   map[uint64]*connection
	events   []*event // of users
	counts   []*event // UserCountChanged
	asks     []*ask
	looks    []*look
	rests    []*rest
	touches  []*touch
	taggings []*tagging
	unbans   []*unban
	strays   []uint64 // connections that got messages without a logon
	panics   uint64   // handlers that panicked
}

// span is something with a beginning and an end.
type span struct {
	from, to     place
	fromAt, toAt time.Duration // since the record began
}

func (s *span) before(p place) bool { return s.to != 0 && s.to < p }

// within reports whether s lies inside o as a whole.
func (s *span) within(o *span) bool { return s.from > o.from && s.before(o.to) }

// reaches reports whether s had not ended before p.
func (s *span) reaches(p place) bool { return s.to == 0 || s.to > p }

// connection is a logon, and its session.
type connection struct {
	number       uint64
	user         string
	device       uint16
	token        string // of the Logon
	takeOver     string // the session that it asked for
	logon        span   // Register
	err          error  // of Register
	cause        error  // of the end of Register's context when it returned; nil if there was none
	contextEnded place  // the end of the context, or later
	session      string // ID

	quiesces []*span // calls of Quiesce
	quiet    []place // calls of Quiesce's done
	closes   []*closeCall
	messages []*span
	tallies  []*tally
	silences []silence
	outcome  protocol.CloseOutcome // that the link reported; otherwise pending
}

type closeCall struct {
	span
	code protocol.CloseCode
	text string
}

// tally is a call of Received, Sent or Dropped.
type tally struct {
	span
	way             way
	typ             uint16
	messages, bytes uint64
}

type way uint8

const (
	in way = iota
	out
	dropped
)

// silence is an answer of Watch.Silent.
type silence struct {
	at     place
	silent bool
}

// event is one call of one handler. In a history it is the calls of all subscribers for one event (see gather).
type event struct {
	span
	kind       kind
	subscriber int
	user       string
	conn       uint64 // of the session; for Ignored, the connection that was refused
	by         uint64 // of PushedOut
	code       protocol.CloseCode
	info       usermgr.SessionInfo
	data       usermgr.UserData // of Online, Offline and UserTagged
	tag, old   string           // of Tagged and UserTagged
	count      int              // of UserCountChanged
}

type kind string

const (
	connected    kind = "Connected"
	pushedOut    kind = "PushedOut"
	ignored      kind = "Ignored"
	timedOut     kind = "TimedOut"
	disconnected kind = "Disconnected"
	expired      kind = "Expired"
	tagged       kind = "Tagged"
	userTagged   kind = "UserTagged"
	cameOnline   kind = "Online"
	wentOffline  kind = "Offline"
	countChanged kind = "UserCountChanged"
)

// ask is a call that asks for the end of sessions.
type ask struct {
	span
	what    what
	user    string
	session string
	conn    uint64
	devices []uint16
	token   string
	code    protocol.CloseCode
	text    string
	revoke  time.Duration
	ban     time.Duration
	blocks  bool         // a Clear that should wait
	kick    usermgr.Wait // nil for other calls, and for a kick that was refused
	err     error        // of Close and of a kick
}

type what string

const (
	endConn    what = "Session.End"
	endAll     what = "Clear"
	endForGood what = "Close"

	kickUser    what = "Kick"
	kickSome    what = "Kick of some" // with devices or a token
	kickSession what = "KickSession"
)

// look is a question to the manager: on which connections a user is, or, with at set, which user is on a connection.
type look struct {
	span
	user  string
	conns []uint64
	data  *usermgr.UserData

	at      uint64
	session string // the ID that was asked for, of the session on connection at
	found   bool
}

// touch is a call of Touch or TouchSession.
type touch struct {
	span
	user, session string
}

// tagging is a call of SetTag or SetSessionTag.
type tagging struct {
	span
	user, session, tag string
	done               bool
}

// unban is a call of Unban.
type unban struct {
	span
	user string
}

// rest has the manager's answers while nothing was under way.
type rest struct {
	span
	online map[string][]uint64         // connections
	data   map[string]usermgr.UserData // of all users online
	stats  usermgr.Stats
}

// begin records the beginning of s, and calls also, under the lock.
func (l *log) begin(s *span, also func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	l.underWay++
	s.from, s.fromAt = l.last, time.Since(l.start)
	if also != nil {
		also()
	}
}

func (l *log) end(s *span, also func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	l.underWay--
	s.to, s.toAt = l.last, time.Since(l.start)
	if also != nil {
		also()
	}
}

// isWhole reports whether no call is under way.
func (l *log) isWhole() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.underWay == 0
}

// mark records something that takes no time.
func (l *log) mark(p *place, also func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	*p = l.last
	if also != nil {
		also()
	}
}
