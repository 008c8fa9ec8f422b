package usermgr

import (
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/heartbeat"
	"github.com/rollcall-go/rollcall/protocol"
)

// Traffic counts messages one way.
type Traffic struct {
	Messages uint64
	Bytes    uint64 // with headers
	LastType uint16 // type of the last message; 0 when there was none
}

func (t *Traffic) add(o Traffic) {
	t.Messages += o.Messages
	t.Bytes += o.Bytes
	if o.LastType != 0 {
		t.LastType = o.LastType
	}
}

// SessionInfo describes a session at one moment. It is a copy, and stays.
type SessionInfo struct {
	UserID      string
	SessionID   string // can take the session over: a secret
	Token       string // the Logon's, or else the session ID: a secret too
	Address     Address
	Device      uint16
	Fields      map[string]string // the Logon's string map without token and session; shared, not to be changed; nil for none
	LogonTime   time.Time
	LastActive  time.Time // when bytes last came from the client, to 100 ms
	LastMessage time.Time // when a message that is no heartbeat last came, to 100 ms; at first LogonTime
	In, Out     Traffic   // received from the client, and handed to the network for it
	Dropped     Traffic   // for the client, but thrown away
	Tag         string    // the session's, see Manager.SetSessionTag
	UserTag     string    // the user's, see Manager.SetTag
}

// counter is a Traffic that is written in the message path and read from anywhere.
type counter struct {
	messages, bytes atomic.Uint64
	last            atomic.Uint32
}

func (c *counter) add(typ uint16, messages, bytes int) {
	c.messages.Add(uint64(messages))
	c.bytes.Add(uint64(bytes))
	if c.last.Load() != uint32(typ) {
		c.last.Store(uint32(typ))
	}
}

func (c *counter) load() Traffic {
	return Traffic{Messages: c.messages.Load(), Bytes: c.bytes.Load(), LastType: uint16(c.last.Load())}
}

// session implements Session.
type session struct {
	user   *user
	link   Link
	watch  heartbeat.Watch
	id     uuid.UUID
	device uint16
	stuck  bool // the turn's own: a message handler was given up on
	bound  bool // the turn's own: it stands among its user's sessions
	// suspected holds while a look at the session's silence waits for the user's turn.
	suspected atomic.Bool
	logonTime int64 // Unix nanoseconds
	rest      *rest // what most sessions have not; nil for those

	ended    atomic.Pointer[ending] // nil while the session lives; the first cause that was recorded
	active   atomic.Int64           // Unix nanoseconds
	heard    atomic.Int64           // when the last message that is no heartbeat came, Unix nanoseconds
	in, out  counter
	droppedN atomic.Pointer[counter] // most sessions never drop anything
}

// rest is what most sessions have not. It never changes.
type rest struct {
	token  string
	fields map[string]string
	idle   heartbeat.Watch // with Config.IdleTimeout; else nil
	// suspected holds while a look at the session's idleness waits for the user's turn.
	suspected atomic.Bool
}

func (m *Manager) newSession(u *user, link Link, id uuid.UUID, l *Logon) *session {
	now := time.Now().UnixNano()
	s := &session{user: u, link: link, id: id, device: l.Device, logonTime: now}
	s.active.Store(now)
	s.heard.Store(now)
	if fields := l.metadata(); l.Token != "" || fields != nil || m.idle != nil {
		s.rest = &rest{token: l.Token, fields: fields}
	}
	s.watch = m.checker.Watch(s.fellSilent)
	if m.idle != nil {
		s.rest.idle = m.idle.Watch(s.fellIdle)
	}
	return s
}

// metadata returns the Logon's fields but for those that the manager itself understands.
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

// token returns what names the session's login.
func (s *session) token() string {
	if s.rest != nil && s.rest.token != "" {
		return s.rest.token
	}
	return s.ID()
}

// touch counts as a sign of life, and as a message.
func (s *session) touch() {
	s.watch.Beat()
	now := max(s.user.manager.clock.now(), s.logonTime)
	s.active.Store(now)
	s.heardAt(now)
}

func (s *session) heardAt(now int64) {
	s.heard.Store(now)
	if s.rest != nil && s.rest.idle != nil {
		s.rest.idle.Beat()
	}
}

func (s *session) stopWatches() {
	s.watch.Stop()
	if s.rest != nil && s.rest.idle != nil {
		s.rest.idle.Stop()
	}
}

// ending is why a session ends.
type ending struct {
	code protocol.CloseCode
	text string
	kick *Kick // whose it is; nil for none
}

func (s *session) ID() string     { return s.id.String() }
func (s *session) UserID() string { return s.user.id }

func (s *session) Beat() {
	s.watch.Beat()
	s.active.Store(max(s.user.manager.clock.now(), s.logonTime)) // the clock may lag behind the logon
}

func (s *session) Received(typ uint16, messages, bytes int) {
	s.in.add(typ, messages, bytes)
	if now := s.user.manager.clock.now(); now > s.heard.Load() { // seldom: the clock goes on ten times a second
		s.heardAt(now)
	}
}

func (s *session) Sent(typ uint16, messages, bytes int) { s.out.add(typ, messages, bytes) }

func (s *session) Dropped(typ uint16, messages, bytes int) {
	c := s.droppedN.Load()
	if c == nil {
		s.droppedN.CompareAndSwap(nil, new(counter))
		c = s.droppedN.Load()
	}
	c.add(typ, messages, bytes)
}

func (s *session) End(code protocol.CloseCode) { s.end(ending{code: code}) }

// end records why the session ends and queues the rest, unless an earlier cause was recorded.
func (s *session) end(why ending) bool {
	if !s.record(why) {
		return false
	}
	s.user.post(&change{run: func(u *user) { u.finish(s) }})
	return true
}

// record sets why the session ends. Only the first cause counts.
func (s *session) record(why ending) bool { return s.ended.CompareAndSwap(nil, &why) }

// fellSilent is called by the checker. Silence is looked at again when the user's turn comes.
func (s *session) fellSilent() {
	if s.suspected.CompareAndSwap(false, true) {
		s.user.post(&change{run: func(u *user) {
			s.suspected.Store(false)
			u.timeOut(s)
		}})
	}
}

// fellIdle is called by the checker of idleness, which is looked at again when the user's turn comes.
func (s *session) fellIdle() {
	if s.rest.suspected.CompareAndSwap(false, true) {
		s.user.post(&change{run: func(u *user) {
			s.rest.suspected.Store(false)
			u.expire(s)
		}})
	}
}

// info describes the session. The user's lock is held on entry.
func (s *session) info() SessionInfo {
	i := SessionInfo{
		UserID: s.user.id, SessionID: s.ID(), Address: s.link.Address(), Device: s.device,
		LogonTime: time.Unix(0, s.logonTime), LastActive: time.Unix(0, s.active.Load()), LastMessage: time.Unix(0, s.heard.Load()),
		In: s.in.load(), Out: s.out.load(),
	}
	i.Token = i.SessionID
	if r := s.rest; r != nil {
		i.Fields = r.fields
		if r.token != "" {
			i.Token = r.token
		}
	}
	if p := s.user.past; p != nil {
		i.Tag, i.UserTag = p.tags[s], p.tag
	}
	if d := s.droppedN.Load(); d != nil {
		i.Dropped = d.load()
	}
	return i
}
