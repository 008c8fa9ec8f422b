package usermgr

import (
	"encoding/hex"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/heartbeat"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/internal/wheel"
	"github.com/rollcall-go/rollcall/protocol"
)

// addTraffic adds o to t.
func addTraffic(t *protocol.Traffic, o protocol.Traffic) {
	t.Messages += o.Messages
	t.Bytes += o.Bytes
	if o.LastType != 0 {
		t.LastType = o.LastType
	}
}

// SessionInfo describes a session at one moment. It is a copy and does not change. Printing, logging and JSON leave its secrets out: the
// ID and the token.
type SessionInfo struct {
	UserID string
	ID     string `json:"-"` // of the session; a secret, because it can take the session over
	Token  string `json:"-"` // the Logon's token, or the session ID where it has none; a secret too
	Address
	Device      uint16            // device class; 0 is unspecified
	Fields      map[string]string // the Logon's string map without token and session; shared: do not change it; nil for none
	LogonTime   time.Time
	LastActive  time.Time // when bytes last came from the client, to 100 ms
	LastMessage time.Time // when a message that is no heartbeat last came, to 100 ms; at first LogonTime
	LastDropped time.Time // when messages for the client were last dropped, to 100 ms; the zero Time for never
	Counters
	Tag        string // the session's, see Manager.SetSessionTag
	UserTag    string // the user's, see Manager.SetTag
	Generation uint64 // of the session's claim, see Config.Claims; 0 without
}

// Counters count the traffic of a session, or of all sessions of a user.
type Counters struct {
	In, Out protocol.Traffic // received from the client, and handed to the network for it
	Dropped protocol.Traffic // messages for the client that were dropped
}

// counter is a Traffic that the message path writes and any goroutine reads. It has two words, so that a write is two
// atomic adds: the lowest 16 bits of the first word are the type of the last message, the bits above are the number of
// messages.
type counter struct{ messages, bytes atomic.Uint64 }

const typeBits = 16

func (c *counter) add(typ uint16, messages, bytes int) {
	c.bytes.Add(uint64(bytes))
	n := c.messages.Add(uint64(messages) << typeBits)
	for uint16(n) != typ && !c.messages.CompareAndSwap(n, n&^(1<<typeBits-1)|uint64(typ)) {
		n = c.messages.Load()
	}
}

func (c *counter) load() protocol.Traffic {
	n := c.messages.Load()
	return protocol.Traffic{Messages: n >> typeBits, Bytes: c.bytes.Load(), LastType: uint16(n)}
}

// session implements Session. The first cache line has the fields that the message path needs most, because a server
// with thousands of connections waits for memory more than it computes.
type session struct {
	user   *user
	mark   wheel.Mark[session] // used with manager.ring; its Note is the tick of the manager's clock when bytes last came
	heard  atomic.Uint32       // the tick when a message that is no heartbeat last came
	device uint16
	stuck  bool // only the turn uses it: a message handler was given up on
	bound  bool // only the turn uses it: the session is one of its user's
	in     counter

	out   counter
	links [1]Link // the session's link, as a slice for Manager.Links
	id    uuid.UUID
	lazy  atomic.Pointer[sessionLazy]
}

// sessionLazy holds the fields that most live sessions never use. It is allocated on demand; without it a session takes 112 bytes.
type sessionLazy struct {
	ended   atomic.Pointer[ending] // nil while the session lives; the first cause that was recorded
	dropped counter
	// droppedAt is when messages were last dropped, by the manager's clock.
	droppedAt atomic.Uint32

	token string // written by the turn, under the user's lock
	// Set before the session can be found.
	fields     map[string]string
	address    *Address        // nil for a link of this module
	generation uint64          // with Config.Claims; else 0
	logonTime  int64           // Unix nanoseconds; 0 where the session's ID has the same time
	watch      heartbeat.Watch // nil unless the Checker is the application's
	idle       heartbeat.Watch // nil without Config.IdleTimeout
	// Each is true while a check of the session's silence, or of its idleness, waits for the user's turn.
	suspected, idleSuspected atomic.Bool
}

// foreignSession is a session whose link is the application's, in one object with its sessionLazy and the link's address.
type foreignSession struct {
	session
	lazy    sessionLazy
	address Address
}

// needLazy returns the session's sessionLazy for writing. It allocates it if there is none.
func (s *session) needLazy() *sessionLazy {
	r := s.lazy.Load()
	if r == nil {
		s.lazy.CompareAndSwap(nil, new(sessionLazy))
		r = s.lazy.Load()
	}
	return r
}

