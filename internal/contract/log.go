package contract

import (
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// place is where something stands in the record: the first is 1. 0 means that it has not happened.
type place int

// log is the record.
type log struct {
	start time.Time

	mu       sync.Mutex
	last     place
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
	strays   []uint64 // connections that got messages, and never asked to log on
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

// connection is an attempt to log on, and the session that came of it.
type connection struct {
	number       uint64
	user         string
	device       uint16
	token        string // the Logon's
	takeOver     string // the session that it asked for
	logon        span   // Register
	err          error  // Register's
	cause        error  // why Register's context had ended when it returned; nil when it had not
	contextEnded place  // the context's end, or later
	session      string // ID

	quiesces []*span // calls of Quiesce
	quiet    []place // calls of their done
	closes   []*closeCall
	messages []*span
	tallies  []*tally
	silences []silence
	outcome  protocol.CloseOutcome // what the link told; pending when it did not
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

// silence is an answer of a Watch.
type silence struct {
	at     place
	silent bool
}

// event is one call of one handler; once gathered (see newHistory), the calls of all subscribers for one event.
type event struct {
	span
	kind       kind
	subscriber int
	user       string
	conn       uint64 // whose session it is about; for Ignored, the connection that was refused
	by         uint64 // PushedOut's
	code       protocol.CloseCode
	info       usermgr.SessionInfo
	data       usermgr.UserData // Online's, Offline's and UserTagged's
	tag, old   string           // Tagged's and UserTagged's
	count      int              // UserCountChanged's
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
	blocks  bool         // a Clear that was to wait
	kick    usermgr.Wait // nil for what is no kick, and one that was refused
	err     error        // Close's and a kick's
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

// look is a question to the manager: where a user is, or, with at set, who is on a connection.
type look struct {
	span
	user  string
	conns []uint64
	data  *usermgr.UserData

	at      uint64
	session string // the session that was asked for, on connection at
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

// rest is what the manager answered when all was quiet.
type rest struct {
	span
	online map[string][]uint64         // where
	data   map[string]usermgr.UserData // of everybody who is online
	stats  usermgr.Stats
}

// begin writes down the beginning of s, and whatever else is to be written with it.
func (l *log) begin(s *span, also func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	s.from, s.fromAt = l.last, time.Since(l.start)
	if also != nil {
		also()
	}
}

func (l *log) end(s *span, also func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	s.to, s.toAt = l.last, time.Since(l.start)
	if also != nil {
		also()
	}
}

// mark writes down something that takes no time.
func (l *log) mark(p *place, also func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	*p = l.last
	if also != nil {
		also()
	}
}
