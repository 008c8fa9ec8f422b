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
	UserID     string
	SessionID  string // can take the session over: a secret
	Address    Address
	Device     uint16
	LogonTime  time.Time
	LastActive time.Time // when bytes last came from the client, to 100 ms
	In, Out    Traffic   // received from the client, and handed to the network for it
	Dropped    Traffic   // for the client, but thrown away
	Tag        string    // the user's, see Manager.SetTag
}

// counter is a Traffic that is written in the message path and read from anywhere. Two words, and so two atomic adds: the
// type of the last message stands in the lowest 16 bits of the first, the number of messages above.
type counter struct{ messages, bytes atomic.Uint64 }

const typeBits = 16

func (c *counter) add(typ uint16, messages, bytes int) {
	c.bytes.Add(uint64(bytes))
	n := c.messages.Add(uint64(messages) << typeBits)
	for uint16(n) != typ && !c.messages.CompareAndSwap(n, n&^(1<<typeBits-1)|uint64(typ)) {
		n = c.messages.Load()
	}
}

func (c *counter) load() Traffic {
	n := c.messages.Load()
	return Traffic{Messages: n >> typeBits, Bytes: c.bytes.Load(), LastType: uint16(n)}
}

// session implements Session.
type session struct {
	user   *user
	links  [1]Link // the session's link, ready for Manager.Links
	watch  heartbeat.Watch
	id     uuid.UUID
	conn   uint64 // the number of link's connection
	device uint16
	stuck  bool // the turn's own: a message handler was given up on
	// suspected holds while a look at the session's silence waits for the user's turn.
	suspected atomic.Bool
	logonTime int64 // Unix nanoseconds

	active  atomic.Int64 // Unix nanoseconds
	in, out counter
	rare    atomic.Pointer[rare]
}

// rare is what a session that lives has seldom. It is apart, so that a session takes 128 bytes and not 144.
type rare struct {
	ended   atomic.Pointer[ending] // nil while the session lives; the first cause that was recorded
	dropped counter
}

// madeRare returns the session's rare, to be written to.
func (s *session) madeRare() *rare {
	r := s.rare.Load()
	if r == nil {
		s.rare.CompareAndSwap(nil, new(rare))
		r = s.rare.Load()
	}
	return r
}

// why returns why the session ends, nil while it lives.
func (s *session) why() *ending {
	if r := s.rare.Load(); r != nil {
		return r.ended.Load()
	}
	return nil
}

// ending is why a session ends.
type ending struct {
	code protocol.CloseCode
	text string
}

func (s *session) ID() string     { return s.id.String() }
func (s *session) UserID() string { return s.user.id }

func (s *session) Beat() {
	s.watch.Beat()
	s.active.Store(max(s.user.manager.clock.now(), s.logonTime)) // the clock may lag behind the logon
}

func (s *session) Received(typ uint16, messages, bytes int) { s.in.add(typ, messages, bytes) }

func (s *session) Sent(typ uint16, messages, bytes int) { s.out.add(typ, messages, bytes) }

func (s *session) Dropped(typ uint16, messages, bytes int) {
	s.madeRare().dropped.add(typ, messages, bytes)
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
func (s *session) record(why ending) bool { return s.madeRare().ended.CompareAndSwap(nil, &why) }

// fellSilent is called by the checker. Silence is looked at again when the user's turn comes.
func (s *session) fellSilent() {
	if s.suspected.CompareAndSwap(false, true) {
		s.user.post(&change{run: func(u *user) {
			s.suspected.Store(false)
			u.timeOut(s)
		}})
	}
}

func (s *session) info(tag string) SessionInfo {
	i := SessionInfo{
		UserID: s.user.id, SessionID: s.ID(), Address: s.links[0].Address(), Device: s.device,
		LogonTime: time.Unix(0, s.logonTime), LastActive: time.Unix(0, s.active.Load()),
		In: s.in.load(), Out: s.out.load(), Tag: tag,
	}
	if r := s.rare.Load(); r != nil {
		i.Dropped = r.dropped.load()
	}
	return i
}