// why returns why the session ends, nil while it lives.
func (s *session) why() *ending {
	if r := s.lazy.Load(); r != nil {
		return r.ended.Load()
	}
	return nil
}

func (m *Manager) newSession(u *user, link Link, id uuid.UUID, l *Logon) *session {
	s, lazy := m.sessionOn(link)
	if s == nil {
		return nil
	}
	s.user, s.links[0], s.id, s.device = u, link, id, l.Device
	s.mark.Note.Store(m.clock.now())
	s.heard.Store(m.clock.now())
	if fields := l.metadata(); lazy != nil || l.Token != "" || fields != nil || m.idle != nil {
		if lazy == nil {
			lazy = new(sessionLazy)
		}
		lazy.token, lazy.fields = l.Token, fields
		s.lazy.Store(lazy)
	}
	if now := time.Now().UnixNano(); !isTimeOf(id, now) {
		s.needLazy().logonTime = now
	}
	if !s.startWatch() {
		return nil
	}
	if m.idle != nil {
		s.lazy.Load().idle = m.idle.Watch(s.fellIdle)
	}
	return s
}

// metadata returns the Logon's fields without those that the manager itself uses.
func (l *Logon) metadata() map[string]string {
	var fields map[string]string
	for k, v := range l.Fields {
		if k == protocol.FieldToken || k == protocol.FieldSession {
			continue
		}
		if fields == nil {
			fields = make(map[string]string, len(l.Fields))
		}
		fields[k] = v
	}
	return fields
}

// token returns the token that names the session's login. The caller has the user's turn or the user's lock.
func (s *session) token() string {
	if r := s.lazy.Load(); r != nil && r.token != "" {
		return r.token
	}
	return s.ID()
}

// hasToken reports whether a token that is not empty names the session's login. It allocates nothing.
func (s *session) hasToken(token string) bool {
	if token == "" {
		return false
	}
	if r := s.lazy.Load(); r != nil && r.token != "" {
		return r.token == token
	}
	return s.hasID(token)
}

// hasID reports whether the session has this ID. It allocates nothing.
func (s *session) hasID(id string) bool {
	const length = 36
	if len(id) != length {
		return false
	}
	text := [length]byte{8: '-', 13: '-', 18: '-', 23: '-'}
	hex.Encode(text[0:], s.id[0:4])
	hex.Encode(text[9:], s.id[4:6])
	hex.Encode(text[14:], s.id[6:8])
	hex.Encode(text[19:], s.id[8:10])
	hex.Encode(text[24:], s.id[10:])
	return id == string(text[:])
}

// touch notes a sign of life, and a message.
func (s *session) touch() {
	s.Beat()
	s.heardAt(s.user.manager.clock.now())
}

func (s *session) heardAt(now uint32) {
	s.heard.Store(now)
	if r := s.lazy.Load(); r != nil && r.idle != nil {
		r.idle.Beat()
	}
}

func (s *session) stopWatches() {
	if ring := s.user.manager.ring; ring != nil {
		ring.Stop(s)
	}
	if w := s.foreignWatch(); w != nil {
		w.Stop()
	}
	if r := s.lazy.Load(); r != nil && r.idle != nil {
		r.idle.Stop()
	}
}

// ending is the cause of a session's end.
type ending struct {
	code   protocol.CloseCode
	text   string
	kick   *kick          // that ends the session; nil for none
	kicked *kickedSession // the kick's outcome for the session; nil without a kick
	heir   uint64         // serial of the session that continues this one; 0 for none
	by     *Address       // the address of the claim on another manager that excludes the session; nil for none
}

var (
	_ seam.PeerEnder     = (*session)(nil)
	_ seam.HandledTeller = (*session)(nil)
)

// PeerEnded implements seam.PeerEnder: a client that has ended its sending side counts as neither silent nor idle.
func (s *session) PeerEnded() { s.stopWatches() }

func (s *session) ID() string     { return s.id.String() }
func (s *session) UserID() string { return s.user.id }

func (s *session) Beat() {
	if ring := s.user.manager.ring; ring != nil {
		ring.Beat(&s.mark)
	} else if w := s.foreignWatch(); w != nil {
		w.Beat()
	}
	if now := s.user.manager.clock.now(); now != s.mark.Note.Load() { // seldom true, and a load costs less than a store
		s.mark.Note.Store(now)
	}
}

func (s *session) Received(typ uint16, messages, bytes int) {
	s.in.add(typ, messages, bytes)
	if now := s.user.manager.clock.now(); now != s.heard.Load() {
		s.heardAt(now)
	}
}

func (s *session) Sent(typ uint16, messages, bytes int) { s.out.add(typ, messages, bytes) }

func (s *session) Dropped(typ uint16, messages, bytes int) {
	l := s.needLazy()
	l.dropped.add(typ, messages, bytes)
	l.droppedAt.Store(s.user.manager.clock.now())
}

func (s *session) End(code protocol.CloseCode) { s.end(ending{code: code}) }

// end records the cause of the session's end and queues the rest, unless an earlier cause was recorded.
func (s *session) end(why ending) bool {
	if !s.record(why) {
		return false
	}
	s.user.post(finishing(s))
	return true
}

// record sets the cause of the session's end, and reports whether it is the first. Only the first cause counts.
func (s *session) record(why ending) bool { return s.needLazy().ended.CompareAndSwap(nil, &why) }

// Handled says that messages of the client have been handled, and none waits: its idleness begins now. With Workers the
// engine calls it.
func (s *session) Handled() {
	if r := s.lazy.Load(); r != nil && r.idle != nil {
		r.idle.Beat()
	}
}

// fellSilent is called by the checker. It first has the connection's unread bytes read, and checks the silence again
// when the user's turn comes.
func (s *session) fellSilent() {
	r := s.needLazy()
	if !r.suspected.CompareAndSwap(false, true) {
		return
	}
	s.look(func(bool) {
		s.user.post(&task{ends: true, run: func(u *user) {
			r.suspected.Store(false)
			u.timeOut(s)
		}})
	})
}

// fellIdle is called by the checker of idleness. It does what fellSilent does. A session with a message that waits or
// is being handled is not idle.
func (s *session) fellIdle() {
	r := s.lazy.Load()
	if !r.idleSuspected.CompareAndSwap(false, true) {
		return
	}
	s.look(func(busy bool) {
		s.user.post(&task{ends: true, run: func(u *user) {
			r.idleSuspected.Store(false)
			if busy {
				r.idle.Beat()
			}
			u.expire(s)
		}})
	})
}

// look asks the link to read the bytes that wait on the connection, where the link can do that, and calls then. When a
// link of the application panics, it has not looked.
func (s *session) look(then func(busy bool)) {
	l, ok := s.links[0].(seam.Looker)
	if !ok {
		then(false)
		return
	}
	if !s.callLink("Look", func() { l.Look(then) }) {
		then(false)
	}
}

// info describes the session. The user's lock is held on entry.
func (s *session) info() SessionInfo {
	i := SessionInfo{
		UserID: s.user.id, ID: s.ID(), Address: s.address(), Device: s.device,
		LogonTime: time.Unix(0, s.logonTime()), Counters: Counters{In: s.in.load(), Out: s.out.load()},
	}
	i.LastActive, i.LastMessage = s.timeOf(s.mark.Note.Load()), s.lastMessage()
	i.Token = i.ID
	if r := s.lazy.Load(); r != nil {
		i.Fields = r.fields
		if r.token != "" {
			i.Token = r.token
		}
		if i.Dropped = r.dropped.load(); i.Dropped.Messages > 0 {
			i.LastDropped = s.timeOf(r.droppedAt.Load())
		}
		i.Generation = r.generation
	}
	if p := s.user.lazy.Load(); p != nil {
		i.Tag, i.UserTag = p.tags[s], p.tag
	}
	return i
}

// logonTime returns when the session began, in Unix nanoseconds.
func (s *session) logonTime() int64 {
	if r := s.lazy.Load(); r != nil && r.logonTime != 0 {
		return r.logonTime
	}
	return timeOfID(s.id)
}

func (s *session) lastMessage() time.Time { return s.timeOf(s.heard.Load()) }

// timeOf returns the time of a tick, or that of the logon where the tick is a little earlier. A tick that is much
// earlier means that the system's clock was set since.
func (s *session) timeOf(tick uint32) time.Time {
	t, logon := s.user.manager.clock.time(tick), time.Unix(0, s.logonTime())
	if late := logon.Sub(t); late > 0 && late < clockStep {
		return logon
	}
	return t
}

// Trusted is for package contain: the methods that report an end or sent messages run no code of the application. Beat
// does: it calls a heartbeat.Watch of the application.
func (s *session) Trusted() bool { return true }
